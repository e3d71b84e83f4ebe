package filewatch

import (
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

type rig struct {
	*Watcher
	t     *testing.T
	dir   string
	got   chan []string
	start time.Time
}

func watch(t *testing.T) *rig {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, dir: dir, got: make(chan []string, 100), start: time.Now()}
	if r.Watcher, err = New(slog.New(slog.DiscardHandler), func(p []string) { r.got <- p }); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r
}

func (r *rig) path(name string) string { return filepath.Join(r.dir, name) }

func (r *rig) write(name, text string) string {
	r.t.Helper()
	p := r.path(name)
	if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
		r.t.Fatal(err)
	}
	if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
		r.t.Fatal(err)
	}
	return p
}

func (r *rig) do(errs ...error) {
	r.t.Helper()
	for _, err := range errs {
		if err != nil {
			r.t.Fatal(err)
		}
	}
}

// wants waits until a report names path.
func (r *rig) wants(path string) {
	r.t.Helper()
	timeout := time.After(10 * time.Second)
	for {
		select {
		case got := <-r.got:
			if slices.Contains(got, path) {
				return
			}
		case <-timeout:
			r.t.Fatalf("nobody noticed that %s has changed", path)
		}
	}
}

// wantsNothing changes a file that counts afterwards: whatever was noticed before
// it would have been reported by then.
func (r *rig) wantsNothing(mark string) {
	r.t.Helper()
	time.Sleep(2 * latest)
	r.write(mark, time.Now().String())
	if got := <-r.got; !slices.Equal(got, []string{r.path(mark)}) {
		r.t.Errorf("noticed: %v", got)
	}
}

func TestFileChanges(t *testing.T) {
	r := watch(t)
	a, b := r.write("a.py", "1"), r.write("pkg/b.py", "1")
	r.Add([]string{a, b}, time.Now())

	r.write("a.py", "22") // in place
	r.wants(a)
	r.do(os.Rename(r.write("pkg/.b.py.swp", "333"), b)) // as editors do
	r.wants(b)
	r.write("pkg/b.py", "4444") // the file that is there now
	r.wants(b)
	r.do(os.Rename(b, b+"~")) // a backup by renaming, and then a new file
	r.write("pkg/b.py", "55555")
	r.wants(b)
	r.do(os.Chtimes(a, time.Now(), time.Now().Add(-time.Hour))) // touch
	r.wants(a)
	r.do(os.Remove(a))
	r.wants(a)
	r.write("a.py", "6")
	r.wants(a)
}

func TestDirectoryComesBack(t *testing.T) {
	r := watch(t)
	b := r.write("pkg/b.py", "1")
	r.Add([]string{b}, time.Now())
	r.do(os.RemoveAll(r.path("pkg")))
	r.wants(b)
	r.write("pkg/b.py", "again")
	r.wants(b)
	r.write("pkg/b.py", "and again")
	r.wants(b)
	r.do(os.Rename(r.path("pkg"), r.path("old"))) // as a checkout of another branch may
	r.wants(b)
	r.write("pkg/b.py", "another")
	r.wants(b)
	r.write("pkg/b.py", "the last one")
	r.wants(b)
}

// No event tells of a directory further up that is renamed.
func TestProjectMoved(t *testing.T) {
	r := watch(t)
	b := r.write("project/pkg/b.py", "1")
	r.Add([]string{b}, time.Now())
	r.do(os.Rename(r.path("project"), r.path("old")))
	r.wants(b)
	r.write("project/pkg/b.py", "2")
	r.wants(b)
	r.write("project/pkg/b.py", "33")
	r.wants(b)
}

func TestNoise(t *testing.T) {
	r := watch(t)
	a := r.write("a.py", "1")
	mark := r.write("mark.py", "1")
	r.Add([]string{a, mark}, time.Now())
	r.write("__pycache__/a.cpython-311.pyc", "x")
	r.write("unknown.py", "x")
	r.write("db.sqlite3", "x")
	r.do(os.Chmod(a, 0o600))
	if _, err := os.ReadFile(a); err != nil {
		t.Fatal(err)
	}
	r.wantsNothing("mark.py")
}

func TestBurstIsOneChange(t *testing.T) {
	r := watch(t)
	var all []string
	for _, name := range []string{"a.py", "b.py", "c.py"} {
		all = append(all, r.write(name, "1"))
	}
	r.Add(all, time.Now())
	for _, name := range []string{"a.py", "b.py", "c.py"} {
		r.write(name, "22")
	}
	if got := <-r.got; !slices.Equal(got, all) {
		t.Errorf("reported first: %v", got)
	}
}

// What changed between its import and its first watch is noticed, once.
func TestChangedBefore(t *testing.T) {
	r := watch(t)
	a, b, future := r.write("a.py", "1"), r.write("b.py", "1"), r.write("c.py", "1")
	r.do(os.Chtimes(b, time.Time{}, time.Now().Add(-time.Hour)), os.Chtimes(future, time.Time{}, time.Now().Add(time.Hour)))
	r.Add([]string{a, b, future}, time.Now().Add(-time.Minute))
	if got := <-r.got; !slices.Equal(got, []string{a}) {
		t.Errorf("noticed: %v", got)
	}
}

func TestLoose(t *testing.T) {
	r := watch(t)
	mark := r.write("mark.py", "1")
	r.Add([]string{mark}, time.Now())
	r.AddDir(r.path("lib"))
	r.Loose(true)
	r.wants(r.write("new.py", "1"))
	r.do(os.Mkdir(r.path("lib"), 0o755))
	time.Sleep(3 * again)
	r.wants(r.write("lib/new.py", "1"))
	r.write("new.txt", "1")
	r.Loose(false)
	r.write("other.py", "1")
	r.wantsNothing("mark.py")
}

func TestTree(t *testing.T) {
	r := watch(t)
	r.write("templates/base.html", "1")
	r.AddTree(r.path("templates"))
	r.AddTree(r.path("settings.toml")) // not there yet
	r.wants(r.write("templates/base.html", "2"))
	r.wants(r.write("templates/deep/er/new.html", "1"))
	r.wants(r.write("templates/deep/er/more.html", "1"))
	r.wants(r.write("settings.toml", "1"))
	r.write("templates/.hidden", "1")
	r.write("templates/base.html~", "1")
	r.write("other.html", "1")
	r.wantsNothing("templates/mark.html")
	r.do(os.RemoveAll(r.path("templates")))
	r.wants(r.path("templates/base.html"))
	r.wants(r.write("templates/base.html", "3"))
}

func TestSymlink(t *testing.T) {
	r := watch(t)
	real := r.write("real/a.py", "1")
	r.do(os.Symlink(real, r.path("a.py")))
	r.Add([]string{r.path("a.py")}, time.Now())
	r.write("real/a.py", "22")
	r.wants(r.path("a.py"))
}
