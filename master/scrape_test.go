package master

import (
	"testing"
	"testing/synctest"
	"time"

	"hostler/internal/appmetrics"
	"hostler/master/spawn"
	"hostler/protocol"
)

// wants has a client of the worker's wait for metrics.
func (p *fakeProcess) wants(form string) {
	p.report(spawn.Report{Message: protocol.Message{Kind: protocol.KindScrape, Text: form}})
	synctest.Wait()
}

// TestScrape: workers get the metrics that they ask for, made after they have asked and
// a few times a second, whatever one that has to be asked for some does.
func TestScrape(t *testing.T) {
	set := testSettings()
	set.Workers, set.MetricsPath = 2, "/metrics"
	withRig(t, set, nil, func(r *rig) {
		r.s.scrapes.apps = appmetrics.New(r.s.log) // no event has needed it before
		r.awaitServing()
		a, b := r.all()[0], r.all()[1]
		got := func(p *fakeProcess, want int) {
			t.Helper()
			synctest.Wait()
			if n, _ := p.got(protocol.KindScraped); n != want {
				t.Errorf("a worker got %d answers, not %d", n, want)
			}
		}
		a.counts()
		a.wants("text")
		b.wants("text") // while that is made
		b.wants("openmetrics")
		got(a, 0)
		if len(a.asked()) != 1 {
			t.Errorf("the worker was asked %d times for what it has to look up", len(a.asked()))
		}
		a.looksUp()
		got(a, 1)
		got(b, 0) // what was made for a is older than b's wish
		r.pass(metricsEvery)
		got(b, 2)
		for range 10 {
			a.wants("text") // is made once more
		}
		r.pass(metricsEvery - time.Millisecond)
		got(a, 1)
		r.pass(time.Millisecond)
		got(a, 2)
		r.pass(collectEvery)
		b.wants("text") // a does not answer
		got(b, 2)
		r.pass(collectPatience)
		got(b, 3)
		if _, m := b.got(protocol.KindScraped); m.Text != "text" {
			t.Errorf("%+v", m)
		}
		a.looksUp()
		for _, nonsense := range []string{"", "xml", "text\n", "openmetrics gzip "} {
			b.wants(nonsense)
		}
		r.pass(time.Minute)
		got(b, 3)
	})
	withRig(t, testSettings(), nil, func(r *rig) {
		r.s.scrapes.apps = appmetrics.New(r.s.log)
		r.awaitServing()
		r.all()[0].wants("text")
		r.pass(time.Minute)
		if n, _ := r.all()[0].got(protocol.KindScraped); n != 0 {
			t.Error("a worker is told what it cannot need")
		}
	})
}
