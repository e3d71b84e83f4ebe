/* The head of a response, from Python's text to the records that http1.CheckHead
 * reads. */
#include <string.h>

#include "bridge.h"

/* What text is about, for errors: the value of a header is named. */
struct about { const char *what; PyObject *name; };

/* wrong raises an error. What it shows may run the application's code, and so is
 * held. */
static int wrong(PyObject *error, struct about a, const char *is, PyObject *detail) {
	Py_IncRef(detail);
	if (a.name)
		Py_IncRef(a.name);
	if (a.name)
		PyErr_Format(error, "%s of %R %s %S", a.what, a.name, is, detail);
	else
		PyErr_Format(error, "%s %s %S", a.what, is, detail);
	if (a.name)
		Py_DecRef(a.name);
	Py_DecRef(detail);
	return -1;
}

/* not_latin1 puts a plainer error in the place of the codec's. */
static int not_latin1(struct about a) {
	PyObject *type, *value, *tb;
	PyErr_Fetch(&type, &value, &tb);
	wrong(PyExc_ValueError, a, "must be latin-1 text:", value ? value : type);
	Py_DecRef(type);
	if (value)
		Py_DecRef(value);
	if (tb)
		Py_DecRef(tb);
	return -1;
}

/* text_bytes appends a str, which must be latin-1, to the response buffer at
 * *len. As long as all is well neither it nor put_fields runs code of the
 * application, so borrowed references stay good. */
static int text_bytes(struct task *t, PyObject *o, uint32_t *len, struct about a) {
	PyTypeObject *type = type_of(o);
	Py_ssize_t n;
	const char *s;
	PyObject *latin = NULL;
	if (!PyType_IsSubtype(type, &PyUnicode_Type))
		return wrong(PyExc_TypeError, a, "must be str, not", (PyObject *)type);
	s = PyUnicode_AsUTF8AndSize(o, &n);
	if (s == NULL || n != PyUnicode_GetLength(o)) { /* not ASCII */
		if (s == NULL || (latin = PyUnicode_AsLatin1String(o)) == NULL)
			return not_latin1(a);
		s = PyBytes_AsString(latin);
		n = PyBytes_Size(latin);
	}
	int rc = 0;
	if ((size_t)n > t->resp_cap - *len) {
		PyErr_SetString(PyExc_ValueError, "response head too large");
		rc = -1;
	} else {
		memcpy(t->resp + *len, s, (size_t)n);
		*len += (uint32_t)n;
	}
	if (latin)
		Py_DecRef(latin);
	return rc;
}

PyObject *as_list(PyObject *headers) {
	if (is_a(headers, &PyList_Type) || is_a(headers, &PyTuple_Type)) {
		Py_IncRef(headers);
		return headers;
	}
	PyObject *list = NULL;
	if (!is_a(headers, &PyDict_Type) && !is_a(headers, &PyUnicode_Type) && !is_a(headers, &PyBytes_Type)) {
		list = PySequence_List(headers);
		if (list != NULL || !PyErr_ExceptionMatches(PyExc_TypeError))
			return list;
		PyErr_Clear();
	}
	return PyErr_Format(PyExc_TypeError, "response headers must be a list of (name, value) tuples, not %S", (PyObject *)type_of(headers));
}

/* item and length are of a list or of a tuple. */
static PyObject *item(int list, PyObject *of, Py_ssize_t i) { return list ? PyList_GetItem(of, i) : PyTuple_GetItem(of, i); }

static Py_ssize_t length(int list, PyObject *of) { return list ? PyList_Size(of) : PyTuple_Size(of); }

static int no_pair(PyObject *pair, Py_ssize_t i) {
	Py_IncRef(pair);
	PyErr_Format(PyExc_TypeError, "response headers must be a list of (name, value) tuples; the one at %zd is %R", i, pair);
	Py_DecRef(pair);
	return -1;
}

int put_fields(struct task *t, PyObject *headers, uint32_t *at) {
	int list = is_a(headers, &PyList_Type);
	for (Py_ssize_t i = 0; i < length(list, headers); i++) {
		PyObject *pair = item(list, headers, i);
		if (pair == NULL)
			return -1;
		int tuple = is_a(pair, &PyTuple_Type);
		if ((!tuple && !is_a(pair, &PyList_Type)) || length(!tuple, pair) != 2)
			return no_pair(pair, i);
		PyObject *name = item(!tuple, pair, 0), *value = item(!tuple, pair, 1);
		uint32_t start = *at, lens[2];
		if (t->resp_cap - start < sizeof lens) {
			PyErr_SetString(PyExc_ValueError, "response head too large");
			return -1;
		}
		*at += sizeof lens;
		if (text_bytes(t, name, at, (struct about){"a header's name", NULL}))
			return -1;
		lens[0] = *at - start - (uint32_t)sizeof lens;
		if (text_bytes(t, value, at, (struct about){"the value", name}))
			return -1;
		lens[1] = *at - start - (uint32_t)sizeof lens - lens[0];
		memcpy(t->resp + start, lens, sizeof lens);
	}
	return 0;
}

void head_error(struct task *t, int code, uint32_t off) {
	char why[160], name[80] = "";
	hostlerHeadError(code, why, sizeof why);
	/* Past the end, where it is about the status. */
	if (off < t->fields_len && t->fields_len - off >= 8) {
		uint32_t n;
		memcpy(&n, t->resp + t->status_len + off, sizeof n);
		if (n > sizeof name - 1)
			n = sizeof name - 1;
		if (n <= t->fields_len - off - 8)
			for (uint32_t i = 0; i < n; i++) {
				char c = t->resp[t->status_len + off + 8 + i];
				name[i] = c >= 0x20 && c < 0x7f ? c : '?';
			}
	}
	if (name[0])
		PyErr_Format(PyExc_ValueError, "%s: %s", why, name);
	else
		PyErr_SetString(PyExc_ValueError, why);
}

int set_head(struct thread *th, PyObject *status, PyObject *headers) {
	struct task *t = th->task;
	uint32_t at = 0, off = 0;
	t->status_len = t->fields_len = 0;
	if (text_bytes(t, status, &at, (struct about){"status", NULL}))
		return -1;
	uint32_t status_len = at;
	if (put_fields(t, headers, &at))
		return -1;
	t->status_len = status_len;
	t->fields_len = at - status_len;
	int code = hostlerHead(th->index, &off);
	if (code == 0)
		return 0;
	head_error(t, code, off);
	t->status_len = t->fields_len = 0;
	return -1;
}

void broken_head(struct thread *th) {
	static const char status[] = "500 Internal Server Error";
	uint32_t off;
	memcpy(th->task->resp, status, sizeof status - 1);
	th->task->status_len = sizeof status - 1;
	hostlerHead(th->index, &off);
}
