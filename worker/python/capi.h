/* The part of CPython's C API that hostler uses, declared by hand so that one
 * library fits every CPython from 3.8 on and building it needs no Python
 * headers. All of it is in the stable ABI or has had the same signature and
 * layout in all these versions. The symbols are left undefined and are found in
 * the process that loads the library. How large an object's head is depends on
 * the build (object_head). */
#ifndef HOSTLER_CAPI_H
#define HOSTLER_CAPI_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

typedef ssize_t Py_ssize_t;
typedef struct _object PyObject;
typedef struct _typeobject PyTypeObject;
typedef struct _ts PyThreadState;

typedef PyObject *(*PyCFunction)(PyObject *, PyObject *);
typedef PyObject *(*PyCFunctionFastKw)(PyObject *, PyObject *const *, Py_ssize_t, PyObject *);
typedef struct {
	const char *name;
	PyCFunction meth;
	int flags;
	const char *doc;
} PyMethodDef;
enum { METH_VARARGS = 1, METH_KEYWORDS = 2, METH_NOARGS = 4, METH_O = 8, METH_FASTCALL = 0x80 };

typedef struct {
	struct { intptr_t refcnt; void *type; } ob; /* PyObject_HEAD of a build with the GIL */
	PyObject *(*init)(void);
	Py_ssize_t index;
	PyObject *copy;
	const char *name;
	const char *doc;
	Py_ssize_t size;
	PyMethodDef *methods;
	void *slots, *traverse, *clear, *free;
} PyModuleDef;

typedef struct {
	const char *name;
	PyObject *(*get)(PyObject *, void *);
	int (*set)(PyObject *, PyObject *, void *);
	const char *doc;
	void *closure;
} PyGetSetDef;

/* Not in the stable ABI before 3.11, and what it has been since 3.3. */
typedef struct {
	void *buf;
	PyObject *obj;
	Py_ssize_t len, itemsize;
	int readonly, ndim;
	char *format;
	Py_ssize_t *shape, *strides, *suboffsets;
	void *internal;
} Py_buffer;
enum { PyBUF_WRITABLE = 1 };
int PyObject_GetBuffer(PyObject *, Py_buffer *, int);
void PyBuffer_Release(Py_buffer *);

typedef struct {
	int slot;
	void *pfunc;
} PyType_Slot;
typedef struct {
	const char *name;
	int basicsize, itemsize;
	unsigned int flags;
	PyType_Slot *slots;
} PyType_Spec;
enum { Py_tp_clear = 51, Py_tp_dealloc = 52, Py_tp_iter = 62, Py_tp_iternext = 63, Py_tp_methods = 64, Py_tp_new = 65, Py_tp_traverse = 71, Py_tp_getset = 73,
	Py_am_await = 77, Py_am_send = 81 /* since 3.10 */ };
#define Py_TPFLAGS_HAVE_GC (1u << 14)
#define Py_TPFLAGS_DEFAULT (1u << 18)
typedef int (*visitproc)(PyObject *, void *);

extern PyTypeObject PyBaseObject_Type, PyByteArray_Type, PyBytes_Type, PyCoro_Type, PyMemoryView_Type, PyDict_Type, PyFloat_Type, PyList_Type, PyLong_Type, PyTuple_Type, PyUnicode_Type;
extern struct _object _Py_NoneStruct;
#define Py_None (&_Py_NoneStruct)
extern PyObject *PyExc_AssertionError, *PyExc_BrokenPipeError, *PyExc_ConnectionError, *PyExc_MemoryError, *PyExc_OSError, *PyExc_RuntimeError,
	*PyExc_TypeError, *PyExc_ValueError, *PyExc_AttributeError, *PyExc_BaseException, *PyExc_Exception, *PyExc_StopIteration,
	*PyExc_SystemExit;
extern struct _object _Py_TrueStruct, _Py_FalseStruct; /* longs in truth, whose type nobody here needs */
#define Py_True (&_Py_TrueStruct)
#define Py_False (&_Py_FalseStruct)

void Py_IncRef(PyObject *);
void Py_DecRef(PyObject *);

typedef int PyGILState_STATE; /* an enum */
PyGILState_STATE PyGILState_Ensure(void);
void PyGILState_Release(PyGILState_STATE);
unsigned long PyThread_get_thread_ident(void);
int PyThreadState_SetAsyncExc(unsigned long, PyObject *);

PyThreadState *PyEval_SaveThread(void);
void PyEval_RestoreThread(PyThreadState *);

PyObject *PyDict_Copy(PyObject *);
int PyDict_SetItem(PyObject *, PyObject *, PyObject *);
int PyDict_DelItem(PyObject *, PyObject *);
Py_ssize_t PyDict_Size(PyObject *);
PyObject *PyDict_New(void);
PyObject *PyDict_GetItemWithError(PyObject *, PyObject *); /* borrowed */
PyObject *PyDict_GetItemString(PyObject *, const char *);  /* borrowed */

PyObject *PyUnicode_DecodeLatin1(const char *, Py_ssize_t, const char *);
PyObject *PyUnicode_DecodeUTF8(const char *, Py_ssize_t, const char *);
PyObject *PyUnicode_FromStringAndSize(const char *, Py_ssize_t);
PyObject *PyUnicode_FromString(const char *);
PyObject *PyUnicode_FromFormat(const char *, ...);
PyObject *PyUnicode_InternFromString(const char *);
PyObject *PyUnicode_AsLatin1String(PyObject *);
const char *PyUnicode_AsUTF8AndSize(PyObject *, Py_ssize_t *); /* borrowed */
Py_ssize_t PyUnicode_GetLength(PyObject *);
int PyUnicode_FSConverter(PyObject *, void *); /* to a PyObject *, bytes */

PyObject *PyBytes_FromStringAndSize(const char *, Py_ssize_t);
char *PyBytes_AsString(PyObject *);
Py_ssize_t PyBytes_Size(PyObject *);
PyObject *PyBytes_FromObject(PyObject *);

PyObject *PyLong_FromUnsignedLongLong(unsigned long long);
unsigned long long PyLong_AsUnsignedLongLong(PyObject *);
long long PyLong_AsLongLong(PyObject *);
long PyLong_AsLong(PyObject *);
PyObject *PyLong_FromLong(long);
PyObject *PyLong_FromLongLong(long long);
PyObject *PyBool_FromLong(long);

double PyFloat_AsDouble(PyObject *);
PyObject *PyFloat_FromDouble(double);

PyObject *PySequence_List(PyObject *);
PyObject *PyList_New(Py_ssize_t);
int PyList_Append(PyObject *, PyObject *);
Py_ssize_t PyList_Size(PyObject *);
PyObject *PyList_GetItem(PyObject *, Py_ssize_t); /* borrowed */
int PyList_SetItem(PyObject *, Py_ssize_t, PyObject *); /* takes over the item's reference */
PyObject *PyTuple_Pack(Py_ssize_t, ...);
Py_ssize_t PyTuple_Size(PyObject *);
PyObject *PyTuple_GetItem(PyObject *, Py_ssize_t); /* borrowed */
int PyArg_ParseTuple(PyObject *, const char *, ...);
int PyArg_ParseTupleAndKeywords(PyObject *, PyObject *, const char *, char **, ...);

PyObject *PyObject_Type(PyObject *);
PyObject *PyObject_GetIter(PyObject *);
PyObject *PyIter_Next(PyObject *);
PyObject *PyObject_GetAttr(PyObject *, PyObject *);
PyObject *PyObject_GetAttrString(PyObject *, const char *);
PyObject *PyObject_CallFunctionObjArgs(PyObject *, ...);
PyObject *PyObject_CallMethodObjArgs(PyObject *, PyObject *, ...);
PyObject *PyObject_CallObject(PyObject *, PyObject *);
PyObject *PyObject_Call(PyObject *, PyObject *, PyObject *);
PyObject *PyNumber_Index(PyObject *);
int PyObject_AsFileDescriptor(PyObject *); /* -1: an exception */
PyObject *PyNumber_Add(PyObject *, PyObject *);
int PyObject_IsTrue(PyObject *);
int PyObject_SetAttr(PyObject *, PyObject *, PyObject *);
int PyObject_SetAttrString(PyObject *, const char *, PyObject *);
int PyIter_Check(PyObject *);
PyObject *PyCFunction_NewEx(PyMethodDef *, PyObject *, PyObject *);
PyObject *PyType_FromSpec(PyType_Spec *);
int PyType_IsSubtype(PyTypeObject *, PyTypeObject *);
void *PyType_GetSlot(PyTypeObject *, int);
PyObject *PyType_GenericAlloc(PyTypeObject *, Py_ssize_t);
void PyObject_Free(void *);
void PyObject_GC_Del(void *);
void PyObject_GC_UnTrack(void *);
const char *Py_GetVersion(void);
PyObject *PyImport_ImportModule(const char *);
PyObject *PyModule_Create2(PyModuleDef *, int);

PyObject *PyContext_CopyCurrent(void);
PyObject *PyContext_Copy(PyObject *);
int PyContext_Enter(PyObject *);
int PyContext_Exit(PyObject *);

PyObject *PyErr_Occurred(void);
void PyErr_Clear(void);
void PyErr_SetString(PyObject *, const char *);
void PyErr_SetObject(PyObject *, PyObject *);
void PyErr_SetNone(PyObject *);
PyObject *PyErr_Format(PyObject *, const char *, ...);
PyObject *PyErr_NoMemory(void);
PyObject *PyErr_SetFromErrno(PyObject *);
PyObject *PyErr_SetFromErrnoWithFilenameObject(PyObject *, PyObject *);
int PyErr_ExceptionMatches(PyObject *);
void PyErr_Fetch(PyObject **, PyObject **, PyObject **);
void PyErr_Restore(PyObject *, PyObject *, PyObject *);
void PyErr_NormalizeException(PyObject **, PyObject **, PyObject **);
void PyErr_WriteUnraisable(PyObject *);
int PyErr_CheckSignals(void);

/* Since 3.9 (3.8 has it as an inline function only). */
extern PyObject *PyObject_Vectorcall(PyObject *, PyObject *const *, size_t, PyObject *) __attribute__((weak));
/* Since 3.10. */
extern int PyIter_Send(PyObject *, PyObject *, PyObject **) __attribute__((weak));
enum { PYGEN_RETURN = 0, PYGEN_ERROR = -1, PYGEN_NEXT = 1 };

#endif
