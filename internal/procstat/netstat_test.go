package procstat

import (
	"os"
	"testing"
	"testing/fstest"
)

func TestListenOverflows(t *testing.T) {
	const ip = "IpExt: InNoRoutes ListenOverflows\nIpExt: 0 99\n"
	for text, want := range map[string]float64{
		"TcpExt: SyncookiesSent ListenOverflows ListenDrops\nTcpExt: 1 22 333\n" + ip: 22,
		ip + "TcpExt: ListenOverflows\nTcpExt: 5\n":                                   5,
		ip:                                       -1,
		"TcpExt: ListenOverflows\n":              -1,
		"TcpExt: A ListenOverflows\nTcpExt: 1\n": -1,
		"TcpExt: ListenOverflows\nTcpExt: -1\n":  -1,
		"":                                       -1,
	} {
		if n := ListenOverflows(fstest.MapFS{"self/net/netstat": {Data: []byte(text)}}); n != want {
			t.Errorf("%q: %v, want %v", text, n, want)
		}
	}
	if n := ListenOverflows(fstest.MapFS{}); n != -1 {
		t.Errorf("without the file: %v", n)
	}
	if n := ListenOverflows(os.DirFS("/proc")); n < 0 {
		t.Errorf("of this machine: %v", n)
	}
}
