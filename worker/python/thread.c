/* What the C files know of Python's threads. It is below all others: who only has to find
 * its thread need not know what runs in it. */
#include <time.h>
#include <unistd.h>

#include "bridge.h"

struct thread *threads;
int nthreads;
__thread struct thread *current;
int forked;
PyObject *the_loop;
const struct green *green;

int64_t monotonic(void) {
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000LL + ts.tv_nsec;
}

void sending_wait(struct thread *th) {
	PyThreadState *ts = PyEval_SaveThread();
	while (__atomic_load_n(&th->sending, __ATOMIC_ACQUIRE))
		usleep(50);
	PyEval_RestoreThread(ts);
}

void drop_garbage(void) {
	uintptr_t refs[64];
	int n;
	do {
		n = hostlerGarbage(refs, 64);
		for (int i = 0; i < n; i++)
			Py_DecRef((PyObject *)refs[i]);
	} while (n == 64 && !forked);
}
