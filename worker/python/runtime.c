/* Go's runtime in a process that may have been forked with the library in it. */
#define _GNU_SOURCE
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

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

/* start_runtime starts Go's runtime, which no fork of the process will survive.
 * -1: it has been started by the dynamic linker, for all we know in a mold. */
int start_runtime(void) {
	if (&hostler_late[0] == &hostler_late_end[0] || argv == NULL)
		return -1;
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
