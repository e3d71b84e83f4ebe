package logformat

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// records are the same in all formats.
func records(log *slog.Logger) {
	log.Debug("nobody sees this")
	log.Info("serving")
	l := log.With("worker", 3)
	l.Warn("a client", "target", "/a b\x1b[2J\n\"", "error", errors.New("no room"), "after", 1500*time.Millisecond)
	l.Error("evil\x1b[2Jmessage", "raw", `\x1b[2J`)
}

func TestFormats(t *testing.T) {
	for f, want := range map[Format][]string{
		Logfmt: {`time=\S+ level=INFO msg=serving`,
			`time=\S+ level=WARN msg="a client" worker=3 target="/a b\\x1b\[2J\\n\\"" error="no room" after=1\.5s`,
			`time=\S+ level=ERROR msg="evil\\x1b\[2Jmessage" worker=3 raw=\\x1b\[2J`},
		Text: {`\d{4}-\d\d-\d\d \d\d:\d\d:\d\d INFO   serving`,
			`\S+ \S+ WARN   a client worker=3 target="/a b\\x1b\[2J\\n\\"" error="no room" after=1\.5s`,
			`\S+ \S+ ERROR  "evil\\x1b\[2Jmessage" worker=3 raw=\\x1b\[2J`},
		Color: {`\S+ \S+\x1b\[32m INFO   \x1b\[0mserving`,
			`\S+ \S+\x1b\[33m WARN   \x1b\[0ma client worker=3 target="/a b\\x1b\[2J\\n\\"" error="no room" after=1\.5s`,
			`\S+ \S+\x1b\[31m ERROR  \x1b\[0m"evil\\x1b\[2Jmessage" worker=3 raw=\\x1b\[2J`},
		Journal: {`<6>serving`,
			`<4>a client worker=3 target="/a b\\x1b\[2J\\n\\"" error="no room" after=1\.5s`,
			`<3>"evil\\x1b\[2Jmessage" worker=3 raw=\\x1b\[2J`},
		JSON: {`\{"time":"\S+","level":"INFO","msg":"serving"\}`,
			`\{"time":"\S+","level":"WARN","msg":"a client","worker":3,"target":"/a b\\u001b\[2J\\n\\"","error":"no room","after":"1\.5s"\}`,
			`\{.*"msg":"evil\\u001b\[2Jmessage","worker":3,"raw":"\\\\x1b\[2J"\}`},
	} {
		var b bytes.Buffer
		records(slog.New(New(&b, f, slog.LevelInfo)))
		lines := strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n")
		if len(lines) != len(want) {
			t.Errorf("%s: %q", f, lines)
			continue
		}
		for i, line := range lines {
			if !regexp.MustCompile("^" + want[i] + "$").MatchString(line) {
				t.Errorf("%s: %q does not match %s", f, line, want[i])
			}
		}
	}
}

// oneWrite fails where a record comes in parts.
type oneWrite struct{ n int }

func (w *oneWrite) Write(p []byte) (int, error) {
	w.n += bytes.Count(p, []byte("\n"))
	if !bytes.HasSuffix(p, []byte("\n")) {
		return 0, errors.New("torn")
	}
	return len(p), nil
}

func TestRecordsAreWhole(t *testing.T) {
	for _, f := range []Format{Text, Color, Logfmt, JSON, Journal} {
		w := new(oneWrite)
		records(slog.New(New(w, f, slog.LevelInfo)))
		if w.n != 3 {
			t.Errorf("%s: %d lines", f, w.n)
		}
	}
}

func TestTexts(t *testing.T) {
	write := func(f Format, text string) string {
		var b bytes.Buffer
		w := NewOutput(&b, f, slog.LevelInfo, slog.Int("worker", 3))
		if n, err := w.Write([]byte(text)); n != len(text) || err != nil {
			t.Errorf("%s: %d, %v", f, n, err)
		}
		_, _ = w.Write([]byte("\n"))
		return b.String()
	}
	const text = "Traceback:\n\n  line \xff\nValueError: x\n"
	for _, f := range []Format{Text, Color, Logfmt} {
		if got := write(f, text); got != text {
			t.Errorf("%s: %q", f, got)
		}
	}
	if got := write(Journal, text); got != "<3>Traceback:\n<3>\n<3>  line \xff\n<3>ValueError: x\n" {
		t.Errorf("%q", got)
	}
	var got map[string]any
	if err := json.Unmarshal([]byte(write(JSON, text)), &got); err != nil || got["msg"] != "Traceback:" || got["text"] != "\n  line \ufffd\nValueError: x" || got["level"] != "ERROR" {
		t.Errorf("%v: %v", got, err)
	}

	// The first line of ours is a record.
	for f, want := range map[Format]string{
		Logfmt:  `time=\S+ level=ERROR msg="it raised on \\"" worker=3\n`,
		Text:    `\S+ \S+ ERROR  it raised on " worker=3\n`,
		Color:   `\S+ \S+\x1b\[31m ERROR  \x1b\[0mit raised on " worker=3\n`,
		Journal: `<3>it raised on " worker=3\n<3>`,
		JSON:    `\{"time":"\S+","level":"ERROR","msg":"it raised on \\"","worker":3,"text":"Error: x"\}\n`,
	} {
		if f != JSON {
			want += `Error: x\n`
		}
		if got := write(f, "hostler: it raised on \"\nError: x\n"); !regexp.MustCompile("^" + want + "$").MatchString(got) {
			t.Errorf("%s: %q does not match %s", f, got, want)
		}
	}
	for text, want := range map[string]string{
		"<6>hostler: it is so": "level=INFO msg=\"it is so\" worker=3\n", "<4>hostler: look\nthere\n": "level=WARN msg=look worker=3\nthere\n",
		"<7>hostler: below\n": "level=DEBUG msg=below worker=3\n", "<6>theirs\n": "<6>theirs\n", "<9>hostler: theirs\n": "<9>hostler: theirs\n",
	} {
		if got := regexp.MustCompile(`^time=\S+ `).ReplaceAllString(write(Logfmt, text), ""); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

func TestSet(t *testing.T) {
	var b bytes.Buffer
	o := NewOutput(&b, Journal, slog.LevelInfo, slog.Int("worker", 1))
	log := o.Logger()
	log.Info("one")
	o.Set(JSON)
	log.Info("two")
	log.Debug("three")
	if got := b.String(); !strings.HasPrefix(got, "<6>one worker=1\n{") || !strings.Contains(got, `"msg":"two","worker":1}`) || strings.Contains(got, "three") {
		t.Errorf("%q", got)
	}
}

func TestResolve(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		t.Fatal(err)
	}
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer master.Close()
	journal := map[string]string{"JOURNAL_STREAM": fmt.Sprintf("%d:%d", st.Dev, st.Ino)}
	for _, c := range []struct {
		f    Format
		fd   *os.File
		env  map[string]string
		want Format
	}{
		{Auto, f, nil, Logfmt}, {Auto, f, journal, Journal}, {Auto, f, map[string]string{"JOURNAL_STREAM": "1:2"}, Logfmt},
		{JSON, f, journal, JSON}, {Text, f, nil, Text}, {Text, master, nil, Color}, {Auto, master, nil, Color},
		{Auto, master, map[string]string{"NO_COLOR": "1"}, Text}, {Auto, master, map[string]string{"TERM": "dumb"}, Text},
		{Logfmt, master, nil, Logfmt},
	} {
		if got := c.f.Resolve(int(c.fd.Fd()), func(k string) string { return c.env[k] }); got != c.want {
			t.Errorf("%s with %v: %s, not %s", c.f, c.env, got, c.want)
		}
	}
	for _, s := range []string{"", "xml", "color"} {
		if _, err := Parse(s); err == nil {
			t.Errorf("%q is taken", s)
		}
	}
}
