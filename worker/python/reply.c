/* The parts of a response: checked here as far as they are Python's, and handed to the
 * engine. */
#include <stdio.h>
#include <string.h>

#include "asgi.h"

enum { SEND_HELD = 16 << 10 }; /* above this a piece is sent without the GIL */

static PyObject *phrases; /* by status: bytes */

/* --- the head --- */

static int too_large(void) {
	PyErr_SetString(PyExc_ValueError, "response head too large");
	return -1;
}

static int put(struct task *t, uint32_t *at, const char *s, size_t n) {
	if (n > t->resp_cap - *at)
		return too_large();
	memcpy(t->resp + *at, s, n);
	*at += (uint32_t)n;
	return 0;
}

static int put_status(struct task *t, uint32_t *at, PyObject *message) {
	PyObject *status = PyDict_GetItemWithError(message, names.status), *number;
	if (status == NULL) {
		if (!PyErr_Occurred())
			PyErr_SetString(PyExc_ValueError, "ASGI: http.response.start has no status");
		return -1;
	}
	if ((number = PyNumber_Index(status)) == NULL)
		return -1;
	long code = PyLong_AsLong(number);
	char digits[32];
	int n = snprintf(digits, sizeof digits, "%03ld ", code);
	int rc = PyErr_Occurred() ? -1 : put(t, at, digits, (size_t)n);
	PyObject *phrase = rc ? NULL : PyDict_GetItemWithError(phrases, number);
	Py_DecRef(number);
	if (phrase)
		rc = put(t, at, PyBytes_AsString(phrase), (size_t)PyBytes_Size(phrase));
	return PyErr_Occurred() ? -1 : rc;
}

/* field_bytes returns a header's name or value, which has to be bytes; borrowed. */
static const char *field_bytes(PyObject *o, const char *what, uint32_t *n) {
	if (!is_a(o, &PyBytes_Type)) {
		PyErr_Format(PyExc_TypeError, "ASGI: a header's %s must be bytes, not %R", what, (PyObject *)type_of(o));
		return NULL;
	}
	*n = (uint32_t)PyBytes_Size(o);
	return PyBytes_AsString(o);
}

static int put_field(struct task *t, uint32_t *at, PyObject *name, PyObject *value) {
	uint32_t lens[2];
	const char *n = field_bytes(name, "name", &lens[0]), *v = n ? field_bytes(value, "value", &lens[1]) : NULL;
	if (v == NULL)
		return -1;
	return put(t, at, (const char *)lens, sizeof lens) || put(t, at, n, lens[0]) || put(t, at, v, lens[1]) ? -1 : 0;
}

/* put_pair takes a list or a tuple of two. */
static int put_pair(struct task *t, uint32_t *at, PyObject *pair) {
	int list = is_a(pair, &PyList_Type);
	if ((!list && !is_a(pair, &PyTuple_Type)) || (list ? PyList_Size(pair) : PyTuple_Size(pair)) != 2) {
		Py_IncRef(pair);
		PyErr_Format(PyExc_TypeError, "ASGI: headers are pairs of a name and a value, not %R", pair);
		Py_DecRef(pair);
		return -1;
	}
	if (list)
		return put_field(t, at, PyList_GetItem(pair, 0), PyList_GetItem(pair, 1));
	return put_field(t, at, PyTuple_GetItem(pair, 0), PyTuple_GetItem(pair, 1));
}

/* put_headers takes an iterable of pairs; NULL: there are none. */
static int put_headers(struct task *t, uint32_t *at, PyObject *headers) {
	PyObject *all = headers ? as_list(headers) : NULL;
	if (headers != NULL && all == NULL)
		return -1;
	int rc = 0;
	if (all != NULL && is_a(all, &PyList_Type))
		for (Py_ssize_t i = 0; rc == 0 && i < PyList_Size(all); i++)
			rc = put_pair(t, at, PyList_GetItem(all, i));
	else if (all != NULL)
		for (Py_ssize_t i = 0; rc == 0 && i < PyTuple_Size(all); i++)
			rc = put_pair(t, at, PyTuple_GetItem(all, i));
	drop(&all);
	return rc;
}

int reply_start(struct call *c, PyObject *message) {
	struct task *t = c->seated;
	uint32_t at = 0, off = 0;
	t->status_len = t->fields_len = 0;
	if (put_status(t, &at, message))
		return -1;
	uint32_t status_len = at;
	PyObject *headers = PyDict_GetItemWithError(message, names.headers);
	if (PyErr_Occurred() || put_headers(t, &at, headers))
		return -1;
	if (c->trailers)
		hostlerTrailers(c->seat);
	t->status_len = status_len;
	t->fields_len = at - status_len;
	int code = hostlerHead(c->seat, &off);
	if (code == 0)
		return 0;
	head_error(t, code, off);
	t->status_len = t->fields_len = 0;
	return -1;
}

int reply_fields(struct call *c, PyObject *headers, uint32_t *n) {
	*n = 0;
	return put_headers(c->seated, n, headers);
}

int reply_refuse(struct call *c) {
	static const char status[] = "403 Forbidden";
	struct task *t = c->seated;
	uint32_t off;
	memcpy(t->resp, status, sizeof status - 1);
	t->status_len = sizeof status - 1;
	t->fields_len = 0;
	hostlerHead(c->seat, &off);
	t->out = t->resp;
	t->out_len = 0;
	t->result |= RESULT_FINAL;
	return 0;
}

int reply_hints(struct call *c, PyObject *links) {
	struct task *t = c->seated;
	uint32_t at = 0;
	PyObject *all = as_list(links), *name = all ? PyBytes_FromStringAndSize("link", 4) : NULL;
	int rc = name ? 0 : -1, list = rc == 0 && is_a(all, &PyList_Type);
	for (Py_ssize_t i = 0; rc == 0 && i < (list ? PyList_Size(all) : PyTuple_Size(all)); i++)
		rc = put_field(t, &at, name, list ? PyList_GetItem(all, i) : PyTuple_GetItem(all, i));
	drop(&all);
	drop(&name);
	int code = rc ? 0 : hostlerHints(c->seat, t->resp, at);
	if (code) {
		char why[160];
		hostlerHeadError(code, why, sizeof why);
		PyErr_SetString(PyExc_ValueError, why);
	}
	return rc || code ? -1 : 0;
}

int reply_head(struct call *c) {
	c->headed = 1;
	int rc = hostlerSendHead(c->seat);
	if (rc == WRITE_GONE)
		c->gone = 1;
	return rc;
}

/* --- the body --- */

/* write hands bytes to the engine. A WRITE_ code. */
static int write_piece(struct call *c, PyObject *bytes, int piece) {
	struct task *t = c->seated;
	Py_ssize_t n = PyBytes_Size(bytes);
	char *data = PyBytes_AsString(bytes);
	int rc;
	Py_IncRef(bytes);
	if (n <= SEND_HELD) {
		rc = hostlerWrite(c->seat, data, n, (uintptr_t)bytes, piece);
	} else {
		PyThreadState *ts = PyEval_SaveThread(); /* no other thread of Python's is let into the engine: on_loop */
		rc = hostlerWrite(c->seat, data, n, (uintptr_t)bytes, piece);
		PyEval_RestoreThread(ts);
	}
	if (!t->out_kept)
		Py_DecRef(bytes);
	return rc;
}

int reply_body(struct call *c, PyObject *body, int more, int *wait) {
	PyObject *bytes = NULL;
	if (is_a(body, &PyBytes_Type)) {
		bytes = keep(body);
	} else if (is_a(body, &PyByteArray_Type) || is_a(body, &PyMemoryView_Type)) {
		bytes = PyBytes_FromObject(body);
	} else {
		PyErr_Format(PyExc_TypeError, "ASGI: the body of http.response.body must be bytes, not %R", (PyObject *)type_of(body));
	}
	if (bytes == NULL)
		return -1;
	int rc = WRITE_OK, headed = c->headed;
	if (PyBytes_Size(bytes) > 0 || (more && headed)) { /* of nothing, too: it may say that the client has gone */
		c->headed = 1;
		rc = write_piece(c, bytes, more ? PIECE_MORE : headed || c->trailers ? PIECE_LAST : PIECE_WHOLE);
	}
	Py_DecRef(bytes);
	if (rc == WRITE_GONE) {
		c->gone = 1;
		gone_exception();
		return -1;
	}
	if (!more && headed && !c->trailers)
		hostlerEndBody(c->seat);
	*wait = rc == WRITE_WAIT && (more || c->trailers);
	return 0;
}

int reply_trailers(struct call *c, PyObject *headers, int more) {
	struct task *t = c->seated;
	uint32_t head = t->status_len + t->fields_len, at = head + c->trailers_len; /* the access log may want the head */
	if (put_headers(t, &at, headers))
		return -1;
	int code = hostlerEndTrailers(c->seat, t->resp + head, at - head, more);
	if (code) {
		char why[160];
		hostlerHeadError(code, why, sizeof why);
		PyErr_SetString(PyExc_ValueError, why);
		return -1;
	}
	c->trailers_len = at - head;
	c->headed |= !more;
	return 0;
}

int reply_init(PyObject *by_status) {
	phrases = keep(by_status); /* for the life of the process */
	return 0;
}
