/* --loop gevent: WSGI requests in greenlets of gevent's hub, on this process's only Python
 * thread.
 *
 * The hub's loop watches the engine's epoll set, and has turns (green_turn) when there is
 * something in it. Each request has a seat of the engine's, and a greenlet, which is made
 * and switched to in the turn that brings the request. The code that serves threads serves
 * greenlets: what waits for a client there switches to the hub here (green_wait), until a
 * notice comes for the seat.
 *
 * Switching is like a call that comes back late: greenlet keeps the stack between the hub
 * and here for as long as others run, so nothing on it may be pointed to from elsewhere.
 * What other greenlets look at lies on the heap.
 *
 * All of it is called with the GIL held. The trace function, too: it has the engine know
 * which request the thread is at. */
#include <stdlib.h>
#include <string.h>

#include "asgi.h"

/* A greenlet that waits for the client of a request, its own, or one that reads its body
 * or writes its response for it; or for news of a WebSocket. */
struct wait {
	struct wait *next;
	struct wait **list;  /* where it is; NULL: the request is over */
	PyObject *greenlet, *soon; /* what has the hub switch to it; NULL: nothing does */
	PyObject *timer;           /* likewise, when its time is up */
	uint32_t what, have;       /* notices */
};

enum { WAIT_ENDED = 1 << 30 }; /* in have */

static struct thread **rest; /* of the seats: those but the first, which is threads[0] */
static int nrest;
static int traced_seat = NO_SEAT; /* which request runs, as the engine knows it */
static long ncut; /* how many requests have been told to end */

/* From _hostler.green, for the life of the process. */
static PyObject *make_greenlet, *current_greenlet, *to_hub, *soon, *after, *exit_class, *timeout_class, *previous_trace;
static PyTypeObject *greenlet_type;
static PyObject *s_switch, *s_throw, *s_close, *s_seat;

static int on_hub_thread(void) {
	if (!forked && PyThread_get_thread_ident() == threads[0].ident)
		return 1;
	PyErr_SetString(PyExc_RuntimeError, forked ? "hostler: a forked child cannot go on with its parent's request"
	                                           : "hostler: with --loop gevent a request belongs to the thread of the hub that runs it");
	return 0;
}

/* --- seats --- */

static struct thread *green_seat(int i) { return i > 0 && i <= nrest ? rest[i - 1] : NULL; }

static struct thread *seat_thread(int i) {
	if (i == 0)
		return &threads[0];
	if (i > nrest) {
		int n = i + 63;
		struct thread **more = realloc(rest, (size_t)n * sizeof *more);
		if (more == NULL)
			return NULL;
		memset(more + nrest, 0, (size_t)(n - nrest) * sizeof *more);
		rest = more;
		nrest = n;
	}
	struct thread *th = rest[i - 1];
	if (th == NULL && (th = rest[i - 1] = calloc(1, sizeof *th)) != NULL) {
		th->index = i;
		th->task = hostlerTask(i);
		th->ident = threads[0].ident;
		th->context = threads[0].context;
	}
	return th;
}

/* seat_of returns the number that a greenlet of ours has, else NO_SEAT. */
static int seat_of(PyObject *g) {
	if (type_of(g) != greenlet_type)
		return NO_SEAT;
	PyObject *n = PyObject_GetAttr(g, s_seat);
	long i = n ? PyLong_AsLong(n) : NO_SEAT;
	drop(&n);
	if (PyErr_Occurred())
		PyErr_Clear();
	struct thread *th = i == NO_SEAT ? NULL : thread_at((int)i);
	return th != NULL && th->greenlet == g ? (int)i : NO_SEAT;
}

static struct thread *green_running(void) {
	if (forked || PyThread_get_thread_ident() != threads[0].ident)
		return NULL;
	PyObject *g = PyObject_CallObject(current_greenlet, NULL);
	int i = g ? seat_of(g) : NO_SEAT;
	drop(&g);
	return i == NO_SEAT ? NULL : thread_at(i);
}

static struct thread *green_at(void) { return traced_seat == NO_SEAT ? NULL : thread_at(traced_seat); }

/* step says which request the thread is at from here on. What is to be raised in the one
 * before is not raised in another: it gets a notice instead. */
static void step(int seat) {
	struct thread *th = green_at();
	traced_seat = seat;
	if (th != NULL) {
		th->step = 0;
		take_back(th);
	}
	if (seat != NO_SEAT)
		thread_at(seat)->step = hostlerStep(seat);
	else if (th != NULL)
		hostlerStepped();
}

/* --- waiting --- */

/* later has the hub switch to who waits. */
static void later(struct wait *w) {
	if ((w->soon = PyObject_CallFunctionObjArgs(soon, w->greenlet, NULL)) == NULL)
		PyErr_WriteUnraisable(w->greenlet);
}

/* call_off keeps the hub from switching to who waits. */
static void call_off(struct wait *w, PyObject **switcher) {
	PyObject *r = *switcher && !forked ? PyObject_CallMethodObjArgs(*switcher, s_close, NULL) : NULL;
	if (r == NULL && PyErr_Occurred())
		PyErr_WriteUnraisable(w->greenlet);
	drop(&r);
	drop(switcher);
}

/* forget frees a wait. Something else may have ended it than what later() has put off: that
 * must not find the greenlet where it waits for something of the application's. It keeps an
 * exception that is set. */
static void forget(struct wait *w) {
	PyObject *type, *value, *tb;
	PyErr_Fetch(&type, &value, &tb);
	call_off(w, &w->soon);
	call_off(w, &w->timer);
	PyErr_Restore(type, value, tb);
	Py_DecRef(w->greenlet);
	free(w);
}

/* ask has the engine know what is waited for, and has those go on that need not wait. w is
 * the caller's, who looks himself. */
static void ask(struct thread *th, const struct wait *caller) {
	uint32_t what = 0;
	for (struct wait *w = th->waits; w; w = w->next)
		if (!w->have)
			what |= w->what;
	uint32_t have = hostlerAwait(th->index, what);
	for (struct wait *w = th->waits; have && w; w = w->next)
		if (!w->have && (w->have = w->what & have) && w != caller)
			later(w);
}

/* link_wait has the caller wait among others; NULL: an exception is set. */
static struct wait *link_wait(struct wait **list, uint32_t what) {
	if (!on_hub_thread())
		return NULL;
	struct wait *w = calloc(1, sizeof *w), **at = list;
	if (w == NULL || (w->greenlet = PyObject_CallObject(current_greenlet, NULL)) == NULL) {
		free(w);
		if (!PyErr_Occurred())
			PyErr_NoMemory();
		return NULL;
	}
	w->what = what;
	w->list = list;
	while (*at)
		at = &(*at)->next;
	*at = w;
	return w;
}

static void unlink_wait(struct wait *w) {
	for (struct wait **at = w->list; *at; at = &(*at)->next)
		if (*at == w) {
			*at = w->next;
			return;
		}
}

/* leave_to_hub lets others run, until somebody switches to the caller. */
static int leave_to_hub(void) {
	PyObject *r = PyObject_CallObject(to_hub, NULL);
	int rc = r == NULL || forked ? -1 : 0;
	drop(&r);
	return rc;
}

static int green_wait(struct thread *th, uint32_t what) {
	struct wait *w = link_wait(&th->waits, what);
	if (w == NULL)
		return -1;
	ask(th, w);
	int rc = 0;
	while (rc == 0 && w->have == 0) /* others may switch to us, too */
		rc = leave_to_hub();
	if (w->list != NULL) {
		unlink_wait(w);
		if (!forked && (w->have == 0 || th->waits != NULL)) {
			PyObject *type, *value, *tb;
			PyErr_Fetch(&type, &value, &tb);
			ask(th, NULL);
			PyErr_Restore(type, value, tb);
		}
	}
	forget(w);
	if (forked && !PyErr_Occurred())
		on_hub_thread();
	return rc;
}

static int green_pause(struct wait **list, int64_t until) {
	struct wait *w = link_wait(list, ~0u);
	if (w == NULL)
		return -1;
	int rc = 0;
	if (until) {
		PyObject *seconds = PyFloat_FromDouble((double)(until - monotonic()) / 1e9);
		if (seconds == NULL || (w->timer = PyObject_CallFunctionObjArgs(after, w->greenlet, seconds, NULL)) == NULL)
			rc = -1;
		drop(&seconds);
	}
	if (rc == 0)
		rc = leave_to_hub();
	unlink_wait(w);
	forget(w);
	if (forked && !PyErr_Occurred())
		on_hub_thread();
	return rc;
}


/* end_waits lets those go on that wait for the client of a request that is over. */
static void end_waits(struct thread *th) {
	struct wait *w;
	while ((w = th->waits) != NULL) {
		th->waits = w->next;
		w->list = NULL;
		if (!w->have) {
			w->have = WAIT_ENDED;
			later(w);
		}
	}
}

/* --- turns --- */

static void send_into(PyObject *g, PyObject *how, PyObject *arg) {
	PyObject *r = PyObject_CallMethodObjArgs(g, how, arg, NULL);
	if (r == NULL)
		PyErr_WriteUnraisable(g);
	drop(&r);
}

/* begin calls the application for the request that a seat has, in a greenlet of its own. */
static void begin(int seat) {
	struct thread *th = seat_thread(seat);
	struct task *t = hostlerTask(seat);
	PyObject *n = th ? PyLong_FromLong(seat) : NULL, *g = n ? PyObject_CallFunctionObjArgs(make_greenlet, n, NULL) : NULL;
	t->started = monotonic();
	drop(&n);
	if (g == NULL) {
		if (PyErr_Occurred())
			PyErr_WriteUnraisable(make_greenlet);
		t->result |= RESULT_FAILED;
		hostlerFinish(seat);
		return;
	}
	th->greenlet = keep(g);
	send_into(g, s_switch, NULL);
	Py_DecRef(g);
}

/* wake has those of a list go on that wait for some of what. */
static void wake(struct wait *w, uint32_t what) {
	PyObject *first = NULL;
	for (; w; w = w->next)
		if (!w->have && (w->have = w->what & what)) {
			if (first == NULL)
				first = keep(w->greenlet);
			else
				later(w);
		}
	if (first != NULL) /* which may wait again, for another notice */
		send_into(first, s_switch, NULL);
	drop(&first);
}

static void green_resume(struct wait **list) { wake(*list, ~0u); }

static const struct green greenlets = {green_seat, green_running, green_at, green_wait, on_hub_thread, green_pause, green_resume};

static void notice(int seat, uint32_t what) {
	if (seat & SOCKET_SEAT) {
		socket_notice((uint32_t)seat & ~(uint32_t)SOCKET_SEAT);
		return;
	}
	struct thread *th = thread_at(seat);
	if (th == NULL || th->greenlet == NULL)
		return;
	PyObject *g = keep(th->greenlet);
	if (what & NOTICE_SLOW)
		take_slow(seat, g);
	wake(th->waits, what);
	if (th->greenlet == g && th->active == ACTIVE_APP && what & (NOTICE_TIMEOUT | NOTICE_LEAVE)) {
		if (what & NOTICE_TIMEOUT)
			th->timed_out = 1;
		else
			th->cut = 1, ncut++;
		send_into(g, s_throw, what & NOTICE_TIMEOUT ? timeout_class : exit_class);
	}
	Py_DecRef(g);
}

/* cut(): how many requests have been told to end, for the worker leaves. */
PyObject *green_cut(PyObject *self, PyObject *args) {
	(void)self, (void)args;
	return PyLong_FromLong(ncut);
}

/* name(greenlet): what its request asks for; "": it is over. */
PyObject *green_name(PyObject *self, PyObject *g) {
	(void)self;
	int seat = seat_of(g);
	struct task *t = seat == NO_SEAT || forked ? NULL : thread_at(seat)->task;
	PyObject *method = decode(t ? t->buf + t->req.method.off : "", t ? t->req.method.len : 0);
	PyObject *target = decode(t ? t->buf + t->req.target.off : "", t ? t->req.target.len : 0);
	PyObject *text = method && target ? PyUnicode_FromFormat(t ? "%U %U" : "%U%U", method, target) : NULL;
	drop(&method);
	drop(&target);
	return text;
}

enum { TURN_AGAIN = 1, TURN_OVER = 2 }; /* what turn() says */

/* turn(): do what there is to do. */
PyObject *green_turn(PyObject *self, PyObject *args) {
	(void)self, (void)args;
	if (!on_hub_thread())
		return NULL;
	int rc;
	uint32_t seat, what;
	while ((rc = hostlerTurn(0, &seat, &what)) != TURN_IDLE && rc != TURN_MORE && rc != TURN_EXIT) {
		if (rc == TURN_RUN)
			begin((int)seat);
		else if (rc == TURN_NOTICE)
			notice((int)seat, what);
		else if (rc == TURN_GARBAGE)
			drop_garbage();
		if (forked)
			return PyErr_Occurred() ? NULL : none();
	}
	return PyLong_FromLong(rc == TURN_MORE ? TURN_AGAIN : rc == TURN_EXIT ? TURN_OVER : 0);
}

/* away(): the loop has come back from where it waits. */
PyObject *green_away(PyObject *self, PyObject *args) {
	(void)self, (void)args;
	if (!forked)
		hostlerAway();
	return none();
}

/* rest(): it is about to wait. */
PyObject *green_rest(PyObject *self, PyObject *args) {
	(void)self, (void)args;
	if (!forked)
		hostlerFlush(1);
	return none();
}

/* request(seat): in its greenlet, from begin to end. */
PyObject *green_request(PyObject *self, PyObject *arg) {
	(void)self;
	long i = PyLong_AsLong(arg);
	struct thread *th = i < 0 || !on_hub_thread() ? NULL : thread_at((int)i);
	if (th == NULL || th->active || th->greenlet == NULL)
		return PyErr_Occurred() ? NULL : PyErr_Format(PyExc_RuntimeError, "hostler: there is no such request");
	th->cut = 0;
	run_request(th);
	end_waits(th);
	PyObject *g = th->greenlet;
	th->greenlet = NULL;
	if (traced_seat == i)
		step(NO_SEAT);
	hostlerFinish((int)i);
	Py_DecRef(g);
	return none();
}

/* --- what the thread is at --- */

/* trace(event, (origin, target)): greenlet's trace function. */
static PyObject *trace(PyObject *self, PyObject *args) {
	(void)self;
	PyObject *event, *pair, *target;
	if (!PyArg_ParseTuple(args, "OO", &event, &pair))
		return NULL;
	if (!forked && is_a(pair, &PyTuple_Type) && PyTuple_Size(pair) == 2 && (target = PyTuple_GetItem(pair, 1)) != NULL)
		step(seat_of(target));
	if (previous_trace == NULL || previous_trace == Py_None)
		return none();
	return PyObject_CallObject(previous_trace, args);
}

static PyMethodDef trace_def = {"trace", trace, METH_VARARGS, NULL};

/* --- the beginning --- */

/* green(greenlet type, getcurrent, hub.switch, soon, after, GreenletExit, RequestTimeout,
 * settrace): this worker's requests run in greenlets, on this thread. It returns the engine's
 * epoll set; soon(greenlet) has the hub switch to one, after(greenlet, seconds) later, unless
 * what they return is closed. */
PyObject *green_init(PyObject *self, PyObject *args) {
	(void)self;
	PyObject *settrace;
	if (!PyArg_ParseTuple(args, "OOOOOOOO", &make_greenlet, &current_greenlet, &to_hub, &soon, &after, &exit_class, &timeout_class, &settrace))
		return NULL;
	PyObject *all[] = {make_greenlet, current_greenlet, to_hub, soon, after, exit_class, timeout_class};
	for (size_t i = 0; i < sizeof all / sizeof *all; i++)
		Py_IncRef(all[i]);
	greenlet_type = (PyTypeObject *)make_greenlet;
	s_switch = PyUnicode_InternFromString("switch");
	s_throw = PyUnicode_InternFromString("throw");
	s_close = PyUnicode_InternFromString("close");
	s_seat = PyUnicode_InternFromString("seat");
	if (!s_switch || !s_throw || !s_close || !s_seat)
		return NULL;
	hostlerGreen();
	green = &greenlets;
	nthreads = 1;
	threads[0].body = NULL; /* others may run between a response and its end */
	threads[0].ident = PyThread_get_thread_ident();
	hostlerIdentify(0, threads[0].ident);
	if ((threads[0].context = PyContext_CopyCurrent()) == NULL)
		PyErr_Clear();
	PyObject *f = PyCFunction_NewEx(&trace_def, NULL, NULL);
	if (f == NULL || (previous_trace = PyObject_CallFunctionObjArgs(settrace, f, NULL)) == NULL)
		return NULL;
	Py_DecRef(f);
	return PyLong_FromLong(threads[0].task->epoll);
}
