/* The extension module _hostler, which the bootstrap loads. */
#define _GNU_SOURCE
#include <dirent.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bridge.h"

extern int hostlerInit(char *settings, int64_t n, int wake_signal, char *why, int cap);
extern void *hostlerTask(int);
extern int hostlerServe(char *why, int cap);
extern void hostlerLeave(void);
extern int hostlerPage(char *dst, int cap);

/* accept4 in a thread of Go's is interrupted with this one. */
#define WAKE_SIGNAL (SIGRTMAX - 2)

static void nothing(int sig) { (void)sig; }

/* same_end says whether two addresses name the same local end. A connection to a
 * listener on a wildcard address has one of its own, but the listener's port. */
static int same_end(const struct sockaddr_storage *a, socklen_t an, const struct sockaddr_storage *b, socklen_t bn) {
	if (a->ss_family != b->ss_family)
		return 0;
	switch (a->ss_family) {
	case AF_INET:
		return ((const struct sockaddr_in *)a)->sin_port == ((const struct sockaddr_in *)b)->sin_port;
	case AF_INET6:
		return ((const struct sockaddr_in6 *)a)->sin6_port == ((const struct sockaddr_in6 *)b)->sin6_port;
	case AF_UNIX:
		return an == bn && an > sizeof(sa_family_t) && memcmp(a, b, an) == 0;
	}
	return 0;
}

enum { MAX_ENDS = 64 };

static struct sockaddr_storage ends[MAX_ENDS]; /* the listeners' addresses */
static socklen_t end_lens[MAX_ENDS];
static int nends;
static ino_t exchange[2]; /* both ends; they have no address */

static void remember_ends(int listeners) {
	struct stat st;
	for (int i = 0; i < 2; i++)
		exchange[i] = fstat(FD_HAND_OUT + i, &st) == 0 ? st.st_ino : 0;
	for (nends = 0; nends < listeners && nends < MAX_ENDS; nends++) {
		end_lens[nends] = sizeof ends[nends];
		if (getsockname(FD_LISTENERS + nends, (struct sockaddr *)&ends[nends], &end_lens[nends]) != 0)
			ends[nends].ss_family = AF_UNSPEC;
	}
}

/* close_sockets closes, in a forked child, every socket whose local end is a
 * listener's: the listeners themselves, and what was accepted from them; and the
 * exchange. Numbers would not tell: a drain closes listeners, and the application
 * gets theirs. */
static void close_sockets(void) {
	DIR *d = opendir("/proc/self/fd");
	if (d == NULL)
		return;
	struct dirent *e;
	while ((e = readdir(d)) != NULL) {
		int fd = atoi(e->d_name);
		struct sockaddr_storage a;
		socklen_t n = sizeof a;
		struct stat st;
		if (fd <= 2 || fd == dirfd(d) || getsockname(fd, (struct sockaddr *)&a, &n) != 0)
			continue;
		if (fstat(fd, &st) == 0 && (st.st_ino == exchange[0] || st.st_ino == exchange[1])) {
			close(fd);
			continue;
		}
		for (int i = 0; i < nends; i++)
			if (same_end(&a, n, &ends[i], end_lens[i])) {
				close(fd);
				break;
			}
	}
	closedir(d);
}

/* In a child that the application forks only this thread lives on: no Go. What
 * the child must not keep open is closed: the control socket, whose end is how
 * the master learns of our death, the listeners, and the clients' connections,
 * which a client might wait to see closed. */
static void after_fork(void) {
	forked = 1;
	intervene_forked();
	if (nthreads > 0) {
		close_sockets();
		close(threads[0].task->epoll);
		close(FD_CONTROL);
	}
}

/* init(settings, app, bases, open_ends, file_wrapper, report, timeout, no_op, stack_of, profile) */
static PyObject *init(PyObject *self, PyObject *args) {
	(void)self;
	const char *settings;
	Py_ssize_t n;
	PyObject *text, *app, *bases, *open_ends, *wrapper, *report, *timeout, *no_op, *stack_of, *profile;
	char why[512];
	if (!PyArg_ParseTuple(args, "OOOOOOOOOO", &text, &app, &bases, &open_ends, &wrapper, &report, &timeout, &no_op, &stack_of, &profile))
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
	if (threads == NULL)
		return PyErr_NoMemory();
	for (int i = 0; i < count; i++) {
		threads[i].index = i;
		threads[i].task = hostlerTask(i);
	}
	nthreads = count;
	remember_ends((int)PyList_Size(bases));
	if (pthread_atfork(NULL, NULL, after_fork) || loop_init(app, report) || intervene_init(timeout, no_op, stack_of, profile) || response_init(wrapper) || input_init() ||
	    environ_init(bases, open_ends))
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

static PyObject *get_deadline(PyObject *self, PyObject *args) {
	(void)self, (void)args;
	return deadline_new();
}

/* unraisablehook(previous): one that does not lose the timeout's exception. */
static PyObject *unraisablehook(PyObject *self, PyObject *previous) {
	(void)self;
	return unraisable_new(previous);
}

static PyMethodDef module_methods[] = {
	{"init", init, METH_VARARGS, NULL},     {"serve", serve, METH_NOARGS, NULL},
	{"run", run_thread, METH_O, NULL},      {"drain", drain, METH_NOARGS, NULL},
	{"leave", leave, METH_NOARGS, NULL},    {"early_hints", hints, METH_NOARGS, NULL},
	{"page", page, METH_NOARGS, NULL},      {"slim", slim_down, METH_NOARGS, NULL},
	{"deadline", get_deadline, METH_NOARGS, NULL}, {"profiled", profiled, METH_O, NULL},
	{"unraisablehook", unraisablehook, METH_O, NULL},
	{0},
};

static PyModuleDef module = {.ob = {1, NULL}, .name = "_hostler", .size = -1, .methods = module_methods};

__attribute__((visibility("default"))) PyObject *PyInit__hostler(void) { return PyModule_Create2(&module, 3); }
