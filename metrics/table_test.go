package metrics

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"
	"unicode/utf8"

	dto "github.com/prometheus/client_model/go"

	"hostler/protocol"
	"hostler/settings"
)

// all are the rows of the table.
func all() (rows []family) {
	for _, g := range table {
		rows = append(rows, g.families...)
	}
	return rows
}

// TestTable: the rows are well-formed, and each of them is in a scrape of a server that
// has everything, with its type, its help and its labels, and nothing else is.
func TestTable(t *testing.T) {
	r := newRig(t)
	busy(r, r.start(0, 100))
	r.stat(100, 1, 1, 1, 1)
	r.files(100, 3)
	r.share(100, 7000)
	r.snap.Workers[0].Pools = []settings.Pool{{Name: "x", Pattern: "/", Threads: 1}}
	r.snap.Certificates = []protocol.CertificateStatus{{Name: "example.org", NotAfter: time.Unix(9000, 0)}}
	r.snap.CertificateOrders, r.snap.CertificatesMissing = map[string]uint64{"success": 3, "failure": 1}, 2
	r.snap.ListenQueues = []protocol.ListenQueue{{Address: "127.0.0.1:8000", Depth: 3, Limit: 128}}
	r.proc["self/net/netstat"] = &fstest.MapFile{Data: []byte("TcpExt: ListenOverflows\nTcpExt: 7\n")}
	found, err := pedantic(t, r.c).Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string]*dto.MetricFamily)
	for _, f := range found {
		got[f.GetName()] = f
	}
	name := regexp.MustCompile(`^[a-z][a-z0-9]*(_[a-z0-9]+)*$`)
	for _, row := range all() {
		if !name.MatchString(row.name) || row.help == "" || strings.HasSuffix(row.name, "_total") != (row.typ == counter) ||
			(row.typ == histo) != (row.sum != nil) || (row.sum == nil) == (row.read == nil) {
			t.Errorf("the row %q is malformed", row.name)
		}
		f := got[namespace+"_"+row.name]
		if f == nil {
			t.Errorf("%s is in no scrape", row.name)
			continue
		}
		delete(got, f.GetName())
		if typ := strings.ToLower(f.GetType().String()); typ != row.typ.String() || f.GetHelp() != row.help {
			t.Errorf("%s is a %s: %s", row.name, typ, f.GetHelp())
		}
		var labels []string
		for _, l := range f.GetMetric()[0].GetLabel() {
			labels = append(labels, l.GetName())
		}
		slices.Sort(labels)
		if want := slices.Sorted(slices.Values(row.labels)); !slices.Equal(labels, want) {
			t.Errorf("%s has the labels %q, want %q", row.name, labels, want)
		}
	}
	for name := range got {
		t.Errorf("%s is in no row", name)
	}
}

// TestReference: docs/metrics.md is what the table makes of it, and has all of them.
func TestReference(t *testing.T) {
	text, err := os.ReadFile("../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	if string(text) != Reference() {
		t.Error("docs/metrics.md is not as the table has it: run go generate ./metrics")
	}
	for _, row := range all() {
		if !strings.Contains(string(text), "* `"+namespace+"_"+row.name+"` (") {
			t.Errorf("%s is not in docs/metrics.md", row.name)
		}
	}
	for line := range strings.Lines(string(text)) {
		if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > columns {
			t.Errorf("%d columns: %s", n, line)
		}
	}
}

// Names that are used beside the table: in the alerts, the tests of the whole, and the
// pages. One that is none is an alert that never fires.
func TestNamesThatAreUsed(t *testing.T) {
	known := make(map[string]bool)
	for _, row := range all() {
		known[row.name] = true
		if row.typ == histo {
			for _, part := range []string{"_bucket", "_sum", "_count"} {
				known[row.name+part] = true
			}
		}
	}
	used := regexp.MustCompile(`\bhostler_([a-z0-9_]+[a-z0-9])\b`)
	for _, file := range []string{"../deploy/prometheus/rules.yml", "../deploy/grafana/hostler.json", "../README.md", "../CHANGELOG.md"} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for _, m := range used.FindAllStringSubmatch(string(text), -1) {
			n++
			if !known[m[1]] {
				t.Errorf("%s speaks of %s, which is no metric", file, m[0])
			}
		}
		if n == 0 && !strings.HasSuffix(file, ".md") {
			t.Errorf("%s speaks of no metric", file)
		}
	}
}
