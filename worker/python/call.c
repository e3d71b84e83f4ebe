/* One call of the application: a coroutine around the application's, which a Task of the
 * loop's runs. It knows at once when that has returned, and so needs no callback, and no
 * exception of the application's gets into the Task, where nobody would look for it. */
#include <string.h>

#include "asgi.h"

static PyTypeObject *call_type;
static PyObject *app, *log_failure, *is_gone;

struct call *call_of(PyObject *self) { return (struct call *)(void *)((char *)self + head_size); }

static PyObject *object_of(struct call *c) { return (PyObject *)(void *)((char *)c - head_size); }

/* --- receive and send --- */

static PyObject *receive(PyObject *self, PyObject *args) {
	(void)args;
	return pending_new(self, WAITS_RECEIVE);
}

static PyMethodDef receive_def = {"receive", receive, METH_NOARGS, "await receive(): the next message from the client (ASGI)"};
static PyMethodDef send_def = {"send", asgi_send, METH_O, "await send(message): a message for the client (ASGI)"};

PyObject *send_new(PyObject *self) { return PyCFunction_NewEx(&send_def, self, NULL); }

/* --- its end --- */

/* log_raised logs the exception that is set, and clears it. */
static void log_raised(struct call *c) {
	PyObject *type, *value, *tb, *method = keep(c->method), *target = keep(c->target);
	PyErr_Fetch(&type, &value, &tb);
	PyErr_NormalizeException(&type, &value, &tb);
	if (c->seat != NO_SEAT) {
		struct task *t = c->seated;
		method = decode(t->buf + t->req.method.off, t->req.method.len);
		target = decode(t->buf + t->req.target.off, t->req.target.len);
	}
	if (method && target) {
		PyObject *r = PyObject_CallFunctionObjArgs(log_failure, method, target, type, value ? value : Py_None, tb ? tb : Py_None, NULL);
		if (r && c->seat != NO_SEAT)
			show_raised(c->seat, r);
		drop(&r);
	}
	if (PyErr_Occurred())
		PyErr_WriteUnraisable(log_failure);
	drop(&method);
	drop(&target);
	drop(&type);
	drop(&value);
	drop(&tb);
}

/* only_gone says whether the exception that is set tells us no more than we have told the
 * application: that the client has gone. */
static int only_gone(void) {
	PyObject *type, *value, *tb;
	if (PyErr_ExceptionMatches(gone_error))
		return 1;
	PyErr_Fetch(&type, &value, &tb);
	PyErr_NormalizeException(&type, &value, &tb);
	PyObject *r = value ? PyObject_CallFunctionObjArgs(is_gone, value, NULL) : NULL;
	int yes = r ? PyObject_IsTrue(r) : 0;
	drop(&r);
	if (PyErr_Occurred())
		PyErr_WriteUnraisable(is_gone);
	PyErr_Restore(type, value, tb);
	return yes > 0;
}

/* judge says what the application's exception, which is set, means for the response: a
 * RESULT_. All but a cancellation, which is the Task's to know, is cleared. */
static uint32_t judge(struct call *c) {
	uint32_t result = c->ended ? RESULT_FAILED | RESULT_WHOLE : RESULT_FAILED;
	if (c->timed_out)
		result |= RESULT_TIMED_OUT;
	if (!PyErr_ExceptionMatches(cancelled_error)) {
		if (only_gone())
			PyErr_Clear();
		else
			log_raised(c);
		return result;
	}
	if (c->timed_out || (!c->cut && !c->gone && !c->ended && !c->accepted)) {
		PyObject *type, *value, *tb;
		PyErr_Fetch(&type, &value, &tb);
		PyErr_Restore(keep(type), keep(value), keep(tb));
		log_raised(c);
		PyErr_Restore(type, value, tb);
	}
	return result;
}

/* --- those without a seat ---
 *
 * The loop knows its Tasks by weak references. As long as there is a response the seat
 * holds the call, and that its Task; after that this list does. */

static struct call *backs;

void background_add(struct call *c) {
	Py_IncRef(object_of(c));
	background++;
	c->back = 1;
	c->before = NULL;
	c->after = backs;
	if (backs)
		backs->before = c;
	backs = c;
}

static void background_leave(struct call *c) {
	if (c->before)
		c->before->after = c->after;
	else
		backs = c->after;
	if (c->after)
		c->after->before = c->before;
	c->back = 0;
	background--;
	Py_DecRef(object_of(c));
}

/* finish gives the seat back to the engine. */
static void finish(struct call *c, uint32_t result) {
	struct task *t = c->seated;
	int seat = c->seat;
	t->result |= result;
	if (rules_wanted && c->scope)
		tell_rule(seat, c->scope);
	seat_leave(c);
	c->seat = NO_SEAT;
	hostlerFinish(seat);
}

int call_named(struct call *c) {
	struct task *t = c->seated;
	drop(&c->method);
	drop(&c->target);
	c->method = decode(t->buf + t->req.method.off, t->req.method.len);
	c->target = decode(t->buf + t->req.target.off, t->req.target.len);
	return c->method && c->target ? 0 : -1;
}

void call_detach(struct call *c) {
	PyObject *self = keep(object_of(c));
	if (call_named(c))
		PyErr_Clear(); /* no memory: an exception of what follows is lost */
	finish(c, 0);
	pending_end(self);
	Py_DecRef(self);
}

/* end: the application has returned, or raised the exception that is set. It leaves a
 * cancellation set. */
static void end(struct call *c, int raised) {
	PyObject *self = keep(object_of(c));
	uint32_t result = 0;
	c->over = 1;
	c->running = 0;
	if (raised) {
		result = judge(c);
	} else if (c->seat != NO_SEAT && !c->ended && !c->gone && c->leaving) {
		result = RESULT_FAILED; /* it has been told to go */
	} else if (c->seat != NO_SEAT && !c->ended && !c->gone) {
		PyErr_SetString(PyExc_RuntimeError, c->begun ? "the application returned without having sent the end of its response"
		                                             : "the application returned without having sent a response");
		log_raised(c);
		result = RESULT_FAILED;
	}
	PyObject *type, *value, *tb;
	PyErr_Fetch(&type, &value, &tb);
	websocket_done(c, (result & RESULT_FAILED) != 0);
	if (c->seat != NO_SEAT)
		finish(c, result);
	else if (c->back)
		background_leave(c);
	pending_end(self);
	drop(&c->coro);
	drop(&c->scope);
	drop(&c->task);
	PyErr_Restore(type, value, tb);
	Py_DecRef(self);
}

void call_fail(PyObject *self) { end(call_of(self), 1); }

/* --- its steps --- */

/* iterator returns what is stepped of what the application has returned. It takes over
 * the reference. */
static PyObject *iterator(PyObject *awaitable) {
	if (awaitable == NULL || type_of(awaitable) == &PyCoro_Type)
		return awaitable;
	PyObject *await = PyObject_GetAttr(awaitable, names.await), *it = NULL;
	if (await != NULL)
		it = PyObject_CallObject(await, NULL);
	else if (PyErr_ExceptionMatches(PyExc_AttributeError))
		PyErr_Format(PyExc_TypeError, "the application must be a coroutine function, or return an awaitable, not %R", (PyObject *)type_of(awaitable));
	drop(&await);
	Py_DecRef(awaitable);
	return it;
}

/* call_app makes the application's coroutine, on the Task that will run it. */
static int call_app(PyObject *self, struct call *c) {
	PyObject *scope = c->scope, *r = PyCFunction_NewEx(&receive_def, self, NULL), *s = send_new(self);
	c->scope = rules_wanted ? keep(scope) : NULL;
	PyObject *coro = r && s ? PyObject_CallFunctionObjArgs(app, scope, r, s, NULL) : NULL;
	Py_DecRef(scope);
	drop(&r);
	drop(&s);
	c->coro = iterator(coro);
	return c->coro ? 0 : -1;
}

/* send_in sends value into the coroutine: PYGEN_. */
static int send_in(PyObject *coro, PyObject *value, PyObject **result) {
	if (PyIter_Send)
		return PyIter_Send(coro, value, result);
	if (PyIter_Check(coro) && value == Py_None)
		*result = PyIter_Next(coro);
	else
		*result = PyObject_CallMethodObjArgs(coro, names.send, value, NULL);
	if (*result)
		return PYGEN_NEXT;
	if (PyErr_Occurred()) {
		if (!PyErr_ExceptionMatches(PyExc_StopIteration))
			return PYGEN_ERROR;
		PyErr_Clear();
	}
	*result = none();
	return PYGEN_RETURN;
}

/* between two of its steps: what the application has begun must not wait for the next. */
static void settle(struct call *c) {
	c->running = 0;
	if (c->seat == NO_SEAT)
		return;
	if (c->ended)
		call_detach(c);
	else if (c->begun && !c->headed)
		reply_head(c);
}

/* step_begins: from here on --timeout may raise in it. */
static void step_begins(struct call *c) {
	struct thread *th = &threads[0];
	th->step = hostlerStep(c->seat);
	th->active = ACTIVE_APP;
}

static void step_ends(struct call *c) {
	struct thread *th = &threads[0];
	if (th->step == 0)
		return;
	withdraw(th);
	if (th->timed_out)
		c->timed_out = 1;
	th->timed_out = 0;
	th->active = ACTIVE_NONE;
	th->step = 0;
	hostlerStepped();
}

/* stepped comes after each step: rc is its PYGEN_. */
static int stepped(struct call *c, int rc, PyObject **result) {
	if (forked)
		leave_child(&threads[0]);
	step_ends(c);
	if (rc == PYGEN_NEXT) {
		settle(c);
		return rc;
	}
	if (rc == PYGEN_RETURN)
		Py_DecRef(*result);
	*result = NULL;
	end(c, rc == PYGEN_ERROR);
	if (PyErr_Occurred())
		return PYGEN_ERROR;
	*result = none();
	return PYGEN_RETURN;
}

static int enter(struct call *c) {
	if (on_loop() == 0)
		return -1;
	if (c->over || c->running) {
		PyErr_SetString(PyExc_RuntimeError, c->over ? "hostler: the call is over" : "hostler: the call is being stepped");
		return -1;
	}
	c->running = 1;
	if (c->seat != NO_SEAT)
		step_begins(c);
	return 0;
}

static int call_step(PyObject *self, PyObject *value, PyObject **result) {
	struct call *c = call_of(self);
	*result = NULL;
	if (enter(c))
		return PYGEN_ERROR;
	Py_IncRef(self);
	int rc = PYGEN_ERROR;
	if (c->coro != NULL || call_app(self, c) == 0)
		rc = send_in(c->coro, value, result);
	rc = stepped(c, rc, result);
	Py_DecRef(self);
	return rc;
}

/* as_method turns what a step has given into what send() and throw() return. */
static PyObject *as_method(int rc, PyObject *result) {
	if (rc == PYGEN_NEXT)
		return result;
	if (rc == PYGEN_RETURN) {
		Py_DecRef(result);
		PyErr_SetNone(PyExc_StopIteration);
	}
	return NULL;
}

static PyObject *call_send(PyObject *self, PyObject *value) {
	PyObject *result;
	int rc = call_step(self, value, &result);
	return as_method(rc, result);
}

static PyObject *call_next(PyObject *self) { return call_send(self, Py_None); }

static PyObject *call_throw(PyObject *self, PyObject *args) {
	struct call *c = call_of(self);
	if (enter(c))
		return NULL;
	Py_IncRef(self);
	PyObject *f = c->coro ? PyObject_GetAttr(c->coro, names.throw_) : NULL, *result = NULL;
	int rc = PYGEN_ERROR;
	if (f != NULL) {
		result = PyObject_CallObject(f, args);
		if (result != NULL) {
			rc = PYGEN_NEXT;
		} else if (PyErr_ExceptionMatches(PyExc_StopIteration)) {
			PyErr_Clear();
			result = none();
			rc = PYGEN_RETURN;
		}
		Py_DecRef(f);
	} else if (c->coro == NULL || PyErr_ExceptionMatches(PyExc_AttributeError)) {
		PyErr_Clear();
		raise_given(args);
	}
	rc = stepped(c, rc, &result);
	Py_DecRef(self);
	return as_method(rc, result);
}

/* close(): a Task that is given up, or none has ever run it. */
static PyObject *call_close(PyObject *self, PyObject *args) {
	(void)args;
	struct call *c = call_of(self);
	if (c->over)
		return none();
	if (enter(c))
		return NULL;
	Py_IncRef(self);
	PyObject *r = c->coro ? PyObject_CallMethodObjArgs(c->coro, names.close, NULL) : NULL;
	int raised = r == NULL && PyErr_Occurred();
	drop(&r);
	c->cut = 1;
	if (c->seat != NO_SEAT)
		c->seated->result |= RESULT_FAILED;
	step_ends(c);
	c->gone = 1; /* it is no fault of the application's that it sends no response */
	end(c, raised);
	if (PyErr_Occurred())
		PyErr_Clear();
	Py_DecRef(self);
	return none();
}

/* --- notices --- */

static void cancel(struct call *c) {
	PyObject *task = keep(c->task);
	PyObject *r = task ? PyObject_CallMethodObjArgs(task, names.cancel, NULL) : NULL;
	if (task && r == NULL)
		PyErr_WriteUnraisable(task);
	drop(&r);
	drop(&task);
}

void call_notice(PyObject *self, uint32_t what) {
	struct call *c = call_of(self);
	Py_IncRef(self);
	c->asked &= ~what;
	if (what & NOTICE_GONE)
		c->gone = 1;
	int listens = c->body_over && pending_listens(c);
	if (what & NOTICE_LEAVE) {
		c->leaving = 1;
		c->cut = !listens;
	}
	if (what & NOTICE_GRACE)
		c->cut = 1;
	if (what & NOTICE_TIMEOUT)
		c->timed_out = 1;
	if (what & NOTICE_SLOW && c->task != NULL)
		take_slow(c->seat, c->task);
	pending_serve(self, what);
	if (!c->over && c->seat != NO_SEAT && (what & (NOTICE_TIMEOUT | NOTICE_GRACE) || (what & NOTICE_LEAVE && !listens)))
		cancel(c);
	Py_DecRef(self);
}

/* --- the type --- */

/* forward shows the application's coroutine to whoever looks at ours: stacks of Tasks,
 * and their repr. closure is what the coroutine calls it, and what to say without one. */
static PyObject *forward(PyObject *self, void *closure) {
	const char *name = closure;
	struct call *c = call_of(self);
	PyObject *of = c->coro ? c->coro : strcmp(name, "__name__") == 0 || strcmp(name, "__qualname__") == 0 ? app : NULL;
	PyObject *value = of ? PyObject_GetAttrString(of, name) : NULL;
	if (value != NULL)
		return value;
	if (PyErr_Occurred() && !PyErr_ExceptionMatches(PyExc_AttributeError))
		return NULL;
	PyErr_Clear();
	return name[0] == '_' ? PyUnicode_FromString("application") : none();
}

/* request: its method, its target, and when it began, for whoever shows the loop's Tasks; or
 * None. It is the loop's thread's alone to ask. */
static PyObject *request_of(PyObject *self, void *closure) {
	(void)closure;
	struct call *c = call_of(self);
	if (c->seat != NO_SEAT && current == &threads[0] && !forked && call_named(c))
		return NULL;
	if (c->method == NULL || c->target == NULL)
		return none();
	PyObject *since = PyLong_FromLongLong(c->since), *all = NULL;
	if (since != NULL)
		all = PyTuple_Pack(3, c->method, c->target, since);
	drop(&since);
	return all;
}

static PyObject *is_running(PyObject *self, void *closure) {
	(void)closure;
	return PyBool_FromLong(call_of(self)->running);
}

static int call_traverse(PyObject *self, visitproc visit, void *arg) {
	struct call *c = call_of(self);
	PyObject *all[] = {c->scope, c->coro, c->task};
	int rc = visit_type(self, visit, arg);
	for (size_t i = 0; rc == 0 && i < sizeof all / sizeof *all; i++)
		if (all[i])
			rc = visit(all[i], arg);
	return rc ? rc : pending_visit(c, visit, arg);
}

static int call_clear(PyObject *self) {
	struct call *c = call_of(self);
	pending_drop(c);
	drop(&c->scope);
	drop(&c->coro);
	drop(&c->task);
	return 0;
}

static void call_dealloc(PyObject *self) {
	struct call *c = call_of(self);
	PyObject_GC_UnTrack(self);
	call_clear(self);
	drop(&c->method);
	drop(&c->target);
	free_object(self, 1);
}

static PyObject *itself(PyObject *self) { return keep(self); }

static PyMethodDef methods[] = {
	{"send", call_send, METH_O, NULL}, {"throw", call_throw, METH_VARARGS, NULL}, {"close", call_close, METH_NOARGS, NULL}, {0},
};

static PyGetSetDef getset[] = {
	{"cr_frame", forward, NULL, NULL, "cr_frame"}, {"cr_code", forward, NULL, NULL, "cr_code"}, {"cr_await", forward, NULL, NULL, "cr_await"},
	{"cr_origin", forward, NULL, NULL, "cr_origin"}, {"cr_running", is_running, NULL, NULL, NULL}, {"request", request_of, NULL, NULL, NULL}, {"__name__", forward, NULL, NULL, "__name__"},
	{"__qualname__", forward, NULL, NULL, "__qualname__"}, {0},
};

int call_init(PyObject *application, PyObject *report, PyObject *gone) {
	app = keep(application); /* for the life of the process */
	log_failure = keep(report);
	is_gone = keep(gone);
	PyType_Slot slots[] = {
		{Py_tp_dealloc, call_dealloc}, {Py_tp_traverse, call_traverse}, {Py_tp_clear, call_clear}, {Py_tp_methods, methods}, {Py_tp_getset, getset},
		{Py_am_await, itself}, {Py_tp_iter, itself}, {Py_tp_iternext, call_next}, {PyIter_Send ? Py_am_send : 0, call_step}, {0},
	};
	call_type = make_type("hostler.Call", sizeof(struct call), Py_TPFLAGS_HAVE_GC, slots);
	return call_type ? 0 : -1;
}

PyObject *call_new(int seat, struct task *seated) {
	PyObject *self = PyType_GenericAlloc(call_type, 0); /* zeroed */
	if (self != NULL) {
		call_of(self)->seat = seat;
		call_of(self)->seated = seated;
	}
	return self;
}
