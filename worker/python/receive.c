/* What there is to be received: the request's body, as it arrives, and at its end that
 * the client has gone. */
#include "asgi.h"

enum { PIECE = 64 << 10 };

static PyObject *request_base, *disconnect_base; /* messages to be copied */

/* disconnected says whether the application is to be told that there is nobody any more. */
static int disconnected(struct call *c) { return c->seat == NO_SEAT || c->ended || c->gone || (c->leaving && c->body_over); }

/* message makes a http.request. */
static int message(const char *data, int64_t n, int more, PyObject **out) {
	PyObject *m = PyDict_Copy(request_base);
	int rc = m ? 0 : -1;
	if (rc == 0 && n > 0) {
		PyObject *body = PyBytes_FromStringAndSize(data, (Py_ssize_t)n);
		rc = body ? PyDict_SetItem(m, names.body, body) : -1;
		drop(&body);
	}
	if (rc == 0 && more)
		rc = PyDict_SetItem(m, names.more_body, Py_True);
	if (rc == 0)
		*out = m;
	else
		drop(&m);
	return rc ? -1 : 1;
}

/* first_part has come with the head. Where it is empty and more is to come, that is
 * waited for. */
static int first_part(struct call *c, struct task *t, PyObject **out) {
	c->asked_body = 1;
	c->body_over = !t->body_more;
	c->received = t->body_len;
	if (t->body_len == 0 && t->body_more)
		return 0;
	return message(t->body, t->body_len, !c->body_over, out);
}

/* more_of reads what has arrived. */
static int more_of(struct call *c, struct task *t, PyObject **out) {
	static char buf[PIECE]; /* the GIL is held, and this is the loop's thread */
	int64_t n = hostlerRead(c->seat, buf, sizeof buf);
	if (n == READ_WAIT)
		return 0;
	if (n < 0) { /* broken, malformed, too large: the request is not whole, and never will be */
		c->gone = 1;
		*out = PyDict_Copy(disconnect_base);
		return *out ? 1 : -1;
	}
	c->received += n;
	c->body_over = n == READ_END || (!(t->req.flags & FLAG_CHUNKED) && t->req.content_length >= 0 && c->received >= t->req.content_length);
	return message(buf, n, !c->body_over, out);
}

int receive_now(struct call *c, PyObject **out) {
	int rc = 0;
	if (c->websocket)
		return websocket_receive(c, out);
	if (c->seat != NO_SEAT && !c->ended && !c->gone && !c->body_over) {
		struct task *t = c->seated;
		if (!c->asked_body)
			rc = first_part(c, t, out);
		return rc ? rc : more_of(c, t, out);
	}
	if (!disconnected(c))
		return 0;
	*out = PyDict_Copy(disconnect_base);
	return *out ? 1 : -1;
}

int receive_init(void) {
	request_base = PyDict_New();
	disconnect_base = PyDict_New();
	if (request_base == NULL || disconnect_base == NULL || PyDict_SetItem(request_base, names.type, names.request) ||
	    PyDict_SetItem(request_base, names.body, names.empty) || PyDict_SetItem(request_base, names.more_body, Py_False))
		return -1;
	return PyDict_SetItem(disconnect_base, names.type, names.disconnect);
}
