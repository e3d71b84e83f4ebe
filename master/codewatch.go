package master

import (
	"os"
	"path/filepath"
	"time"

	"hostler/internal/filewatch"
)

// WatchCode implements host.
func (h *systemHost) WatchCode(set *Settings, files []string, since time.Time) {
	if h.watchFiles(set) {
		h.files.Add(files, since)
	}
}

// CodeBroken implements host.
func (h *systemHost) CodeBroken(set *Settings, yes bool) {
	if h.watchFiles(set) {
		h.files.Loose(yes)
	}
}

// watchFiles begins to watch, the first time and where the directory has become another.
// If that cannot be, it has been said.
func (h *systemHost) watchFiles(set *Settings) bool {
	if h.noFiles {
		return false
	}
	dir := absolute(set.dir, set.Chdir)
	if h.files != nil && h.watched == dir {
		return true
	}
	if h.files == nil && !h.beginWatch() {
		return false
	}
	h.watched = dir
	for _, path := range set.ReloadExtra {
		h.files.AddTree(absolute("", path))
	}
	// Where modules that cannot be found yet will probably be.
	h.files.AddDir(dir)
	for _, path := range set.PythonPath {
		h.files.AddDir(absolute(dir, path))
	}
	return true
}

func (h *systemHost) beginWatch() bool {
	w, err := filewatch.New(h.log, h.codeChanged)
	if err != nil {
		h.noFiles = true
		h.log.Error("changes of the code will not be noticed", "error", err)
		return false
	}
	h.files = w
	return true
}

// absolute is path as seen from dir, "" being where we are.
func absolute(dir, path string) string {
	if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	if dir == "" {
		dir, _ = os.Getwd() // fails where the directory is gone, and nothing can be watched
	}
	return filepath.Join(dir, path)
}
