/* Go's runtime in a process that may have been forked with the library in it. */
#define _GNU_SOURCE
#include <inttypes.h>
#include <link.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>

#include "bridge.h"

/* The initialisers that cmd/hostler-worker/late.ld has taken out of .init_array.
 * Weak, since test binaries are linked without it. */
typedef void initialiser(int, char **, char **);
extern initialiser *const hostler_late[] __attribute__((weak, visibility("hidden")));
extern initialiser *const hostler_late_end[] __attribute__((weak, visibility("hidden")));

static int argc;
static char **argv;

#ifdef __GLIBC__
/* What glibc gives to initialisers; Go finds the environment behind argv. */
__attribute__((constructor)) static void remember(int c, char **v) {
	argc = c;
	argv = v;
}
#else
extern char **environ;

/* musl gives them nothing, but has loaded the library at exec (master/libc.go), when the
 * environment is all there: what Go looks for is laid out as by the kernel, with the name
 * of a program, and an auxiliary vector that is empty. Go reads /proc/self/auxv then. */
__attribute__((constructor)) static void remember(void) {
	static char name[] = "hostler";
	size_t n = 0;
	while (environ[n])
		n++;
	char **block = calloc(2 + n + 1 + 2, sizeof *block);
	if (block == NULL)
		return;
	block[0] = name;
	memcpy(block + 2, environ, n * sizeof *block);
	argc = 1;
	argv = block;
}
#endif

/* Go's table of signals (runtime/sigtab_linux_generic.go). */
struct go_signal {
	int32_t flags;
	const char *name;
	int64_t n;
};

static const char first_signal[] = "SIGHUP: terminal line hangup";

/* readable reports whether so many bytes lie in one segment of the library that can be
 * read: what is between its segments is mapped, too, and nobody may look there. */
static int readable(const struct dl_phdr_info *info, uintptr_t from, size_t size) {
	for (int i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *h = &info->dlpi_phdr[i];
		uintptr_t at = info->dlpi_addr + h->p_vaddr;
		if (h->p_type == PT_LOAD && (h->p_flags & PF_R) && from >= at && size <= h->p_memsz && from - at <= h->p_memsz - size)
			return 1;
	}
	return 0;
}

/* Who looks through all that the library has looks between its variables, too, where
 * AddressSanitizer (make test-asan) has nobody look. */
#define LOOKS_ANYWHERE __attribute__((no_sanitize_address))

/* is_signals reports whether the table is there: a first name that we know, and all others
 * where they can be read. */
LOOKS_ANYWHERE static int is_signals(const struct dl_phdr_info *info, const struct go_signal *all) {
	if (all[SIGHUP].n != sizeof first_signal - 1)
		return 0;
	for (int i = 0; i < NSIG; i++)
		if (all[i].n < 0 || !readable(info, (uintptr_t)all[i].name, (size_t)all[i].n))
			return 0;
	return memcmp(all[SIGHUP].name, first_signal, sizeof first_signal - 1) == 0;
}

/* find_signals looks for the table in what can be written to of this library. */
LOOKS_ANYWHERE static int find_signals(struct dl_phdr_info *info, size_t size, void *found) {
	(void)size;
	if (!readable(info, (uintptr_t)first_signal, sizeof first_signal))
		return 0;
	for (int i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *h = &info->dlpi_phdr[i];
		if (h->p_type != PT_LOAD || !(h->p_flags & PF_R) || !(h->p_flags & PF_W))
			continue;
		uintptr_t at = (info->dlpi_addr + h->p_vaddr + 7) & ~(uintptr_t)7, end = info->dlpi_addr + h->p_vaddr + h->p_filesz;
		for (; at + NSIG * sizeof(struct go_signal) <= end; at += 8) {
			if (is_signals(info, (struct go_signal *)at)) {
				*(struct go_signal **)found = (struct go_signal *)at;
				return 1;
			}
		}
	}
	return 1;
}

/* block_in_go leaves a signal blocked in Go's threads, as all others are there. Go unblocks
 * it in each, wanting it for itself, which we do not; and so a handler of the
 * application's that is not made for an alternative stack (libuv's and libev's of SIGCHLD,
 * all of Python 3.8's) would run on the stack of a goroutine, which is too small, and write
 * over what is next to it. Nothing is done where the table is not the one we know. */
static void block_in_go(struct go_signal *all, int sig, const char *name) {
	enum { UNBLOCK = 1 << 7 }; /* _SigUnblock */
	struct go_signal *g = &all[sig];
	size_t n = strlen(name);
	if ((size_t)g->n > n && memcmp(g->name, name, n) == 0 && g->name[n] == ':')
		g->flags &= ~UNBLOCK;
}

/* The thread that has started Go's runtime, and how many others have made since. The first
 * of these is sysmon (runtime.main). */
static pthread_t starter;
static atomic_int made;

/* By how many nanoseconds a thread may be woken later than it asks for: sysmon, and others,
 * as the kernel would have it. */
enum { SYSMON_SLACK = 5000000 };
static int slack;

/* What Go makes its threads with (#cgo LDFLAGS). Whenever a call from C has been away for
 * 10 ms, as those into a slow application all are, sysmon takes its P, and looks again every
 * 20 us for a while, as there might be more to take: 60 times, which costs more than all
 * else of such a request. With slack it sleeps about as long as in its quiet times. All that
 * it does may come 10 ms late in these, too. A thread inherits its slack, sysmon's as well. */
int __real_pthread_create(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*run)(void *), void *arg);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*run)(void *), void *arg) {
	int sysmon = !pthread_equal(pthread_self(), starter) && atomic_fetch_add(&made, 1) == 0;
	int own = prctl(PR_GET_TIMERSLACK), its = sysmon ? SYSMON_SLACK : slack;
	if (its == own || its <= 0 || own <= 0)
		return __real_pthread_create(thread, attr, run, arg);
	prctl(PR_SET_TIMERSLACK, (unsigned long)its);
	int err = __real_pthread_create(thread, attr, run, arg);
	prctl(PR_SET_TIMERSLACK, (unsigned long)own);
	return err;
}

/* start_runtime starts Go's runtime, which no fork of the process will survive.
 * -1: it has been started by the dynamic linker, for all we know in a mold. */
int start_runtime(void) {
	if (&hostler_late[0] == &hostler_late_end[0] || argv == NULL)
		return -1;
	struct go_signal *signals = NULL;
	dl_iterate_phdr(find_signals, &signals);
	if (signals != NULL) {
		block_in_go(signals, SIGCHLD, "SIGCHLD");
		block_in_go(signals, SIGPROF, "SIGPROF");
	}
	slack = prctl(PR_GET_TIMERSLACK);
	starter = pthread_self();
	atomic_store(&made, 0);
	for (initialiser *const *f = hostler_late; f < hostler_late_end; f++)
		(*f)(argc, argv, argv + argc + 1);
	return 0;
}

/* slim takes out of the process's page table what it has read of files it has
 * mapped, code for the most part, and will hardly look at again once it has
 * started. The kernel has it in its page cache. What the process has written to, or
 * the dynamic linker, stays: dropping that would lose it. */
void slim(void) {
	FILE *f = fopen("/proc/self/smaps", "re");
	if (f == NULL)
		return;
	char line[512];
	uintptr_t from = 0, to = 0;
	int fits = 0;
	while (fgets(line, sizeof line, f)) {
		uintptr_t a, b;
		char perm[5];
		unsigned long inode, kb;
		if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR " %4s %*s %*s %lu", &a, &b, perm, &inode) == 4) {
			from = a;
			to = b;
			fits = inode != 0 && perm[1] == '-' && perm[3] == 'p';
		} else if (sscanf(line, "Anonymous: %lu kB", &kb) == 1) {
			fits = fits && kb == 0;
		} else if (fits && sscanf(line, "Swap: %lu kB", &kb) == 1 && kb == 0) { /* Anonymous are those in memory */
			madvise((void *)from, to - from, MADV_DONTNEED); /* where it is refused nothing is lost */
		}
	}
	fclose(f);
}
