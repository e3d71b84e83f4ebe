package e2e

import (
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const asgiShape = `
class App:  # which nothing but being asked shows to be for ASGI
    def __call__(self, *args):
        return self.serve(*args)

    async def serve(self, scope, receive, send):
        if scope["type"] != "http":
            raise NotImplementedError
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": scope["root_path"].encode() + b" by ASGI"})

app = App()
`

// TestGunicornASGIWorkers: the kinds of workers by which Gunicorn's users serve ASGI mean
// it here, however they are written, and without a word.
func TestGunicornASGIWorkers(t *testing.T) {
	const subclass = `
import sys, types
uvicorn_worker = types.ModuleType("uvicorn_worker")
class UvicornWorker: __module__ = "uvicorn_worker"
class Ours(UvicornWorker):
    CONFIG_KWARGS = {"loop": "asyncio"}
worker_class = Ours
`
	for name, c := range map[string]struct {
		conf string
		env  []string
		args []string
		want string
	}{
		"flag":     {args: []string{"-k", "uvicorn.workers.UvicornWorker"}, want: " by ASGI"},
		"package":  {args: []string{"--worker-class=uvicorn_worker.UvicornH11Worker"}, want: " by ASGI"},
		"own":      {args: []string{"-k", "asgi", "--asgi-loop", "asyncio", "--root-path", "/shop"}, want: "/shop by ASGI"},
		"variable": {env: []string{"GUNICORN_CMD_ARGS=-k uvicorn.workers.UvicornWorker"}, want: " by ASGI"},
		"file":     {conf: "worker_class = 'uvicorn.workers.UvicornWorker'\nroot_path = '/api'\n", want: "/api by ASGI"},
		"class":    {conf: subclass, want: " by ASGI"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			files := map[string]string{"asgishape.py": asgiShape}
			if c.conf != "" {
				files["gunicorn.conf.py"] = c.conf
			}
			dir := write(t, t.TempDir(), files)
			addr := fmt.Sprintf("127.0.0.1:%d", freePort(t))
			command := slices.Concat(c.env, []string{binary, "-b", addr, "--python", venv, "--admin-bind", "off", "--ctl-socket", "off", "asgishape:app"}, c.args)
			s := launchBy(t, exec.Command("env", command...), dir)
			s.addr = addr
			s.waitLog("msg=serving")
			if code, body := s.get("/"); code != 200 || body != c.want {
				t.Errorf("%d %q", code, body)
			}
			if strings.Contains(s.log.String(), "level=WARN") {
				t.Error("there are complaints")
			}
		})
	}
}
