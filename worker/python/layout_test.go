package python_test

import (
	"os"
	"reflect"
	"regexp"
	"runtime"
	"strconv"
	"testing"

	"hostler/protocol"
	"hostler/worker"
	"hostler/worker/http1"
)

// layout.c holds C against its table when it is compiled; this holds Go against
// the same table.
func TestLayout(t *testing.T) {
	src, err := os.ReadFile("layout.c")
	if err != nil {
		t.Fatal(err)
	}
	types := map[string]reflect.Type{
		"Task":    reflect.TypeFor[worker.Task](),
		"Request": reflect.TypeFor[http1.Request](),
		"Field":   reflect.TypeFor[http1.Field](),
		"Span":    reflect.TypeFor[http1.Span](),
	}
	values := map[string]int{
		"FDControl": protocol.FDControl, "FDSecrets": protocol.FDSecrets, "FDListeners": protocol.FDListeners,
		"Run": worker.Run, "Lead": worker.Lead, "Follow": worker.Follow,
		"Exit": worker.Exit, "None": worker.None, "Garbage": worker.Garbage, "Yield": worker.Yield,
		"ForwardedHTTPS": worker.ForwardedHTTPS, "ForwardedHost": worker.ForwardedHost, "ForwardedPrefix": worker.ForwardedPrefix, "ForwardedHTTP": worker.ForwardedHTTP, "ForwardedStray": worker.ForwardedStray,
		"ResultFailed": worker.ResultFailed, "ResultFinal": worker.ResultFinal, "ResultTimedOut": worker.ResultTimedOut, "ResultWhole": worker.ResultWhole,
		"InterveneProbe": worker.InterveneProbe, "InterveneRaise": worker.InterveneRaise, "InterveneStack": worker.InterveneStack,
		"WriteOK": worker.WriteOK, "WriteWait": worker.WriteWait, "WriteCut": worker.WriteCut, "FileCopy": worker.FileCopy,
		"WriteGone": worker.WriteGone, "WriteNoHead": worker.WriteNoHead,
		"PieceLast": worker.PieceLast, "PieceWhole": worker.PieceWhole, "PieceMore": worker.PieceMore,
		"ReadEnd": worker.ReadEnd, "ReadWait": worker.ReadWait, "ReadBroken": worker.ReadBroken,
		"ReadBad": worker.ReadBad, "ReadTooLarge": worker.ReadTooLarge, "ReadDisk": worker.ReadDisk,
		"TurnIdle": worker.TurnIdle, "TurnMore": worker.TurnMore, "TurnRun": worker.TurnRun, "TurnNotice": worker.TurnNotice,
		"TurnGarbage": worker.TurnGarbage, "TurnExit": worker.TurnExit,
		"NoticeBody": worker.NoticeBody, "NoticeGone": worker.NoticeGone, "NoticeRoom": worker.NoticeRoom, "NoticeTimeout": worker.NoticeTimeout,
		"NoticeGrace": worker.NoticeGrace, "NoticeLeave": worker.NoticeLeave,
		"NoticeSlow": worker.NoticeSlow,
	}
	seen := map[string]bool{}
	row := func(pattern string, check func(m []string) (got int, ok bool)) {
		for _, m := range regexp.MustCompile(`(?m)^`+pattern).FindAllStringSubmatch(string(src), -1) {
			want, err := strconv.Atoi(m[len(m)-1])
			if err != nil {
				t.Fatalf("%s: %v", m[0], err)
			}
			if got, ok := check(m); !ok || got != want {
				t.Errorf("%s: Go has %d (known: %v)", m[0], got, ok)
			}
		}
	}
	row(`OFFSET\(\w+, \w+, (\w+), (\w+), (\d+)\)`, func(m []string) (int, bool) {
		seen[m[1]+"."+m[2]] = true
		f, ok := types[m[1]].FieldByName(m[2])
		return int(f.Offset), ok
	})
	padding := "PADDED"
	if runtime.GOARCH == "amd64" {
		padding = "PACKED"
	}
	row(`SIZE(?:_`+padding+`)?\(\w+, (\w+), (\d+)\)`, func(m []string) (int, bool) {
		seen[m[1]] = true
		return int(types[m[1]].Size()), true
	})
	row(`VALUE\(\w+, (\w+), (-?\d+)\)`, func(m []string) (int, bool) {
		seen[m[1]] = true
		v, ok := values[m[1]]
		return v, ok
	})
	for name, typ := range types {
		if !seen[name] {
			t.Errorf("the table lacks the size of %s", name)
		}
		for i := range typ.NumField() {
			if f := typ.Field(i).Name; f != "_" && !seen[name+"."+f] {
				t.Errorf("the table lacks %s.%s", name, f)
			}
		}
	}
	for name := range values {
		if !seen[name] {
			t.Errorf("the table lacks %s", name)
		}
	}
}
