/* A Task whose first step is run at once, as an eager one's is (3.12). Before that its
 * constructor hands the first step to loop.call_soon, where it is caught. A task factory
 * that the application has set has its way, whatever that is. */
#include "asgi.h"

static PyObject *task_type, *task_kw; /* the arguments with names that are always the same */
static PyObject *catcher;             /* stands in for call_soon */
static PyObject *caught, *caught_context;
static int eager;

/* catch_step(callback, *, context=None) */
static PyObject *catch_step(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames) {
	(void)self;
	if (nargs < 1 || caught)
		return PyErr_Format(PyExc_RuntimeError, "hostler: a task's constructor has more to do than its first step");
	caught = keep(args[0]);
	caught_context = kwnames && PyTuple_Size(kwnames) == 1 && args[nargs] != Py_None ? keep(args[nargs]) : NULL;
	return none();
}

static PyMethodDef catch_def = {"call_soon", (PyCFunction)(void (*)(void))catch_step, METH_FASTCALL | METH_KEYWORDS, NULL};

static PyObject *construct(PyObject *coro) {
	PyObject *args = PyTuple_Pack(1, coro), *task = args ? PyObject_Call(task_type, args, task_kw) : NULL;
	drop(&args);
	return task;
}

/* run_caught runs the step that has been caught. */
static void run_caught(void) {
	PyObject *step = caught, *context = caught_context;
	caught = caught_context = NULL;
	if (step == NULL)
		return;
	int entered = context && PyContext_Enter(context) == 0;
	if (context && !entered)
		PyErr_Clear();
	PyObject *r = PyObject_CallFunctionObjArgs(step, NULL);
	if (r == NULL)
		PyErr_WriteUnraisable(step);
	drop(&r);
	if (entered && PyContext_Exit(context))
		PyErr_Clear();
	drop(&step);
	drop(&context);
}

static PyObject *constructed_and_caught(PyObject *coro) {
	if (PyObject_SetAttr(the_loop, names.call_soon, catcher))
		return NULL;
	PyObject *task = construct(coro), *type, *value, *tb;
	PyErr_Fetch(&type, &value, &tb);
	if (PyObject_SetAttr(the_loop, names.call_soon, NULL)) /* the class's is back */
		PyErr_WriteUnraisable(the_loop);
	PyErr_Restore(type, value, tb);
	if (task)
		run_caught();
	drop(&caught);
	drop(&caught_context);
	return task;
}

/* factory returns the loop's task factory, None where there is none. */
static PyObject *factory(void) { return PyObject_CallMethodObjArgs(the_loop, names.get_task_factory, NULL); }

PyObject *first_step(PyObject *coro) {
	PyObject *f = factory();
	if (f == NULL)
		return NULL;
	Py_DecRef(f);
	if (f != Py_None)
		return PyObject_CallMethodObjArgs(the_loop, names.create_task, coro, NULL);
	return eager ? construct(coro) : constructed_and_caught(coro);
}

int step_init(PyObject *type, int is_eager) {
	task_type = keep(type); /* for the life of the process, as all here */
	eager = is_eager;
	catcher = PyCFunction_NewEx(&catch_def, NULL, NULL);
	if (catcher == NULL || (task_kw = PyDict_New()) == NULL || PyDict_SetItem(task_kw, names.loop, the_loop) ||
	    PyDict_SetItem(task_kw, names.name, names.task_name))
		return -1;
	return eager ? PyDict_SetItem(task_kw, names.eager_start, Py_True) : 0;
}
