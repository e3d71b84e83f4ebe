package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// front is a real nginx before the server, which then listens on a unix socket. It
// keeps connections to it, and does not ask twice. It closes them soon after the load has
// ended: a server that knows it is behind nginx would keep them longer than nginx does by
// default, and all of them may be with one worker.
type front struct {
	kids *children
	pid  int
}

const frontConf = `daemon off;
worker_processes 1;
user root root;
pid %[1]s/nginx.pid;
error_log /dev/null;
events {}
http {
	access_log off;
	client_body_temp_path %[1]s/body;
	proxy_temp_path %[1]s/proxy;
	fastcgi_temp_path %[1]s/fastcgi;
	uwsgi_temp_path %[1]s/uwsgi;
	scgi_temp_path %[1]s/scgi;
	upstream hostler {
		server unix:%[2]s;
		keepalive 8;
		keepalive_timeout 300ms;
	}
	server {
		listen %[3]s;
		keepalive_requests 1000000;
		location / {
			proxy_pass http://hostler;
			proxy_http_version 1.1;
			proxy_set_header Connection "";
			proxy_set_header Host $http_host;
			proxy_buffering off;
			proxy_request_buffering off;
			proxy_next_upstream off;
		}
	}
}
`

// startFront starts it before the server's socket.
func startFront(kids *children, dir, socket, addr string) (*front, error) {
	path, err := exec.LookPath("nginx")
	if err != nil {
		path = "/usr/sbin/nginx"
	}
	conf := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(conf, fmt.Appendf(nil, frontConf, dir, socket, addr), 0o600); err != nil {
		return nil, err
	}
	pid, err := syscall.ForkExec(path, []string{path, "-p", dir, "-c", conf}, &syscall.ProcAttr{
		Env: os.Environ(), Files: []uintptr{0, 1, 2}, Sys: &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}})
	if err != nil {
		return nil, fmt.Errorf("cannot start nginx (make tools installs it): %w", err)
	}
	return &front{kids, pid}, nil
}

// stop ends nginx and waits for it.
func (f *front) stop() error {
	_ = syscall.Kill(f.pid, syscall.SIGTERM)
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if _, gone := f.kids.ended(f.pid); gone {
			return nil
		}
	}
	return fmt.Errorf("nginx %d does not end", f.pid)
}
