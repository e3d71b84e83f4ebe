/* What is done to a running request from outside: an exception is raised in its
 * thread (--timeout), its stack is taken (--slow-request); and something is asked of
 * Python, which does it in a thread of its own: a profile of all threads (hostler ctl
 * profile), or a look at metrics that have no value until somebody asks.
 * That takes the GIL, and so a thread that may wait for it. It is made when there
 * is something to do for the first time, and then sleeps until there is again. (It
 * does not end: faulthandler walks the list of Python's threads without any lock,
 * and would find one that is being freed.) While it waits for the GIL, that it does
 * is known to Go (Loop.GILWanted): this is how a worker whose GIL is held for good
 * is told from one that is merely busy.
 *
 * The exception must hit the request it is meant for and nothing else: neither
 * the thread's next request nor our own code after the application's. All that
 * decides it happens under the GIL: `active` says that the application runs, and
 * `taken` which request it is; the thread leaves that state, and takes back an
 * exception that has not been raised yet, in one go (withdraw). */
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "asgi.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t more = PTHREAD_COND_INITIALIZER;
static int there, asked; /* under lock, as the next: is there a thread, has it something to do */
static char *asked_for[ASKS]; /* what is asked of Python, from malloc; NULL: nothing */

static PyObject *timeout_class, *nothing, *stack_of, *ask[ASKS];

int intervene_init(PyObject *exception, PyObject *no_op, PyObject *stack_function, PyObject *const *asks) {
	stack_of = stack_function;
	Py_IncRef(stack_of);
	for (int i = 0; i < ASKS; i++) {
		ask[i] = asks[i];
		Py_IncRef(ask[i]);
	}
	timeout_class = exception;
	nothing = no_op;
	Py_IncRef(exception); /* for the life of the process */
	Py_IncRef(no_op);
	return 0;
}

void take_back(struct thread *th) {
	if (th->raised) {
		th->raised = 0;
		th->timed_out = 1;
		PyThreadState_SetAsyncExc(th->ident, NULL); /* if it is still pending */
	}
}

/* Called by the request's own thread. */
void withdraw(struct thread *th) {
	th->active = ACTIVE_ENDING;
	take_back(th);
}

int raise_pending(struct thread *th) {
	if (th == NULL || !th->raised)
		return 0;
	th->raised = 0;
	th->timed_out = 1;
	/* Where it is still pending, and has not been raised and caught, it is raised
	 * as soon as some Python code begins to run. */
	PyObject *r = PyObject_CallObject(nothing, NULL);
	if (r == NULL)
		return -1;
	Py_DecRef(r);
	return 0;
}

/* known_as is what a request is called from outside: by its begin, or its step's. */
static int64_t known_as(const struct thread *th) { return th->step ? th->step : th->task->taken; }

/* How long raise_coming waits for the thread that raises, in steps. Microseconds. */
enum { COMING_STEP = 200, COMING_TIME = 200000 };

int raise_coming(struct thread *th) {
	struct thread *sought = green ? &threads[0] : th;
	for (int waited = 0; waited < COMING_TIME && !th->raised &&
	     __atomic_load_n(&sought->raise_in, __ATOMIC_ACQUIRE) == known_as(th); waited += COMING_STEP) {
		PyThreadState *ts = PyEval_SaveThread();
		usleep(COMING_STEP);
		PyEval_RestoreThread(ts);
	}
	return raise_pending(th);
}

/* lost(unraisable) is sys.unraisablehook around another one. An exception that is
 * raised in a destructor, or some other place that nothing goes through, ends here.
 * The timeout's is raised once more, in what was interrupted: until this function
 * returns to it no Python code runs. */
static PyObject *lost(PyObject *previous, PyObject *unraisable) {
	struct thread *th = running();
	PyObject *type = PyObject_GetAttrString(unraisable, "exc_type");
	if (type == NULL)
		return NULL;
	Py_DecRef(type);
	if (type != timeout_class || th == NULL || th->active != ACTIVE_APP || forked)
		return PyObject_CallFunctionObjArgs(previous, unraisable, NULL);
	th->raised = 1;
	PyThreadState_SetAsyncExc(th->ident, timeout_class);
	Py_IncRef(Py_None);
	return Py_None;
}

static PyMethodDef lost_def = {"unraisablehook", lost, METH_O, NULL};

PyObject *unraisable_new(PyObject *previous) { return PyCFunction_NewEx(&lost_def, previous, NULL); }

static int is_meant(struct thread *th, int64_t taken) {
	return taken != 0 && th->active == ACTIVE_APP && known_as(th) == taken;
}

/* Of an event loop the stack is wanted, whatever it is at. */
static int is_shown(struct thread *th, int64_t taken) { return is_meant(th, taken) || (taken != 0 && (the_loop != NULL || green)); }

void take_slow(int seat, PyObject *task) {
	PyObject *text = PyObject_CallFunctionObjArgs(stack_of, task, NULL);
	Py_ssize_t n;
	const char *s = text ? PyUnicode_AsUTF8AndSize(text, &n) : NULL;
	if (s != NULL)
		hostlerSlow(seat, (void *)s, n);
	else
		PyErr_WriteUnraisable(stack_of);
	if (text)
		Py_DecRef(text);
}

static void take_stack(struct thread *th, int64_t taken) {
	PyObject *ident = PyLong_FromUnsignedLongLong(th->ident);
	PyObject *text = ident ? PyObject_CallFunctionObjArgs(stack_of, ident, NULL) : NULL;
	Py_ssize_t n;
	const char *s = text ? PyUnicode_AsUTF8AndSize(text, &n) : NULL;
	/* Others have had the GIL meanwhile; the request may have ended. */
	if (s != NULL && is_shown(th, taken))
		hostlerStacked(th->index, taken, (void *)s, n);
	if (PyErr_Occurred())
		PyErr_WriteUnraisable(stack_of);
	if (ident)
		Py_DecRef(ident);
	if (text)
		Py_DecRef(text);
}

static void ask_python(int what, char *request) {
	PyObject *text = PyUnicode_FromString(request);
	free(request);
	PyObject *r = text ? PyObject_CallFunctionObjArgs(ask[what], text, NULL) : NULL;
	if (r == NULL)
		PyErr_WriteUnraisable(ask[what]);
	else
		Py_DecRef(r);
	if (text)
		Py_DecRef(text);
}

static void *work(void *arg) {
	PyGILState_Ensure();
	for (;;) {
		pthread_mutex_lock(&lock);
		asked = 0;
		char *requests[ASKS];
		memcpy(requests, asked_for, sizeof requests);
		memset(asked_for, 0, sizeof asked_for);
		pthread_mutex_unlock(&lock);
		for (int i = 0; i < ASKS; i++)
			if (requests[i] != NULL)
				ask_python(i, requests[i]);
		for (int i = 0; i < nthreads; i++) {
			struct thread *th = &threads[i];
			int64_t taken = __atomic_exchange_n(&th->stack_in, 0, __ATOMIC_ACQ_REL);
			if (is_shown(th, taken))
				take_stack(th, taken);
			taken = __atomic_exchange_n(&th->raise_in, 0, __ATOMIC_ACQ_REL);
			if (green)
				th = green->at();
			if (th != NULL && is_meant(th, taken)) {
				th->raised = 1;
				PyThreadState_SetAsyncExc(th->ident, timeout_class);
			}
		}
		PyThreadState *ts = PyEval_SaveThread();
		pthread_mutex_lock(&lock);
		/* Under the lock: whoever asks from here on begins another wait. */
		hostlerGILWanted(0);
		while (!asked)
			pthread_cond_wait(&more, &lock);
		hostlerGILWanted(1);
		pthread_mutex_unlock(&lock);
		PyEval_RestoreThread(ts);
	}
	return arg;
}

/* In the child there is no such thread, and the lock may be anyone's. */
void intervene_forked(void) {
	pthread_mutex_init(&lock, NULL);
	pthread_cond_init(&more, NULL);
	there = 0;
	memset(asked_for, 0, sizeof asked_for); /* a few bytes are lost; who had them may be at them just now */
}

/* rouse makes the thread look what there is to do, or makes the thread. lock is held. */
static int rouse(void) {
	int rc = 0;
	asked = 1;
	if (there) {
		pthread_cond_signal(&more);
	} else {
		pthread_t id;
		sigset_t all, old;
		sigfillset(&all); /* Python's handlers are for Python's threads */
		pthread_sigmask(SIG_SETMASK, &all, &old);
		if (pthread_create(&id, NULL, work, NULL) == 0) {
			there = 1;
			hostlerGILWanted(1);
			pthread_detach(id);
		} else {
			rc = -1;
		}
		pthread_sigmask(SIG_SETMASK, &old, NULL);
	}
	return rc;
}

/* hostler_intervene is Go's, and never waits. what: one of INTERVENE_. */
int hostler_intervene(int what, int thread, int64_t taken) {
	if (thread < 0 || thread >= nthreads)
		return -1;
	if (what == INTERVENE_RAISE)
		__atomic_store_n(&threads[thread].raise_in, taken, __ATOMIC_RELEASE);
	if (what == INTERVENE_STACK)
		__atomic_store_n(&threads[thread].stack_in, taken, __ATOMIC_RELEASE);
	pthread_mutex_lock(&lock);
	int rc = rouse();
	pthread_mutex_unlock(&lock);
	return rc;
}

/* hostler_ask is Go's, too. what: one of ASK_. */
int hostler_ask(int what, const char *request, int64_t n) {
	char *copy = strndup(request, (size_t)n);
	if (copy == NULL)
		return -1;
	pthread_mutex_lock(&lock);
	free(asked_for[what]);
	asked_for[what] = copy;
	int rc = rouse();
	if (rc) {
		free(copy);
		asked_for[what] = NULL;
	}
	pthread_mutex_unlock(&lock);
	return rc;
}

/* deadline([seconds]): on the thread that runs the request. */
static PyObject *deadline(PyObject *self, PyObject *args) {
	(void)self;
	struct thread *th = running();
	PyObject *seconds = NULL;
	if (!PyArg_ParseTuple(args, "|O", &seconds))
		return NULL;
	if (th == NULL || th->active != ACTIVE_APP || forked)
		return PyErr_Format(PyExc_RuntimeError, "hostler.deadline outside of a request's thread");
	double s = -1;
	if (seconds != NULL) {
		s = PyFloat_AsDouble(seconds);
		if (PyErr_Occurred())
			return NULL;
		if (!(s >= 0 && s <= 366 * 86400.0))
			return PyErr_Format(PyExc_ValueError, "the deadline must be between 0 seconds and a year away, not %R", seconds);
	}
	int64_t left;
	if (!hostlerDeadline(th->index, s < 0 ? -1 : (int64_t)(s * 1e9), &left)) {
		Py_IncRef(Py_None); /* no --timeout */
		return Py_None;
	}
	return PyFloat_FromDouble((double)left / 1e9);
}

static PyMethodDef deadline_def = {"deadline", deadline, METH_VARARGS,
	"deadline([seconds]): let this request run until that many seconds from now; return how many are left"};

PyObject *deadline_new(void) { return PyCFunction_NewEx(&deadline_def, NULL, NULL); }
