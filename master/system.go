package master

import (
	"cmp"
	"log/slog"
	"os"

	"hostler/internal/proctitle"
)

// findPython searches for set's interpreter on this machine, for this binary.
func findPython(set *Settings, binary Binary) (string, error) {
	p := pythonSearch{
		configured: set.Python,
		binary:     binary,
		virtualEnv: os.Getenv("VIRTUAL_ENV"),
		dir:        cmp.Or(set.Chdir, set.dir),
		path:       os.Getenv("PATH"),
	}
	return p.find()
}

// setTitle names the process for ps and top.
func setTitle(log *slog.Logger, set *Settings) {
	if err := proctitle.Set("hostler: master [" + set.title() + "]"); err != nil {
		log.Debug("no process title", "error", err)
	}
}
