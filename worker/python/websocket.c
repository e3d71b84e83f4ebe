/* WebSockets: the messages of ASGI's "websocket" scope. The engine has the WebSocket
 * itself, under a number from its acceptance on; the request's seat is free then. */
#include <stdlib.h>
#include <string.h>

#include "asgi.h"

enum { SEND_HELD = 16 << 10 }; /* above this a message is sent without the GIL */
enum { KIND_TEXT = 1, KIND_BYTES = 2, KIND_CLOSE = 8 };
enum { CODE_NORMAL = 1000, CODE_ABNORMAL = 1006, CODE_INTERNAL = 1011 };

/* In bridge.go. */
extern int64_t hostlerSocketAccept(int seat, const char *protocol, int64_t n, int64_t fields, char *why, int size);
extern uint32_t hostlerSocketAwait(uint32_t number, uint32_t what);
extern int hostlerSocketReceive(uint32_t number, uintptr_t *data, int64_t *n, int *code); /* good until the next call for it */
extern int hostlerSocketSend(uint32_t number, int kind, void *data, int64_t n, uintptr_t ref, int *kept);
extern int hostlerSocketClose(uint32_t number, int64_t code, const char *reason, int64_t n);
extern void hostlerSocketDone(uint32_t number, int code);

static struct { PyObject *text, *bytes, *code, *reason, *subprotocol, *subprotocols, *websocket, *ws, *wss, *denial, *connect, *receive, *disconnect; } keys;
static PyObject **calls; /* by number, of those that have been accepted; borrowed: background has them */
static uint32_t ncalls;

/* --- the scope --- */

/* offered appends the subprotocols in a field's value, which the engine has found to be a
 * list. */
static int offered(PyObject *list, const char *at, uint32_t n) {
	int rc = 0;
	for (uint32_t i = 0; rc == 0 && i < n;) {
		uint32_t from = i;
		while (i < n && at[i] != ',' && at[i] != ' ' && at[i] != '\t')
			i++;
		if (i > from) {
			PyObject *name = decode(at + from, i - from);
			rc = name ? PyList_Append(list, name) : -1;
			drop(&name);
		}
		while (i < n && (at[i] == ',' || at[i] == ' ' || at[i] == '\t'))
			i++;
	}
	return rc;
}

PyObject *websocket_offered(const struct task *t) {
	static const char name[] = "sec-websocket-protocol";
	PyObject *list = PyList_New(0);
	for (uint32_t i = 0; list && i < t->req.nfields; i++) {
		const struct field *f = &t->req.fields[i];
		if (f->name.len == sizeof name - 1 && strncasecmp(t->buf + f->name.off, name, sizeof name - 1) == 0 && offered(list, t->buf + f->value.off, f->value.len))
			drop(&list);
	}
	return list;
}

/* put drops the value. */
static int put(PyObject *d, PyObject *key, PyObject *value) {
	int rc = value ? PyDict_SetItem(d, key, value) : -1;
	drop(&value);
	return rc;
}

/* extensions leaves those that a WebSocket has, too. */
static int extensions(PyObject *scope) {
	PyObject *old = PyDict_GetItemWithError(scope, names.extensions), *new = PyDict_New(), *tls = old ? PyDict_GetItemWithError(old, names.tls) : NULL;
	if (new && (put(new, keys.denial, PyDict_New()) || (tls && PyDict_SetItem(new, names.tls, tls))))
		drop(&new);
	return put(scope, names.extensions, new);
}

int websocket_scope(PyObject *scope, const struct task *t) {
	PyObject *scheme = PyDict_GetItemWithError(scope, names.scheme);
	Py_ssize_t n = scheme ? PyUnicode_GetLength(scheme) : -1;
	int secure = n == (Py_ssize_t)sizeof "https" - 1;
	if (n < 0 || PyDict_SetItem(scope, names.type, keys.websocket) || PyDict_SetItem(scope, names.scheme, secure ? keys.wss : keys.ws) ||
	    PyDict_DelItem(scope, names.method) || put(scope, keys.subprotocols, websocket_offered(t)))
		return -1;
	return extensions(scope);
}

/* --- receive --- */

static PyObject *message(PyObject *type) {
	PyObject *m = PyDict_New();
	if (m && PyDict_SetItem(m, names.type, type))
		drop(&m);
	return m;
}

static int disconnected(int code, const char *reason, Py_ssize_t n, PyObject **out) {
	PyObject *m = message(keys.disconnect);
	if (m && (put(m, keys.code, PyLong_FromLong(code)) || put(m, keys.reason, PyUnicode_DecodeUTF8(reason, n, "replace"))))
		drop(&m);
	*out = m;
	return m ? 1 : -1;
}

static int received(int kind, const char *data, int64_t n, PyObject **out) {
	PyObject *m = message(keys.receive);
	if (m && (kind == KIND_TEXT ? put(m, keys.text, PyUnicode_DecodeUTF8(data, (Py_ssize_t)n, "strict"))
	                            : put(m, keys.bytes, PyBytes_FromStringAndSize(data, (Py_ssize_t)n))))
		drop(&m);
	*out = m;
	return m ? 1 : -1;
}

int websocket_receive(struct call *c, PyObject **out) {
	uintptr_t at = 0;
	int64_t n = 0;
	int code = 0;
	if (!c->connected) {
		c->connected = 1;
		*out = message(keys.connect);
		return *out ? 1 : -1;
	}
	if (!c->accepted) {
		if (c->seat != NO_SEAT && !c->gone && !c->ended)
			return 0;
		return disconnected(CODE_ABNORMAL, "", 0, out);
	}
	if (c->over)
		return disconnected(CODE_NORMAL, "", 0, out);
	int kind = hostlerSocketReceive(c->socket, &at, &n, &code);
	const char *data = (const char *)at;
	if (kind == 0)
		return 0;
	return kind == KIND_CLOSE ? disconnected(code, data, (Py_ssize_t)n, out) : received(kind, data, n, out);
}

uint32_t websocket_await(struct call *c, uint32_t what) { return hostlerSocketAwait(c->socket, what); }

/* --- send --- */

static int wrong_order(const char *type, const char *why) {
	PyErr_Format(PyExc_RuntimeError, "ASGI: %s %s", type, why);
	return -1;
}

/* item returns an item of a message that is not None; borrowed. */
static PyObject *item(PyObject *m, PyObject *key) {
	PyObject *o = PyDict_GetItemWithError(m, key);
	return o == Py_None ? NULL : o;
}

/* text_of reads an item that has to be a string; there need not be one. */
static int text_of(PyObject *m, PyObject *key, const char **text, Py_ssize_t *n) {
	PyObject *o = item(m, key);
	*text = "";
	*n = 0;
	if (o == NULL)
		return PyErr_Occurred() ? -1 : 0;
	if (!is_a(o, &PyUnicode_Type)) {
		PyErr_Format(PyExc_TypeError, "ASGI: %U must be a string, not %R", key, (PyObject *)type_of(o));
		return -1;
	}
	return (*text = PyUnicode_AsUTF8AndSize(o, n)) ? 0 : -1;
}

static int remember(struct call *c, uint32_t number) {
	if (number >= ncalls) {
		uint32_t n = number + 64;
		PyObject **more = realloc(calls, n * sizeof *more);
		if (more == NULL)
			return -1;
		memset(more + ncalls, 0, (n - ncalls) * sizeof *more);
		calls = more;
		ncalls = n;
	}
	calls[number] = (PyObject *)(void *)((char *)c - head_size);
	return 0;
}

PyObject *websocket_call(uint32_t number) { return number < ncalls ? calls[number] : NULL; }

/* accept gives the connection to the engine's WebSocket. The call has no seat any more, and
 * is in the background. */
static int accept(struct call *c, PyObject *m) {
	const char *protocol;
	char why[160];
	Py_ssize_t n;
	uint32_t fields;
	PyObject *headers = item(m, names.headers);
	if (PyErr_Occurred() || text_of(m, keys.subprotocol, &protocol, &n) || reply_fields(c, headers, &fields) || call_named(c))
		return -1;
	if (rules_wanted && c->scope)
		tell_rule(c->seat, c->scope);
	int64_t number = hostlerSocketAccept(c->seat, protocol, n, fields, why, sizeof why);
	if (number < 0) {
		PyErr_Format(PyExc_ValueError, "ASGI: websocket.accept: %s", why);
		return -1;
	}
	if (c->running)
		hostlerStepped(); /* as far as the seat is concerned */
	c->accepted = 1;
	c->asked = 0;
	c->socket = (uint32_t)number;
	seat_leave(c);
	c->seat = NO_SEAT;
	if (remember(c, c->socket)) {
		PyErr_NoMemory();
		return -1;
	}
	pending_again(c);
	return 0;
}

static int send_data(struct call *c, PyObject *m, int *wait) {
	PyObject *o = item(m, keys.bytes), *owner = NULL;
	const char *data = NULL;
	Py_ssize_t n = 0;
	int kind = KIND_BYTES, kept = 0, rc;
	if (o != NULL) {
		if (!is_a(o, &PyBytes_Type) && !is_a(o, &PyByteArray_Type) && !is_a(o, &PyMemoryView_Type)) {
			PyErr_Format(PyExc_TypeError, "ASGI: the bytes of websocket.send must be bytes, not %R", (PyObject *)type_of(o));
			return -1;
		}
		owner = is_a(o, &PyBytes_Type) ? keep(o) : PyBytes_FromObject(o);
		data = owner ? PyBytes_AsString(owner) : NULL;
		n = owner ? PyBytes_Size(owner) : 0;
	} else if (!PyErr_Occurred()) {
		kind = KIND_TEXT;
		if ((o = item(m, keys.text)) == NULL) {
			if (!PyErr_Occurred())
				PyErr_SetString(PyExc_ValueError, "ASGI: websocket.send has neither bytes nor text");
			return -1;
		}
		owner = text_of(m, keys.text, &data, &n) ? NULL : keep(o);
	}
	if (owner == NULL)
		return -1;
	if (n <= SEND_HELD) {
		rc = hostlerSocketSend(c->socket, kind, (void *)(uintptr_t)data, n, (uintptr_t)owner, &kept);
	} else {
		PyThreadState *ts = PyEval_SaveThread();
		rc = hostlerSocketSend(c->socket, kind, (void *)(uintptr_t)data, n, (uintptr_t)owner, &kept);
		PyEval_RestoreThread(ts);
	}
	if (!kept)
		Py_DecRef(owner);
	if (rc == WRITE_GONE)
		return c->closed ? wrong_order("websocket.send", "after websocket.close") : (gone_exception(), -1);
	*wait = rc == WRITE_WAIT;
	return 0;
}

/* refuse denies a WebSocket that has not been accepted. */
static int refuse(struct call *c) {
	if (reply_refuse(c))
		return -1;
	c->begun = c->ended = 1;
	return 0;
}

static int send_close(struct call *c, PyObject *m) {
	PyObject *o = item(m, keys.code);
	const char *reason;
	Py_ssize_t n;
	long code = o ? PyLong_AsLong(o) : CODE_NORMAL;
	if (PyErr_Occurred() || text_of(m, keys.reason, &reason, &n))
		return -1;
	if (!c->accepted)
		return refuse(c);
	if (hostlerSocketClose(c->socket, code, reason, n)) {
		PyErr_Format(PyExc_ValueError, "ASGI: websocket.close: %ld is no code that can be sent", code);
		return -1;
	}
	c->closed = 1;
	return 0;
}

int websocket_send(struct call *c, const char *type, PyObject *m, int *wait) {
	static const char prefix[] = "websocket.";
	const char *kind = strncmp(type, prefix, sizeof prefix - 1) == 0 ? type + sizeof prefix - 1 : "";
	if (c->accepted && c->over) {
		gone_exception();
		return -1;
	}
	if (strcmp(kind, "send") == 0) {
		if (!c->accepted)
			return wrong_order(type, "before websocket.accept");
		return send_data(c, m, wait);
	}
	if (c->accepted && strcmp(kind, "close") == 0)
		return send_close(c, m);
	if (c->accepted || c->seat == NO_SEAT || c->ended)
		return wrong_order(type, c->accepted ? "after websocket.accept" : "after the end of the response");
	if (strcmp(kind, "http.response.start") == 0 || strcmp(kind, "http.response.body") == 0)
		return send_http(c, kind, m, wait);
	if (c->begun)
		return wrong_order(type, "after websocket.http.response.start");
	if (strcmp(kind, "accept") == 0)
		return accept(c, m);
	if (strcmp(kind, "close") == 0)
		return send_close(c, m);
	return wrong_order(type, "is no message that can be sent here");
}

void websocket_done(struct call *c, int failed) {
	if (!c->accepted)
		return;
	if (c->socket < ncalls)
		calls[c->socket] = NULL;
	hostlerSocketDone(c->socket, failed ? CODE_INTERNAL : CODE_NORMAL);
}

int websocket_init(void) {
	static const struct { PyObject **at; const char *text; } all[] = {
		{&keys.text, "text"}, {&keys.bytes, "bytes"}, {&keys.code, "code"}, {&keys.reason, "reason"}, {&keys.subprotocol, "subprotocol"},
		{&keys.subprotocols, "subprotocols"}, {&keys.websocket, "websocket"}, {&keys.ws, "ws"}, {&keys.wss, "wss"}, {&keys.denial, "websocket.http.response"},
		{&keys.connect, "websocket.connect"}, {&keys.receive, "websocket.receive"}, {&keys.disconnect, "websocket.disconnect"},
	};
	for (size_t i = 0; i < sizeof all / sizeof *all; i++)
		if ((*all[i].at = PyUnicode_InternFromString(all[i].text)) == NULL)
			return -1;
	return 0;
}
