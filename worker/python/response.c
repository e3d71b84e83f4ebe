/* start_response, write, wsgi.early_hints, and what the application returns. */
#include <errno.h>
#include <string.h>
#include <unistd.h>
#include <fcntl.h>

#include "bridge.h"

/* Above this a chunk is sent without the GIL. */
enum { SEND_HELD = 16 << 10 };

static PyTypeObject *file_wrapper_type;
/* Interned: CPython's cache of attributes keeps each other name that it is asked for. */
static PyObject *s_close, *s_real, *s_fileno, *s_tell;

/* deliver sends one piece of the body. ref owns data. It returns a WRITE_ code,
 * or -3 with an exception (raised by a signal handler while waiting). */
static int deliver(struct thread *th, const char *data, Py_ssize_t n, PyObject *ref, int final) {
	struct task *t = th->task;
	uint64_t seq = t->seq;
	int rc;
	sending_done(th);
	if (has_socket(th) && socket_answers(th))
		return WRITE_GONE;
	Py_IncRef(ref);
	if (n <= SEND_HELD) {
		rc = hostlerWrite(th->index, (void *)data, n, (uintptr_t)ref, final);
	} else {
		th->sending = 1;
		PyThreadState *ts = PyEval_SaveThread();
		rc = hostlerWrite(th->index, (void *)data, n, (uintptr_t)ref, final);
		PyEval_RestoreThread(ts);
		th->sending = 0;
	}
	if (!t->out_kept)
		Py_DecRef(ref);
	while (rc == WRITE_WAIT) {
		if (wait_client(th, NOTICE_ROOM))
			return -3;
		sending_done(th);
		if (!th->active || t->seq != seq) {
			/* write() on another thread than the request's own. */
			PyErr_SetString(PyExc_RuntimeError, "hostler: the request has ended");
			return -3;
		}
		rc = green ? hostlerWrite(th->index, NULL, 0, 0, 0) : hostlerWaitRoom(th->index);
	}
	if (rc == WRITE_NO_HEAD) {
		PyErr_SetString(PyExc_AssertionError, "the application sent a body before it called start_response");
		return -3;
	}
	return rc;
}

static int is_bytes(PyObject *o) {
	PyTypeObject *type = type_of(o);
	return type == &PyBytes_Type || PyType_IsSubtype(type, &PyBytes_Type);
}

static PyObject *write_call(PyObject *self, PyObject *arg) {
	struct thread *th = handle_lookup(self);
	if (th == NULL)
		return NULL;
	if (!is_bytes(arg))
		return PyErr_Format(PyExc_TypeError, "write() takes bytes, not %R", (PyObject *)type_of(arg));
	int rc = deliver(th, PyBytes_AsString(arg), PyBytes_Size(arg), arg, 0);
	if (rc == -3)
		return NULL;
	if (rc == WRITE_GONE) {
		th->gone = 1;
		errno = EPIPE;
		return PyErr_SetFromErrno(PyExc_OSError);
	}
	Py_IncRef(Py_None);
	return Py_None;
}

static PyMethodDef write_def = {"write", write_call, METH_O, "write(data): send bytes of the body (PEP 3333)"};

/* arguments sorts those of start_response, whose names are PEP 3333's, or how others
 * call them. */
static int arguments(PyObject *const *args, Py_ssize_t nargs, PyObject *names, PyObject *out[3]) {
	static const struct { const char *name; int at; } known[] = {
		{"status", 0}, {"response_headers", 1}, {"headers", 1}, {"exc_info", 2},
	};
	Py_ssize_t named = names ? PyTuple_Size(names) : 0;
	int rc = nargs <= 3 ? 0 : -1;
	for (Py_ssize_t i = 0; rc == 0 && i < nargs; i++)
		out[i] = args[i];
	for (Py_ssize_t i = 0; rc == 0 && i < named; i++) {
		const char *name = PyUnicode_AsUTF8AndSize(PyTuple_GetItem(names, i), NULL);
		if (name == NULL)
			return -1;
		rc = -1;
		for (size_t k = 0; k < sizeof known / sizeof *known; k++)
			if (strcmp(name, known[k].name) == 0 && out[known[k].at] == NULL) {
				out[known[k].at] = args[nargs + i];
				rc = 0;
			}
	}
	if (rc || out[0] == NULL || out[1] == NULL) {
		PyErr_SetString(PyExc_TypeError, "start_response(status, response_headers, exc_info=None)");
		return -1;
	}
	return 0;
}

static PyObject *begin_response(PyObject *self, struct thread *th, PyObject *status, PyObject *headers, PyObject *exc);

static PyObject *start_response(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames) {
	PyObject *given[3] = {NULL, NULL, NULL};
	if (handle_lookup(self) == NULL || arguments(args, nargs, kwnames, given))
		return NULL;
	PyObject *headers = as_list(given[1]);
	struct thread *th = headers ? handle_lookup(self) : NULL; /* as_list may have run the application's code */
	PyObject *write = th ? begin_response(self, th, given[0], headers, given[2]) : NULL;
	if (headers)
		Py_DecRef(headers);
	return write;
}

static PyObject *begin_response(PyObject *self, struct thread *th, PyObject *status, PyObject *headers, PyObject *exc) {
	struct task *t = th->task;
	PyObject *value = NULL; /* the exception, where exc_info has one */
	if (exc != NULL && exc != Py_None) {
		if (!PyType_IsSubtype(type_of(exc), &PyTuple_Type) || PyTuple_Size(exc) != 3)
			return PyErr_Format(PyExc_TypeError, "exc_info must be a tuple (type, value, traceback)");
		value = PyTuple_GetItem(exc, 1);
		if (value == Py_None)
			value = NULL;
		else if (!PyType_IsSubtype(type_of(value), (PyTypeObject *)PyExc_BaseException))
			return PyErr_Format(PyExc_TypeError, "exc_info must be a tuple (type, value, traceback)");
	}
	if (value != NULL && hostlerHeadSent(th->index)) {
		/* Too late for another head: PEP 3333 wants the error raised again. */
		PyObject *tb = PyTuple_GetItem(exc, 2);
		if (tb == Py_None)
			tb = NULL;
		else
			Py_IncRef(tb);
		Py_IncRef(value);
		PyErr_Restore(PyObject_Type(value), value, tb);
		return NULL;
	}
	if (value == NULL && t->status_len != 0)
		return PyErr_Format(PyExc_AssertionError, "start_response called a second time without exc_info");
	int again = t->status_len != 0;
	if (set_head(th, status, headers)) {
		if (again)
			broken_head(th);
		return NULL;
	}
	return PyCFunction_NewEx(&write_def, self, NULL);
}

static PyMethodDef start_response_def = {"start_response", (PyCFunction)(void (*)(void))start_response,
	METH_FASTCALL | METH_KEYWORDS, "start_response(status, headers, exc_info=None) -> write (PEP 3333)"};

PyObject *start_response_new(PyObject *handle) { return PyCFunction_NewEx(&start_response_def, handle, NULL); }

/* early_hints(headers): on the thread that runs the request. */
static PyObject *early_hints(PyObject *self, PyObject *headers) {
	(void)self;
	struct thread *th = running();
	if (th == NULL || !th->active || forked)
		return PyErr_Format(PyExc_RuntimeError, "wsgi.early_hints outside of a request's thread");
	sending_done(th);
	if (has_socket(th) && socket_answers(th))
		return none();
	struct task *t = th->task;
	PyObject *list = as_list(headers);
	if (list == NULL)
		return NULL;
	/* Behind a head that is waiting to be sent there is room. */
	uint32_t start = t->status_len + t->fields_len, at = start;
	int rc = put_fields(t, list, &at);
	Py_DecRef(list);
	if (rc)
		return NULL;
	int code = hostlerHints(th->index, t->resp + start, at - start);
	if (code != 0) {
		char why[160];
		hostlerHeadError(code, why, sizeof why);
		return PyErr_Format(PyExc_ValueError, "%s", why);
	}
	Py_IncRef(Py_None);
	return Py_None;
}

static PyMethodDef early_hints_def = {"early_hints", early_hints, METH_O, "early_hints(headers): send 103 Early Hints"};

PyObject *early_hints_new(void) { return PyCFunction_NewEx(&early_hints_def, NULL, NULL); }

int response_init(PyObject *file_wrapper) {
	file_wrapper_type = (PyTypeObject *)file_wrapper;
	Py_IncRef(file_wrapper);
	s_close = PyUnicode_InternFromString("close");
	s_real = PyUnicode_InternFromString("real");
	s_fileno = PyUnicode_InternFromString("fileno");
	s_tell = PyUnicode_InternFromString("tell");
	return s_close && s_real && s_fileno && s_tell ? 0 : -1;
}

/* send_file hands a file to the kernel. 1: done; 0: read and write it instead;
 * -1: an exception that is no mere sign that this is no real file. */
static int send_file(struct thread *th, PyObject *wrapper) {
	int done = 0;
	PyObject *file = PyObject_GetAttr(wrapper, s_real), *fd = NULL, *pos = NULL, *m;
	if (file == NULL || file == Py_None)
		goto out;
	if ((m = PyObject_GetAttr(file, s_fileno)) != NULL) {
		fd = PyObject_CallObject(m, NULL);
		Py_DecRef(m);
	}
	if (fd != NULL && (m = PyObject_GetAttr(file, s_tell)) != NULL) {
		pos = PyObject_CallObject(m, NULL);
		Py_DecRef(m);
	}
	if (pos != NULL) {
		long n = PyLong_AsLong(fd);
		long long off = PyLong_AsLongLong(pos);
		int copy = PyErr_Occurred() || forked ? -1 : fcntl((int)n, F_DUPFD_CLOEXEC, 3);
		if (copy >= 0) {
			sending_done(th);
			th->sending = 1;
			PyThreadState *ts = PyEval_SaveThread(); /* it may wait for the disk */
			done = hostlerSendFile(th->index, copy, off);
			PyEval_RestoreThread(ts);
			th->sending = 0;
			if (!done)
				close(copy);
		}
	}
out:
	leave_if_forked(th);
	if (PyErr_Occurred()) {
		if (PyErr_ExceptionMatches(PyExc_Exception))
			PyErr_Clear(); /* whatever is no real file is iterated */
		else
			done = -1;
	}
	if (file)
		Py_DecRef(file);
	if (fd)
		Py_DecRef(fd);
	if (pos)
		Py_DecRef(pos);
	return done;
}

/* single returns the only item of a list or tuple if it is bytes, else NULL.
 * The reference is borrowed. */
static PyObject *single(PyTypeObject *type, PyObject *result) {
	PyObject *item;
	if (type == &PyList_Type && PyList_Size(result) == 1)
		item = PyList_GetItem(result, 0);
	else if (type == &PyTuple_Type && PyTuple_Size(result) == 1)
		item = PyTuple_GetItem(result, 0);
	else
		return NULL;
	return is_bytes(item) ? item : NULL;
}

static int iterate(struct thread *th, PyObject *result) {
	PyObject *it = PyObject_GetIter(result), *chunk;
	leave_if_forked(th);
	if (it == NULL) {
		if (PyErr_ExceptionMatches(PyExc_TypeError) && result == Py_None)
			PyErr_SetString(PyExc_TypeError, "the application returned None, not an iterable of bytes");
		return -1;
	}
	int rc = 0;
	while (rc == 0) {
		chunk = PyIter_Next(it);
		leave_if_forked(th);
		if (chunk == NULL)
			break;
		if (!is_bytes(chunk)) {
			PyErr_Format(PyExc_TypeError, "the application must yield bytes, not %R", type_of(chunk));
			rc = -3;
		} else {
			rc = deliver(th, PyBytes_AsString(chunk), PyBytes_Size(chunk), chunk, 0);
		}
		Py_DecRef(chunk);
		if (rc == 0 && raise_pending(th)) /* an iterator in C runs no Python code */
			rc = -3;
	}
	Py_DecRef(it);
	return PyErr_Occurred() ? -1 : 0; /* gone and cut just end it */
}

/* close_result calls result.close(), as PEP 3333 wants in every case. It keeps
 * an exception that is set. */
static int close_result(PyObject *result) {
	PyObject *type, *value, *tb;
	PyErr_Fetch(&type, &value, &tb);
	int rc = 0;
	PyObject *m = PyObject_GetAttr(result, s_close);
	if (m == NULL) {
		if (PyErr_ExceptionMatches(PyExc_AttributeError))
			PyErr_Clear();
		else
			rc = -1;
	} else {
		PyObject *r = PyObject_CallObject(m, NULL);
		Py_DecRef(m);
		if (r == NULL)
			rc = -1;
		else
			Py_DecRef(r);
	}
	if (type != NULL) {
		if (rc != 0)
			PyErr_WriteUnraisable(s_close);
		PyErr_Restore(type, value, tb);
		return 0;
	}
	return rc;
}

void response_close(struct thread *th, PyObject *result) {
	PyTypeObject *type = type_of(result);
	if (type != &PyList_Type && type != &PyTuple_Type && close_result(result))
		log_exception(th);
}

/* interrupt raises what the timeout has to raise before close() is called: at its
 * begin, it would keep all of it from running. It keeps an exception that is set.
 * -1: one is. */
static int interrupt(struct thread *th) {
	PyObject *type, *value, *tb;
	PyErr_Fetch(&type, &value, &tb);
	int rc = raise_coming(th);
	if (type == NULL)
		return rc;
	if (rc)
		PyErr_Clear();
	PyErr_Restore(type, value, tb);
	return -1;
}

int response_send(struct thread *th, PyObject *result) {
	struct task *t = th->task;
	PyTypeObject *type = type_of(result);
	sending_done(th);
	PyObject *body = single(type, result);
	if (body != NULL) {
		Py_ssize_t n = PyBytes_Size(body);
		if (n <= SMALL_BODY && th->body != NULL && t->status_len != 0 && !hostlerHeadSent(th->index)) {
			memcpy(th->body, PyBytes_AsString(body), (size_t)n);
			t->out = th->body;
			t->out_len = n;
			t->result |= RESULT_FINAL;
			return 0;
		}
		return deliver(th, PyBytes_AsString(body), n, body, 1) == -3 ? -1 : 0;
	}
	int rc = type == file_wrapper_type ? send_file(th, result) : 0;
	if (rc == 0)
		rc = iterate(th, result);
	if (rc >= 0 && t->status_len == 0 && !(has_socket(th) && socket_answers(th))) { /* a generator may have taken the connection */
		PyErr_SetString(PyExc_AssertionError, "the application did not call start_response");
		rc = -1;
	}
	if (type != &PyList_Type && type != &PyTuple_Type) {
		if (interrupt(th))
			rc = -1;
		if (rc >= 0) { /* the client need not wait for close() */
			sending_done(th);
			hostlerEndBody(th->index);
		}
		if (close_result(result))
			log_exception(th); /* the response is whole all the same */
	}
	return rc < 0 ? -1 : 0;
}
