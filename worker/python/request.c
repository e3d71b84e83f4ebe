/* A request that is with the application: waiting for its client, what it has raised, and
 * its end where a child of the application's has come back with it. */
#include <errno.h>
#include <poll.h>
#include <unistd.h>

#include "bridge.h"

static PyObject *report;

void request_init(PyObject *r) {
	report = r;
	Py_IncRef(report); /* for the life of the process */
}

int wait_client(struct thread *th, uint32_t what) {
	if (green)
		return green->wait(th, what);
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

void show_raised(int index, PyObject *told) {
	if (type_of(told) == &PyBytes_Type && !forked) /* a child does not answer */
		hostlerRaised(index, PyBytes_AsString(told), PyBytes_Size(told));
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
		if (r) {
			show_raised(th->index, r);
			Py_DecRef(r);
		}
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
