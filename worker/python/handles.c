/* start_response, write and the like belong to one request. They carry the
 * request's number and thread, so that one that the application kept for later
 * is found out, whatever thread it is called on. */
#include "bridge.h"

enum { INDEX_BITS = 20 }; /* as many seats there are at most */

PyObject *handle_new(struct thread *th) {
	return PyLong_FromUnsignedLongLong(th->task->seq << INDEX_BITS | (unsigned)th->index);
}

struct thread *handle_lookup(PyObject *handle) {
	if (forked) {
		PyErr_SetString(PyExc_RuntimeError, "hostler: a forked child cannot answer its parent's request");
		return NULL;
	}
	unsigned long long v = PyLong_AsUnsignedLongLong(handle);
	struct thread *th = thread_at((int)(v & ((1 << INDEX_BITS) - 1)));
	if (th != NULL) {
		sending_done(th);
		if (th->active && th->task->seq == v >> INDEX_BITS)
			return th;
	}
	PyErr_SetString(PyExc_RuntimeError, "hostler: the request has ended");
	return NULL;
}
