/* What receive() returns, and send() where it has to wait: an awaitable that looks for
 * what it is for when it is awaited, and not before. While a Task waits for it, it is a
 * future in the Task's eyes; when its time has come the Task is stepped at once, and
 * without a turn of the loop. It is no future for anybody else (isfuture), so that
 * ensure_future, gather and wait make a Task of it, as of any coroutine. */
#include "asgi.h"

enum { NEW = 0, WAITING, WOKEN, CANCELLED, OVER };

struct pending {
	struct pending *next, *prev; /* of those that wait in the call */
	PyObject *call;              /* not OVER */
	PyObject *value;             /* WOKEN: what it returns; NULL: the client has gone. CANCELLED: what cancel() was given */
	PyObject *wakeup, *context;  /* the Task's */
	char kind, state;
	char blocking; /* it has just been given to the Task */
	char room;     /* there is some */
};

static PyTypeObject *pending_type, *done_type;
static PyObject *done; /* one for all */

static struct pending *state(PyObject *self) { return (struct pending *)(void *)((char *)self + head_size); }

static PyObject *object_of(struct pending *p) { return (PyObject *)(void *)((char *)p - head_size); }

/* --- the list of those that wait --- */

static void link_in(struct call *c, struct pending *p) {
	Py_IncRef(object_of(p));
	p->state = WAITING;
	p->prev = c->last;
	p->next = NULL;
	if (c->last)
		c->last->next = p;
	else
		c->first = p;
	c->last = p;
}

/* link_out gives the caller the list's reference. */
static PyObject *link_out(struct call *c, struct pending *p) {
	if (p->prev)
		p->prev->next = p->next;
	else
		c->first = p->next;
	if (p->next)
		p->next->prev = p->prev;
	else
		c->last = p->prev;
	p->next = p->prev = NULL;
	return object_of(p);
}

int pending_listens(struct call *c) {
	struct pending *p = c->first;
	while (p && p->kind != WAITS_RECEIVE)
		p = p->next;
	return p != NULL;
}

int pending_ask(struct call *c, uint32_t *have) {
	uint32_t want = 0;
	int accepted = c->accepted && !c->over; /* of a WebSocket the end is a message */
	*have = 0;
	for (struct pending *p = c->first; p; p = p->next)
		if (accepted)
			want |= p->kind == WAITS_ROOM ? NOTICE_ROOM : NOTICE_BODY;
		else
			want |= p->kind == WAITS_ROOM ? NOTICE_ROOM : c->body_over ? NOTICE_GONE : NOTICE_BODY;
	if ((c->seat == NO_SEAT && !accepted) || want == c->asked)
		return 0;
	*have = accepted ? websocket_await(c, want) : hostlerAwait(c->seat, want);
	c->asked = want & ~*have;
	if (*have & NOTICE_GONE)
		c->gone = 1;
	return *have != 0;
}

/* is_time says whether p need not wait: 1, 0, or -1 with an exception. */
static int is_time(struct call *c, struct pending *p) {
	if (p->kind == WAITS_RECEIVE)
		return receive_now(c, &p->value);
	if (!p->room && !c->gone && (c->seat != NO_SEAT || (c->accepted && !c->over)))
		return 0;
	p->value = p->room ? none() : NULL;
	return 1;
}

/* --- waking --- */

/* later has the Task woken in a turn of the loop's own. */
static void later(PyObject *self) {
	struct pending *p = state(self);
	PyObject *wakeup = p->wakeup, *context = p->context, *kw = NULL, *args = NULL, *f = NULL, *r = NULL;
	p->wakeup = p->context = NULL;
	if (wakeup == NULL)
		return;
	args = PyTuple_Pack(2, wakeup, self);
	if (args && (kw = PyDict_New()) && (!context || PyDict_SetItem(kw, names.context, context) == 0) &&
	    (f = PyObject_GetAttr(the_loop, names.call_soon)))
		r = PyObject_Call(f, args, kw);
	if (r == NULL)
		PyErr_WriteUnraisable(the_loop);
	drop(&r);
	drop(&f);
	drop(&args);
	drop(&kw);
	drop(&wakeup);
	drop(&context);
}

/* at_once steps the Task. Nobody else is being stepped. */
static void at_once(PyObject *self) {
	struct pending *p = state(self);
	PyObject *wakeup = p->wakeup, *context = p->context;
	if (wakeup == NULL)
		return;
	if (context && PyContext_Enter(context)) {
		PyErr_Clear();
		later(self);
		return;
	}
	p->wakeup = p->context = NULL;
	PyObject *r = PyObject_CallFunctionObjArgs(wakeup, self, NULL);
	if (forked)
		leave_child(&threads[0]);
	if (r == NULL)
		PyErr_WriteUnraisable(wakeup); /* SystemExit and its like, of a Task of the application's own */
	drop(&r);
	if (context && PyContext_Exit(context))
		PyErr_Clear();
	drop(&context);
	drop(&wakeup);
}

/* next_ready takes the first out of the list that need not wait, or returns NULL. */
static PyObject *next_ready(struct call *c) {
	for (struct pending *p = c->first; p; p = p->next) {
		int rc = is_time(c, p);
		if (rc == 0)
			continue;
		if (rc < 0) {
			PyErr_WriteUnraisable(c->task); /* no memory */
			PyErr_Clear();
			return NULL;
		}
		p->state = WOKEN;
		return link_out(c, p);
	}
	return NULL;
}

void pending_again(struct call *c) {
	uint32_t have;
	while (c->first && pending_ask(c, &have))
		for (PyObject *self; (self = next_ready(c)) != NULL; Py_DecRef(self))
			later(self);
}

void pending_serve(PyObject *call, uint32_t what) {
	struct call *c = call_of(call);
	uint32_t have = what;
	do {
		if (have & NOTICE_ROOM)
			for (struct pending *p = c->first; p; p = p->next)
				p->room = 1;
		for (PyObject *self; (self = next_ready(c)) != NULL; Py_DecRef(self))
			at_once(self);
	} while (c->first && pending_ask(c, &have));
}

void pending_end(PyObject *call) {
	struct call *c = call_of(call);
	for (PyObject *self; (self = next_ready(c)) != NULL; Py_DecRef(self))
		later(self);
}

void pending_drop(struct call *c) {
	while (c->first) {
		struct pending *p = c->first;
		PyObject *self = link_out(c, p);
		p->state = CANCELLED;
		Py_DecRef(self);
	}
}

int pending_visit(struct call *c, visitproc visit, void *arg) {
	int rc = 0;
	for (struct pending *p = c->first; rc == 0 && p; p = p->next)
		rc = visit(object_of(p), arg);
	return rc;
}

/* --- the awaitable --- */

/* result gives what it was awaited for: PYGEN_. */
static int result(struct pending *p, PyObject **value) {
	*value = p->value;
	p->value = NULL;
	p->state = OVER;
	drop(&p->call);
	if (*value != NULL)
		return PYGEN_RETURN;
	gone_exception();
	return PYGEN_ERROR;
}

static void cancelled(struct pending *p) {
	if (p->value == NULL) {
		PyErr_SetNone(cancelled_error);
		return;
	}
	/* Made here: PyErr_SetObject would take a tuple for several arguments. */
	PyObject *e = PyObject_CallFunctionObjArgs(cancelled_error, p->value, NULL);
	if (e != NULL)
		PyErr_SetObject(cancelled_error, e);
	drop(&e);
}

/* begin looks whether there is need to wait: 1, 0, or -1 with an exception. */
static int begin(PyObject *self) {
	struct pending *p = state(self);
	struct call *c = call_of(p->call);
	int rc = is_time(c, p);
	if (rc != 0)
		return rc;
	link_in(c, p);
	uint32_t have;
	while (p->state == WAITING && pending_ask(c, &have)) {
		if (have & NOTICE_ROOM)
			for (struct pending *q = c->first; q; q = q->next)
				q->room = 1;
		for (PyObject *other; (other = next_ready(c)) != NULL; Py_DecRef(other))
			later(other); /* of these one is this itself, for which nobody waits yet */
	}
	return p->state == WOKEN;
}

static int pending_step(PyObject *self, PyObject *unused, PyObject **value) {
	(void)unused;
	struct pending *p = state(self);
	*value = NULL;
	if (!on_loop())
		return PYGEN_ERROR;
	if (p->state == NEW) {
		int rc = begin(self);
		if (rc < 0)
			return PYGEN_ERROR;
		if (rc > 0)
			return result(p, value);
	}
	switch (p->state) {
	case WAITING:
		p->blocking = 1;
		*value = keep(self);
		return PYGEN_NEXT;
	case WOKEN:
		return result(p, value);
	case CANCELLED:
		cancelled(p);
		return PYGEN_ERROR;
	}
	PyErr_SetString(PyExc_RuntimeError, "hostler: it has been awaited already");
	return PYGEN_ERROR;
}

/* as_method turns that into what send() returns. */
static PyObject *as_method(int rc, PyObject *value) {
	if (rc == PYGEN_RETURN) {
		PyErr_SetObject(PyExc_StopIteration, value);
		Py_DecRef(value);
	}
	return rc == PYGEN_NEXT ? value : NULL;
}

static PyObject *pending_send(PyObject *self, PyObject *unused) {
	PyObject *value;
	int rc = pending_step(self, unused, &value);
	return as_method(rc, value);
}

static PyObject *pending_next(PyObject *self) { return pending_send(self, Py_None); }

/* leave: nobody waits for it any more. */
static void leave(PyObject *self, char next) {
	struct pending *p = state(self);
	if (p->state == WAITING) {
		uint32_t have;
		struct call *c = call_of(p->call);
		PyObject *listed = link_out(c, p);
		p->state = next;
		if (!forked && pending_ask(c, &have))
			for (PyObject *other; (other = next_ready(c)) != NULL; Py_DecRef(other))
				later(other);
		Py_DecRef(listed);
	}
	p->state = next;
}

static PyObject *pending_close(PyObject *self, PyObject *args) {
	(void)args;
	Py_IncRef(self);
	leave(self, OVER);
	struct pending *p = state(self);
	drop(&p->wakeup);
	drop(&p->context);
	drop(&p->value);
	drop(&p->call);
	Py_DecRef(self);
	return none();
}

static PyObject *pending_throw(PyObject *self, PyObject *args) {
	PyObject *closed = pending_close(self, NULL);
	drop(&closed);
	raise_given(args);
	return NULL;
}

/* --- the future --- */

static PyObject *pending_loop(PyObject *self, PyObject *args) {
	(void)self, (void)args;
	return keep(the_loop);
}

static PyObject *pending_done(PyObject *self, PyObject *args) {
	(void)args;
	return PyBool_FromLong(state(self)->state > WAITING);
}

static PyObject *pending_cancelled(PyObject *self, PyObject *args) {
	(void)args;
	return PyBool_FromLong(state(self)->state == CANCELLED);
}

static PyObject *pending_result(PyObject *self, PyObject *args) {
	struct pending *p = state(self);
	(void)args;
	if (p->state == CANCELLED) {
		cancelled(p);
		return NULL;
	}
	return none(); /* the coroutine that awaits it gets the message */
}

/* cancel(msg=None): anyio tells by it whose cancellation it is. */
static PyObject *pending_cancel(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames) {
	struct pending *p = state(self);
	Py_ssize_t all = nargs + (kwnames ? PyTuple_Size(kwnames) : 0);
	if (!on_loop())
		return NULL;
	if (all > 1)
		return PyErr_Format(PyExc_TypeError, "cancel(msg=None)");
	if (p->state != WAITING)
		return keep(Py_False);
	Py_IncRef(self);
	drop(&p->value);
	p->value = all == 1 && args[0] != Py_None ? keep(args[0]) : NULL;
	leave(self, CANCELLED);
	later(self);
	Py_DecRef(self);
	return keep(Py_True);
}

static PyObject *pending_callback(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames) {
	struct pending *p = state(self);
	if (nargs != 1 || (kwnames && PyTuple_Size(kwnames) > 1))
		return PyErr_Format(PyExc_TypeError, "add_done_callback(callback, *, context=None)");
	if (p->wakeup)
		return PyErr_Format(PyExc_RuntimeError, "hostler: another task waits for it");
	p->wakeup = keep(args[0]);
	p->context = kwnames && PyTuple_Size(kwnames) == 1 && args[1] != Py_None ? keep(args[1]) : NULL;
	if (p->state > WAITING)
		later(self);
	return none();
}

static PyObject *pending_uncallback(PyObject *self, PyObject *callback) {
	struct pending *p = state(self);
	if (p->wakeup != callback)
		return PyLong_FromLong(0);
	drop(&p->wakeup);
	drop(&p->context);
	return PyLong_FromLong(1);
}

/* asyncio.isfuture asks for this, too: it is a future only while a Task has it. */
static PyObject *get_blocking(PyObject *self, void *closure) {
	(void)closure;
	struct pending *p = state(self);
	return p->state == WAITING ? PyBool_FromLong(p->blocking) : none();
}

static int set_blocking(PyObject *self, PyObject *value, void *closure) {
	(void)closure;
	state(self)->blocking = value == Py_True;
	return 0;
}

/* --- the types --- */

static int pending_traverse(PyObject *self, visitproc visit, void *arg) {
	struct pending *p = state(self);
	PyObject *all[] = {p->call, p->value, p->wakeup, p->context};
	int rc = visit_type(self, visit, arg);
	for (size_t i = 0; rc == 0 && i < sizeof all / sizeof *all; i++)
		if (all[i])
			rc = visit(all[i], arg);
	return rc;
}

static int pending_clear(PyObject *self) {
	struct pending *p = state(self);
	drop(&p->wakeup);
	drop(&p->context);
	drop(&p->value);
	if (p->state != WAITING) /* else the list has it, which the call clears */
		drop(&p->call);
	return 0;
}

static void pending_dealloc(PyObject *self) {
	PyObject_GC_UnTrack(self);
	pending_clear(self);
	free_object(self, 1);
}

static PyObject *itself(PyObject *self) { return keep(self); }

#define NAMED(f) (PyCFunction)(void (*)(void))f, METH_FASTCALL | METH_KEYWORDS

static PyMethodDef methods[] = {
	{"send", pending_send, METH_O, NULL}, {"throw", pending_throw, METH_VARARGS, NULL}, {"close", pending_close, METH_NOARGS, NULL},
	{"get_loop", pending_loop, METH_NOARGS, NULL}, {"done", pending_done, METH_NOARGS, NULL}, {"cancelled", pending_cancelled, METH_NOARGS, NULL},
	{"result", pending_result, METH_NOARGS, NULL}, {"exception", pending_result, METH_NOARGS, NULL}, {"cancel", NAMED(pending_cancel), NULL},
	{"add_done_callback", NAMED(pending_callback), NULL}, {"remove_done_callback", pending_uncallback, METH_O, NULL}, {0},
};

static PyGetSetDef getset[] = {{"_asyncio_future_blocking", get_blocking, set_blocking, NULL, NULL}, {0}};

/* What need not wait: None, to whoever awaits it, and as often as that may be. */
static int done_step(PyObject *self, PyObject *unused, PyObject **value) {
	(void)self, (void)unused;
	*value = none();
	return PYGEN_RETURN;
}

static PyObject *done_next(PyObject *self) {
	(void)self;
	return NULL;
}

static PyObject *done_send(PyObject *self, PyObject *unused) {
	(void)self, (void)unused;
	PyErr_SetNone(PyExc_StopIteration);
	return NULL;
}

static PyObject *done_throw(PyObject *self, PyObject *args) {
	(void)self;
	raise_given(args);
	return NULL;
}

static PyObject *done_close(PyObject *self, PyObject *args) {
	(void)self, (void)args;
	return none();
}

static void done_dealloc(PyObject *self) { free_object(self, 0); }

static PyMethodDef done_methods[] = {
	{"send", done_send, METH_O, NULL}, {"throw", done_throw, METH_VARARGS, NULL}, {"close", done_close, METH_NOARGS, NULL}, {0},
};

int pending_init(void) {
	PyType_Slot slots[] = {
		{Py_tp_dealloc, pending_dealloc}, {Py_tp_traverse, pending_traverse}, {Py_tp_clear, pending_clear}, {Py_tp_methods, methods},
		{Py_tp_getset, getset}, {Py_am_await, itself}, {Py_tp_iter, itself}, {Py_tp_iternext, pending_next},
		{PyIter_Send ? Py_am_send : 0, pending_step}, {0},
	};
	PyType_Slot done_slots[] = {
		{Py_tp_dealloc, done_dealloc}, {Py_tp_methods, done_methods}, {Py_am_await, itself}, {Py_tp_iter, itself}, {Py_tp_iternext, done_next},
		{PyIter_Send ? Py_am_send : 0, done_step}, {0},
	};
	pending_type = make_type("hostler.Pending", sizeof(struct pending), Py_TPFLAGS_HAVE_GC, slots);
	done_type = pending_type ? make_type("hostler.Done", 0, 0, done_slots) : NULL;
	done = done_type ? PyType_GenericAlloc(done_type, 0) : NULL;
	return done ? 0 : -1;
}

PyObject *pending_new(PyObject *call, int kind) {
	PyObject *self = PyType_GenericAlloc(pending_type, 0); /* zeroed */
	if (self != NULL) {
		state(self)->call = keep(call);
		state(self)->kind = (char)kind;
	}
	return self;
}

PyObject *done_new(void) { return keep(done); }
