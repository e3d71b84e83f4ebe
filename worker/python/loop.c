/* What a Python thread does: wait, run requests, wait. */
#define _GNU_SOURCE
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "bridge.h"

/* When getting the GIL took longer than SLOW_GIL, someone burns CPU under it and
 * each turn costs a switch interval (5 ms). Then what else is ready is served
 * before it is given back, for at most HELD_TIME. Nanoseconds. */
enum { SLOW_GIL = 1000000, HELD_TIME = 5000000, SWITCH_INTERVAL = 5000000 };

/* Threads that wait for the GIL to run a request; how often one of them has got
 * it, a futex word; threads in give_turn. Outside the GIL, so atomic. */
static _Atomic uint32_t waiting, turns, yielding;
/* Threads that have not left; a futex word. */
static _Atomic uint32_t serving;

struct thread *threads;
int nthreads;
__thread struct thread *current;
int forked;

static PyObject *app, *report;

int64_t monotonic(void) {
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000LL + ts.tv_nsec;
}

int loop_init(PyObject *a, PyObject *r) {
	app = a;
	report = r;
	Py_IncRef(app); /* for the life of the process */
	Py_IncRef(report);
	atomic_store(&serving, (uint32_t)nthreads);
	return 0;
}

int wait_client(struct thread *th, uint32_t what) {
	if (green)
		return green_wait(th, what);
	struct pollfd p = {th->task->fd, what == NOTICE_BODY ? POLLIN : (short)th->task->room_events, 0};
	int64_t request = th->task->taken; /* th may be another's, which has the next when we are back */
	PyThreadState *ts = PyEval_SaveThread();
	int64_t since = hostlerWait(th->index, request);
	int n = poll(&p, 1, 1000);
	int interrupted = n < 0 && errno == EINTR;
	hostlerWaited(th->index, request, since); /* here: who waits for the GIL does not wait for the client */
	PyEval_RestoreThread(ts);
	if (interrupted && PyErr_CheckSignals())
		return -1;
	if (forked) {
		PyErr_SetString(PyExc_RuntimeError, "hostler: a forked child cannot go on with its parent's request");
		return -1;
	}
	return raise_pending(current);
}

void sending_wait(struct thread *th) {
	PyThreadState *ts = PyEval_SaveThread();
	while (__atomic_load_n(&th->sending, __ATOMIC_ACQUIRE))
		usleep(50);
	PyEval_RestoreThread(ts);
}

void log_exception(struct thread *th) {
	struct task *t = th->task;
	PyObject *type, *value, *tb;
	withdraw(th); /* or it would be raised in report */
	PyErr_Fetch(&type, &value, &tb);
	PyErr_NormalizeException(&type, &value, &tb);
	PyObject *method = decode(t->buf + t->req.method.off, t->req.method.len);
	PyObject *target = decode(t->buf + t->req.target.off, t->req.target.len);
	if (method && target) {
		PyObject *r = PyObject_CallFunctionObjArgs(report, method, target, type, value ? value : Py_None, tb ? tb : Py_None, NULL);
		if (r)
			Py_DecRef(r);
	}
	if (PyErr_Occurred())
		PyErr_WriteUnraisable(report);
	if (method)
		Py_DecRef(method);
	if (target)
		Py_DecRef(target);
	Py_DecRef(type);
	if (value)
		Py_DecRef(value);
	if (tb)
		Py_DecRef(tb);
}

/* What a child leaves with that does not say it (EX_SOFTWARE). */
enum { CHILD_STATUS = 70 };

/* The application forked, and its child has come back here: it has its parent's
 * connections, and no server around it. */
void leave_child(struct thread *th) {
	long code = CHILD_STATUS;
	PyObject *type, *value, *tb;
	if (PyErr_Occurred() && PyErr_ExceptionMatches(PyExc_SystemExit)) {
		PyErr_Fetch(&type, &value, &tb);
		PyErr_NormalizeException(&type, &value, &tb);
		PyObject *status = value ? PyObject_GetAttrString(value, "code") : NULL;
		code = status == NULL || status == Py_None ? 0 : PyLong_AsLong(status);
	} else if (PyErr_Occurred()) {
		log_exception(th);
	}
	_exit((int)code);
}

static PyObject *call(PyObject *environ, PyObject *sr) {
	if (PyObject_Vectorcall) {
		PyObject *args[] = {NULL, environ, sr};
		return PyObject_Vectorcall(app, args + 1, 2 | (size_t)1 << (8 * sizeof(size_t) - 1), NULL);
	}
	return PyObject_CallFunctionObjArgs(app, environ, sr, NULL);
}

/* enter_context gives a request context variables of its own: what it sets, the next
 * one on this thread does not see. A new reference, or NULL: it has the thread's. */
static PyObject *enter_context(struct thread *th) {
	PyObject *context = th->context ? PyContext_Copy(th->context) : NULL;
	if (context != NULL && PyContext_Enter(context) == 0)
		return context;
	PyErr_Clear(); /* no memory: the request need not fail for that */
	if (context)
		Py_DecRef(context);
	return NULL;
}

static void exit_context(PyObject *context) {
	if (context == NULL)
		return;
	if (PyContext_Exit(context)) /* the application has left it, or not left another */
		PyErr_Clear();
	Py_DecRef(context);
}

void run_request(struct thread *th) {
	PyObject *handle = NULL, *sr = NULL, *input = NULL, *environ = NULL, *result = NULL, *context = enter_context(th);
	th->active = ACTIVE_APP;
	th->gone = 0;
	th->timed_out = 0;
	if ((handle = handle_new(th)) && (sr = start_response_new(handle)) && (input = input_new(th)) && (environ = environ_new(th->task, input)) &&
	    (!(th->task->req.flags & FLAG_WEBSOCKET) || green || socket_offer(th, environ, handle) == 0) && ((result = call(environ, sr)) || forked)) {
		leave_if_forked(th);
		if (has_socket(th) && socket_answers(th))
			response_close(th, result);
		else
			response_send(th, result);
		leave_if_forked(th);
	}
	withdraw(th);
	int upgraded = has_socket(th) && socket_answers(th);
	if (PyErr_Occurred()) {
		if (upgraded && socket_tells_end(th)) {
			PyErr_Clear();
		} else if (th->gone && PyErr_ExceptionMatches(PyExc_BrokenPipeError)) {
			PyErr_Clear(); /* the application does not care that the client has gone */
		} else if (th->cut) {
			PyErr_Clear(); /* it has been told to end, and does */
			th->task->result |= RESULT_FAILED;
		} else {
			log_exception(th);
			th->task->result |= th->timed_out ? RESULT_FAILED | RESULT_TIMED_OUT : RESULT_FAILED;
		}
	}
	if (upgraded)
		socket_end(th, th->task->result & RESULT_FAILED);
	if (result)
		Py_DecRef(result);
	if (environ)
		Py_DecRef(environ);
	if (input)
		Py_DecRef(input);
	if (sr)
		Py_DecRef(sr);
	if (handle)
		Py_DecRef(handle);
	if (PyErr_Occurred()) /* a destructor's signal handler, at worst */
		PyErr_WriteUnraisable(app);
	exit_context(context);
	leave_if_forked(th);
	th->active = ACTIVE_NONE;
	sending_done(th); /* another thread in write() */
}

/* check_signals runs Python's signal handlers between two requests. True: one has
 * forked, and this is the child; it has the GIL. */
static int check_signals(PyThreadState **ts) {
	PyEval_RestoreThread(*ts);
	int raised = PyErr_CheckSignals() != 0;
	if (forked)
		return 1;
	if (raised) {
		if (PyErr_ExceptionMatches(PyExc_SystemExit)) {
			PyErr_Clear(); /* a handler of the application's wants an end */
			hostlerDrain();
		} else {
			PyErr_WriteUnraisable(app);
		}
	}
	*ts = PyEval_SaveThread();
	return 0;
}

/* no_server ends a child that the application has forked outside of a request, with
 * what it raised. Where it has just gone on, there is nothing to go on with. */
static int no_server(void) {
	current = NULL;
	if (PyErr_Occurred())
		return -1;
	PyObject *code = PyLong_FromLong(CHILD_STATUS), *exit = code ? PyObject_CallFunctionObjArgs(PyExc_SystemExit, code, NULL) : NULL;
	if (exit != NULL) {
		Py_IncRef(PyExc_SystemExit);
		PyErr_Restore(PyExc_SystemExit, exit, NULL);
	}
	if (code)
		Py_DecRef(code);
	return -1;
}

void drop_garbage(void) {
	uintptr_t refs[64];
	int n;
	do {
		n = hostlerGarbage(refs, 64);
		for (int i = 0; i < n; i++)
			Py_DecRef((PyObject *)refs[i]);
	} while (n == 64 && !forked);
}

/* run_with_gil takes the GIL for one request, and for what else is ready if
 * getting it was slow. */
static void run_with_gil(struct thread *th, PyThreadState **ts) {
	struct task *t = th->task;
	atomic_fetch_add(&waiting, 1);
	PyEval_RestoreThread(*ts);
	atomic_fetch_sub(&waiting, 1);
	atomic_fetch_add(&turns, 1);
	if (atomic_load(&yielding) > 0)
		syscall(SYS_futex, &turns, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
	int64_t got = t->started = monotonic();
	int slow = got - t->taken > SLOW_GIL;
	run_request(th);
	while (slow && monotonic() - got < HELD_TIME && hostlerNextHeld(th->index) == NEXT_RUN) {
		t->started = monotonic();
		run_request(th);
	}
	*ts = PyEval_SaveThread();
	t->contended = atomic_load(&waiting) > 0;
}

/* give_turn waits until a thread that waits for the GIL has it; if something else
 * holds it, no longer than a switch interval. The GIL is not held. */
static void give_turn(void) {
	struct timespec limit = {0, SWITCH_INTERVAL};
	atomic_fetch_add(&yielding, 1);
	uint32_t seen = atomic_load(&turns);
	if (atomic_load(&waiting) > 0)
		syscall(SYS_futex, &turns, FUTEX_WAIT_PRIVATE, seen, &limit, NULL, 0);
	atomic_fetch_sub(&yielding, 1);
}

int thread_loop(struct thread *th) {
	struct task *t = th->task;
	current = th;
	th->ident = PyThread_get_thread_ident();
	/* The only thread is the main one, which runs the signal handlers. A signal
	 * that comes just before epoll_wait does not interrupt it. */
	const int patience = nthreads == 1 ? 1000 : -1;
	if (forked) /* by a handler, just before */
		return no_server();
	hostlerIdentify(th->index, th->ident);
	if (th->context == NULL && (th->context = PyContext_CopyCurrent()) == NULL)
		PyErr_Clear();
	PyThreadState *ts = PyEval_SaveThread();
	for (;;) {
		switch (hostlerNext(th->index)) {
		case NEXT_RUN:
			run_with_gil(th, &ts);
			break;
		case NEXT_LEAD: {
			int n;
			while ((n = epoll_wait(t->epoll, t->events, MAX_EVENTS, patience)) == 0)
				if (check_signals(&ts))
					return no_server();
			t->polled = monotonic();
			t->nevents = n > 0 ? n : 0;
			if (n < 0 && errno == EINTR && check_signals(&ts))
				return no_server();
			break;
		}
		case NEXT_FOLLOW:
			while (atomic_load_explicit((_Atomic uint32_t *)&t->wake, memory_order_acquire) == 0)
				if (syscall(SYS_futex, &t->wake, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0) < 0 && errno == EINTR && check_signals(&ts))
					return no_server();
			break;
		case NEXT_YIELD:
			give_turn();
			break;
		case NEXT_GARBAGE:
			PyEval_RestoreThread(ts);
			drop_garbage();
			if (forked) /* in a destructor */
				return no_server();
			ts = PyEval_SaveThread();
			break;
		default:
			PyEval_RestoreThread(ts);
			current = NULL;
			if (th->context)
				Py_DecRef(th->context);
			th->context = NULL;
			if (atomic_fetch_sub(&serving, 1) == 1)
				syscall(SYS_futex, &serving, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
			return 0;
		}
	}
}

int threads_wait(void) {
	uint32_t n;
	if (forked)
		return no_server();
	while ((n = atomic_load(&serving)) > 0) {
		/* A signal that comes just before does not interrupt it. */
		struct timespec patience = {1, 0};
		PyThreadState *ts = PyEval_SaveThread();
		syscall(SYS_futex, &serving, FUTEX_WAIT_PRIVATE, n, &patience, NULL, 0);
		PyEval_RestoreThread(ts);
		if (PyErr_CheckSignals())
			return -1;
		if (forked)
			return no_server();
	}
	return 0;
}
