/* The extension module _hostler.bridge, which the Python side loads. */
#define _GNU_SOURCE
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

#include "bridge.h"

extern int hostlerInit(char *settings, int64_t n, int wake_signal, char *why, int cap);
extern void *hostlerTask(int);
extern int hostlerServe(char *why, int cap);
extern void hostlerSay(void *text, int64_t n);
extern void hostlerPrinted(void *stream, int64_t length, void *line, int64_t n);
extern int hostlerDumpFD(void);
extern int64_t hostlerLeave(void);
extern int hostlerPage(char *dst, int cap);

/* accept4 in a thread of Go's is interrupted with this one. */
#define WAKE_SIGNAL (SIGRTMAX - 2)

static void nothing(int sig) { (void)sig; }

/* init(settings, app, bases, open_ends, file_wrapper, report, timeout, no_op, stack_of, profile, collect) */
static PyObject *init(PyObject *self, PyObject *args) {
	(void)self;
	const char *settings;
	Py_ssize_t n;
	PyObject *text, *app, *bases, *open_ends, *wrapper, *report, *timeout, *no_op, *stack_of, *asks[ASKS];
	char why[512];
	if (!PyArg_ParseTuple(args, "OOOOOOOOOOO", &text, &app, &bases, &open_ends, &wrapper, &report, &timeout, &no_op, &stack_of, &asks[ASK_PROFILE], &asks[ASK_COLLECT]))
		return NULL;
	if ((settings = PyUnicode_AsUTF8AndSize(text, &n)) == NULL)
		return NULL;
	struct sigaction sa;
	memset(&sa, 0, sizeof sa);
	sa.sa_handler = nothing;
	sa.sa_flags = SA_ONSTACK;
	sigaction(WAKE_SIGNAL, &sa, NULL);
	if (start_runtime())
		return PyErr_Format(PyExc_RuntimeError, "the worker library was linked without late.ld");
	int count = hostlerInit((char *)settings, n, WAKE_SIGNAL, why, sizeof why);
	if (count < 0)
		return PyErr_Format(PyExc_RuntimeError, "%s", why);
	threads = calloc((size_t)count, sizeof *threads);
	char *bodies = malloc((size_t)count * SMALL_BODY);
	if (threads == NULL || bodies == NULL)
		return PyErr_NoMemory();
	for (int i = 0; i < count; i++) {
		threads[i].index = i;
		threads[i].task = hostlerTask(i);
		threads[i].body = bodies + (size_t)i * SMALL_BODY;
	}
	nthreads = count;
	request_init(report);
	run_init(app);
	if (fork_init((int)PyList_Size(bases)) || loop_init(app) || intervene_init(timeout, no_op, stack_of, asks) || response_init(wrapper) || input_init() ||
	    environ_init(bases, open_ends))
		return PyErr_Occurred() ? NULL : PyErr_NoMemory();
	return PyLong_FromLong(count);
}

static PyObject *serve(PyObject *self, PyObject *args) {
	(void)self, (void)args;
	char why[512];
	int at_end = 0;
	/* Until now a worker that outlives its master has been of no use to anyone. */
	if (prctl(PR_GET_PDEATHSIG, &at_end, 0, 0, 0) == 0 && at_end)
		prctl(PR_SET_PDEATHSIG, SIGTERM, 0, 0, 0);
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

/* wait(): until the threads have left; signal handlers run here. */
static PyObject *wait_threads(PyObject *self, PyObject *args) {
	(void)self, (void)args;
	return threads_wait() ? NULL : none();
}

/* forked(): is this a child that the application has forked? */
static PyObject *is_child(PyObject *self, PyObject *args) {
	(void)self, (void)args;
	return PyLong_FromLong(forked);
}

static PyObject *drain(PyObject *self, PyObject *args) {
	(void)self, (void)args;
	if (!forked)
		hostlerDrain();
	return none();
}

/* leave(): the threads have left. It returns for how many seconds Python's end may
 * go on. */
static PyObject *leave(PyObject *self, PyObject *args) {
	(void)self, (void)args;
	return PyFloat_FromDouble(forked ? 0 : (double)hostlerLeave() / 1e9);
}

static PyObject *hints(PyObject *self, PyObject *args) {
	(void)self, (void)args;
	return early_hints_new();
}

/* keep(object): it outlives Python, at whose end it would run code of the application's. */
static PyObject *keep_object(PyObject *self, PyObject *object) {
	(void)self;
	Py_IncRef(object);
	return none();
}

/* slim(): hold less of what has been mapped and is not looked at again. */
static PyObject *slim_down(PyObject *self, PyObject *args) {
	(void)self, (void)args;
	slim();
	return none();
}

/* page(): what is wrong with the code, as bytes, for development. */
static PyObject *page(PyObject *self, PyObject *args) {
	(void)self, (void)args;
	static char text[(16 << 10) + 1]; /* MaxPage; the GIL is held */
	return PyBytes_FromStringAndSize(text, forked ? 0 : hostlerPage(text, sizeof text));
}

/* profiled(result): what a profile has found, as bytes. */
static PyObject *profiled(PyObject *self, PyObject *result) {
	(void)self;
	const char *s = PyBytes_AsString(result);
	if (s == NULL)
		return NULL;
	Py_ssize_t n = PyBytes_Size(result);
	if (!forked) {
		PyThreadState *ts = PyEval_SaveThread(); /* it waits until the master has read it */
		hostlerProfiled((void *)s, n);
		PyEval_RestoreThread(ts);
	}
	return none();
}

/* collected(): the metrics that were asked for have been looked up. */
static PyObject *collected(PyObject *self, PyObject *args) {
	(void)self, (void)args;
	if (!forked) {
		PyThreadState *ts = PyEval_SaveThread(); /* it may wait, too */
		hostlerCollected();
		PyEval_RestoreThread(ts);
	}
	return none();
}

/* say(text): into the error log, as bytes. It never waits. False: this is a forked
 * child, which has no log of ours. */
static PyObject *say(PyObject *self, PyObject *text) {
	(void)self;
	const char *s = PyBytes_AsString(text);
	if (s == NULL)
		return NULL;
	if (!forked)
		hostlerSay((void *)s, PyBytes_Size(text));
	return PyBool_FromLong(!forked);
}

/* printed(stream, line): a record of the error log, otherwise as say(). Of the stream it is
 * the name, and as bytes is the line. */
static PyObject *printed(PyObject *self, PyObject *args) {
	(void)self;
	const char *stream;
	PyObject *line;
	if (!PyArg_ParseTuple(args, "sO", &stream, &line))
		return NULL;
	const char *s = PyBytes_AsString(line);
	if (s == NULL)
		return NULL;
	if (!forked)
		hostlerPrinted((void *)(uintptr_t)stream, (int64_t)strlen(stream), (void *)(uintptr_t)s, PyBytes_Size(line));
	return PyBool_FromLong(!forked);
}

/* dump_fd(): where tracebacks of all threads are to be written to. */
static PyObject *dump_fd(PyObject *self, PyObject *args) {
	(void)self, (void)args;
	return PyLong_FromLong(hostlerDumpFD());
}

static PyObject *get_deadline(PyObject *self, PyObject *args) {
	(void)self, (void)args;
	return deadline_new();
}

/* unraisablehook(previous): one that does not lose the timeout's exception. */
static PyObject *unraisablehook(PyObject *self, PyObject *previous) {
	(void)self;
	return unraisable_new(previous);
}

extern PyObject *asgi_init(PyObject *, PyObject *), *asgi_asynchronous(PyObject *, PyObject *), *asgi_poll(PyObject *, PyObject *),
	*asgi_wake(PyObject *, PyObject *), *asgi_turn(PyObject *, PyObject *), *asgi_watch(PyObject *, PyObject *), *asgi_unfinished(PyObject *, PyObject *),
	*asgi_epoll(PyObject *, PyObject *), *asgi_grace_left(PyObject *, PyObject *), *asgi_leaving(PyObject *, PyObject *); /* asgi.c */

extern PyObject *green_init(PyObject *, PyObject *), *green_turn(PyObject *, PyObject *), *green_away(PyObject *, PyObject *),
	*green_rest(PyObject *, PyObject *), *green_request(PyObject *, PyObject *), *green_cut(PyObject *, PyObject *),
	*green_name(PyObject *, PyObject *); /* green.c */

static PyMethodDef module_methods[] = {
	{"green", green_init, METH_VARARGS, NULL},        {"green_turn", green_turn, METH_NOARGS, NULL},
	{"green_away", green_away, METH_VARARGS, NULL},   {"green_rest", green_rest, METH_VARARGS, NULL},
	{"request", green_request, METH_O, NULL},         {"green_cut", green_cut, METH_NOARGS, NULL},
	{"green_name", green_name, METH_O, NULL},         {"sockets", socket_setup, METH_VARARGS, NULL},
	{"asgi", asgi_init, METH_VARARGS, NULL},          {"asynchronous", asgi_asynchronous, METH_NOARGS, NULL},
	{"poll", asgi_poll, METH_O, NULL},                {"turn", asgi_turn, METH_NOARGS, NULL},
	{"wake", asgi_wake, METH_NOARGS, NULL},
	{"watch", asgi_watch, METH_O, NULL},              {"unfinished", asgi_unfinished, METH_NOARGS, NULL},
	{"epoll", asgi_epoll, METH_O, NULL},         {"grace_left", asgi_grace_left, METH_NOARGS, NULL},
	{"leaving", asgi_leaving, METH_NOARGS, NULL},
	{"init", init, METH_VARARGS, NULL},     {"serve", serve, METH_NOARGS, NULL},
	{"run", run_thread, METH_O, NULL},      {"drain", drain, METH_NOARGS, NULL},
	{"leave", leave, METH_NOARGS, NULL},    {"early_hints", hints, METH_NOARGS, NULL},
	{"wait", wait_threads, METH_NOARGS, NULL}, {"forked", is_child, METH_NOARGS, NULL}, {"page", page, METH_NOARGS, NULL},      {"slim", slim_down, METH_NOARGS, NULL},
	{"deadline", get_deadline, METH_NOARGS, NULL}, {"profiled", profiled, METH_O, NULL}, {"collected", collected, METH_NOARGS, NULL},
	{"unraisablehook", unraisablehook, METH_O, NULL},
	{"mold", fork_mold, METH_VARARGS, NULL},       {"order", fork_order, METH_VARARGS, NULL},
	{"arm", fork_arm, METH_NOARGS, NULL},          {"ordered", fork_done, METH_VARARGS, NULL},
	{"routes", rules_by, METH_O, NULL},
	{"keep", keep_object, METH_O, NULL},    {"say", say, METH_O, NULL},             {"dump_fd", dump_fd, METH_NOARGS, NULL},
	{"printed", printed, METH_VARARGS, NULL},
	{"metrics_type", metrics_type, METH_NOARGS, NULL}, {"metrics_share", metrics_share, METH_O, NULL},
	{"metrics_forked", metrics_forked, METH_NOARGS, NULL}, {"metrics_end", metrics_end, METH_NOARGS, NULL},
	{0},
};

static PyModuleDef module = {.ob = {1, NULL}, .name = "bridge", .size = -1, .methods = module_methods};

/* A free-threaded build's head: the thread's id, flags and the like (4 bytes), the
 * owner's references, those of others, the type. */
enum { FREE_HEAD = 32, FREE_HEAD_REFS = 12 };

__attribute__((visibility("default"))) PyObject *PyInit_bridge(void) {
	static struct { uint64_t head[8]; PyModuleDef def; } room;
	size_t head = object_head();
	if (head == 0)
		return NULL;
	if (head == sizeof module.ob)
		return PyModule_Create2(&module, 3);
	char *at = (char *)&room;
	if (head == FREE_HEAD)
		memset(at + FREE_HEAD_REFS, 0xff, 4); /* immortal */
	memcpy(at + head, (char *)&module + sizeof module.ob, sizeof module - sizeof module.ob);
	return PyModule_Create2((PyModuleDef *)(void *)at, 3);
}
