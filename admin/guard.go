package admin

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// Door says whom an address answers.
type Door struct {
	// Names returns the names that a loopback address answers for, beside its own.
	Names func() []string
	// Token returns the secret that who asks has to know; "": there is none, and nobody
	// has to.
	Token func() string
}

// Guard lets those in to h that Door says, and tells h whom it may show how the server
// works inside: on loopback and on a Unix socket everybody, elsewhere who has the token.
//
// It keeps web pages from h where it answers at a loopback address: a page may ask
// for any name, and have that name lead to this machine (DNS rebinding). So there
// only hosts are answered that no page can have: addresses, localhost, and those that
// Names returns. On other addresses the operator lets others in, by whatever name.
//
// Where there is a token all but health checks and the sign-in page need it, on loopback,
// too, where every local user could ask. On a Unix socket its file's rights say who may.
func Guard(at net.Addr, d Door, h http.Handler) http.Handler {
	tcp, isTCP := at.(*net.TCPAddr)
	local := isTCP && tcp.IP.IsLoopback()
	signIn := http.NewCrossOriginProtection().Handler(http.HandlerFunc(d.signIn))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if local && !ownHost(r.Host, d.Names()) {
			text(w, http.StatusMisdirectedRequest, fmt.Sprintf("this address answers for localhost and for addresses, not for %q; "+
				"--admin-host NAME lets it answer for a name\n", r.Host))
			return
		}
		token := ""
		if isTCP {
			token = d.Token()
		}
		switch {
		case token != "" && r.URL.Path == "/status/login" && r.Method == http.MethodPost:
			signIn.ServeHTTP(w, r)
			return
		case token != "" && !open(r.URL.Path) && !knows(r, token):
			refuse(w, r)
			return
		case !isTCP || local || token != "":
			r = r.WithContext(context.WithValue(r.Context(), trustedKey{}, true))
		}
		h.ServeHTTP(w, r)
	})
}

// trustedKey is under which the context of a request says that who asks may see how the
// server works inside.
type trustedKey struct{}

func trusted(ctx context.Context) bool { return ctx.Value(trustedKey{}) != nil }

// open are paths that tell nobody anything: load balancers and browsers have no token yet.
func open(path string) bool {
	switch path {
	case "/healthz", "/readyz", "/status/style.css", "/status/app.js":
		return true
	}
	return false
}

// cookie is what a browser has instead of the token, which it is not to keep.
const cookie = "hostler_admin"

func pass(token string) string {
	m := hmac.New(sha256.New, []byte(token))
	m.Write([]byte("hostler's cookie for /status"))
	return hex.EncodeToString(m.Sum(nil))
}

// knows reports whether who asks has the token, or has signed in with it.
func knows(r *http.Request, token string) bool {
	if scheme, given, ok := strings.Cut(r.Header.Get("Authorization"), " "); ok && strings.EqualFold(scheme, "Bearer") {
		return same(strings.TrimSpace(given), token)
	}
	c, err := r.Cookie(cookie)
	return err == nil && same(c.Value, pass(token))
}

// same takes as long whatever a and b have in common, or how long they are.
func same(a, b string) bool {
	x, y := sha256.Sum256([]byte(a)), sha256.Sum256([]byte(b))
	return subtle.ConstantTimeCompare(x[:], y[:]) == 1
}

func refuse(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("WWW-Authenticate", `Bearer realm="hostler"`)
	if wantsHTML(r) && (r.URL.Path == "/" || r.URL.Path == "/status") {
		signInPage(w, false)
		return
	}
	text(w, http.StatusUnauthorized, "this needs the token of --admin-token (Authorization: Bearer …)\n")
}

// signIn gives who has the token a cookie.
func (d Door) signIn(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	r.Body = http.MaxBytesReader(w, r.Body, 4<<10)
	token := d.Token()
	if !same(strings.TrimSpace(r.PostFormValue("token")), token) {
		signInPage(w, true)
		return
	}
	http.SetCookie(w, &http.Cookie{Name: cookie, Value: pass(token), Path: "/", HttpOnly: true, SameSite: http.SameSiteStrictMode})
	http.Redirect(w, r, "../status", http.StatusSeeOther)
}

func signInPage(w http.ResponseWriter, wrong bool) {
	b := page("page/login.html")
	if wrong {
		b = bytes.Replace(b, []byte(`id="wrong" hidden`), []byte(`id="wrong"`), 1)
	}
	writePage(w, http.StatusUnauthorized, "text/html; charset=utf-8", b)
}

// ownHost reports whether a Host field names this machine. HTTP/1.0 needs none, and no
// browser leaves it out.
func ownHost(field string, names []string) bool {
	host := field
	if h, _, err := net.SplitHostPort(field); err == nil {
		host = h
	} else {
		host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	}
	if _, err := netip.ParseAddr(host); err == nil {
		return true
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	return host == "" || host == "localhost" || strings.HasSuffix(host, ".localhost") ||
		slices.ContainsFunc(names, func(n string) bool { return strings.EqualFold(strings.TrimSuffix(n, "."), host) })
}
