package worker

import (
	"flag"
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// house is what is measured of this package's source, in which state is to lie with its
// methods: how large the central type is, who reaches into the state of others, and how
// much the files know of each other.
type house struct {
	methods, fields int                // of Loop
	up              int                // files that use something of one that is higher; see layers
	order           []string           // of the files: the layers
	uses            map[[2]string]bool // which file uses which
	mutex           []string           // files that name the scheduler's lock
	asks            map[string]int     // by file: c.transport and c.http2, outside their own files
}

// The ceilings: what there is now. They may be lowered, never raised: who needs more of
// one of them has found something with state of its own, which is to move out with it.
//
//	                                        once  now  goal
//	methods of Loop                          203   69  below 80
//	fields of Loop                            63   22  below 25
//	files that name the scheduler's lock       9    1  1
//	places that ask what a connection is of   50    0  0
//	arrows that run up, in the best order     84   28  42
const (
	mostMethods = 69
	mostFields  = 22
	mostUp      = 28
)

// layers are the files of this package in the order in which the fewest arrows run up:
// a file should only use those before it. Where a new file belongs, and whether there is a
// better order, says go test -run 'TestHouse$' ./worker -order.
var layers = strings.Fields(`
	overload.go asked.go syscalls.go epoll.go poke.go conn.go spare.go pattern.go pages.go lane.go task.go rules.go
	spool.go input.go slow.go seldom.go exchange.go clock.go thread.go spans.go waiters.go refusals.go own.go
	access.go sched.go memory.go pace.go loop.go static.go tlsconfig.go message.go deadline.go
	leave.go transport.go queue.go handover.go output.go doc.go afterreply.go linger.go
	http2_charges.go room.go refusal.go intervene.go body.go notice.go setaside.go held.go
	cork.go websocket.go websocket_keep.go accept.go http2_request.go client.go redirect.go
	requestid.go logs.go coalesce.go reply.go decline.go websocket_thread.go canary.go tls.go replace.go
	dispatch.go exposition.go blocked.go spooling.go files.go websocket_read.go websocket_app.go pressure.go
	websocket_accept.go websocket_turn.go drain.go lookout.go tuner.go pools.go seat.go http2.go
	housekeeping.go seat_leave.go turn.go dumps.go http2_frames.go gather.go deputy.go
	start.go receive.go http2_stream.go http2_heads.go worker.go websocket_relay.go
	trailers.go
`)

var order = flag.Bool("order", false, "look for an order of this package's files in which fewer arrows run up")

func TestHouse(t *testing.T) {
	h := measure(t)
	if *order {
		best := search(h.order, h.uses)
		t.Fatalf("%d arrows run up, and %d in this order:\n%s", up(h.order, h.uses), up(best, h.uses), strings.Join(best, " "))
	}
	for _, m := range []struct {
		what      string
		have, may int
	}{{"methods of Loop", h.methods, mostMethods}, {"fields of Loop", h.fields, mostFields}, {"arrows that run up", h.up, mostUp}} {
		if m.have > m.may {
			t.Errorf("%d %s: there may be %d", m.have, m.what, m.may)
		} else if m.have < m.may {
			t.Logf("%d %s: the ceiling, which is %d, may come down", m.have, m.what, m.may)
		}
	}
	if !slices.Equal(h.mutex, []string{"sched.go"}) {
		t.Errorf("these files name the scheduler's lock: %v", h.mutex)
	}
	if len(h.asks) > 0 {
		t.Errorf("these files ask what a connection is made of: %v", h.asks)
	}
}

// measure looks at the package's files, without its tests. What is imported is of no
// interest, so imports are empty, and errors for that reason passed over.
func measure(t *testing.T) house {
	names, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	names = slices.DeleteFunc(names, func(n string) bool { return strings.HasSuffix(n, "_test.go") })
	set := token.NewFileSet()
	var files []*ast.File
	for _, n := range names {
		f, err := parser.ParseFile(set, n, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
	}
	info := &types.Info{Uses: make(map[*ast.Ident]types.Object)}
	conf := types.Config{Importer: nothing{}, Error: func(error) {}}
	pkg, _ := conf.Check("worker", set, files, info)

	h := house{asks: make(map[string]int)}
	loop := pkg.Scope().Lookup("Loop").Type().(*types.Named)
	h.methods, h.fields = loop.NumMethods(), loop.Underlying().(*types.Struct).NumFields()
	uses := make(map[[2]string]bool)
	mutex := make(map[string]bool)
	for id, o := range info.Uses {
		if o.Pkg() != pkg || !o.Pos().IsValid() {
			continue
		}
		from, to := set.Position(id.Pos()).Filename, set.Position(o.Pos()).Filename
		_, fn := o.(*types.Func) // a method has no scope
		if from != to && (o.Parent() == pkg.Scope() || fn) {
			uses[[2]string{from, to}] = true
		}
		switch o {
		case field(pkg, "scheduler", "mu"):
			mutex[from] = true
		case field(pkg, "conn", "transport"), field(pkg, "conn", "http2"):
			if !ownFiles(from) {
				h.asks[from]++
			}
		}
	}
	h.mutex = slices.Sorted(maps.Keys(mutex))
	missing := slices.DeleteFunc(slices.Clone(names), func(n string) bool { return slices.Contains(layers, n) })
	if len(missing) > 0 {
		t.Errorf("where among the layers do these belong? %v", missing)
	}
	h.order = slices.DeleteFunc(slices.Concat(layers, missing), func(n string) bool { return !slices.Contains(names, n) })
	h.uses, h.up = uses, up(h.order, uses)
	return h
}

// ownFiles are those that know what a connection is made of.
func ownFiles(name string) bool {
	return name == "conn.go" || name == "transport.go" || strings.HasPrefix(name, "tls") || strings.HasPrefix(name, "http2") || strings.HasPrefix(name, "websocket")
}

// field returns a field of a type.
func field(pkg *types.Package, of, name string) types.Object {
	s := pkg.Scope().Lookup(of).Type().Underlying().(*types.Struct)
	for i := range s.NumFields() {
		if s.Field(i).Name() == name {
			return s.Field(i)
		}
	}
	panic("no field " + of + "." + name)
}

// up counts the arrows to files that are higher in an order.
func up(order []string, uses map[[2]string]bool) int {
	at := make(map[string]int)
	for i, n := range order {
		at[n] = i
	}
	n := 0
	for u := range uses {
		if at[u[0]] < at[u[1]] {
			n++
		}
	}
	return n
}

// search looks for a better order: it moves each file to where it is best, until nothing
// gains by it, and begins again from a few that were moved at random.
func search(order []string, uses map[[2]string]bool) []string {
	rnd := rand.New(rand.NewPCG(1, 2))
	best := settle(slices.Clone(order), uses)
	for range 3000 {
		next := slices.Clone(best)
		for range 2 + rnd.IntN(6) {
			move(next, rnd.IntN(len(next)), rnd.IntN(len(next)))
		}
		if next = settle(next, uses); up(next, uses) <= up(best, uses) {
			best = next
		}
	}
	return best
}

// settle moves each file to where the fewest of its arrows run up.
func settle(order []string, uses map[[2]string]bool) []string {
	for moved := true; moved; {
		moved = false
		for _, name := range slices.Clone(order) {
			from := slices.Index(order, name)
			gain, most, to := 0, 0, from
			for i := from - 1; i >= 0; i-- {
				if gain += change(name, order[i], uses); gain > most {
					most, to = gain, i
				}
			}
			gain = 0
			for i := from + 1; i < len(order); i++ {
				if gain += change(order[i], name, uses); gain > most {
					most, to = gain, i
				}
			}
			if to != from {
				move(order, from, to)
				moved = true
			}
		}
	}
	return order
}

// change is how many arrows fewer run up when a, which comes after b, comes before it.
func change(a, b string, uses map[[2]string]bool) int {
	n := 0
	if uses[[2]string{b, a}] {
		n++
	}
	if uses[[2]string{a, b}] {
		n--
	}
	return n
}

// move takes a file of the order to another place.
func move(order []string, from, to int) {
	name := order[from]
	if from < to {
		copy(order[from:to], order[from+1:])
	} else {
		copy(order[to+1:from+1], order[to:])
	}
	order[to] = name
}

// nothing imports empty packages.
type nothing struct{}

func (nothing) Import(path string) (*types.Package, error) {
	name := path[strings.LastIndex(path, "/")+1:]
	p := types.NewPackage(path, name)
	p.MarkComplete()
	return p, nil
}
