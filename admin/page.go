package admin

import (
	"embed"
	"encoding/json"
	"fmt"
	"mime"
	"net/http"
	"path"
	"strconv"
	"strings"
	"time"

	"hostler/internal/flamegraph"
	"hostler/protocol"
)

//go:embed page
var files embed.FS

// policy is what the page may do: it has nothing from anywhere else, and nothing in it
// that looks like a script is one.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// drawingPolicy is for a flame graph, which has a script in it: that can do nothing but
// change the drawing.
const drawingPolicy = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; sandbox allow-scripts; frame-ancestors 'none'"

// pages are the paths of the page for people.
func (s *server) pages(mux *http.ServeMux) {
	f := &framer{server: s}
	s.o.History.hub.next(func() []byte { return f.make(false) })
	mux.HandleFunc("GET /status/events", s.serveEvents)
	for _, name := range []string{"style.css", "app.js"} {
		mux.HandleFunc("GET /status/"+name, func(w http.ResponseWriter, _ *http.Request) { servePage(w, "page/"+name) })
	}
	mux.HandleFunc("GET /status/slow", s.inside(func(w http.ResponseWriter, r *http.Request) {
		routes := s.o.Slow()
		if s.o.Queries == nil || !s.o.Queries() {
			dropSlowQueries(routes)
		}
		answerJSON(w, routes)
	}))
	mux.HandleFunc("GET /status/settings", s.inside(func(w http.ResponseWriter, r *http.Request) {
		all, err := s.o.Settings(r.Context())
		if err != nil {
			text(w, http.StatusServiceUnavailable, fmt.Sprintf("cannot tell the settings: %v\n", err))
			return
		}
		answerJSON(w, withoutSecrets(all))
	}))
	mux.Handle("POST /status/profile", http.NewCrossOriginProtection().Handler(s.inside(s.profile)))
}

// inside lets only those in that may see how the server works inside.
func (s *server) inside(h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if !trusted(r.Context()) {
			text(w, http.StatusForbidden, "at this address only who has --admin-token sees that\n")
			return
		}
		h(w, r)
	}
}

// kinds are the types of the page's files. Those of package mime are the machine's.
var kinds = map[string]string{".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8"}

// servePage answers with a file of the page's.
func servePage(w http.ResponseWriter, name string) {
	writePage(w, http.StatusOK, kinds[path.Ext(name)], page(name))
}

func page(name string) []byte {
	b, err := files.ReadFile(name)
	if err != nil {
		panic(err) // it is in the binary
	}
	return b
}

func writePage(w http.ResponseWriter, code int, kind string, b []byte) {
	h := w.Header()
	h.Set("Content-Type", kind)
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	w.WriteHeader(code)
	_, _ = w.Write(b) // a client that has gone needs no answer
}

func answerJSON(w http.ResponseWriter, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // there is nothing in it that has no JSON
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(b) // as above
}

// wantsHTML reports whether a client would rather have HTML than JSON. One that takes
// anything has JSON, as it always had.
func wantsHTML(r *http.Request) bool {
	html, named, other := 0.0, 0.0, 0.0
	for _, field := range r.Header.Values("Accept") {
		for part := range strings.SplitSeq(field, ",") {
			kind, params, err := mime.ParseMediaType(part)
			if err != nil {
				continue
			}
			q := 1.0
			if text, ok := params["q"]; ok {
				if q, err = strconv.ParseFloat(text, 64); err != nil {
					continue
				}
			}
			switch kind {
			case "text/html":
				html = q
			case "application/json":
				named = q
			case "*/*", "application/*":
				other = max(other, q)
			}
		}
	}
	return html > 0 && html > named && html >= other
}

// withoutSecrets leaves out the values of variables: they are where passwords are.
func withoutSecrets(all []Setting) []Setting {
	shown := make([]Setting, 0, len(all))
	for _, set := range all {
		if set.Key == "env" {
			names := make([]string, 0, len(set.Values))
			for _, v := range set.Values {
				name, _, _ := strings.Cut(v, "=")
				names = append(names, name+"=…")
			}
			set.Values = names
		}
		shown = append(shown, set)
	}
	return shown
}

// dropSlowQueries is dropQueries for the worst requests.
func dropSlowQueries(routes []protocol.SlowRoute) {
	for _, r := range routes {
		for i := range r.Worst {
			r.Worst[i].Target = withoutQuery(r.Worst[i].Target)
		}
	}
}

// How long a profile that the page asks for may take, in seconds.
const (
	leastProfile = 1
	mostProfile  = 60
)

// profile answers with a flame graph.
func (s *server) profile(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, 1<<10)
	n, err := strconv.Atoi(r.PostFormValue("seconds"))
	if err != nil || n < leastProfile || n > mostProfile {
		text(w, http.StatusBadRequest, fmt.Sprintf("a profile takes %d to %d seconds\n", leastProfile, mostProfile))
		return
	}
	d := time.Duration(n) * time.Second
	c := http.NewResponseController(w)
	_ = c.SetReadDeadline(time.Time{}) // its end would end the request's context
	_ = c.SetWriteDeadline(time.Now().Add(d + writeTimeout))
	p, err := s.o.Profile(r.Context(), d)
	if err != nil {
		text(w, http.StatusConflict, fmt.Sprintf("cannot take a profile: %v\n", err))
		return
	}
	drawing, _, err := flamegraph.Draw(p, d.Seconds())
	if err != nil {
		text(w, http.StatusInternalServerError, fmt.Sprintf("cannot draw the profile: %v\n", err))
		return
	}
	w.Header().Set("Content-Type", "image/svg+xml")
	w.Header().Set("Content-Security-Policy", drawingPolicy)
	_, _ = w.Write([]byte(drawing)) // a client that has gone needs no answer
}
