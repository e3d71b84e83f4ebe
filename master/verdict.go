package master

import (
	"fmt"
	"math"
	"time"

	"hostler/protocol"
)

// Whether a canary does clearly worse than the workers that serve. This file decides, from
// numbers alone, which are the workers' word: any of them are possible. canary.go gathers them.

const (
	// sure is how unlikely a difference has to be, if there were none, that counts. It is looked
	// for several times a second, so that it has many chances to be one by chance.
	sure = 1e-5
	// leastBad is how many requests have to be bad, whatever the others'.
	leastBad = 5
	// leastRate is what has to lie between two shares of 5xx, and timesWorse how often the one
	// has to hold the other; so with times of requests.
	leastRate  = 0.01
	timesWorse = 2
	// leastCompared is how many requests of those that serve tell how long requests take.
	leastCompared = 20
	// mostCounted bounds what is believed of a counter.
	mostCounted = 1 << 40
)

// times are what is compared of how long requests take: within which time that part of them is
// done. least has to lie between two; those that take longest vary more by themselves.
var times = [...]struct {
	part  float64
	least time.Duration
}{{0.5, 10 * time.Millisecond}, {0.95, 50 * time.Millisecond}}

// tally counts requests.
type tally struct {
	answered, failed uint64                           // … and of these by 5xx
	took             [len(protocol.Bounds) + 1]uint64 // how long those took that were not, by bucket
	running          []time.Duration                  // for how long those have that have no answer yet
}

// add adds what has come to o since before.
func (t *tally) add(o, before *tally) {
	since := func(now, before uint64) uint64 { return min(now-min(now, before), mostCounted) }
	t.answered += since(o.answered, before.answered)
	t.failed += since(o.failed, before.failed)
	for i := range t.took {
		t.took[i] += since(o.took[i], before.took[i])
	}
	t.running = append(t.running, o.running...)
}

// slower counts the requests that have taken longer than a bound, of all of which that is known.
func (t *tally) slower(bound int) (slow, all uint64) {
	for i, n := range t.took {
		if all += n; i > bound {
			slow += n
		}
	}
	for _, d := range t.running {
		if int64(d) > protocol.Bounds[bound] {
			slow, all = slow+1, all+1
		}
	}
	return slow, all
}

// quantile is how long that part of the requests has taken at most, which is known but for the
// place in its bucket; ok says that there are enough.
func (t *tally) quantile(part float64) (took time.Duration, ok bool) {
	all := uint64(0)
	for _, n := range t.took {
		all += n
	}
	if all < leastCompared {
		return 0, false
	}
	want, low := part*float64(all), int64(0)
	for i, bound := range protocol.Bounds {
		n := float64(t.took[i])
		if want <= n {
			return time.Duration(float64(low) + float64(bound-low)*want/max(n, 1)), true
		}
		want, low = want-n, bound
	}
	return 0, false // longer than can be told
}

func (t *tally) rate() float64 { return float64(t.failed) / float64(max(t.answered, 1)) }

// String says what there is to say.
func (t *tally) String() string {
	text := fmt.Sprintf("%d requests, %d of them answered 5xx (%.1f %%)", t.answered, t.failed, 100*t.rate())
	if half, ok := t.quantile(0.5); ok {
		text += fmt.Sprintf(", half within %v", half.Round(100*time.Microsecond))
	}
	return text
}

// worse says in what the canary is clearly worse than those that serve; "": in nothing.
// last: there will be no more to see.
func worse(canary, serving *tally, last bool) string {
	// Twice the share, and not by chance.
	bad, held := canary.rate(), serving.rate()
	if bad >= timesWorse*held && bad-held >= leastRate && clearly(canary.failed, canary.answered, serving.failed, serving.answered) {
		return fmt.Sprintf("%d of its %d requests were answered 5xx, %.1f %%; of the others' %d of %d, %.1f %%",
			canary.failed, canary.answered, 100*bad, serving.failed, serving.answered, 100*held)
	}
	for _, at := range times {
		part := at.part
		took, ok := serving.quantile(part)
		if !ok {
			continue
		}
		bound := 0
		for limit := int64(max(timesWorse*took, took+at.least)); bound < len(protocol.Bounds) && protocol.Bounds[bound] < limit; {
			bound++
		}
		if bound == len(protocol.Bounds) {
			continue
		}
		slow, all := canary.slower(bound)
		theirSlow, theirAll := serving.slower(bound)
		if float64(slow) > (1-part)*float64(all) && clearly(slow, all, theirSlow, theirAll) {
			return fmt.Sprintf("%d of its %d requests took longer than %v, of the others' %d of %d; of these %.0f %% are done within %v",
				slow, all, time.Duration(protocol.Bounds[bound]), theirSlow, theirAll, 100*part, took.Round(100*time.Microsecond))
		}
		if longest := canary.longest(); last && canary.answered == 0 && int64(longest) > protocol.Bounds[bound] && float64(theirSlow) <= (1-part)*float64(theirAll) {
			return fmt.Sprintf("none of its requests was answered, of which one has run for %v; of the others' %.0f %% are done within %v",
				longest.Round(time.Millisecond), 100*part, took.Round(100*time.Microsecond))
		}
	}
	return ""
}

// longest is for how long a request has run that has no answer.
func (t *tally) longest() (d time.Duration) {
	for _, r := range t.running {
		d = max(d, r)
	}
	return d
}

// clearly says that bad of all are more than what badly of them would be if these were as the
// others: that is Fisher's exact test, by which a handful proves nothing.
func clearly(bad, all, theirBad, theirAll uint64) bool {
	return bad >= leastBad && theirAll > 0 && chance(bad, all, theirBad, theirAll) < sure
}

// chance is how likely it is that so many, or more, of the bad ones of both are among all, if
// each could as well be among the others.
func chance(bad, all, theirBad, theirAll uint64) float64 {
	k, n := float64(min(bad, all)), float64(all)
	total, badOnes := n+float64(theirAll), k+float64(min(theirBad, theirAll))
	if total == 0 || k <= n*badOnes/total {
		return 1 // no more than are to be expected; so the terms of the sum only fall
	}
	p := 0.0
	term := math.Exp(choose(badOnes, k) + choose(total-badOnes, n-k) - choose(total, n))
	for range 1000 { // what comes later matters to nobody
		p += term
		term *= (badOnes - k) * (n - k) / ((k + 1) * (total - badOnes - n + k + 1))
		if k++; !(term > p*1e-6) {
			break
		}
	}
	return p
}

// choose is the logarithm of a binomial coefficient.
func choose(n, k float64) float64 {
	a, _ := math.Lgamma(n + 1)
	b, _ := math.Lgamma(k + 1)
	c, _ := math.Lgamma(n - k + 1)
	return a - b - c
}
