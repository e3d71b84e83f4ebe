/* Turns: what the event loop's thread does between two waits, and the module's functions
 * for _hostler.asgi. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "asgi.h"

/* What poll() says, as bits. */
enum { POLL_APP = 1, POLL_EXIT = 2 };
enum { APP_SET = -2, WAKE_UP = -3 }; /* in our epoll set: the application's own, and wake_fd */

struct names names;
PyObject *gone_error, *cancelled_error;
long background;
size_t head_size;

static PyObject *base_context; /* what each request's context is a copy of */
static PyObject **seats;       /* the calls that have a seat; each a reference */
static int nseats;
static PyObject *foreign_turn; /* of a loop that is not ours: has a turn of the engine's follow; NULL: the selector does */
static int in_turn, due;       /* a turn is on; such a one will come */
static int hurry;  /* the last turn has not done all there was to do */
static int exited; /* the engine has no more turns for us */
static int wake_fd = -1;
static _Atomic int waits, woken; /* poll() waits, or is about to; it need not, there are callbacks */

int on_loop(void) {
	if (current == &threads[0] && !forked)
		return 1;
	PyErr_SetString(PyExc_RuntimeError, forked ? "hostler: a forked child cannot go on with its parent's request"
	                                           : "hostler: receive and send belong to the event loop's thread (loop.call_soon_threadsafe)");
	return 0;
}

/* --- objects --- */

PyTypeObject *make_type(const char *name, size_t size, unsigned flags, PyType_Slot *slots) {
	PyType_Spec spec = {name, (int)(head_size + size), 0, Py_TPFLAGS_DEFAULT | flags, NULL};
	PyType_Slot all[16]; /* without those that this Python does not know */
	int n = 0;
	for (; slots->pfunc; slots++)
		if (slots->slot)
			all[n++] = *slots;
	all[n] = (PyType_Slot){0, NULL};
	spec.slots = all;
	return (PyTypeObject *)PyType_FromSpec(&spec);
}

void free_object(PyObject *self, int gc) {
	PyObject *type = PyObject_Type(self); /* new reference */
	if (gc)
		PyObject_GC_Del(self);
	else
		PyObject_Free(self);
	Py_DecRef(type); /* PyObject_Type's */
	Py_DecRef(type); /* the instance's */
}

/* An instance has a reference to its type since 3.8, and is to show it since 3.9. */
static int shows_type;

int visit_type(PyObject *self, visitproc visit, void *arg) { return shows_type ? visit((PyObject *)type_of(self), arg) : 0; }

void raise_given(PyObject *args) {
	PyObject *type = NULL, *value = NULL, *tb = NULL;
	if (!PyArg_ParseTuple(args, "O|OO", &type, &value, &tb))
		return;
	if (is_a(type, (PyTypeObject *)PyExc_BaseException))
		PyErr_SetObject((PyObject *)type_of(type), type);
	else
		PyErr_SetObject(type, value == Py_None ? NULL : value);
}

/* --- seats --- */

static int seat_take(int seat, PyObject *call) {
	if (seat >= nseats) {
		int n = seat + 64;
		PyObject **more = realloc(seats, (size_t)n * sizeof *more);
		if (more == NULL)
			return -1;
		memset(more + nseats, 0, (size_t)(n - nseats) * sizeof *more);
		seats = more;
		nseats = n;
	}
	seats[seat] = keep(call);
	return 0;
}

void seat_leave(struct call *c) {
	if (!c->over)
		background_add(c);
	drop(&seats[c->seat]);
}

/* --- turns --- */

/* run calls the application for the request that a seat has. */
static void run(int seat) {
	struct task *t = hostlerTask(seat);
	PyObject *call = call_new(seat, t), *task = NULL;
	t->started = monotonic();
	if (call == NULL || seat_take(seat, call)) {
		PyErr_Clear();
		t->result |= RESULT_FAILED;
		hostlerFinish(seat);
		drop(&call);
		return;
	}
	struct call *c = call_of(call);
	c->since = t->started;
	if (t->req.flags & FLAG_WEBSOCKET)
		c->websocket = c->asked_body = c->body_over = 1;
	if ((c->scope = scope_new(t)) != NULL)
		task = first_step(call);
	if (forked)
		leave_child(&threads[0]);
	if (task == NULL && !c->over)
		call_fail(call);
	else if (PyErr_Occurred())
		PyErr_WriteUnraisable(call);
	if (!c->over)
		c->task = keep(task);
	drop(&task);
	Py_DecRef(call);
}

static void notice(uint32_t seat, uint32_t what) {
	if (seat & SOCKET_SEAT) {
		PyObject *call = websocket_call(seat & ~(uint32_t)SOCKET_SEAT);
		if (call)
			call_notice(call, what);
	} else if ((int)seat < nseats && seats[seat])
		call_notice(seats[seat], what);
}

/* enter_base enters the context that those of requests are copies of. A loop that is run inside
 * one of its steps (nest_asyncio) is in that already, and has a copy. A reference; NULL: it is in none. */
static PyObject *enter_base(void) {
	PyObject *context = in_turn ? PyContext_Copy(base_context) : keep(base_context);
	if (context == NULL || PyContext_Enter(context)) {
		PyErr_Clear();
		drop(&context);
	}
	return context;
}

/* turns has all done that is ready. It returns the engine's last word. */
static int turns(int polled) {
	PyObject *context = enter_base();
	int rc, within = in_turn;
	in_turn = 1;
	for (;; polled = 0) {
		uint32_t seat = 0, what = 0;
		rc = hostlerTurn(polled, &seat, &what);
		if (rc == TURN_RUN)
			run((int)seat);
		else if (rc == TURN_NOTICE)
			notice(seat, what);
		else if (rc == TURN_GARBAGE)
			drop_garbage();
		else
			break;
		if (forked) /* a destructor's child */
			leave_child(&threads[0]);
	}
	in_turn = within;
	if (context && PyContext_Exit(context))
		PyErr_Clear();
	drop(&context);
	hurry = rc == TURN_MORE;
	exited = rc == TURN_EXIT;
	return rc;
}

void turn_due(void) {
	if (foreign_turn == NULL || in_turn || due || exited)
		return;
	due = 1;
	PyObject *r = PyObject_CallMethodObjArgs(the_loop, names.call_soon, foreign_turn, NULL);
	if (r == NULL)
		PyErr_WriteUnraisable(the_loop);
	drop(&r);
}

/* sort takes out of the events what is not the engine's. True: the application's own set
 * was among them. */
static int sort(struct task *t, int n) {
	int app = 0, k = 0;
	for (int i = 0; i < n; i++)
		if (t->events[i].data.fd == APP_SET)
			app = 1;
		else if (t->events[i].data.fd != WAKE_UP)
			t->events[k++] = t->events[i];
	t->nevents = k;
	return app;
}

/* poll(seconds): wait, at most so long (None: for ever), and do what is ready. */
PyObject *asgi_poll(PyObject *self, PyObject *arg) {
	(void)self;
	double s = arg == Py_None ? -1 : PyFloat_AsDouble(arg);
	if (s == -1 && PyErr_Occurred())
		return NULL;
	if (!on_loop())
		return NULL;
	if (exited)
		return PyLong_FromLong(POLL_APP | POLL_EXIT);
	int ms = s < 0 ? -1 : s > 86400 ? 86400000 : (int)(s * 1000 + 0.999999);
	if (hurry)
		ms = 0;
	struct task *t = threads[0].task;
	hostlerFlush(ms != 0);
	atomic_store(&waits, ms != 0);
	if (atomic_load(&woken)) /* after waits, as wake() looks at that after it has said so */
		ms = 0;
	PyThreadState *ts = PyEval_SaveThread(); /* at timeout 0, too: other threads of the application's wait for it */
	int n = epoll_wait(t->epoll, t->events, MAX_EVENTS, ms), e = errno;
	PyEval_RestoreThread(ts);
	atomic_store(&waits, 0);
	atomic_store(&woken, 0); /* whose callback that was has it in the loop's list, which comes next */
	if (n < 0 && e == EINTR && PyErr_CheckSignals())
		return NULL;
	t->polled = monotonic();
	int app = sort(t, n < 0 ? 0 : n);
	int rc = turns(1);
	return PyLong_FromLong((app ? POLL_APP : 0) | (rc == TURN_EXIT ? POLL_EXIT : 0));
}

/* turn(): a loop that is not ours says that our set is readable. */
PyObject *asgi_turn(PyObject *self, PyObject *args) {
	(void)self, (void)args;
	if (!on_loop())
		return NULL;
	due = 0;
	int rc = exited ? TURN_EXIT : turns(0);
	hostlerFlush(rc != TURN_MORE);
	return PyLong_FromLong((rc == TURN_MORE ? POLL_APP : 0) | (rc == TURN_EXIT ? POLL_EXIT : 0));
}

/* wake(): poll() is to return, for a callback that any thread has given to the loop. Only
 * where it waits does that take a system call. */
PyObject *asgi_wake(PyObject *self, PyObject *args) {
	(void)self, (void)args;
	static const uint64_t one = 1;
	atomic_store(&woken, 1);
	if (atomic_exchange(&waits, 0) && !forked && write(wake_fd, &one, sizeof one) < 0 && errno != EAGAIN)
		return PyErr_SetFromErrno(PyExc_OSError);
	return none();
}

/* watch(fd): the application's epoll set is in ours from here on, and poll() heeds wake(). */
PyObject *asgi_watch(PyObject *self, PyObject *arg) {
	(void)self;
	long fd = PyLong_AsLong(arg);
	int epoll = threads[0].task->epoll;
	struct epoll_event app = {EPOLLIN, {.fd = APP_SET}}, wake = {EPOLLIN | EPOLLET, {.fd = WAKE_UP}}; /* which nobody reads */
	if (PyErr_Occurred())
		return NULL;
	wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK); /* for the life of the process */
	if (wake_fd < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, wake_fd, &wake) || epoll_ctl(epoll, EPOLL_CTL_ADD, (int)fd, &app))
		return PyErr_SetFromErrno(PyExc_OSError);
	hostler_owns(wake_fd);
	return none();
}

/* asynchronous(): this worker's requests are run by an event loop, this thread's. */
PyObject *asgi_asynchronous(PyObject *self, PyObject *args) {
	(void)self, (void)args;
	hostlerAsync();
	nthreads = 1;
	current = &threads[0];
	threads[0].ident = PyThread_get_thread_ident();
	hostlerIdentify(0, threads[0].ident);
	return none();
}

/* epoll(turn): the descriptor of the engine's epoll set, for a loop that is not ours; turn
 * has turn() called. */
PyObject *asgi_epoll(PyObject *self, PyObject *turn) {
	(void)self;
	foreign_turn = keep(turn); /* for the life of the process */
	hostlerForeign();
	return PyLong_FromLong(threads[0].task->epoll);
}

/* grace_left(): how many seconds the worker still has to leave in. */
PyObject *asgi_grace_left(PyObject *self, PyObject *args) {
	(void)self, (void)args;
	return PyFloat_FromDouble(forked ? 0 : (double)hostlerGraceLeft() / 1e9);
}

/* leaving(): has the master told this worker to leave? */
PyObject *asgi_leaving(PyObject *self, PyObject *args) {
	(void)self, (void)args;
	return PyLong_FromLong(forked ? 0 : hostlerLeaving());
}

/* unfinished(): how many calls go on whose responses are over. */
PyObject *asgi_unfinished(PyObject *self, PyObject *args) {
	(void)self, (void)args;
	return PyLong_FromLong(background);
}

static int names_init(void) {
	static const struct { PyObject **at; const char *text; } all[] = {
		{&names.type, "type"}, {&names.status, "status"}, {&names.headers, "headers"}, {&names.body, "body"}, {&names.more_body, "more_body"},
		{&names.links, "links"}, {&names.path, "path"}, {&names.trailers, "trailers"}, {&names.more_trailers, "more_trailers"},
		{&names.file, "file"}, {&names.offset, "offset"}, {&names.count, "count"}, {&names.method, "method"}, {&names.raw_path, "raw_path"}, {&names.root_path, "root_path"},
		{&names.query_string, "query_string"}, {&names.http_version, "http_version"}, {&names.scheme, "scheme"}, {&names.client, "client"},
		{&names.asgi, "asgi"}, {&names.extensions, "extensions"}, {&names.state, "state"}, {&names.tls, "tls"}, {&names.tls_version, "tls_version"},
		{&names.cipher_suite, "cipher_suite"}, {&names.client_cert_name, "client_cert_name"}, {&names.client_cert_chain, "client_cert_chain"},
		{&names.loop, "loop"}, {&names.name, "name"}, {&names.eager_start, "eager_start"}, {&names.context, "context"}, {&names.call_soon, "call_soon"},
		{&names.create_task, "create_task"}, {&names.get_task_factory, "get_task_factory"}, {&names.send, "send"}, {&names.throw_, "throw"},
		{&names.close, "close"}, {&names.cancel, "cancel"}, {&names.await, "__await__"}, {&names.request, "http.request"},
		{&names.disconnect, "http.disconnect"}, {&names.v10, "1.0"}, {&names.v2, "2"}, {&names.http, "http"}, {&names.https, "https"},
		{&names.task_name, "hostler-request"},
	};
	for (size_t i = 0; i < sizeof all / sizeof *all; i++)
		if ((*all[i].at = PyUnicode_InternFromString(all[i].text)) == NULL)
			return -1;
	return (names.empty = PyBytes_FromStringAndSize("", 0)) ? 0 : -1;
}

/* asgi(app, loop, task_type, eager, context, bases, state, ciphers, phrases, report, errors, copied): all that
 * the C side has to know; errors is (ClientDisconnected, CancelledError, function that
 * says whether an exception is no more than the former). */
PyObject *asgi_init(PyObject *self, PyObject *args) {
	(void)self;
	PyObject *app, *task_type, *bases, *state, *ciphers, *phrases, *report, *is_gone, *copied;
	int eager;
	const char *version = Py_GetVersion();
	if (!PyArg_ParseTuple(args, "OOOiOOOOOO(OOO)O", &app, &the_loop, &task_type, &eager, &base_context, &bases, &state, &ciphers, &phrases, &report,
	                      &gone_error, &cancelled_error, &is_gone, &copied))
		return NULL;
	Py_IncRef(the_loop); /* for the life of the process */
	Py_IncRef(base_context);
	Py_IncRef(gone_error);
	Py_IncRef(cancelled_error);
	shows_type = strncmp(version, "3.8.", 4) != 0;
	if ((head_size = object_head()) == 0 || names_init() || call_init(app, report, is_gone) || pending_init() || receive_init() || reply_init(phrases) ||
	    scope_init(bases, state, ciphers) || step_init(task_type, eager) || files_init(copied) || websocket_init())
		return PyErr_Occurred() ? NULL : PyErr_NoMemory();
	return none();
}
