/* The scope of a request: a copy of the listener's, and what the request says. */
#include <string.h>

#include "asgi.h"

enum { MAX_KNOWN = 64, MAX_METHODS = 16, MAX_LISTENERS = 64 };

static PyObject *known_names[MAX_KNOWN]; /* bytes; [0] is NULL */
static int nknown;
static PyObject *methods[MAX_METHODS]; /* [0] is NULL */
static PyObject *bases[MAX_LISTENERS], *state, *ciphers;
static int nbases;
static const char *mount = ""; /* root_path of the bases, as latin-1 has it */
static size_t mount_len;

extern int hostlerKnownName(int, char *, int);
extern int hostlerMethodName(int, char *, int);

static PyObject *bytes(const char *at, size_t n) { return PyBytes_FromStringAndSize(at, (Py_ssize_t)n); }

static PyObject *text(const char *at, size_t n) { return PyUnicode_DecodeUTF8(at, (Py_ssize_t)n, "replace"); }

/* set puts a new reference into d and drops it. */
static int set(PyObject *d, PyObject *key, PyObject *value) {
	if (value == NULL)
		return -1;
	int rc = PyDict_SetItem(d, key, value);
	Py_DecRef(value);
	return rc;
}

/* --- headers --- */

/* field_name returns a name in lower case. */
static PyObject *field_name(const char *buf, const struct field *f) {
	if (f->known != 0 && f->known < (uint32_t)nknown)
		return keep(known_names[f->known]);
	PyObject *name = bytes(buf + f->name.off, f->name.len);
	char *s = name ? PyBytes_AsString(name) : NULL;
	for (uint32_t i = 0; name && i < f->name.len; i++)
		if (s[i] >= 'A' && s[i] <= 'Z')
			s[i] = (char)(s[i] + 'a' - 'A');
	return name;
}

static int is_named(const char *buf, const struct field *f, const char *name, uint32_t n) {
	return f->name.len == n && strncasecmp(buf + f->name.off, name, n) == 0;
}

static int is_cookie(const char *buf, const struct field *f) { return is_named(buf, f, "cookie", 6); }

/* cookies says how many fields a Cookie has come in, and how long they are in one. */
static uint32_t cookies(const struct task *t, size_t *len) {
	uint32_t n = 0;
	*len = 0;
	for (uint32_t i = 0; i < t->req.nfields; i++)
		if (is_cookie(t->buf, &t->req.fields[i]))
			*len += t->req.fields[i].value.len + (n++ ? 2 : 0);
	return n;
}

/* whole_cookie returns them in one. */
static PyObject *whole_cookie(const struct task *t, size_t len) {
	PyObject *b = bytes(NULL, len);
	char *at = b ? PyBytes_AsString(b) : NULL;
	for (uint32_t i = 0, n = 0; b && i < t->req.nfields; i++) {
		const struct field *f = &t->req.fields[i];
		if (!is_cookie(t->buf, f))
			continue;
		if (n++) {
			memcpy(at, "; ", 2);
			at += 2;
		}
		memcpy(at, t->buf + f->value.off, f->value.len);
		at += f->value.len;
	}
	return b;
}

/* after returns what follows a variable and its value. */
static const char *after(const char *p) {
	p += strlen(p) + 1;
	return p + strlen(p) + 1;
}

/* given returns the next of the fields that the server itself gives the request (--request-id,
 * --otel) from p on: they are among the variables of TLS, by the names that they have in
 * environ. NULL: there are no more. */
static const char *given(const struct task *t, const char *p) {
	const char *end = t->tls + t->tls_len;
	while (p < end && strncmp(p, "HTTP_", 5) != 0)
		p = after(p);
	return p < end ? p : NULL;
}

/* given_pair returns such a field as a pair. */
static PyObject *given_pair(const char *p) {
	PyObject *n = bytes(p + 5, strlen(p + 5)), *v = NULL;
	char *s = n ? PyBytes_AsString(n) : NULL;
	for (; s && *s; s++)
		*s = *s == '_' ? '-' : *s >= 'A' && *s <= 'Z' ? (char)(*s + 'a' - 'A') : *s;
	p += strlen(p) + 1;
	if (n)
		v = bytes(p, strlen(p));
	PyObject *pair = v ? PyTuple_Pack(2, n, v) : NULL;
	drop(&n);
	drop(&v);
	return pair;
}

static PyObject *headers(const struct task *t) {
	const struct request *r = &t->req;
	const char *first = t->tls_len ? given(t, t->tls) : NULL;
	Py_ssize_t own = 0; /* fields of the server's */
	for (const char *p = first; p; p = given(t, after(p)))
		own++;
	int replace = (t->forwarded & FORWARDED_HOST) != 0; /* a trusted proxy says which the client has asked for */
	size_t len = 0;
	/* HTTP/2 breaks a Cookie into crumbs, which nobody has to know of (RFC 9113, 8.2.3). */
	uint32_t crumbs = r->minor > 1 ? cookies(t, &len) : 0, at = 0;
	PyObject *list = PyList_New(r->nfields - (crumbs > 1 ? crumbs - 1 : 0) + own);
	for (uint32_t i = 0, joined_up = 0; list && i < r->nfields; i++) {
		const struct field *f = &r->fields[i];
		int crumb = crumbs > 1 && is_cookie(t->buf, f);
		if (crumb && joined_up++)
			continue;
		struct span value = replace && is_named(t->buf, f, "host", 4) ? t->host : f->value;
		PyObject *n = field_name(t->buf, f), *v = crumb ? whole_cookie(t, len) : bytes(t->buf + value.off, value.len);
		PyObject *pair = n && v ? PyTuple_Pack(2, n, v) : NULL;
		drop(&n);
		drop(&v);
		if (pair == NULL || PyList_SetItem(list, (Py_ssize_t)at++, pair))
			drop(&list);
	}
	for (const char *p = first; list && p; p = given(t, after(p))) {
		PyObject *pair = given_pair(p);
		if (pair == NULL || PyList_SetItem(list, (Py_ssize_t)at++, pair))
			drop(&list);
	}
	return list;
}

/* --- path --- */

static int below(const char *path, size_t n, const char *prefix, size_t len) {
	return n >= len && memcmp(path, prefix, len) == 0 && (n == len || path[len] == '/');
}

/* joined returns prefix and path as bytes. */
static PyObject *joined(const char *prefix, size_t n, const char *path, size_t len) {
	PyObject *b = bytes(NULL, n + len);
	if (b != NULL) {
		memcpy(PyBytes_AsString(b), prefix, n);
		memcpy(PyBytes_AsString(b) + n, path, len);
	}
	return b;
}

/* paths sets path and raw_path, which have root_path in front of them, whether the
 * proxy has taken it off or not. */
static int paths(PyObject *d, const struct task *t) {
	const struct request *r = &t->req;
	const char *prefix = mount, *raw = t->buf + r->path.off;
	size_t n = mount_len, raw_len = r->path.len;
	if (t->path_len == 0) /* OPTIONS * */
		return set(d, names.path, text("*", 1)) || set(d, names.raw_path, bytes("*", 1)) ? -1 : 0;
	if (t->forwarded & FORWARDED_PREFIX) {
		prefix = t->buf + t->prefix.off;
		n = t->prefix.len;
		if (set(d, names.root_path, text(prefix, n)))
			return -1;
	}
	int whole = n == 0 || (!(t->forwarded & FORWARDED_PREFIX) && below(t->path, t->path_len, prefix, n));
	if (whole)
		return set(d, names.path, text(t->path, t->path_len)) || set(d, names.raw_path, bytes(raw, raw_len)) ? -1 : 0;
	PyObject *both = joined(prefix, n, t->path, t->path_len);
	int rc = both ? set(d, names.path, text(PyBytes_AsString(both), n + t->path_len)) : -1;
	drop(&both);
	if (rc)
		return -1;
	return set(d, names.raw_path, below(raw, raw_len, prefix, n) ? bytes(raw, raw_len) : joined(prefix, n, raw, raw_len));
}

/* --- who and how --- */

static int client(PyObject *d, const struct task *t) {
	if (t->remote_len == 0)
		return 0;
	long port = 0;
	for (uint32_t i = 0; i < t->port_len; i++)
		port = 10 * port + (t->port[i] - '0');
	PyObject *host = decode(t->remote, t->remote_len), *number = PyLong_FromLong(port);
	PyObject *pair = host && number ? PyTuple_Pack(2, host, number) : NULL;
	drop(&host);
	drop(&number);
	return set(d, names.client, pair);
}

/* copy gives d a dict of its own in the place of the base's. */
static int copy(PyObject *d, PyObject *key, PyObject *of) { return set(d, key, of ? PyDict_Copy(of) : NULL); }

/* tls_entry puts what we know by mod_ssl's names under those of the extension. */
static int tls_entry(PyObject *tls, const char *name, const char *value, size_t n) {
	if (strcmp(name, "SSL_PROTOCOL") == 0)
		return set(tls, names.tls_version, PyLong_FromLong(strcmp(value, "TLSv1.3") == 0 ? 0x0304 : 0x0303));
	if (strcmp(name, "SSL_CLIENT_S_DN") == 0)
		return set(tls, names.client_cert_name, text(value, n));
	if (strcmp(name, "SSL_CIPHER") == 0) {
		PyObject *suite = text(value, n), *number = suite ? PyDict_GetItemWithError(ciphers, suite) : NULL;
		int rc = number ? PyDict_SetItem(tls, names.cipher_suite, number) : PyErr_Occurred() ? -1 : 0;
		drop(&suite);
		return rc;
	}
	if (strcmp(name, "SSL_CLIENT_CERT") == 0) {
		PyObject *pem = text(value, n), *chain = pem ? PyTuple_Pack(1, pem) : NULL;
		drop(&pem);
		return set(tls, names.client_cert_chain, chain);
	}
	return 0;
}

/* secured adds what the extension tls has to say: names and values by turns, each with a
 * zero byte behind it. The rest of it is the base's. */
static int secured(PyObject *all, const struct task *t) {
	PyObject *tls = PyDict_GetItemWithError(all, names.tls), *own;
	if (tls == NULL || (own = PyDict_Copy(tls)) == NULL)
		return PyErr_Occurred() ? -1 : 0;
	int rc = 0;
	for (const char *p = t->tls, *end = p + t->tls_len; rc == 0 && p < end;) {
		const char *value = p + strlen(p) + 1;
		size_t n = strlen(value);
		rc = tls_entry(own, p, value, n);
		p = value + n + 1;
	}
	if (rc == 0)
		rc = PyDict_SetItem(all, names.tls, own);
	Py_DecRef(own);
	return rc;
}

static int extensions(PyObject *d, const struct task *t) {
	PyObject *base = PyDict_GetItemWithError(bases[t->listener], names.extensions), *own = base ? PyDict_Copy(base) : NULL;
	if (own == NULL)
		return -1;
	int rc = t->tls_len ? secured(own, t) : 0;
	if (rc == 0)
		rc = PyDict_SetItem(d, names.extensions, own);
	Py_DecRef(own);
	return rc;
}

static int scheme(PyObject *d, const struct task *t) {
	if (t->forwarded & FORWARDED_HTTPS)
		return PyDict_SetItem(d, names.scheme, names.https);
	if (t->forwarded & FORWARDED_HTTP)
		return PyDict_SetItem(d, names.scheme, names.http);
	return 0;
}

PyObject *scope_new(struct task *t) {
	const struct request *r = &t->req;
	PyObject *base = bases[t->listener], *d = PyDict_Copy(base), *method = methods[r->method_id];
	if (d == NULL)
		return NULL;
	if ((method ? PyDict_SetItem(d, names.method, method) : set(d, names.method, decode(t->buf + r->method.off, r->method.len))) || paths(d, t) ||
	    (r->query.len && set(d, names.query_string, bytes(t->buf + r->query.off, r->query.len))) ||
	    (r->minor != 1 && PyDict_SetItem(d, names.http_version, r->minor == 0 ? names.v10 : names.v2)) || client(d, t) ||
	    (t->forwarded && scheme(d, t)) || set(d, names.headers, headers(t)) || copy(d, names.asgi, PyDict_GetItemWithError(base, names.asgi)) ||
	    extensions(d, t) || (state != Py_None && copy(d, names.state, state)))
		drop(&d);
	if (d && r->flags & FLAG_WEBSOCKET && websocket_scope(d, t))
		drop(&d);
	return d;
}

/* --- */

/* read_mount takes root_path from the first base; they are alike in this. */
static int read_mount(void) {
	PyObject *path = nbases ? PyDict_GetItemWithError(bases[0], names.root_path) : NULL;
	Py_ssize_t n;
	if (path == NULL || (mount = PyUnicode_AsUTF8AndSize(path, &n)) == NULL)
		return -1;
	mount_len = (size_t)n;
	return 0;
}

int scope_init(PyObject *list, PyObject *lifespan_state, PyObject *suites) {
	char name[128];
	ciphers = keep(suites);
	state = keep(lifespan_state); /* for the life of the process, as all here */
	for (nknown = 1; nknown < MAX_KNOWN; nknown++) {
		int n = hostlerKnownName(nknown, name, sizeof name);
		if (n == 0)
			break;
		if ((known_names[nknown] = bytes(name, (size_t)n)) == NULL)
			return -1;
	}
	for (int i = 1; i < MAX_METHODS && hostlerMethodName(i, name, sizeof name); i++)
		if ((methods[i] = PyUnicode_InternFromString(name)) == NULL)
			return -1;
	nbases = (int)PyList_Size(list);
	if (nbases < 0 || nbases > MAX_LISTENERS) {
		PyErr_SetString(PyExc_ValueError, "too many listeners");
		return -1;
	}
	for (int i = 0; i < nbases; i++)
		bases[i] = keep(PyList_GetItem(list, i));
	return nbases ? read_mount() : 0;
}
