/* wsgi.input. The body, or its first part, lies in the request's buffer; what
 * does not fit there is fetched from the connection while the application reads. */
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "bridge.h"

struct input {
	uint64_t seq;  /* the request; 0: none, the empty input */
	int index;     /* of its thread */
	int busy;      /* a read waits, without the GIL */
	int64_t pos;   /* read so far from task->body */
	char *ahead;   /* fetched while looking for the end of a line; malloc */
	size_t ahead_at, ahead_len, ahead_cap;
};

static PyTypeObject *input_type;
static size_t head_size; /* of an object, before our part */
static PyObject *empty;

static struct input *state(PyObject *self) { return (struct input *)((char *)self + head_size); }

static struct thread *owner(struct input *in) {
	if (forked) {
		PyErr_SetString(PyExc_RuntimeError, "hostler: a forked child cannot read its parent's request");
		return NULL;
	}
	if (in->busy) {
		PyErr_SetString(PyExc_RuntimeError, "hostler: wsgi.input is already being read, by another thread or around a signal handler");
		return NULL;
	}
	struct thread *th = &threads[in->index];
	if (!th->active || th->task->seq != in->seq) {
		PyErr_SetString(PyExc_ValueError, "hostler: the request has ended");
		return NULL;
	}
	return th;
}

/* fetch reads up to n bytes that are not in memory yet. 0: the end; -1: an
 * exception is set. dst stays valid while it waits, since in is busy. */
static int64_t fetch(struct input *in, struct thread *th, char *dst, int64_t n) {
	for (;;) {
		int64_t got = hostlerRead(th->index, dst, n);
		switch (got) {
		case READ_WAIT:
			in->busy = 1;
			int rc = wait_fd(th->task->fd, POLLIN);
			in->busy = 0;
			/* In the meantime the request may have ended, if this is another
			 * thread than its own. */
			if (rc || owner(in) == NULL)
				return -1;
			continue;
		case READ_BROKEN:
			PyErr_SetString(PyExc_OSError, "the client did not send the whole request body");
			return -1;
		case READ_BAD:
			PyErr_SetString(PyExc_OSError, "malformed chunk in the request body");
			return -1;
		case READ_TOO_LARGE:
			PyErr_SetString(PyExc_OSError, "request body too large");
			return -1;
		}
		return got;
	}
}

/* available returns what is in memory, and where. */
static size_t available(struct input *in, struct task *t, const char **at) {
	if (in->pos < t->body_len) {
		*at = t->body + in->pos;
		return (size_t)(t->body_len - in->pos);
	}
	*at = in->ahead + in->ahead_at;
	return in->ahead_len - in->ahead_at;
}

static void consume(struct input *in, struct task *t, size_t n) {
	if (in->pos < t->body_len)
		in->pos += (int64_t)n;
	else
		in->ahead_at += n;
}

/* more fetches into ahead. 1: there is more; 0: the end; -1: exception. */
static int more(struct input *in, struct thread *th) {
	if (in->ahead_at == in->ahead_len)
		in->ahead_at = in->ahead_len = 0;
	if (in->ahead_at > 0 && in->ahead_cap - in->ahead_len < 16384) {
		in->ahead_len -= in->ahead_at;
		memmove(in->ahead, in->ahead + in->ahead_at, in->ahead_len);
		in->ahead_at = 0;
	}
	if (in->ahead_cap - in->ahead_len < 16384) {
		size_t cap = in->ahead_cap ? 2 * in->ahead_cap : 65536;
		char *p = realloc(in->ahead, cap);
		if (p == NULL) {
			PyErr_NoMemory();
			return -1;
		}
		in->ahead = p;
		in->ahead_cap = cap;
	}
	int64_t n = fetch(in, th, in->ahead + in->ahead_len, (int64_t)(in->ahead_cap - in->ahead_len));
	if (n <= 0)
		return (int)n;
	in->ahead_len += (size_t)n;
	return 1;
}

/* size reads the optional argument of read and its kin. */
static int size(PyObject *const *args, Py_ssize_t nargs, long long *n) {
	*n = -1;
	if (nargs > 1) {
		PyErr_SetString(PyExc_TypeError, "at most one argument");
		return -1;
	}
	if (nargs == 0 || args[0] == Py_None)
		return 0;
	PyObject *i = PyNumber_Index(args[0]);
	if (i == NULL)
		return -1;
	*n = PyLong_AsLongLong(i);
	Py_DecRef(i);
	return PyErr_Occurred() ? -1 : 0;
}

static PyObject *input_read(PyObject *self, PyObject *const *args, Py_ssize_t nargs) {
	struct input *in = state(self);
	long long want;
	if (size(args, nargs, &want))
		return NULL;
	if (in->seq == 0 || want == 0)
		return PyBytes_FromStringAndSize("", 0);
	struct thread *th = owner(in);
	if (th == NULL)
		return NULL;
	struct task *t = th->task;
	const char *at;
	size_t have = available(in, t, &at);
	if ((want >= 0 && have >= (size_t)want) || !t->body_more) {
		size_t n = want >= 0 && (size_t)want < have ? (size_t)want : have;
		PyObject *b = PyBytes_FromStringAndSize(at, (Py_ssize_t)n);
		if (b != NULL)
			consume(in, t, n);
		return b;
	}
	/* Gather, in a buffer that grows with what really comes. */
	size_t len = 0, cap = 65536;
	char *buf = malloc(cap);
	if (buf == NULL)
		return PyErr_NoMemory();
	for (;;) {
		size_t left = want < 0 ? SIZE_MAX : (size_t)want - len;
		if (left == 0)
			break;
		if (len == cap) {
			char *p = realloc(buf, cap *= 2);
			if (p == NULL) {
				free(buf);
				return PyErr_NoMemory();
			}
			buf = p;
		}
		size_t n = cap - len < left ? cap - len : left;
		have = available(in, t, &at);
		if (have > 0) {
			if (n > have)
				n = have;
			memcpy(buf + len, at, n);
			consume(in, t, n);
		} else {
			int64_t got = fetch(in, th, buf + len, (int64_t)n);
			if (got < 0) {
				free(buf);
				return NULL;
			}
			if (got == 0)
				break;
			n = (size_t)got;
		}
		len += n;
	}
	PyObject *b = PyBytes_FromStringAndSize(buf, (Py_ssize_t)len);
	free(buf);
	return b;
}

static PyObject *line(struct input *in, long long limit) {
	if (in->seq == 0 || limit == 0)
		return PyBytes_FromStringAndSize("", 0);
	struct thread *th = owner(in);
	if (th == NULL)
		return NULL;
	struct task *t = th->task;
	size_t seen = 0;
	for (;;) {
		const char *at;
		size_t have = available(in, t, &at);
		size_t look = limit >= 0 && have > (size_t)limit ? (size_t)limit : have;
		const char *nl = look > seen ? memchr(at + seen, '\n', look - seen) : NULL;
		if (nl != NULL || (limit >= 0 && have >= (size_t)limit) || !t->body_more) {
			size_t n = nl != NULL ? (size_t)(nl - at) + 1 : look;
			PyObject *b = PyBytes_FromStringAndSize(at, (Py_ssize_t)n);
			if (b != NULL)
				consume(in, t, n);
			return b;
		}
		if (in->pos < t->body_len) { /* the line goes on beyond the first part */
			if (in->ahead_cap - in->ahead_len < have) {
				char *p = realloc(in->ahead, in->ahead_len + have + 65536);
				if (p == NULL)
					return PyErr_NoMemory();
				in->ahead = p;
				in->ahead_cap = in->ahead_len + have + 65536;
			}
			memcpy(in->ahead + in->ahead_len, at, have);
			in->ahead_len += have;
			in->pos = t->body_len;
		}
		seen = have;
		int rc = more(in, th);
		if (rc < 0)
			return NULL;
		if (rc == 0) {
			have = available(in, t, &at);
			PyObject *b = PyBytes_FromStringAndSize(at, (Py_ssize_t)have);
			if (b != NULL)
				consume(in, t, have);
			return b;
		}
	}
}

static PyObject *input_readline(PyObject *self, PyObject *const *args, Py_ssize_t nargs) {
	long long limit;
	return size(args, nargs, &limit) ? NULL : line(state(self), limit);
}

static PyObject *input_readlines(PyObject *self, PyObject *const *args, Py_ssize_t nargs) {
	long long hint, total = 0;
	if (size(args, nargs, &hint))
		return NULL;
	PyObject *list = PyList_New(0);
	while (list != NULL) {
		PyObject *l = line(state(self), -1);
		if (l == NULL)
			break;
		Py_ssize_t n = PyBytes_Size(l);
		int rc = n > 0 ? PyList_Append(list, l) : 0;
		Py_DecRef(l);
		if (rc)
			break;
		total += n;
		if (n == 0 || (hint > 0 && total >= hint))
			return list;
	}
	if (list != NULL)
		Py_DecRef(list);
	return NULL;
}

static PyObject *input_iter(PyObject *self) {
	Py_IncRef(self);
	return self;
}

static PyObject *input_next(PyObject *self) {
	PyObject *l = line(state(self), -1);
	if (l != NULL && PyBytes_Size(l) == 0) {
		Py_DecRef(l);
		return NULL; /* without an exception: the iteration ends */
	}
	return l;
}

static void input_dealloc(PyObject *self) {
	PyTypeObject *type = (PyTypeObject *)PyObject_Type(self); /* new reference */
	free(state(self)->ahead);
	PyObject_Free(self);
	Py_DecRef((PyObject *)type); /* PyObject_Type's */
	Py_DecRef((PyObject *)type); /* the instance's */
}

static PyMethodDef input_methods[] = {
	{"read", (PyCFunction)(void (*)(void))input_read, METH_FASTCALL, "read(size=-1)"},
	{"readline", (PyCFunction)(void (*)(void))input_readline, METH_FASTCALL, "readline(size=-1)"},
	{"readlines", (PyCFunction)(void (*)(void))input_readlines, METH_FASTCALL, "readlines(hint=-1)"},
	{0},
};

static PyObject *alloc(uint64_t seq, int index) {
	PyObject *self = PyType_GenericAlloc(input_type, 0); /* zeroed */
	if (self != NULL) {
		state(self)->seq = seq;
		state(self)->index = index;
	}
	return self;
}

int input_init(void) {
	static PyType_Slot slots[] = {
		{Py_tp_dealloc, input_dealloc}, {Py_tp_iter, input_iter}, {Py_tp_iternext, input_next},
		{Py_tp_methods, input_methods}, {0},
	};
	static PyType_Spec spec = {"hostler.Input", 0, 0, Py_TPFLAGS_DEFAULT, slots};
	/* object.__basicsize__ tells how large an object's head is in this build. */
	PyObject *n = PyObject_GetAttrString((PyObject *)&PyBaseObject_Type, "__basicsize__");
	if (n == NULL)
		return -1;
	head_size = (size_t)PyLong_AsLong(n);
	Py_DecRef(n);
	spec.basicsize = (int)(head_size + sizeof(struct input));
	input_type = (PyTypeObject *)PyType_FromSpec(&spec);
	if (input_type == NULL)
		return -1;
	empty = alloc(0, 0);
	return empty ? 0 : -1;
}

PyObject *input_new(struct thread *th) {
	if (th->task->body_len == 0 && !th->task->body_more) {
		Py_IncRef(empty);
		return empty;
	}
	return alloc(th->task->seq, th->index);
}
