/* start_response, write and the like belong to one request. They carry the
 * request's number and thread, so that one that the application kept for later
 * is found out, whatever thread it is called on. */
#include "bridge.h"

PyObject *handle_new(struct thread *th) {
	return PyLong_FromUnsignedLongLong(th->task->seq << 9 | (unsigned)th->index);
}

struct thread *handle_lookup(PyObject *handle) {
	if (forked) {
		PyErr_SetString(PyExc_RuntimeError, "hostler: a forked child cannot answer its parent's request");
		return NULL;
	}
	unsigned long long v = PyLong_AsUnsignedLongLong(handle);
	int i = (int)(v & 511);
	if (i < nthreads) {
		sending_done(&threads[i]);
		if (threads[i].active && threads[i].task->seq == v >> 9)
			return &threads[i];
	}
	PyErr_SetString(PyExc_RuntimeError, "hostler: the request has ended");
	return NULL;
}
