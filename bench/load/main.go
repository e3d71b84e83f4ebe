// Load asks a server over HTTP/1.1 and prints what came of it as JSON: latencies of
// the answers of 200, other statuses, failures, and connections that the server closed.
//
// Without -rate each connection asks, waits for its answer and pauses (a closed loop).
// With -rate requests become due at that pace whatever the server does (an open loop);
// their time counts from when they were due, so that a stalled server cannot hide.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"time"
)

func main() {
	var l Load
	flag.StringVar(&l.Addr, "addr", "127.0.0.1:8000", "server's host and port")
	flag.IntVar(&l.Connections, "c", 32, "connections")
	flag.DurationVar(&l.For, "d", 5*time.Second, "how long")
	flag.StringVar(&l.Path, "path", "/", "what is asked for")
	flag.StringVar(&l.Slow, "slow", "", "what is asked for now and then; not in the latencies")
	flag.Float64Var(&l.Share, "share", 0, "share of the slow requests, 0 to 1")
	flag.DurationVar(&l.Think, "think", 0, "pause after an answer, half to one and a half times this")
	flag.Float64Var(&l.Rate, "rate", 0, "requests per second over all connections; 0: a closed loop")
	flag.IntVar(&l.Reopen, "reopen", 0, "requests per connection; 0: any number")
	flag.BoolVar(&l.TLS, "tls", false, "https; certificates are not checked, sessions not resumed")
	flag.BoolVar(&l.WebSocket, "ws", false, "messages of WebSockets that come back, instead of requests")
	flag.DurationVar(&l.Timeout, "timeout", 30*time.Second, "longest wait for an answer")
	flag.IntVar(&l.Idle, "idle", 0, "further connections that ask once and stay idle")
	flag.DurationVar(&l.Hold, "hold", 0, "after opening the idle ones, print a line and wait this long before the load")
	flag.Parse()
	if flag.NArg() > 0 || l.Connections < 1 || l.Share < 0 || l.Share > 1 || l.Rate < 0 {
		flag.Usage()
		os.Exit(2)
	}
	idle := l.Rest()
	if l.Hold > 0 {
		fmt.Println("idle", len(idle))
		time.Sleep(l.Hold)
	}
	result := l.Run()
	result.Idle = len(idle)
	result.IdleClosed = closed(idle)
	if err := json.NewEncoder(os.Stdout).Encode(result); err != nil {
		fmt.Fprintln(os.Stderr, "cannot write the result:", err)
		os.Exit(1)
	}
}
