/* The route that the application's framework has found for a request (--metrics-routes). It
 * is a text in the request's environ or scope, by one of a few names: the framework has put it
 * there itself, or what has been added to that (_hostler.routes). */
#include "bridge.h"

enum { MOST_NAMES = 4 };

static PyObject *names[MOST_NAMES]; /* for the life of the process */

int rules_wanted;

/* routes(names): a tuple of these, from here on. */
PyObject *rules_by(PyObject *self, PyObject *given) {
	(void)self;
	Py_ssize_t n = PyTuple_Size(given);
	if (n < 0)
		return NULL;
	if (n > MOST_NAMES)
		return PyErr_Format(PyExc_ValueError, "too many names");
	for (Py_ssize_t i = 0; i < n; i++) {
		names[i] = PyTuple_GetItem(given, i);
		Py_IncRef(names[i]);
	}
	rules_wanted = 1;
	return none();
}

void tell_rule(int index, PyObject *place) {
	const char *text = NULL;
	Py_ssize_t n = 0;
	for (int i = 0; text == NULL && i < MOST_NAMES && names[i]; i++) {
		PyObject *o = PyDict_GetItemWithError(place, names[i]); /* borrowed */
		if (o != NULL && is_a(o, &PyUnicode_Type))
			text = PyUnicode_AsUTF8AndSize(o, &n);
		if (text == NULL)
			PyErr_Clear(); /* it has not got there, or is no text */
	}
	if (text != NULL && n > 0)
		hostlerRule(index, (char *)text, n);
}
