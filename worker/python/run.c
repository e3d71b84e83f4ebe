/* Running a request: the application's call, and the response that comes of it. */
#include "bridge.h"

static PyObject *app;

void run_init(PyObject *a) {
	app = a;
	Py_IncRef(app); /* for the life of the process */
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
	    (th->environ = environ) &&
	    (!(th->task->req.flags & FLAG_WEBSOCKET) || socket_offer(th, environ, handle) == 0) && ((result = call(environ, sr)) || forked)) {
		leave_if_forked(th);
		if (rules_wanted && has_socket(th))
			tell_rule(th->index, environ);
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
	th->environ = NULL;
	if (environ && rules_wanted && !upgraded)
		tell_rule(th->index, environ);
	if (environ && th->task->req.flags & FLAG_WEBSOCKET)
		socket_withdraw(environ);
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
