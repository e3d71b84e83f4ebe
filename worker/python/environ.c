/* The environ dictionary of PEP 3333, built from the parsed request. */
#include <stdlib.h>
#include <string.h>

#include "bridge.h"

enum { MAX_KNOWN = 64, MAX_METHODS = 16, MAX_LISTENERS = 64 };

static PyObject *known_keys[MAX_KNOWN]; /* [0] is NULL */
static int nknown;
static PyObject *methods[MAX_METHODS]; /* [0] is NULL */
static PyObject *bases[MAX_LISTENERS];
static int nbases;
/* What of SERVER_NAME and SERVER_PORT a listener leaves to the Host field. */
static struct { char name, port, https; } open_ends[MAX_LISTENERS];
/* The SCRIPT_NAME of the process's environment: where the application is. */
static const char *mount = "";
static size_t mount_len;
static PyObject *k_method, *k_path, *k_query, *k_raw, *k_protocol, *k_addr, *k_port, *k_input, *k_scheme, *k_https,
	*k_host, *k_name, *k_server_port, *k_script, *k_length;
static PyObject *v_http10, *v_http2, *v_http, *v_https, *v_on, *v_off, *v_80, *v_443, *k_cookie;

extern int hostlerKnownName(int, char *, int);
extern int hostlerMethodName(int, char *, int);

PyObject *decode(const char *s, size_t n) { return PyUnicode_DecodeLatin1(s, (Py_ssize_t)n, NULL); }

/* environ_key writes the CGI name of a header into dst. */
static size_t environ_key(char *dst, const char *name, size_t n) {
	size_t k = 0;
	memcpy(dst, "HTTP_", 5);
	for (k = 0; k < n; k++) {
		char c = name[k];
		dst[5 + k] = c >= 'a' && c <= 'z' ? c - 32 : c == '-' ? '_' : c;
	}
	return 5 + n;
}

/* make_room gives d a table with room for what requests add. PyDict_Copy keeps the
 * table's size, so no environ has to grow while it is filled. CPython doubles a
 * table of 32 when the 22nd entry comes; as few of the entries as possible are
 * deleted again, or the copy would be made entry by entry. */
static int make_room(PyObject *d) {
	enum { WANT = 22 };
	PyObject *extra[WANT];
	int n = 0, rc = 0;
	while (rc == 0 && n < WANT && PyDict_Size(d) < WANT) {
		if ((extra[n] = PyUnicode_FromFormat("hostler.room%d", n)) == NULL)
			rc = -1;
		else
			rc = PyDict_SetItem(d, extra[n], extra[n]), n++;
	}
	for (int i = 0; i < n; i++) {
		if (rc == 0)
			rc = PyDict_DelItem(d, extra[i]);
		Py_DecRef(extra[i]);
	}
	return rc;
}

/* read_ends takes pairs of booleans, one for each listener. */
static int read_ends(PyObject *pairs) {
	if (PyList_Size(pairs) != nbases) {
		PyErr_SetString(PyExc_ValueError, "one pair for each listener");
		return -1;
	}
	for (int i = 0; i < nbases; i++) {
		PyObject *pair = PyList_GetItem(pairs, i);
		int name = PyObject_IsTrue(PyList_GetItem(pair, 0)), port = PyObject_IsTrue(PyList_GetItem(pair, 1));
		if (name < 0 || port < 0)
			return -1;
		open_ends[i].name = (char)name;
		open_ends[i].port = (char)port;
		open_ends[i].https = PyDict_GetItemWithError(bases[i], k_https) != NULL;
	}
	return 0;
}

/* read_mount takes it from the first base; they are alike in this. */
static int read_mount(void) {
	PyObject *name = nbases ? PyDict_GetItemWithError(bases[0], k_script) : NULL;
	PyObject *latin = name ? PyUnicode_AsLatin1String(name) : NULL; /* for the life of the process */
	if (latin == NULL)
		return nbases ? -1 : 0;
	mount = PyBytes_AsString(latin);
	mount_len = (size_t)PyBytes_Size(latin);
	return 0;
}

int environ_init(PyObject *list, PyObject *ends) {
	static const struct { PyObject **at; const char *text; } names[] = {
		{&k_method, "REQUEST_METHOD"}, {&k_path, "PATH_INFO"}, {&k_query, "QUERY_STRING"}, {&k_raw, "RAW_URI"},
		{&k_protocol, "SERVER_PROTOCOL"}, {&k_addr, "REMOTE_ADDR"}, {&k_port, "REMOTE_PORT"}, {&k_input, "wsgi.input"},
		{&k_scheme, "wsgi.url_scheme"}, {&k_https, "HTTPS"}, {&v_http10, "HTTP/1.0"}, {&v_http2, "HTTP/2.0"}, {&v_http, "http"}, {&v_https, "https"}, {&v_on, "on"}, {&v_off, "off"},
		{&k_cookie, "HTTP_COOKIE"}, {&k_host, "HTTP_HOST"}, {&k_name, "SERVER_NAME"}, {&k_server_port, "SERVER_PORT"},
		{&k_script, "SCRIPT_NAME"}, {&k_length, "CONTENT_LENGTH"}, {&v_80, "80"}, {&v_443, "443"},
	};
	char name[128], key[160];
	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		if ((*names[i].at = PyUnicode_InternFromString(names[i].text)) == NULL)
			return -1;
	for (nknown = 1; nknown < MAX_KNOWN; nknown++) {
		int n = hostlerKnownName(nknown, name, sizeof name);
		if (n == 0)
			break;
		if (n == 14 && strncmp(name, "content-length", 14) == 0)
			strcpy(key, "CONTENT_LENGTH");
		else if (n == 12 && strncmp(name, "content-type", 12) == 0)
			strcpy(key, "CONTENT_TYPE");
		else
			key[environ_key(key, name, (size_t)n)] = 0;
		if ((known_keys[nknown] = PyUnicode_InternFromString(key)) == NULL)
			return -1;
	}
	for (int i = 1; i < MAX_METHODS; i++) {
		int n = hostlerMethodName(i, name, sizeof name);
		if (n == 0)
			break;
		name[n] = 0;
		if ((methods[i] = PyUnicode_InternFromString(name)) == NULL)
			return -1;
	}
	nbases = (int)PyList_Size(list);
	if (nbases < 0 || nbases > MAX_LISTENERS || hostlerKnownName(MAX_KNOWN, name, sizeof name) ||
	    hostlerMethodName(MAX_METHODS, name, sizeof name)) {
		PyErr_SetString(PyExc_ValueError, "too many listeners, known fields or methods");
		return -1;
	}
	for (int i = 0; i < nbases; i++) {
		bases[i] = PyList_GetItem(list, i);
		Py_IncRef(bases[i]); /* for the life of the process */
		if (make_room(bases[i]))
			return -1;
	}
	return read_mount() || read_ends(ends) ? -1 : 0;
}

/* set puts a new reference into d and drops it. */
static int set(PyObject *d, PyObject *key, PyObject *value) {
	if (value == NULL)
		return -1;
	int rc = PyDict_SetItem(d, key, value);
	Py_DecRef(value);
	return rc;
}

/* join sets key to "old,value", for a header that comes more than once. */
static int join(PyObject *d, PyObject *key, PyObject *old, const char *value, size_t n, const char *sep) {
	PyObject *v = decode(value, n);
	if (v == NULL)
		return -1;
	PyObject *both = PyUnicode_FromFormat("%U%s%U", old, sep, v);
	Py_DecRef(v);
	return set(d, key, both);
}

static int add_field(PyObject *d, const char *buf, const struct field *f, uint64_t *seen) {
	const char *value = buf + f->value.off;
	if (f->known != 0 && f->known < (uint32_t)nknown) {
		PyObject *key = known_keys[f->known];
		if (*seen & 1ull << f->known) {
			PyObject *old = PyDict_GetItemWithError(d, key);
			if (old == NULL)
				return -1;
			return join(d, key, old, value, f->value.len, key == k_cookie ? "; " : ",");
		}
		*seen |= 1ull << f->known;
		return set(d, key, decode(value, f->value.len));
	}
	char small[256], *big = small;
	if (f->name.len + 5 > sizeof small) {
		/* Longer names than this are no browser's. */
		if ((big = malloc(f->name.len + 5)) == NULL) {
			PyErr_NoMemory();
			return -1;
		}
	}
	PyObject *key = decode(big, environ_key(big, buf + f->name.off, f->name.len));
	if (big != small)
		free(big);
	if (key == NULL)
		return -1;
	int rc;
	PyObject *old = PyDict_GetItemWithError(d, key);
	if (old != NULL)
		rc = join(d, key, old, value, f->value.len, ",");
	else if (PyErr_Occurred())
		rc = -1;
	else
		rc = set(d, key, decode(value, f->value.len));
	Py_DecRef(key);
	return rc;
}

/* forwarded puts what a trusted proxy says of the client's request in the place of
 * what the proxy itself has asked for. */
static int forwarded(PyObject *d, const struct task *t) {
	if (t->forwarded & FORWARDED_HTTPS && (PyDict_SetItem(d, k_scheme, v_https) || PyDict_SetItem(d, k_https, v_on)))
		return -1;
	if (t->forwarded & FORWARDED_HTTP && (PyDict_SetItem(d, k_scheme, v_http) || PyDict_SetItem(d, k_https, v_off)))
		return -1;
	if (t->forwarded & FORWARDED_PREFIX && set(d, k_script, decode(t->buf + t->prefix.off, t->prefix.len)))
		return -1;
	return t->forwarded & FORWARDED_HOST ? set(d, k_host, decode(t->buf + t->host.off, t->host.len)) : 0;
}

/* by_host sets SERVER_NAME, SERVER_PORT or both to what HTTP_HOST says; it is
 * valid, or empty. Where it says nothing of a name, the listener's stays. */
static int by_host(PyObject *d, const struct task *t, int name, int port) {
	PyObject *value = PyDict_GetItemWithError(d, k_host);
	Py_ssize_t n = 0;
	const char *host = value ? PyUnicode_AsUTF8AndSize(value, &n) : "";
	if (host == NULL || (value == NULL && PyErr_Occurred()))
		return -1;
	size_t len = (size_t)n, end = len; /* of the name */
	while (end > 0 && host[end - 1] >= '0' && host[end - 1] <= '9')
		end--;
	end = end > 0 && host[end - 1] == ':' ? end - 1 : len;
	if (name && end > 0 && set(d, k_name, decode(host, end)))
		return -1;
	if (!port)
		return 0;
	if (len > end + 1)
		return set(d, k_server_port, decode(host + end + 1, len - end - 1));
	int https = t->forwarded & FORWARDED_HTTPS || (open_ends[t->listener].https && !(t->forwarded & FORWARDED_HTTP));
	return PyDict_SetItem(d, k_server_port, https ? v_443 : v_80);
}

/* secured adds what there is to say of the connection's TLS: names and values by
 * turns, each with a zero byte behind it. */
static int secured(PyObject *d, const char *p, size_t n) {
	for (const char *end = p + n; p < end;) {
		const char *value = p + strlen(p) + 1;
		PyObject *key = PyUnicode_InternFromString(p);
		if (key == NULL)
			return -1;
		size_t len = strlen(value);
		int rc = set(d, key, decode(value, len));
		Py_DecRef(key);
		if (rc)
			return -1;
		p = value + len + 1;
	}
	return 0;
}

/* path sets PATH_INFO to what is behind SCRIPT_NAME. */
static int path(PyObject *d, const struct task *t) {
	size_t cut = t->forwarded & FORWARDED_PREFIX ? 0 : mount_len;
	if (t->path_len == 0)
		cut = 0; /* of OPTIONS * */
	int stray = t->forwarded & FORWARDED_STRAY ||
	            (cut > 0 && (t->path_len < cut || memcmp(t->path, mount, cut) != 0 || (t->path_len > cut && t->path[cut] != '/')));
	if (stray) {
		PyObject *asked = decode(t->path, t->path_len);
		PyObject *name = t->forwarded & FORWARDED_STRAY ? decode(t->buf + t->prefix.off, t->prefix.len) : decode(mount, mount_len);
		if (asked && name)
			PyErr_Format(PyExc_RuntimeError, "the request's path %R does not begin with SCRIPT_NAME, %R", asked, name);
		if (asked)
			Py_DecRef(asked);
		if (name)
			Py_DecRef(name);
		return -1;
	}
	return set(d, k_path, decode(t->path + cut, t->path_len - cut));
}

PyObject *environ_new(struct task *t, PyObject *input) {
	const struct request *r = &t->req;
	const char *buf = t->buf;
	PyObject *d = PyDict_Copy(bases[t->listener]);
	if (d == NULL)
		return NULL;
	PyObject *method = methods[r->method_id];
	if (method != NULL ? PyDict_SetItem(d, k_method, method) : set(d, k_method, decode(buf + r->method.off, r->method.len)))
		goto fail;
	if (path(d, t))
		goto fail;
	if (r->query.len && set(d, k_query, decode(buf + r->query.off, r->query.len)))
		goto fail;
	if (set(d, k_raw, decode(buf + r->target.off, r->target.len)))
		goto fail;
	if (r->minor != 1 && PyDict_SetItem(d, k_protocol, r->minor == 0 ? v_http10 : v_http2))
		goto fail;
	if (t->remote_len && set(d, k_addr, decode(t->remote, t->remote_len)))
		goto fail;
	if (t->port_len && set(d, k_port, decode(t->port, t->port_len)))
		goto fail;
	if (PyDict_SetItem(d, k_input, input))
		goto fail;
	uint64_t seen = 0;
	for (uint32_t i = 0; i < r->nfields; i++) {
		if (add_field(d, buf, &r->fields[i], &seen))
			goto fail;
	}
	/* A body that is whole has a length, which frameworks ask for; how it came is of
	 * no interest. */
	if ((r->flags & FLAG_CHUNKED) && !t->body_more && set(d, k_length, PyUnicode_FromFormat("%lld", (long long)t->body_len)))
		goto fail;
	if (t->tls_len && secured(d, t->tls, t->tls_len))
		goto fail;
	if (t->forwarded && forwarded(d, t))
		goto fail;
	int name = open_ends[t->listener].name, port = open_ends[t->listener].port;
	if (t->forwarded & FORWARDED_HOST)
		name = port = 1;
	if ((name || port) && by_host(d, t, name, port))
		goto fail;
	return d;
fail:
	Py_DecRef(d);
	return NULL;
}
