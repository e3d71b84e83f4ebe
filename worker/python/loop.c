/* What a Python thread does: wait, run requests, wait. */
#define _GNU_SOURCE
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "bridge.h"

/* When getting the GIL took longer than SLOW_GIL, someone burns CPU under it and
 * each handing over costs a switch interval (5 ms). Then what else is ready is served
 * before it is given back, for at most HELD_TIME. Nanoseconds. */
enum { SLOW_GIL = 1000000, HELD_TIME = 5000000, SWITCH_INTERVAL = 5000000 };

/* Threads that wait for the GIL to run a request; how often one of them has got
 * it, a futex word; threads in give_way. Outside the GIL, so atomic. */
static _Atomic uint32_t waiting, handed, yielding;
/* Threads that have not left; a futex word. */
static _Atomic uint32_t serving;

static PyObject *app;

int loop_init(PyObject *a) {
	app = a;
	Py_IncRef(app); /* for the life of the process */
	atomic_store(&serving, (uint32_t)nthreads);
	return 0;
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

int gil_contended(void) { return atomic_load_explicit(&waiting, memory_order_relaxed) > 0; }

/* run_with_gil takes the GIL for one request, and for what else is ready if
 * getting it was slow. */
static void run_with_gil(struct thread *th, PyThreadState **ts) {
	struct task *t = th->task;
	atomic_fetch_add(&waiting, 1);
	PyEval_RestoreThread(*ts);
	atomic_fetch_sub(&waiting, 1);
	atomic_fetch_add(&handed, 1);
	if (atomic_load(&yielding) > 0)
		syscall(SYS_futex, &handed, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
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

/* give_way waits until a thread that waits for the GIL has it; if something else
 * holds it, no longer than a switch interval. The GIL is not held. */
static void give_way(void) {
	struct timespec limit = {0, SWITCH_INTERVAL};
	atomic_fetch_add(&yielding, 1);
	uint32_t seen = atomic_load(&handed);
	if (atomic_load(&waiting) > 0)
		syscall(SYS_futex, &handed, FUTEX_WAIT_PRIVATE, seen, &limit, NULL, 0);
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
			give_way();
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
