package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// guest asks a server as a browser does, with cookies and redirects.
type guest struct {
	t *testing.T
	*http.Client
	origin string
}

// exampleServer serves one of examples/ with two workers, so that what is to be shared has to be.
func exampleServer(t *testing.T, name, python string, args ...string) (*server, *guest) {
	t.Helper()
	dir, err := filepath.Abs("../examples/" + name)
	if err != nil {
		t.Fatal(err)
	}
	s := start(t, append([]string{"--python", python, "--chdir", dir, "-w", "2", "--threads", "4", "-e", "DATABASE=" + filepath.Join(t.TempDir(), "db.sqlite3")}, args...)...)
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if log := s.log.String(); strings.Contains(log, "Traceback") {
			t.Errorf("the log has a traceback:\n%s", log)
		}
	})
	return s, &guest{t, &http.Client{Jar: jar, Timeout: 30 * time.Second}, "http://" + s.addr}
}

// ask wants an answer with this status, and returns its body.
func (v *guest) ask(status int, method, path, kind, body string) string {
	v.t.Helper()
	r, err := http.NewRequest(method, v.origin+path, strings.NewReader(body))
	if err != nil {
		v.t.Fatal(err)
	}
	if kind != "" {
		r.Header.Set("Content-Type", kind)
	}
	r.Header.Set("Referer", v.origin+path)
	answer, err := v.Do(r)
	if err != nil {
		v.t.Fatal(err)
	}
	defer answer.Body.Close()
	var b strings.Builder
	if _, err := bufio.NewReader(answer.Body).WriteTo(&b); err != nil {
		v.t.Fatalf("%s %s: %v", method, path, err)
	}
	if answer.StatusCode != status {
		v.t.Errorf("%s %s: %s %.500s", method, path, answer.Status, b.String())
	}
	return b.String()
}

func (v *guest) get(path string) string {
	v.t.Helper()
	return v.ask(200, "GET", path, "", "")
}

func (v *guest) post(path string, fields url.Values) string {
	v.t.Helper()
	return v.ask(200, "POST", path, "application/x-www-form-urlencoded", fields.Encode())
}

func (v *guest) has(what, text string, parts ...string) {
	v.t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			v.t.Errorf("%s: no %q in %.2000s", what, part, text)
		}
	}
}

// TestExamples uses each of the small applications of examples/ as somebody would, with the
// framework as PyPI has it. (Django, FastAPI and the chat have tests of their own.)
func TestExamples(t *testing.T) {
	t.Run("flask", func(t *testing.T) {
		_, v := exampleServer(t, "flask", appsPython(t), "app")
		v.has("the page", v.get("/"), "hostler serves Flask")
		v.has("a name", v.get("/hello/Zo%C3%AB"), "Hello, Zoë")
		v.has("the form", v.post("/contact-us", url.Values{"message": {"héllo"}}), "5 characters")
	})
	t.Run("bottle", func(t *testing.T) {
		_, v := exampleServer(t, "bottle", appsPython(t), "app")
		v.post("/add", url.Values{"what": {"see <b>"}})
		v.has("the list", v.post("/add", url.Values{"what": {"buy müsli"}}), "<li>see &lt;b&gt;", "<li>buy müsli", `action="/done/2"`)
		if list := v.post("/done/1", nil); strings.Contains(list, "see") || !strings.Contains(list, "müsli") {
			t.Errorf("after one is done: %s", list)
		}
		v.ask(404, "POST", "/done/1", "", "")
	})
	t.Run("falcon", func(t *testing.T) {
		_, v := exampleServer(t, "falcon", appsPython(t), "app")
		for i := range 8 {
			v.ask(201, "POST", "/notes", "application/json", fmt.Sprintf(`{"text": "nöte %d"}`, i))
		}
		v.ask(400, "POST", "/notes", "application/json", `{"text": `)
		v.ask(400, "POST", "/notes", "application/json", `[]`)
		v.ask(204, "DELETE", "/notes/3", "", "")
		v.ask(404, "DELETE", "/notes/3", "", "")
		var notes []struct {
			ID   int
			Text string
		}
		if err := json.Unmarshal([]byte(v.get("/notes")), &notes); err != nil || len(notes) != 7 || notes[2].ID != 4 || notes[2].Text != "nöte 3" {
			t.Errorf("%v, %v", notes, err)
		}
		v.has("one", v.get("/notes/8"), `"id": 8`)
	})
	t.Run("pyramid", func(t *testing.T) {
		_, v := exampleServer(t, "pyramid", appsPython(t), "-e", "SECRET_KEY=known to both", "app:main()")
		v.has("the page", v.get("/"), "Choose!", "You have won 0 of 0.")
		for range 12 { // whichever worker answers
			v.has("a game", v.get("/play/rock"), "I had ")
		}
		v.has("the score", v.get("/score"), `"played": 12`)
		v.ask(404, "GET", "/play/well", "", "")
	})
	t.Run("cherrypy", func(t *testing.T) {
		_, v := exampleServer(t, "cherrypy", appsPython(t), "app")
		var table strings.Builder
		table.WriteString("name,city\r\n")
		for i := range 50_000 {
			fmt.Fprintf(&table, "Zoë %d,%d\r\n", i, i%7)
		}
		v.has("the page", v.get("/"), "What is in a CSV file?")
		body := "--edge\r\nContent-Disposition: form-data; name=\"table\"; filename=\"t.csv\"\r\nContent-Type: text/csv\r\n\r\n" + table.String() + "\r\n--edge--\r\n"
		v.has("the columns", v.ask(200, "POST", "/columns", "multipart/form-data; boundary=edge", body), `"rows": 50000`, `"name": 50000`, `"city": 7`)
		v.ask(405, "GET", "/columns?table=a", "", "")
		if lines := v.get("/squares?many=20000"); strings.Count(lines, "\r\n") != 20000 || !strings.HasSuffix(lines, "\r\n19999,399960001\r\n") {
			t.Errorf("%d bytes", len(lines))
		}
	})
	t.Run("dash", func(t *testing.T) {
		_, v := exampleServer(t, "dash", appsPython(t), "app:server")
		page := v.get("/")
		v.has("the page", page, "<title>Waves</title>", "_dash-component-suites")
		scripts := regexp.MustCompile(`src="(/_dash-component-suites/[^"]+)"`).FindAllStringSubmatch(page, -1)
		for _, script := range scripts {
			v.get(script[1])
		}
		if len(scripts) < 3 {
			t.Errorf("the page has %d scripts", len(scripts))
		}
		v.has("the layout", v.get("/_dash-layout"), `"id":"waves"`)
		v.has("the chart", v.ask(200, "POST", "/_dash-update-component", "application/json",
			`{"output": "..chart.figure...said.children..", "outputs": [{"id": "chart", "property": "figure"}, {"id": "said", "property": "children"}],
			"inputs": [{"id": "waves", "property": "value", "value": 5}], "changedPropIds": ["waves.value"], "state": []}`), `"5 waves"`, `"type":"scatter"`)
	})
	t.Run("litestar", func(t *testing.T) {
		s, v := exampleServer(t, "litestar", asgiPython(t), "-w", "1", "app")
		watch, err := http.Get(v.origin + "/watch")
		if err != nil {
			t.Fatal(err)
		}
		defer watch.Body.Close()
		events := bufio.NewReader(watch.Body)
		until(t, events, "data: {}")
		v.ask(200, "PUT", "/people/ada", "application/json", `{"name": "ada", "room": "library"}`)
		until(t, events, `data: {"ada": "library"}`)
		v.has("one", v.get("/people/ada"), `"room":"library"`)
		v.ask(400, "PUT", "/people/bob", "application/json", `{"room": 7}`)
		v.ask(404, "GET", "/people/bob", "", "")
		v.has("its description", v.get("/schema/openapi.json"), `"/people/{name}"`)
		watch.Body.Close()
		s.signal(syscall.SIGHUP) // who watches does not hold it up
		s.waitLog("msg=reloaded")
	})
}

// TestDjangoAdmin: examples/django with its admin, whose static files hostler serves.
func TestDjangoAdmin(t *testing.T) {
	project, err := filepath.Abs("../examples/django")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	env := []string{"DATABASE=" + filepath.Join(dir, "db.sqlite3"), "STATIC_ROOT=" + filepath.Join(dir, "static"), "PYTHONDONTWRITEBYTECODE=1",
		"DJANGO_SUPERUSER_USERNAME=ada", "DJANGO_SUPERUSER_PASSWORD=lovelace 1843", "DJANGO_SUPERUSER_EMAIL=ada@example.org"}
	for _, command := range []string{"migrate --verbosity 0", "collectstatic --noinput --verbosity 0", "createsuperuser --noinput"} {
		manage := exec.Command(venv, append([]string{"manage.py"}, strings.Fields(command)...)...)
		manage.Dir, manage.Env = project, append(os.Environ(), env...)
		if out, err := manage.CombinedOutput(); err != nil {
			t.Fatalf("manage.py %s: %v\n%s", command, err, out)
		}
	}
	_, v := exampleServer(t, "django", venv, "--static", "/static="+filepath.Join(dir, "static"), "-e", env[0], "project.wsgi")
	token := func(page string) string {
		t.Helper()
		m := regexp.MustCompile(`csrfmiddlewaretoken" value="(\w+)"`).FindStringSubmatch(page)
		if m == nil {
			t.Fatalf("no token in %s", page)
		}
		return m[1]
	}
	page := v.get("/admin/")
	v.has("the way in", page, "Log in")
	for _, sheet := range regexp.MustCompile(`(?:href|src)="(/static/[^"]+)"`).FindAllStringSubmatch(page, -1) {
		v.get(sheet[1])
	}
	v.has("with a wrong password", v.post("/admin/login/?next=/admin/", url.Values{"csrfmiddlewaretoken": {token(page)}, "username": {"ada"}, "password": {"wrong"}}), "correct username")
	page = v.post("/admin/login/?next=/admin/", url.Values{"csrfmiddlewaretoken": {token(v.get("/admin/login/"))}, "username": {"ada"}, "password": {"lovelace 1843"}})
	v.has("the admin", page, "Site administration", "Entrys")
	page = v.post("/admin/guestbook/entry/add/", url.Values{"csrfmiddlewaretoken": {token(v.get("/admin/guestbook/entry/add/"))}, "name": {"Ada"}, "text": {"by the admin"}})
	v.has("the list", page, "was added successfully", "by the admin")
	v.has("the guest book", v.get("/"), "<b>Ada</b>: by the admin")
	// Python has not seen the static files.
	if css := v.get("/static/admin/css/base.css"); !strings.Contains(css, ":root") {
		t.Errorf("base.css is %.100q", css)
	}
}
