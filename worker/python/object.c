/* What the stable ABI does not say of Python's objects. */
#include "bridge.h"

size_t object_head(void) {
	PyObject *n = PyObject_GetAttrString((PyObject *)&PyBaseObject_Type, "__basicsize__");
	if (n == NULL)
		return 0;
	long size = PyLong_AsLong(n);
	Py_DecRef(n);
	if (size >= (long)sizeof ((PyModuleDef *)NULL)->ob && size <= 64)
		return (size_t)size;
	if (!PyErr_Occurred())
		PyErr_Format(PyExc_RuntimeError, "hostler does not know objects with a head of %ld bytes", size);
	return 0;
}
