package metrics

import (
	"time"

	"hostler/protocol"
)

// What the table's rows are read with.

// counted reads a counter of the scoreboard's.
func counted(of func(*protocol.Counters) uint64) func(*scrape, put) {
	return func(s *scrape, put put) { put(s.count(of)) }
}

// now reads a gauge of the scoreboard's.
func now(of func(*protocol.Gauges) int64) func(*scrape, put) {
	return func(s *scrape, put put) { put(s.now(of)) }
}

// total reads a histogram of the scoreboard's.
func total(of func(*protocol.Counters) *protocol.Histogram) func(*scrape, putSum) {
	return func(s *scrape, put putSum) { put(s.total(of)) }
}

// eachWorker reads what there is per worker.
func eachWorker(read func(*workerView, func(float64))) func(*scrape, put) {
	return func(s *scrape, put put) {
		for i := range s.workers {
			w := &s.workers[i]
			read(w, func(v float64) { put(v, w.label) })
		}
	}
}

func readRequests(s *scrape, put put) {
	for m, method := range protocol.Methods {
		var classes [len(protocol.Classes)]float64
		for i := range protocol.NumCodes {
			classes[protocol.CodeClass(i)] += s.count(func(c *protocol.Counters) uint64 { return c.Requests[m][i].Load() })
		}
		for k, class := range protocol.Classes {
			put(classes[k], class, method)
		}
	}
}

// readDurations leaves out what there is none of: all pairs have twelve hundred lines.
func readDurations(s *scrape, put putSum) {
	for m, method := range protocol.Methods {
		for k, class := range protocol.Classes {
			h := s.total(func(c *protocol.Counters) *protocol.Histogram { return &c.Duration[m][k] })
			if !h.empty() || method == "GET" && class == "2xx" {
				put(h, class, method)
			}
		}
	}
}

func readRoutes(s *scrape, put put) {
	for i := range s.routes {
		for k, n := range s.routes[i].Requests {
			if n > 0 {
				put(float64(n), protocol.Classes[k], s.routes[i].Method, s.routes[i].Name)
			}
		}
	}
}

func readResponses(s *scrape, put put) {
	other := 0.0
	for i := 1; i < protocol.NumCodes; i++ {
		n := s.count(func(c *protocol.Counters) (n uint64) {
			for m := range c.Requests {
				n += c.Requests[m][i].Load()
			}
			return n
		})
		if name := protocol.CodeName(i); name != protocol.CodeOther {
			put(n, name)
		} else {
			other += n
		}
	}
	put(other, protocol.CodeOther)
}

// ended is the number of requests that have ended.
func ended(c *protocol.Counters) (n uint64) {
	for m := range c.Requests {
		for i := range c.Requests[m] {
			n += c.Requests[m][i].Load()
		}
	}
	return n
}

func readWorkers(s *scrape, put put) {
	states := make(map[string]int)
	for i := range s.snap.Workers {
		states[s.snap.Workers[i].StateName()]++
	}
	for _, state := range [...]string{protocol.SlotBooting.String(), protocol.SlotServing.String(), protocol.SlotCanary.String(), protocol.SlotDraining.String(), protocol.StateFrozen} {
		put(float64(states[state]), state)
	}
}

func readCertificates(s *scrape, put put) {
	seen := make(map[string]bool)
	for _, cert := range s.snap.Certificates {
		if !seen[cert.Name] { // of two for the same name, an RSA and an ECDSA one, the first
			seen[cert.Name] = true
			put(timestamp(cert.NotAfter), cert.Name)
		}
	}
}

func byResult(counts map[string]uint64, put put) {
	for _, result := range [...]string{"success", "failure"} {
		put(float64(counts[result]), result)
	}
}

func number(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}

// timestamp is t since the Unix epoch; 0 for the zero time.
func timestamp(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixNano()) / 1e9
}

func seconds(ns int64) float64 { return float64(ns) / 1e9 }
