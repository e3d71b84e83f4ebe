package config

import "hostler/settings"

// CtlSocket returns the control socket that a server with the same environment
// and working directory would have: that of HOSTLER_CTL_SOCKET or the settings
// file, and "" where it has none that was given. What is wrong with other settings does not matter here, unless it is why
// there is no answer.
func CtlSocket(env []string, opts Options) (string, error) {
	opts = opts.orReal()
	opts.Evaluate = nil // what the socket is called no settings file of Gunicorn's says
	l := newLoader()
	l.readEnv(env)
	l.readFile(opts)
	path := l.resolve().CtlSocket
	if path == settings.CtlAuto {
		path = ""
	}
	if path == "" && len(l.problems) > 0 {
		return "", &Error{Problems: l.problems}
	}
	return path, nil
}
