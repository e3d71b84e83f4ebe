package master

import (
	"log/slog"
	"net"
	"os"
	"path/filepath"

	"hostler/internal/proctitle"
)

// findPython searches for set's interpreter on this machine.
func findPython(set *Settings) (string, error) {
	p := pythonSearch{
		configured: set.Python,
		virtualEnv: os.Getenv("VIRTUAL_ENV"),
		dir:        set.Chdir,
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

// notify tells the service manager about our state (sd_notify(3)), if there is
// one that wants to know.
func notify(log *slog.Logger, state string) {
	addr := os.Getenv("NOTIFY_SOCKET")
	if addr == "" {
		return
	}
	c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: addr, Net: "unixgram"})
	if err == nil {
		_, err = c.Write([]byte(state))
		c.Close()
	}
	if err != nil {
		log.Warn("cannot notify the service manager", "error", err)
	}
}
