/* How a mold forks a worker that is the master's child.
 *
 * The kernel gives a process whose parent has left to the nearest subreaper above
 * it, the master. So there are two forks: the mold's, and that of a process between
 * which leaves at once. But nobody's fork handlers may notice: what is to happen
 * before a fork, and after it in the parent, happens in the mold, where the threads
 * are that it may wait for, and what is to happen in the child in the worker; once
 * each, the handlers of C libraries (pthread_atfork) as those of Python. So the
 * mold calls os.fork() as anybody would, and the second fork, which runs no
 * handlers, is made by the first of all handlers in the child. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "bridge.h"

static struct {
	pid_t master;
	pthread_t by;    /* the thread that has been told to fork */
	int wanted;      /* it has, and did not yet */
	int armed;       /* the fork that begins now is that one */
	int given[2];    /* what the worker gets as FD_CONTROL and FD_SECRETS */
	int back, front; /* a pipe; a byte in it says that the second fork worked */
} mold;

pid_t _Fork(void) __attribute__((weak)); /* since glibc 2.34 */

/* bare_fork is fork(2) without any handlers, in a process with one thread. */
static pid_t bare_fork(void) {
	if (_Fork)
		return _Fork();
	/* glibc has noted down the thread's number, at the address that the kernel
	 * clears at its end. There, too, it must be the child's own. */
	pid_t *tid = NULL;
	unsigned long flags = SIGCHLD;
	if (prctl(PR_GET_TID_ADDRESS, &tid, 0, 0, 0) == 0 && tid)
		flags |= CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID;
	/* The fourth argument on some machines, the fifth on others; the other one
	 * does not count without its flag. */
	return (pid_t)syscall(SYS_clone, flags, NULL, NULL, tid, tid);
}

static void close_given(void) {
	close(mold.given[0]);
	close(mold.given[1]);
}

/* be_worker makes the process between leave, and this one what the master has
 * asked for. */
static void be_worker(void) {
	pid_t between = getpid();
	pid_t pid = bare_fork();
	if (pid != 0) {
		if (pid > 0 && write(mold.front, "1", 1) != 1)
			_exit(1);
		_exit(0);
	}
	close(mold.back);
	close(mold.front);
	setpgid(0, 0); /* of its own, as that of a worker which is started anew */
	dup3(mold.given[0], FD_CONTROL, O_CLOEXEC);
	dup3(mold.given[1], FD_SECRETS, O_CLOEXEC);
	close_given();
	while (getppid() == between)
		nanosleep(&(struct timespec){.tv_nsec = 50000}, NULL);
	/* As long as it does not serve, nobody loses anything. */
	prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
	if (getppid() != mold.master)
		_exit(1);
	/* The kernel says beside it which process this is. */
	send(FD_CONTROL, "J", 1, MSG_NOSIGNAL);
}

static void in_child(void) {
	int ours = mold.armed && pthread_equal(mold.by, pthread_self());
	mold.armed = mold.wanted = 0;
	if (ours)
		be_worker();
}

/* mold(master): this process is to fork workers. It is called before
 * anybody can have registered a handler. */
PyObject *fork_mold(PyObject *self, PyObject *args) {
	(void)self;
	int master;
	if (!PyArg_ParseTuple(args, "i", &master))
		return NULL;
	mold.master = master;
	if (pthread_atfork(NULL, NULL, in_child))
		return PyErr_NoMemory();
	return none();
}

/* order(control, secrets): the next fork of this thread makes a worker, which gets
 * these descriptors. */
PyObject *fork_order(PyObject *self, PyObject *args) {
	(void)self;
	int given[2], ends[2];
	if (!PyArg_ParseTuple(args, "ii", &given[0], &given[1]))
		return NULL;
	if (pipe2(ends, O_CLOEXEC))
		return PyErr_SetFromErrno(PyExc_OSError);
	/* If the application has made the mold one, orphans would be the mold's. */
	prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0);
	fflush(NULL); /* or each worker writes what libraries have not written yet */
	mold.back = ends[0];
	mold.front = ends[1];
	mold.given[0] = given[0];
	mold.given[1] = given[1];
	mold.by = pthread_self();
	mold.wanted = 1;
	return none();
}

/* arm() is the last to run before a fork. What handlers before it fork, to run a
 * program for one, is none of ours. */
PyObject *fork_arm(PyObject *self, PyObject *args) {
	(void)self, (void)args;
	mold.armed = mold.wanted && pthread_equal(mold.by, pthread_self());
	return none();
}

/* ordered(pid): what came of it in the mold; -1: there was no fork. It returns
 * whether there is a worker. */
PyObject *fork_done(PyObject *self, PyObject *args) {
	(void)self;
	int pid;
	char byte;
	ssize_t n = 0;
	if (!PyArg_ParseTuple(args, "i", &pid))
		return NULL;
	mold.wanted = mold.armed = 0;
	close(mold.front);
	close_given();
	PyThreadState *ts = PyEval_SaveThread();
	if (pid > 0) {
		while ((n = read(mold.back, &byte, 1)) < 0 && errno == EINTR)
			;
		/* It fails where the application ignores SIGCHLD: then the process has
		 * been reaped. */
		while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
			;
	}
	close(mold.back);
	PyEval_RestoreThread(ts);
	return PyLong_FromLong(n == 1);
}
