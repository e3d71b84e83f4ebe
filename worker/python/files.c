/* Files as a response's body, or a part of it: http.response.pathsend and
 * http.response.zerocopysend. The kernel sends them; what it cannot send, an executor's
 * thread reads, and a coroutine sends it piece by piece. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "asgi.h"

static PyObject *copied; /* copied(send, fd, offset, count, more): that coroutine, which takes over fd */

int files_init(PyObject *copy) {
	copied = keep(copy); /* for the life of the process */
	return 0;
}

/* copy has a file copied. It takes over fd. */
static int copy(PyObject *call, int fd, int64_t off, int64_t count, int more, struct sent *s) {
	PyObject *send = send_new(call), *number = PyLong_FromLong(fd), *from = PyLong_FromLongLong(off), *n = PyLong_FromLongLong(count);
	if (send && number && from && n)
		s->rest = PyObject_CallFunctionObjArgs(copied, send, number, from, n, more ? Py_True : Py_False, NULL);
	drop(&send);
	drop(&number);
	drop(&from);
	drop(&n);
	if (s->rest == NULL)
		close(fd);
	return s->rest ? 0 : -1;
}

/* put sends a part of a file. It takes over fd. */
static int put(PyObject *call, int fd, int64_t off, int64_t count, int more, struct sent *s) {
	struct call *c = call_of(call);
	PyThreadState *ts = PyEval_SaveThread(); /* the disk may take its time */
	int rc = hostlerSendPart(c->seat, fd, off, count, more || c->trailers);
	PyEval_RestoreThread(ts);
	if (rc == FILE_COPY)
		return copy(call, fd, off, count, more, s);
	if (rc == WRITE_GONE) {
		close(fd);
		c->gone = 1;
		gone_exception();
		return -1;
	}
	c->headed = 1;
	s->wait = rc == WRITE_WAIT;
	s->over = !more;
	return 0;
}

/* check_file says what is wrong with a descriptor, as errno: what is no regular file might
 * have to be waited for. */
static int check_file(int fd, struct stat *st) {
	if (fstat(fd, st))
		return errno;
	return S_ISREG(st->st_mode) ? 0 : S_ISDIR(st->st_mode) ? EISDIR : EINVAL;
}

int send_path(PyObject *call, PyObject *path, struct sent *s) {
	PyObject *name = NULL;
	struct stat st;
	if (!PyUnicode_FSConverter(path, &name))
		return -1;
	const char *text = PyBytes_AsString(name);
	PyThreadState *ts = PyEval_SaveThread();
	int fd = open(text, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK), e = fd < 0 ? errno : check_file(fd, &st);
	PyEval_RestoreThread(ts);
	Py_DecRef(name);
	if (e == 0)
		return put(call, fd, 0, -1, 0, s);
	if (fd >= 0)
		close(fd);
	errno = e;
	PyErr_SetFromErrnoWithFilenameObject(PyExc_OSError, path);
	return -1;
}

/* number reads a count of bytes, which may be missing or None: -1. -2: an exception. */
static int64_t number(PyObject *message, PyObject *key) {
	PyObject *v = PyDict_GetItemWithError(message, key);
	if (v == NULL || v == Py_None)
		return PyErr_Occurred() ? -2 : -1;
	PyObject *index = PyNumber_Index(v);
	int64_t n = index ? PyLong_AsLongLong(index) : -2;
	drop(&index);
	if (n >= 0 || PyErr_Occurred())
		return PyErr_Occurred() ? -2 : n;
	PyErr_Format(PyExc_ValueError, "ASGI: %R of http.response.zerocopysend must not be below 0", key);
	return -2;
}

int send_descriptor(PyObject *call, PyObject *message, int more, struct sent *s) {
	PyObject *file = PyDict_GetItemWithError(message, names.file);
	struct stat st;
	if (file == NULL) {
		if (!PyErr_Occurred())
			PyErr_SetString(PyExc_ValueError, "ASGI: http.response.zerocopysend has no file");
		return -1;
	}
	int64_t off = number(message, names.offset), count = off == -2 ? -2 : number(message, names.count);
	int fd = count == -2 ? -1 : PyObject_AsFileDescriptor(file);
	if (fd < 0)
		return -1;
	/* The application's own is its own to close, as soon as send() returns. */
	int own = fcntl(fd, F_DUPFD_CLOEXEC, 3), e = own < 0 ? errno : check_file(own, &st), moves = off < 0;
	if (e == 0 && moves && (off = lseek(own, 0, SEEK_CUR)) < 0)
		e = errno;
	if (e) {
		if (own >= 0)
			close(own);
		errno = e;
		PyErr_SetFromErrno(PyExc_OSError);
		return -1;
	}
	int64_t left = st.st_size > off ? st.st_size - off : 0;
	if (moves) /* as sendfile(2) does */
		lseek(own, off + (count >= 0 && count < left ? count : left), SEEK_SET);
	return put(call, own, off, count, more, s);
}
