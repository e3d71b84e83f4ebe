package main

import (
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// scraper reads /metrics as Prometheus would, and notes down counters that went
// back.
type scraper struct {
	url string

	mu      sync.Mutex
	run     string // the master's start time: another master counts anew
	past    map[string]bool
	last    map[string]float64
	wrong   []string
	scrapes int
	errors  int // while no master answered

	stop chan struct{}
	wg   sync.WaitGroup
}

func startScraper(addr string) *scraper {
	s := &scraper{url: "http://" + addr + "/metrics", past: make(map[string]bool), stop: make(chan struct{})}
	s.wg.Go(func() {
		c := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
		for {
			select {
			case <-s.stop:
				return
			case <-time.After(100 * time.Millisecond):
			}
			text, err := get(c, s.url)
			if err != nil {
				s.mu.Lock()
				s.errors++
				s.mu.Unlock()
				continue
			}
			s.take(text, time.Now())
		}
	})
	return s
}

func get(c *http.Client, url string) (string, error) {
	resp, err := c.Get(url)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s answers %s", url, resp.Status)
	}
	return string(b), err
}

// take compares a scrape with the one before.
func (s *scraper) take(text string, now time.Time) {
	run, counters := counters(text)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.scrapes++
	if run == "" {
		run = s.run // without descriptors the master cannot read of itself
	}
	if run != s.run {
		if s.past[run] {
			s.wrong = append(s.wrong, fmt.Sprintf("%s the master before answers again: all counters jump", now.Format(stamp)))
		}
		if s.run != "" {
			s.past[s.run] = true
		}
		s.run, s.last = run, nil
	}
	for name, v := range counters {
		if old, ok := s.last[name]; ok && v < old {
			s.wrong = append(s.wrong, fmt.Sprintf("%s %s went from %v to %v", now.Format(stamp), name, old, v))
		}
	}
	for name := range s.last {
		if _, ok := counters[name]; !ok {
			s.wrong = append(s.wrong, fmt.Sprintf("%s %s is gone", now.Format(stamp), name))
		}
	}
	s.last = counters
}

// counters returns hostler's counters and histograms, and what tells one master
// from another.
func counters(text string) (run string, values map[string]float64) {
	values = make(map[string]float64)
	counts := make(map[string]bool)
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if f := strings.Fields(line); len(f) == 4 && f[0] == "#" && f[1] == "TYPE" {
			counts[f[2]] = f[3] == "counter" || f[3] == "histogram"
			continue
		}
		series, value, ok := strings.Cut(line, " ")
		if i := strings.LastIndexByte(line, ' '); i >= 0 {
			series, value = line[:i], line[i+1:]
		}
		base, _, _ := strings.Cut(series, "{")
		if base == "process_start_time_seconds" {
			run = value
		}
		family := base
		for _, suffix := range []string{"_bucket", "_sum", "_count"} {
			if f, cut := strings.CutSuffix(base, suffix); cut && counts[f] {
				family = f
			}
		}
		if !ok || !counts[family] || !strings.HasPrefix(base, "hostler_") {
			continue
		}
		if v, err := strconv.ParseFloat(value, 64); err == nil {
			values[series] = v
		}
	}
	return run, values
}

func (s *scraper) end() (wrong []string, scrapes int) {
	close(s.stop)
	s.wg.Wait()
	return s.wrong, s.scrapes
}
