package master

import (
	"cmp"
	"log/slog"
	"os"
	"path/filepath"

	"hostler/internal/proctitle"
)

// findPython searches for set's interpreter on this machine.
func findPython(set *Settings) (string, error) {
	p := pythonSearch{
		configured: set.Python,
		virtualEnv: os.Getenv("VIRTUAL_ENV"),
		dir:        cmp.Or(set.Chdir, set.dir),
		path:       os.Getenv("PATH"),
	}
	if exe, err := os.Executable(); err == nil {
		p.binaryDir = filepath.Dir(exe)
	}
	return p.find()
}

// setTitle names the process for ps and top.
func setTitle(log *slog.Logger, set *Settings) {
	if err := proctitle.Set("hostler: master [" + set.title() + "]"); err != nil {
		log.Debug("no process title", "error", err)
	}
}
