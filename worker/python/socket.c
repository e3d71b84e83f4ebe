/* WebSockets of applications that Python threads run: hostler.websocket in environ, and
 * gunicorn.socket, the connection as a socket. Both belong to the request's own thread
 * until there is a WebSocket. */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/futex.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "asgi.h"

enum { SEND_HELD = 16 << 10 }; /* above this a message is sent without the GIL */
enum { KIND_TEXT = 1, KIND_BYTES = 2, KIND_CLOSE = 8 };
enum { CODE_NORMAL = 1000, CODE_ABNORMAL = 1006, CODE_INTERNAL = 1011 };
enum { WAIT_SLICE = 1000000000 }; /* ns; a signal may come just before a wait */
enum { REASON_SIZE = 128 };

/* In bridge.go. */
extern int64_t hostlerSocketJoin(int thread, const char *protocol, int64_t n, int64_t fields, uint32_t *news, char *why, int size);
extern uint32_t hostlerSocketAsk(uint32_t number, uint32_t what);
extern int hostlerSocketReceive(uint32_t number, uintptr_t *data, int64_t *n, int *code); /* good until the next call for it */
extern int hostlerSocketSend(uint32_t number, int kind, void *data, int64_t n, uintptr_t ref, int *kept);
extern int hostlerSocketClose(uint32_t number, int64_t code, const char *reason, int64_t n);
extern int hostlerSocketEnd(uint32_t number, char *reason, int size, int *n);
extern void hostlerSocketDone(uint32_t number, int code);
extern int hostlerSocketTake(int thread, char *why, int size);
extern int hostlerOwnAnswer(int thread);

enum { OFFERED, OPEN }; /* OPEN: the engine has a number for it, until the object goes */

/* hostler.websocket. Any thread may send and receive, or any greenlet; lock is held while
 * something is lent to us. */
struct socket {
	PyObject *handle; /* of the request */
	PyObject *offered; /* subprotocols */
	pthread_mutex_t lock;
	_Atomic uint32_t news; /* futex word: the engine adds to it when there is something to look at */
	struct wait *waits; /* with green: greenlets that wait for that */
	uint32_t number;
	_Atomic int stage;
	_Atomic int closed; /* the code that the application has closed it with */
};

static PyTypeObject *socket_type;
static PyObject *closed_class, *make_socket, *make_green;
static PyObject *k_websocket, *k_gunicorn, *k_werkzeug, *k_green;
static struct socket **open_sockets; /* with green: by number, those that are OPEN */
static uint32_t nopen;

static struct socket *state(PyObject *self) { return (struct socket *)(void *)((char *)self + head_size); }

/* own_request returns the thread that has the handle's request, if that is the caller's.
 * Greenlets do not get in each other's way. */
static struct thread *own_request(PyObject *handle) {
	if (green && !green->here())
		return NULL;
	struct thread *th = handle_lookup(handle);
	if (th == NULL || ((green || th == current) && th->active == ACTIVE_APP && th->socket == NULL && !th->taken))
		return th;
	PyErr_SetString(PyExc_RuntimeError, th->socket || th->taken ? "hostler: the request's connection has been taken already"
	                                                            : "hostler: a connection is for the request's own thread to take");
	return NULL;
}

/* raise_closed raises Closed(code, reason); NULL. */
static PyObject *raise_closed(int code, const char *reason, Py_ssize_t n) {
	PyObject *c = PyLong_FromLong(code), *text = PyUnicode_DecodeUTF8(reason, n, "replace");
	PyObject *e = c && text ? PyObject_CallFunctionObjArgs(closed_class, c, text, NULL) : NULL;
	if (e != NULL)
		PyErr_SetObject(closed_class, e);
	drop(&c);
	drop(&text);
	drop(&e);
	return NULL;
}

static PyObject *raise_ended(struct socket *s) {
	char reason[REASON_SIZE];
	int n = 0, code = hostlerSocketEnd(s->number, reason, sizeof reason, &n), closed = atomic_load(&s->closed);
	return raise_closed(code ? code : closed ? closed : CODE_ABNORMAL, reason, n);
}

/* in_use says whether it can be used: it has been accepted, and this is no forked child. */
static int in_use(struct socket *s) {
	if (green && !green->here())
		return 0;
	if (!forked && atomic_load(&s->stage) == OPEN)
		return 1;
	PyErr_SetString(PyExc_RuntimeError, forked ? "hostler: a forked child cannot go on with its parent's request" : "hostler: the WebSocket has not been accepted");
	return 0;
}

/* remember has socket_notice find it. */
static int remember(struct socket *s, uint32_t number) {
	if (number >= nopen) {
		uint32_t n = number + 64;
		struct socket **more = realloc(open_sockets, n * sizeof *more);
		if (more == NULL)
			return -1;
		memset(more + nopen, 0, (n - nopen) * sizeof *more);
		open_sockets = more;
		nopen = n;
	}
	open_sockets[number] = s;
	return 0;
}

void socket_notice(uint32_t number) {
	if (number < nopen && open_sockets[number] != NULL)
		green->resume(&open_sockets[number]->waits);
}

static PyObject *socket_accept(PyObject *self, PyObject *args, PyObject *kwargs) {
	static char *keywords[] = {"subprotocol", "headers", NULL};
	struct socket *s = state(self);
	PyObject *subprotocol = Py_None, *headers = NULL, *list = NULL;
	const char *protocol = "";
	char why[160];
	Py_ssize_t n = 0;
	if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|OO:accept", keywords, &subprotocol, &headers))
		return NULL;
	if (subprotocol != Py_None && !is_a(subprotocol, &PyUnicode_Type))
		return PyErr_Format(PyExc_TypeError, "the subprotocol must be a string, not %R", (PyObject *)type_of(subprotocol));
	if (subprotocol != Py_None && (protocol = PyUnicode_AsUTF8AndSize(subprotocol, &n)) == NULL)
		return NULL;
	if (headers != NULL && (list = as_list(headers)) == NULL)
		return NULL;
	struct thread *th = own_request(s->handle); /* as_list may have run the application's code */
	uint32_t at = 0;
	int64_t number = -1;
	if (th != NULL && (list == NULL || put_fields(th->task, list, &at) == 0)) {
		sending_done(th);
		if (rules_wanted && th->environ)
			tell_rule(th->index, th->environ);
		number = hostlerSocketJoin(th->index, protocol, n, at, (uint32_t *)&s->news, why, sizeof why);
		if (number < 0)
			PyErr_Format(PyExc_ValueError, "%s", why);
	}
	if (number < 0 && th != NULL && list != NULL && th->task->status_len != 0)
		broken_head(th); /* what start_response had put there is overwritten */
	drop(&list);
	if (number < 0)
		return NULL;
	s->number = (uint32_t)number;
	atomic_store(&s->stage, OPEN);
	th->socket = keep(self);
	return green && remember(s, s->number) ? PyErr_NoMemory() : none();
}

/* wait_news waits until the engine has news since then, or until a time that is not 0. */
static int wait_news(struct socket *s, uint32_t since, int64_t until) {
	if (green)
		return green->pause(&s->waits, until);
	int64_t left = until ? until - monotonic() : WAIT_SLICE;
	if (left > WAIT_SLICE)
		left = WAIT_SLICE;
	if (left > 0) {
		struct timespec d = {left / 1000000000, left % 1000000000};
		PyThreadState *ts = PyEval_SaveThread();
		syscall(SYS_futex, &s->news, FUTEX_WAIT_PRIVATE, since, &d, NULL, 0);
		PyEval_RestoreThread(ts);
	}
	if (PyErr_CheckSignals() || !in_use(s))
		return -1;
	return raise_pending(current);
}

/* take_message returns what there is; NULL without an exception: nothing. */
static PyObject *take_message(struct socket *s) {
	uintptr_t at = 0;
	int64_t n = 0;
	int code = 0;
	char reason[REASON_SIZE];
	PyObject *message = NULL;
	pthread_mutex_lock(&s->lock); /* nobody waits with it */
	int kind = hostlerSocketReceive(s->number, &at, &n, &code);
	if (kind == KIND_TEXT)
		message = PyUnicode_DecodeUTF8((const char *)at, (Py_ssize_t)n, "strict");
	else if (kind == KIND_BYTES)
		message = PyBytes_FromStringAndSize((const char *)at, (Py_ssize_t)n);
	else if (kind == KIND_CLOSE)
		memcpy(reason, (const char *)at, (size_t)(n = n > REASON_SIZE ? REASON_SIZE : n));
	pthread_mutex_unlock(&s->lock);
	return kind == KIND_CLOSE ? raise_closed(code, reason, (Py_ssize_t)n) : message;
}

/* receive_until waits for the next message; NULL without an exception: time is up. */
static PyObject *receive_until(struct socket *s, int64_t until) {
	for (;;) {
		uint32_t seen = atomic_load(&s->news);
		PyObject *message = in_use(s) ? take_message(s) : NULL;
		if (message != NULL || PyErr_Occurred())
			return message;
		if (until && monotonic() >= until)
			return NULL;
		if (hostlerSocketAsk(s->number, NOTICE_BODY) == 0 && wait_news(s, seen, until))
			return NULL;
	}
}

static PyObject *socket_receive(PyObject *self, PyObject *args, PyObject *kwargs) {
	static char *keywords[] = {"timeout", NULL};
	PyObject *timeout = Py_None;
	int64_t until = 0;
	if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|O:receive", keywords, &timeout))
		return NULL;
	if (timeout != Py_None) {
		double seconds = PyFloat_AsDouble(timeout);
		if (PyErr_Occurred())
			return NULL;
		if (seconds < 0 || isnan(seconds))
			return PyErr_Format(PyExc_ValueError, "the timeout must not be negative");
		if (seconds < 1e9)
			until = monotonic() + (int64_t)(seconds * 1e9);
	}
	PyObject *message = receive_until(state(self), until);
	return message == NULL && !PyErr_Occurred() ? none() : message;
}

static PyObject *socket_next(PyObject *self) {
	PyObject *message = receive_until(state(self), 0);
	if (message == NULL && PyErr_ExceptionMatches(closed_class))
		PyErr_Clear(); /* the iteration ends */
	return message;
}

/* wait_room waits until the client has taken enough for more to be sent. */
static int wait_room(struct socket *s) {
	for (;;) {
		uint32_t seen = atomic_load(&s->news);
		if (hostlerSocketAsk(s->number, NOTICE_ROOM))
			return 0;
		if (wait_news(s, seen, 0))
			return -1;
	}
}

static PyObject *socket_send(PyObject *self, PyObject *o) {
	struct socket *s = state(self);
	PyObject *owner = NULL;
	const char *data = NULL;
	Py_ssize_t n = 0;
	int kind = KIND_BYTES, kept = 0, rc;
	if (!in_use(s))
		return NULL;
	if (is_a(o, &PyUnicode_Type)) {
		kind = KIND_TEXT;
		owner = (data = PyUnicode_AsUTF8AndSize(o, &n)) ? keep(o) : NULL;
	} else if (is_a(o, &PyBytes_Type) || is_a(o, &PyByteArray_Type) || is_a(o, &PyMemoryView_Type)) {
		owner = is_a(o, &PyBytes_Type) ? keep(o) : PyBytes_FromObject(o);
		data = owner ? PyBytes_AsString(owner) : NULL;
		n = owner ? PyBytes_Size(owner) : 0;
	} else {
		PyErr_Format(PyExc_TypeError, "a message is str or bytes, not %R", (PyObject *)type_of(o));
	}
	if (owner == NULL)
		return NULL;
	if (n <= SEND_HELD) {
		rc = hostlerSocketSend(s->number, kind, (void *)(uintptr_t)data, n, (uintptr_t)owner, &kept);
	} else {
		PyThreadState *ts = PyEval_SaveThread();
		rc = hostlerSocketSend(s->number, kind, (void *)(uintptr_t)data, n, (uintptr_t)owner, &kept);
		PyEval_RestoreThread(ts);
	}
	if (!kept)
		Py_DecRef(owner);
	if (rc == WRITE_GONE)
		return raise_ended(s);
	return rc == WRITE_WAIT && wait_room(s) ? NULL : none();
}

/* close_with closes it; -1: with that code it cannot be. */
static int close_with(struct socket *s, long code, const char *reason, Py_ssize_t n) {
	pthread_mutex_lock(&s->lock);
	int rc = hostlerSocketClose(s->number, code, reason, n), none = 0;
	pthread_mutex_unlock(&s->lock);
	if (rc == 0)
		atomic_compare_exchange_strong(&s->closed, &none, (int)code);
	return rc;
}

static PyObject *socket_close(PyObject *self, PyObject *args, PyObject *kwargs) {
	static char *keywords[] = {"code", "reason", NULL};
	long code = CODE_NORMAL;
	PyObject *text = NULL;
	const char *reason = "";
	Py_ssize_t n = 0;
	if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|lO:close", keywords, &code, &text) || !in_use(state(self)))
		return NULL;
	if (text != NULL && !is_a(text, &PyUnicode_Type))
		return PyErr_Format(PyExc_TypeError, "the reason must be a string, not %R", (PyObject *)type_of(text));
	if (text != NULL && (reason = PyUnicode_AsUTF8AndSize(text, &n)) == NULL)
		return NULL;
	if (close_with(state(self), code, reason, n))
		return PyErr_Format(PyExc_ValueError, "%ld is no code that a WebSocket can be closed with", code);
	return none();
}

static PyObject *socket_iter(PyObject *self) { return keep(self); }

static PyObject *get_subprotocols(PyObject *self, void *closure) {
	(void)closure;
	return keep(state(self)->offered);
}

/* closed: it is, though messages may be there still. */
static PyObject *get_closed(PyObject *self, void *closure) {
	(void)closure;
	struct socket *s = state(self);
	char reason[REASON_SIZE];
	int n = 0, open = atomic_load(&s->stage) == OPEN;
	return PyBool_FromLong(open && (forked || atomic_load(&s->closed) || hostlerSocketEnd(s->number, reason, sizeof reason, &n)));
}

static PyObject *get_closed_class(PyObject *self, void *closure) {
	(void)self, (void)closure;
	return keep(closed_class);
}

static void socket_dealloc(PyObject *self) {
	struct socket *s = state(self);
	if (atomic_load(&s->stage) == OPEN && !forked) {
		if (s->number < nopen)
			open_sockets[s->number] = NULL;
		hostlerSocketDone(s->number, CODE_NORMAL); /* news is not touched from here on */
	}
	pthread_mutex_destroy(&s->lock);
	drop(&s->handle);
	drop(&s->offered);
	free_object(self, 0);
}

#define NAMED(f) (PyCFunction)(void (*)(void))f, METH_VARARGS | METH_KEYWORDS

static PyMethodDef socket_methods[] = {
	{"accept", NAMED(socket_accept), "accept(subprotocol=None, headers=()): answer the handshake"},
	{"receive", NAMED(socket_receive), "receive(timeout=None) -> str or bytes; None: there was none in that time"},
	{"send", socket_send, METH_O, "send(message): str or bytes"},
	{"close", NAMED(socket_close), "close(code=1000, reason='')"},
	{0},
};

static PyGetSetDef socket_getset[] = {
	{.name = "subprotocols", .get = get_subprotocols, .doc = "those that the client offers"},
	{.name = "closed", .get = get_closed, .doc = "whether it is"},
	{.name = "Closed", .get = get_closed_class, .doc = "what receive() and send() raise at the end"},
	{0},
};

static PyObject *socket_new(const struct task *t, PyObject *handle) {
	PyObject *self = PyType_GenericAlloc(socket_type, 0); /* zeroed */
	if (self == NULL)
		return NULL;
	struct socket *s = state(self);
	pthread_mutex_init(&s->lock, NULL);
	s->handle = keep(handle);
	if ((s->offered = websocket_offered(t)) == NULL)
		drop(&self);
	return self;
}

/* --- the connection as a socket --- */

/* take() is called when the application does something with the socket for the first time,
 * and returns the descriptor, which is the caller's. */
static PyObject *take(PyObject *handle, PyObject *args) {
	(void)args;
	char why[160];
	struct thread *th = own_request(handle);
	if (th == NULL)
		return NULL;
	if (rules_wanted && th->environ)
		tell_rule(th->index, th->environ);
	int fd = hostlerSocketTake(th->index, why, sizeof why);
	if (fd < 0)
		return PyErr_Format(PyExc_OSError, "hostler: %s", why);
	th->taken = 1;
	return PyLong_FromLong(fd);
}

static PyMethodDef take_def = {"take", take, METH_NOARGS, NULL};

static int offer_socket(PyObject *environ, PyObject *handle) {
	PyObject *f = PyCFunction_NewEx(&take_def, handle, NULL), *sock = f ? PyObject_CallFunctionObjArgs(make_socket, f, NULL) : NULL;
	int rc = sock == NULL || PyDict_SetItem(environ, k_gunicorn, sock) || PyDict_SetItem(environ, k_werkzeug, sock) ? -1 : 0;
	drop(&f);
	drop(&sock);
	return rc;
}

/* --- what the thread's loop asks --- */

int socket_offer(struct thread *th, PyObject *environ, PyObject *handle) {
	enum { OVER_HTTP2 = 2 };
	PyObject *ws = socket_new(th->task, handle);
	int rc = ws ? PyDict_SetItem(environ, k_websocket, ws) : -1;
	if (rc == 0 && th->task->req.minor != OVER_HTTP2) /* there the handshake is not the application's to answer */
		rc = offer_socket(environ, handle);
	if (rc == 0 && green) {
		PyObject *theirs = PyObject_CallFunctionObjArgs(make_green, ws, environ, NULL);
		rc = theirs ? PyDict_SetItem(environ, k_green, theirs) : -1;
		drop(&theirs);
	}
	drop(&ws);
	return rc;
}

void socket_withdraw(PyObject *environ) {
	if (green && PyDict_SetItem(environ, k_green, Py_None))
		PyErr_WriteUnraisable(environ);
}

int socket_answers(struct thread *th) {
	if (th->taken && !hostlerOwnAnswer(th->index))
		th->taken = 0;
	return th->socket != NULL || th->taken;
}

int socket_tells_end(struct thread *th) {
	if (th->socket)
		return PyErr_ExceptionMatches(closed_class);
	return th->taken && (PyErr_ExceptionMatches(PyExc_StopIteration) || PyErr_ExceptionMatches(PyExc_ConnectionError));
}

void socket_end(struct thread *th, int failed) {
	if (th->socket)
		close_with(state(th->socket), failed ? CODE_INTERNAL : CODE_NORMAL, "", 0);
	drop(&th->socket);
	th->taken = 0;
}

/* sockets(closed, make, green): the exception that says that a WebSocket is closed; make(take)
 * makes a socket; green(websocket, environ) what gevent's users find as wsgi.websocket. */
PyObject *socket_setup(PyObject *self, PyObject *args) {
	(void)self;
	if (!PyArg_ParseTuple(args, "OOO", &closed_class, &make_socket, &make_green))
		return NULL;
	Py_IncRef(closed_class); /* for the life of the process */
	Py_IncRef(make_socket);
	Py_IncRef(make_green);
	PyType_Slot slots[] = {
		{Py_tp_dealloc, socket_dealloc}, {Py_tp_iter, socket_iter}, {Py_tp_iternext, socket_next}, {Py_tp_methods, socket_methods},
		{Py_tp_getset, socket_getset}, {0},
	};
	k_websocket = PyUnicode_InternFromString("hostler.websocket");
	k_gunicorn = PyUnicode_InternFromString("gunicorn.socket");
	k_werkzeug = PyUnicode_InternFromString("werkzeug.socket");
	k_green = PyUnicode_InternFromString("wsgi.websocket");
	if (!k_websocket || !k_gunicorn || !k_werkzeug || !k_green || (head_size = object_head()) == 0)
		return NULL;
	socket_type = make_type("hostler.WebSocket", sizeof(struct socket), 0, slots);
	return socket_type ? none() : NULL;
}
