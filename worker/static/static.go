package static

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Dir is a directory whose files are served below a path.
type Dir struct {
	Prefix string // "/static": with a slash ahead, and none behind
	Dir    string
}

// Root is an open Dir. It may be used by several goroutines.
type Root struct {
	prefix  string
	root    *os.Root
	reserve *reserve // one for all
}

// Roots are all of them, the longest prefix first.
type Roots []*Root

// Open opens the directories; nil for none.
func Open(dirs []Dir) (Roots, error) {
	var all Roots
	kept := new(reserve)
	for _, d := range dirs {
		r, err := os.OpenRoot(d.Dir)
		if err != nil {
			all.Close()
			return nil, fmt.Errorf("cannot serve files at %s: %w", d.Prefix, err)
		}
		all = append(all, &Root{d.Prefix, r, kept})
	}
	slices.SortFunc(all, func(a, b *Root) int { return cmp.Compare(len(b.prefix), len(a.prefix)) })
	if len(all) > 0 {
		kept.fill(all[0].root) // there may be none left when the first file is asked for
	}
	return all, nil
}

// Close closes the directories.
func (all Roots) Close() {
	for _, r := range all {
		r.root.Close()
		r.reserve.mu.Lock()
		r.reserve.drop()
		r.reserve.mu.Unlock()
	}
}

// Find returns whose files the path, with its escapes decoded, is about; nil: it is
// none of ours.
func (all Roots) Find(path []byte) *Root {
	for _, r := range all {
		if n := len(r.prefix); len(path) >= n && string(path[:n]) == r.prefix && (len(path) == n || path[n] == '/') {
			return r
		}
	}
	return nil
}

// Request is what an answer depends on.
type Request struct {
	Method string
	Target []byte // the path as the client has written it
	Path   []byte // … with its escapes decoded
	Query  []byte // what is behind the path's '?'
	// Header has the fields among Fields that the request has; it may be nil.
	Header http.Header
}

// Fields are the header fields that matter, in the form of http.Header's keys.
// Nobody writes to it.
var Fields = [...]string{"Accept-Encoding", "If-Match", "If-Modified-Since", "If-None-Match", "If-Range", "If-Unmodified-Since", "Range"}

// Answer is a response. Its Header has the Content-Length where it is for a file.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte // of an answer without a file

	File      int // descriptor, the caller's to close; -1: none
	Off, Size int64
}

// errNotFile is for what is there and cannot be served.
var errNotFile = errors.New("not a regular file")

// Answer answers the request, whose path Find has found to be below r.
func (r *Root) Answer(q *Request) Answer {
	r.reserve.fill(r.root)
	a := r.answer(q)
	if a.Status == http.StatusServiceUnavailable {
		r.reserve.spend(r.root, func() { a = r.answer(q) })
	}
	return a
}

// answer is Answer, but for the descriptors that are kept: 503 says that there are
// too few.
func (r *Root) answer(q *Request) Answer {
	if q.Method != http.MethodGet && q.Method != http.MethodHead {
		a := failure(http.StatusMethodNotAllowed)
		a.Header["Allow"] = []string{"GET, HEAD"}
		return a
	}
	name, isDir, ok := r.name(q)
	if !ok {
		return failure(http.StatusNotFound)
	}
	if isDir {
		if name != "" {
			name += "/"
		}
		name += "index.html"
	}
	kind := kindOf(name)
	f, info, err := r.open(name)
	switch {
	case errors.Is(err, errNotFile) && !isDir && info.IsDir():
		return r.toDirectory(q, name)
	case err != nil:
		return unopened(err)
	}
	coding := ""
	if kind.packs {
		for _, c := range codings(q.Header.Get("Accept-Encoding")) {
			if packed, pinfo, err := r.open(name + c.suffix); err == nil {
				f.Close()
				f, info, coding = packed, pinfo, c.name
				break
			}
		}
	}
	defer f.Close()
	return serve(q, f, info, kind, coding)
}

// name returns the name below r that the request is about, and whether it is that of
// a directory. It is not ok where there can be no such file.
func (r *Root) name(q *Request) (name string, isDir, ok bool) {
	p := string(q.Path[len(r.prefix):])
	if strings.IndexByte(p, 0) >= 0 || bytes.Count(q.Target, []byte("/")) != bytes.Count(q.Path, []byte("/")) {
		return "", false, false
	}
	if p == "" {
		return ".", false, true // which is a directory
	}
	p = p[1:]
	if p == "" {
		return "", true, true
	}
	p, isDir = strings.CutSuffix(p, "/")
	for s := range strings.SplitSeq(p, "/") {
		if s == "" || s[0] == '.' && s != ".well-known" {
			return "", false, false
		}
	}
	return p, isDir, true
}

// unopened answers for a file that could not be opened.
func unopened(err error) Answer {
	if errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE) || errors.Is(err, unix.ENOMEM) {
		a := failure(http.StatusServiceUnavailable)
		a.Header["Retry-After"] = []string{"1"}
		return a
	}
	// Whether it is forbidden, leads out of the directory or is not there is none
	// of the client's business.
	return failure(http.StatusNotFound)
}

// open opens a regular file. The error is errNotFile, with what it is, if it is
// something else.
func (r *Root) open(name string) (*os.File, fs.FileInfo, error) {
	// Opening a FIFO would wait for a writer otherwise.
	f, err := r.root.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = errNotFile
	}
	if err != nil {
		f.Close()
		return nil, info, err
	}
	return f, info, nil
}

// toDirectory sends the client of a directory's name to the directory, so that what
// its page refers to is looked for in there; if it has a page.
func (r *Root) toDirectory(q *Request, name string) Answer {
	f, _, err := r.open(path.Join(name, "index.html"))
	if err != nil {
		return unopened(err)
	}
	f.Close()
	// Relative, and with "./", so that no name can be taken for a host or a scheme.
	to := "./" + string(q.Target[bytes.LastIndexByte(q.Target, '/')+1:]) + "/"
	if len(q.Query) > 0 {
		to += "?" + string(q.Query)
	}
	return Answer{Status: http.StatusMovedPermanently, Header: http.Header{"Location": {to}}, File: -1}
}

// failure is an answer that says no more than its status.
func failure(status int) Answer {
	return Answer{Status: status, File: -1, Body: []byte(strconv.Itoa(status) + " " + http.StatusText(status) + "\n"),
		Header: http.Header{"Content-Type": {"text/plain; charset=utf-8"}, "X-Content-Type-Options": {"nosniff"}}}
}

// serve answers with a file that is there.
func serve(q *Request, f *os.File, info fs.FileInfo, kind kind, coding string) Answer {
	w := &recorder{header: make(http.Header, 8)}
	size, modified := info.Size(), info.ModTime()
	tag := strconv.FormatInt(modified.UnixNano(), 36) + "-" + strconv.FormatInt(size, 36)
	if coding != "" {
		w.header["Content-Encoding"] = []string{coding}
		tag += "-" + coding
	}
	if kind.packs {
		w.header["Vary"] = []string{"Accept-Encoding"}
	}
	w.header["Content-Type"] = []string{kind.name}
	w.header["X-Content-Type-Options"] = []string{"nosniff"}
	w.header["Etag"] = []string{`"` + tag + `"`}
	h := q.Header
	if len(h["Range"]) > 0 {
		h = withRange(q, size)
	}
	c := &content{size: size}
	http.ServeContent(w, &http.Request{Method: q.Method, Header: h}, "", modified.Truncate(time.Second), c)
	a := Answer{Status: w.status, Header: w.header, File: -1, Off: w.off, Size: w.n}
	if w.status >= 400 {
		a := failure(w.status)
		if r := w.header["Content-Range"]; r != nil {
			a.Header["Content-Range"] = r
		}
		return a
	}
	if w.status == http.StatusOK {
		a.Header["Content-Length"] = []string{strconv.FormatInt(size, 10)} // ServeContent leaves it out of encoded ones
	}
	if q.Method == http.MethodGet && w.status != http.StatusNotModified {
		fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			return unopened(err)
		}
		a.File = fd
	}
	return a
}

// content is a file to http.ServeContent, which never gets to read it.
type content struct{ size, off int64 }

func (c *content) Seek(off int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		off += c.off
	case io.SeekEnd:
		off += c.size
	}
	c.off = off
	return off, nil
}

func (c *content) Read([]byte) (int, error) { return 0, errors.ErrUnsupported }

// recorder is a ResponseWriter that sends nothing.
type recorder struct {
	header http.Header
	status int
	off, n int64 // which part of the content
}

func (w *recorder) Header() http.Header { return w.header }

func (w *recorder) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
}

// Write takes the text of an error, which has another one here.
func (w *recorder) Write(b []byte) (int, error) { return len(b), nil }

// ReadFrom notes what io.CopyN would copy.
func (w *recorder) ReadFrom(r io.Reader) (int64, error) {
	part, ok := r.(*io.LimitedReader)
	if !ok {
		return 0, errors.ErrUnsupported
	}
	c, ok := part.R.(*content)
	if !ok {
		return 0, errors.ErrUnsupported
	}
	w.off, w.n = c.off, part.N
	return part.N, nil
}
