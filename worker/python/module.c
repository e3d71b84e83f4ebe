/* The extension module _hostler, which the bootstrap loads. */
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bridge.h"

extern int hostlerInit(char *settings, int64_t n, int wake_signal, char *why, int cap);
extern void *hostlerTask(int);
extern int hostlerServe(char *why, int cap);
extern void hostlerDrain(void);
extern void hostlerLeave(void);

/* accept4 in a thread of Go's is interrupted with this one. */
#define WAKE_SIGNAL (SIGRTMAX - 2)

static void nothing(int sig) { (void)sig; }

/* In a child that the application forks only this thread lives on: no Go. What
 * the child must not keep open is closed. */
static void after_fork(void) {
	forked = 1;
	if (nthreads > 0) {
		close(threads[0].task->epoll);
		close(3); /* the control socket: the master watches for its end */
	}
}

/* init(settings, app, bases, file_wrapper, report) */
static PyObject *init(PyObject *self, PyObject *args) {
	(void)self;
	const char *settings;
	Py_ssize_t n;
	PyObject *text, *app, *bases, *wrapper, *report;
	char why[512];
	if (!PyArg_ParseTuple(args, "OOOOO", &text, &app, &bases, &wrapper, &report))
		return NULL;
	if ((settings = PyUnicode_AsUTF8AndSize(text, &n)) == NULL)
		return NULL;
	struct sigaction sa;
	memset(&sa, 0, sizeof sa);
	sa.sa_handler = nothing;
	sa.sa_flags = SA_ONSTACK;
	sigaction(WAKE_SIGNAL, &sa, NULL);
	int count = hostlerInit((char *)settings, n, WAKE_SIGNAL, why, sizeof why);
	if (count < 0)
		return PyErr_Format(PyExc_RuntimeError, "%s", why);
	threads = calloc((size_t)count, sizeof *threads);
	if (threads == NULL)
		return PyErr_NoMemory();
	for (int i = 0; i < count; i++) {
		threads[i].index = i;
		threads[i].task = hostlerTask(i);
	}
	nthreads = count;
	if (pthread_atfork(NULL, NULL, after_fork) || loop_init(app, report) || response_init(wrapper) || input_init() ||
	    environ_init(bases))
		return PyErr_Occurred() ? NULL : PyErr_NoMemory();
	return PyLong_FromLong(count);
}

static PyObject *none(void) {
	Py_IncRef(Py_None);
	return Py_None;
}

static PyObject *serve(PyObject *self, PyObject *args) {
	(void)self, (void)args;
	char why[512];
	if (hostlerServe(why, sizeof why))
		return PyErr_Format(PyExc_RuntimeError, "%s", why);
	return none();
}

/* run(i): be thread i until the worker leaves. */
static PyObject *run_thread(PyObject *self, PyObject *arg) {
	(void)self;
	long i = PyLong_AsLong(arg);
	if (i < 0 || i >= nthreads)
		return PyErr_Occurred() ? NULL : PyErr_Format(PyExc_ValueError, "no such thread");
	return thread_loop(&threads[i]) ? NULL : none();
}

static PyObject *drain(PyObject *self, PyObject *args) {
	(void)self, (void)args;
	if (!forked)
		hostlerDrain();
	return none();
}

static PyObject *leave(PyObject *self, PyObject *args) {
	(void)self, (void)args;
	if (!forked)
		hostlerLeave();
	return none();
}

static PyObject *hints(PyObject *self, PyObject *args) {
	(void)self, (void)args;
	return early_hints_new();
}

static PyMethodDef module_methods[] = {
	{"init", init, METH_VARARGS, NULL},     {"serve", serve, METH_NOARGS, NULL},
	{"run", run_thread, METH_O, NULL},      {"drain", drain, METH_NOARGS, NULL},
	{"leave", leave, METH_NOARGS, NULL},    {"early_hints", hints, METH_NOARGS, NULL},
	{0},
};

static PyModuleDef module = {.ob = {1, NULL}, .name = "_hostler", .size = -1, .methods = module_methods};

__attribute__((visibility("default"))) PyObject *PyInit__hostler(void) { return PyModule_Create2(&module, 3); }
