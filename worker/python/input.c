/* wsgi.input as a file: what io.BufferedIOBase has for reading. A body that is
 * whole can be rewound; of any other, what has been read is gone. */
#include <stdlib.h>
#include <string.h>

#include "input.h"

static PyTypeObject *input_type;
static size_t head_size; /* of an object, before our part */
static PyObject *unsupported; /* io.UnsupportedOperation */

static struct input *state(PyObject *self) { return (struct input *)((char *)self + head_size); }

/* open_for says for whom the body may be read. 1: *th; 0: it is empty; -1: an
 * exception is set. */
static int open_for(struct input *in, struct thread **th) {
	if (in->closed) {
		PyErr_SetString(PyExc_ValueError, "I/O operation on closed file");
		return -1;
	}
	if (in->seq == 0)
		return 0;
	*th = body_owner(in);
	return *th ? 1 : -1;
}

/* size reads the optional argument of read and its kin, by position or name. */
static int size(PyObject *const *args, Py_ssize_t nargs, PyObject *names, long long *n) {
	*n = -1;
	Py_ssize_t named = names ? PyTuple_Size(names) : 0;
	if (nargs + named > 1) {
		PyErr_SetString(PyExc_TypeError, "at most one argument");
		return -1;
	}
	if (named) {
		const char *name = PyUnicode_AsUTF8AndSize(PyTuple_GetItem(names, 0), NULL);
		if (name == NULL)
			return -1;
		if (strcmp(name, "size") != 0 && strcmp(name, "hint") != 0) {
			PyErr_Format(PyExc_TypeError, "unexpected keyword argument '%s'", name);
			return -1;
		}
	}
	if (nargs + named == 0 || args[0] == Py_None)
		return 0;
	PyObject *i = PyNumber_Index(args[0]);
	if (i == NULL)
		return -1;
	*n = PyLong_AsLongLong(i);
	Py_DecRef(i);
	return PyErr_Occurred() ? -1 : 0;
}

static PyObject *bytes(const char *at, size_t n) { return PyBytes_FromStringAndSize(at, (Py_ssize_t)n); }

/* gather reads n bytes (SIZE_MAX: all), in a buffer that grows with what really
 * comes; or, once, as many as come together. */
static PyObject *gather(struct input *in, struct thread *th, size_t want, int once) {
	size_t len = 0, cap = 65536;
	char *buf = malloc(cap);
	if (buf == NULL)
		return PyErr_NoMemory();
	while (len < want) {
		if (len == cap) {
			char *p = realloc(buf, cap *= 2);
			if (p == NULL) {
				free(buf);
				return PyErr_NoMemory();
			}
			buf = p;
		}
		int64_t got = body_take(in, th, buf + len, cap - len < want - len ? cap - len : want - len);
		if (got < 0) {
			free(buf);
			return NULL;
		}
		len += (size_t)got;
		if (got == 0 || once)
			break;
	}
	PyObject *b = bytes(buf, len);
	free(buf);
	return b;
}

/* exactly reads n bytes of a body that is known to have so many more. */
static PyObject *exactly(struct input *in, struct thread *th, int64_t n) {
	PyObject *b = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)n);
	for (int64_t len = 0; b != NULL && len < n;) {
		int64_t got = body_take(in, th, PyBytes_AsString(b) + len, (size_t)(n - len));
		if (got <= 0) {
			if (got == 0)
				PyErr_SetString(PyExc_OSError, "the request body is shorter than it was");
			Py_DecRef(b);
			return NULL;
		}
		len += got;
	}
	return b;
}

static PyObject *read_some(PyObject *self, long long n, int once) {
	struct input *in = state(self);
	struct thread *th;
	int rc = open_for(in, &th);
	if (rc < 0)
		return NULL;
	if (rc == 0 || n == 0)
		return bytes("", 0);
	const char *at;
	size_t want = n < 0 ? SIZE_MAX : (size_t)n, have = body_held(in, th->task, &at);
	if (have >= want || !body_rest(in, th->task) || (once && have > 0)) {
		if (have > want)
			have = want;
		PyObject *b = bytes(at, have);
		if (b != NULL)
			body_consume(in, th->task, have);
		return b;
	}
	int64_t left = body_left(in, th->task);
	if (left < 0 || once)
		return gather(in, th, want, once);
	return exactly(in, th, n < 0 || n > left ? left : (int64_t)n);
}

static PyObject *input_read(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *names) {
	long long n;
	return size(args, nargs, names, &n) ? NULL : read_some(self, n, 0);
}

static PyObject *input_read1(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *names) {
	long long n;
	return size(args, nargs, names, &n) ? NULL : read_some(self, n, 1);
}

static PyObject *input_readall(PyObject *self, PyObject *none) {
	(void)none;
	return read_some(self, -1, 0);
}

static PyObject *read_into(PyObject *self, PyObject *target, int once) {
	struct input *in = state(self);
	struct thread *th;
	Py_buffer view;
	if (PyObject_GetBuffer(target, &view, PyBUF_WRITABLE)) {
		if (PyErr_ExceptionMatches(PyExc_Exception))
			PyErr_SetString(PyExc_TypeError, "a read-write bytes-like object is required"); /* as io says it */
		return NULL;
	}
	int rc = open_for(in, &th);
	int64_t got = rc;
	Py_ssize_t len = 0;
	while (rc > 0 && len < view.len) {
		got = body_take(in, th, (char *)view.buf + len, (size_t)(view.len - len));
		if (got <= 0)
			break;
		len += (Py_ssize_t)got;
		if (once)
			break;
	}
	PyBuffer_Release(&view);
	return got < 0 ? NULL : PyLong_FromLongLong(len);
}

static PyObject *input_readinto(PyObject *self, PyObject *target) { return read_into(self, target, 0); }

static PyObject *input_readinto1(PyObject *self, PyObject *target) { return read_into(self, target, 1); }

static PyObject *line(struct input *in, long long limit) {
	struct thread *th;
	int rc = open_for(in, &th);
	if (rc < 0)
		return NULL;
	if (rc == 0 || limit == 0)
		return bytes("", 0);
	struct task *t = th->task;
	size_t seen = 0;
	for (;;) {
		const char *at;
		size_t have = body_held(in, t, &at);
		size_t look = limit >= 0 && have > (size_t)limit ? (size_t)limit : have;
		const char *nl = look > seen ? memchr(at + seen, '\n', look - seen) : NULL;
		int more = 0;
		if (nl == NULL && (limit < 0 || have < (size_t)limit) && (more = body_more(in, th)) < 0)
			return NULL;
		if (!more) {
			/* That there is no more may have been found out in a wait. */
			have = body_held(in, t, &at);
			size_t n = nl != NULL ? (size_t)(nl - at) + 1 : look;
			if (n > have)
				n = have;
			PyObject *b = bytes(at, n);
			if (b != NULL)
				body_consume(in, t, n);
			return b;
		}
		seen = have;
	}
}

static PyObject *input_readline(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *names) {
	long long limit;
	return size(args, nargs, names, &limit) ? NULL : line(state(self), limit);
}

static PyObject *input_readlines(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *names) {
	long long hint, total = 0;
	if (size(args, nargs, names, &hint))
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

static PyObject *input_seek(PyObject *self, PyObject *args) {
	struct input *in = state(self);
	struct thread *th;
	long long offset;
	int whence = 0;
	if (!PyArg_ParseTuple(args, "L|i", &offset, &whence) || open_for(in, &th) < 0)
		return NULL;
	if (!in->whole)
		return PyErr_Format(unsupported, "hostler: the body is read from the client as it comes, and cannot be rewound");
	if (whence < 0 || whence > 2)
		return PyErr_Format(PyExc_ValueError, "invalid whence (%d, should be 0, 1 or 2)", whence);
	int64_t from = whence == 0 ? 0 : whence == 1 ? in->pos : body_size(in);
	int64_t to;
	if (__builtin_add_overflow(from, offset, &to))
		return PyErr_Format(PyExc_ValueError, "seek position is out of range");
	if (to < 0) {
		if (whence == 0)
			return PyErr_Format(PyExc_ValueError, "negative seek value %lld", offset);
		to = 0; /* as io.BytesIO */
	}
	body_seek(in, to);
	return PyLong_FromLongLong(to);
}

static PyObject *input_tell(PyObject *self, PyObject *none) {
	(void)none;
	struct input *in = state(self);
	struct thread *th;
	if (open_for(in, &th) < 0)
		return NULL;
	if (!in->whole)
		return PyErr_Format(unsupported, "hostler: the body is read from the client as it comes, and has no position");
	return PyLong_FromLongLong(in->pos);
}

/* truth answers readable() and its kin. */
static PyObject *truth(PyObject *self, int yes) {
	if (state(self)->closed)
		return PyErr_Format(PyExc_ValueError, "I/O operation on closed file");
	return PyBool_FromLong(yes);
}

static PyObject *input_readable(PyObject *self, PyObject *none) {
	(void)none;
	return truth(self, 1);
}

static PyObject *input_seekable(PyObject *self, PyObject *none) {
	(void)none;
	return truth(self, state(self)->whole);
}

/* no answers writable() and isatty(). */
static PyObject *no(PyObject *self, PyObject *none) {
	(void)none;
	return truth(self, 0);
}

static PyObject *refuse(PyObject *self, PyObject *args) {
	(void)self, (void)args;
	return PyErr_Format(unsupported, "hostler: wsgi.input can only be read, and has no descriptor of its own");
}

static PyObject *input_flush(PyObject *self, PyObject *none) {
	PyObject *open = no(self, none);
	if (open == NULL)
		return NULL;
	Py_DecRef(open);
	Py_IncRef(Py_None);
	return Py_None;
}

/* close is for wrappers (io.TextIOWrapper closes what it wraps); it may come when
 * the request is long over. */
static PyObject *input_close(PyObject *self, PyObject *args) {
	(void)args;
	state(self)->closed = 1;
	Py_IncRef(Py_None);
	return Py_None;
}

static PyObject *input_enter(PyObject *self, PyObject *none) {
	PyObject *open = no(self, none);
	if (open == NULL)
		return NULL;
	Py_DecRef(open);
	return input_iter(self);
}

static PyObject *input_closed(PyObject *self, void *closure) {
	(void)closure;
	return PyBool_FromLong(state(self)->closed);
}

static void input_dealloc(PyObject *self) {
	PyTypeObject *type = (PyTypeObject *)PyObject_Type(self); /* new reference */
	free(state(self)->ahead);
	PyObject_Free(self);
	Py_DecRef((PyObject *)type); /* PyObject_Type's */
	Py_DecRef((PyObject *)type); /* the instance's */
}

#define NAMED(f) (PyCFunction)(void (*)(void))f, METH_FASTCALL | METH_KEYWORDS

static PyMethodDef input_methods[] = {
	{"read", NAMED(input_read), "read(size=-1)"},
	{"read1", NAMED(input_read1), "read1(size=-1): what is there, after one wait at most"},
	{"readall", input_readall, METH_NOARGS, "readall()"},
	{"readinto", input_readinto, METH_O, "readinto(buffer)"},
	{"readinto1", input_readinto1, METH_O, "readinto1(buffer)"},
	{"readline", NAMED(input_readline), "readline(size=-1)"},
	{"readlines", NAMED(input_readlines), "readlines(hint=-1)"},
	{"seek", input_seek, METH_VARARGS, "seek(offset, whence=0), where the body is whole"},
	{"tell", input_tell, METH_NOARGS, "tell(), where the body is whole"},
	{"readable", input_readable, METH_NOARGS, "True"},
	{"seekable", input_seekable, METH_NOARGS, "whether the body is whole"},
	{"writable", no, METH_NOARGS, "False"},
	{"isatty", no, METH_NOARGS, "False"},
	{"flush", input_flush, METH_NOARGS, "do nothing"},
	{"close", input_close, METH_NOARGS, "refuse to be read from here on"},
	{"__enter__", input_enter, METH_NOARGS, NULL},
	{"__exit__", input_close, METH_VARARGS, NULL},
	{"fileno", refuse, METH_VARARGS, NULL},
	{"detach", refuse, METH_VARARGS, NULL},
	{"truncate", refuse, METH_VARARGS, NULL},
	{"write", refuse, METH_VARARGS, NULL},
	{"writelines", refuse, METH_VARARGS, NULL},
	{0},
};

static PyGetSetDef input_getset[] = {{.name = "closed", .get = input_closed}, {0}};

/* join_io makes the type one of io's to isinstance, and finds its exception. */
static int join_io(void) {
	PyObject *io = PyImport_ImportModule("io");
	if (io == NULL)
		return -1;
	PyObject *base = PyObject_GetAttrString(io, "BufferedIOBase");
	PyObject *join = base ? PyObject_GetAttrString(base, "register") : NULL;
	PyObject *done = join ? PyObject_CallFunctionObjArgs(join, (PyObject *)input_type, NULL) : NULL;
	if (done != NULL)
		unsupported = PyObject_GetAttrString(io, "UnsupportedOperation");
	PyObject *drop[] = {done, join, base, io};
	for (size_t i = 0; i < sizeof drop / sizeof *drop; i++)
		if (drop[i])
			Py_DecRef(drop[i]);
	return unsupported ? 0 : -1;
}

int input_init(void) {
	static PyType_Slot slots[] = {
		{Py_tp_dealloc, input_dealloc}, {Py_tp_iter, input_iter}, {Py_tp_iternext, input_next},
		{Py_tp_methods, input_methods}, {Py_tp_getset, input_getset}, {0},
	};
	static PyType_Spec spec = {"hostler.Input", 0, 0, Py_TPFLAGS_DEFAULT, slots};
	head_size = object_head();
	if (head_size == 0)
		return -1;
	spec.basicsize = (int)(head_size + sizeof(struct input));
	input_type = (PyTypeObject *)PyType_FromSpec(&spec);
	return input_type ? join_io() : -1;
}

PyObject *input_new(struct thread *th) {
	PyObject *self = PyType_GenericAlloc(input_type, 0); /* zeroed */
	if (self != NULL) {
		struct input *in = state(self);
		in->whole = !th->task->body_more;
		if (th->task->body_len != 0 || !in->whole) {
			in->seq = th->task->seq;
			in->index = th->index;
		}
	}
	return self;
}
