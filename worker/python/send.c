/* send(): which message it is, whether it may come now, and what becomes of it. */
#include <string.h>

#include "asgi.h"

PyObject *gone_exception(void) {
	PyErr_SetString(gone_error, "the client has gone");
	return NULL;
}

/* wrong_order raises what an application is told that does not keep to the protocol. */
static int wrong_order(const char *type, const char *why) {
	PyErr_Format(PyExc_RuntimeError, "ASGI: %s %s", type, why);
	return -1;
}

/* in_body says whether what sends some of the body may come now. */
static int in_body(struct call *c, const char *type) {
	if (c->begun && !c->bodied)
		return 0;
	return wrong_order(type, c->begun ? "after the end of the body" : "before http.response.start");
}

/* is_true reads a boolean of a message: 1, 0, or -1 with an exception. */
static int is_true(PyObject *message, PyObject *key, int by_default) {
	PyObject *v = PyDict_GetItemWithError(message, key);
	if (v == NULL)
		return PyErr_Occurred() ? -1 : by_default;
	return PyObject_IsTrue(v);
}

static int send_start(struct call *c, PyObject *message) {
	if (c->begun && c->leaving) /* to the application its client has gone: it takes another way out, to nobody */
		return gone_exception(), -1;
	if (c->begun)
		return wrong_order("http.response.start", "a second time");
	int trailers = is_true(message, names.trailers, 0);
	c->trailers = trailers > 0;
	if (trailers < 0 || reply_start(c, message))
		return -1;
	c->begun = 1;
	/* Where a task of the application's sends it, no step of ours ends here. */
	return !c->running && reply_head(c) == WRITE_GONE ? (gone_exception(), -1) : 0;
}

/* body_over: all of the body has come. */
static void body_over(struct call *c) {
	c->bodied = 1;
	c->ended = !c->trailers;
}

static int send_body(struct call *c, PyObject *message, int *wait) {
	int more = is_true(message, names.more_body, 0);
	PyObject *body = more < 0 ? NULL : PyDict_GetItemWithError(message, names.body);
	if (more < 0 || PyErr_Occurred() || in_body(c, "http.response.body"))
		return -1;
	Py_IncRef(body ? body : (body = names.empty));
	int rc = reply_body(c, body, more, wait);
	Py_DecRef(body);
	if (rc == 0 && !more)
		body_over(c);
	return rc;
}

static int send_whole(PyObject *self, PyObject *message, struct sent *s) {
	struct call *c = call_of(self);
	PyObject *path = PyDict_GetItemWithError(message, names.path);
	if (in_body(c, "http.response.pathsend"))
		return -1;
	if (path == NULL)
		return wrong_order("http.response.pathsend", "has no path");
	Py_IncRef(path);
	int rc = send_path(self, path, s);
	Py_DecRef(path);
	return rc;
}

static int send_part(PyObject *self, PyObject *message, struct sent *s) {
	struct call *c = call_of(self);
	int more = is_true(message, names.more_body, 0);
	if (more < 0 || in_body(c, "http.response.zerocopysend"))
		return -1;
	return send_descriptor(self, message, more, s);
}

static int send_trailers(struct call *c, PyObject *message) {
	if (!c->trailers || !c->bodied)
		return wrong_order("http.response.trailers", c->begun && !c->trailers ? "that http.response.start has not promised" : "before the end of the body");
	int more = is_true(message, names.more_trailers, 0);
	PyObject *headers = more < 0 ? NULL : PyDict_GetItemWithError(message, names.headers);
	if (more < 0 || PyErr_Occurred() || reply_trailers(c, headers, more))
		return -1;
	c->ended = !more;
	return 0;
}

static int send_hints(struct call *c, PyObject *message) {
	PyObject *links = PyDict_GetItemWithError(message, names.links);
	if (c->begun)
		return wrong_order("http.response.early_hint", "after http.response.start");
	if (links == NULL)
		return wrong_order("http.response.early_hint", "has no links");
	Py_IncRef(links);
	int rc = reply_hints(c, links);
	Py_DecRef(links);
	return rc;
}

/* take does what a message says. */
static int take(PyObject *self, const char *type, size_t n, PyObject *message, struct sent *s) {
	static const char prefix[] = "http.response.";
	struct call *c = call_of(self);
	const char *kind = type + sizeof prefix - 1;
	if (n < sizeof prefix || memcmp(type, prefix, sizeof prefix - 1) != 0)
		kind = "";
	if (strcmp(kind, "body") == 0)
		return send_body(c, message, &s->wait);
	if (strcmp(kind, "start") == 0)
		return send_start(c, message);
	if (strcmp(kind, "trailers") == 0)
		return send_trailers(c, message);
	if (strcmp(kind, "pathsend") == 0)
		return send_whole(self, message, s);
	if (strcmp(kind, "zerocopysend") == 0)
		return send_part(self, message, s);
	if (strcmp(kind, "early_hint") == 0)
		return send_hints(c, message);
	return wrong_order(type, "is no message that can be sent here");
}

int send_http(struct call *c, const char *type, PyObject *message, int *wait) {
	return strcmp(type, "http.response.start") == 0 ? send_start(c, message) : send_body(c, message, wait);
}

PyObject *asgi_send(PyObject *self, PyObject *message) {
	struct call *c = call_of(self);
	if (!on_loop())
		return NULL;
	if (!is_a(message, &PyDict_Type))
		return PyErr_Format(PyExc_TypeError, "ASGI: a message is a dict, not %R", (PyObject *)type_of(message));
	PyObject *type = PyDict_GetItemWithError(message, names.type);
	Py_ssize_t n;
	const char *text = type ? PyUnicode_AsUTF8AndSize(type, &n) : NULL;
	if (text == NULL) {
		if (type == NULL && !PyErr_Occurred())
			PyErr_Format(PyExc_ValueError, "ASGI: a message has to have a type");
		return NULL;
	}
	if (c->gone)
		return gone_exception();
	if (!c->websocket && (c->seat == NO_SEAT || c->ended)) {
		wrong_order(text, "after the end of the response");
		return NULL;
	}
	struct sent s = {0};
	Py_IncRef(type); /* text is its */
	int rc = c->websocket ? websocket_send(c, text, message, &s.wait) : take(self, text, (size_t)n, message, &s);
	Py_DecRef(type);
	if (rc)
		return NULL;
	if (s.over)
		body_over(c);
	turn_due();
	if (c->ended && !c->running && c->seat != NO_SEAT)
		call_detach(c);
	if (s.rest)
		return s.rest;
	return s.wait ? pending_new(self, WAITS_ROOM) : done_new();
}
