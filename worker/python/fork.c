/* A child that the application forks: what it must not keep of the server's. Its
 * parent may end long before it, and whoever holds a listener holds the address;
 * whoever holds a client's connection keeps the client from seeing its end.
 *
 * A number does not tell whose a descriptor is: a drain closes listeners, and the
 * application gets theirs. So each of ours is known by its file as well, and what
 * was accepted by its local address. */
#define _GNU_SOURCE
#include <dirent.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bridge.h"

enum { MAX_OWN = 80, MAX_ENDS = 64 };

/* What the master left to us. Go changes an entry when the master sends another
 * descriptor in its place; a child that is forked in that moment keeps it. */
static struct own {
	int fd;
	dev_t dev;
	ino_t ino;
} own[MAX_OWN];
static int nown;

static struct sockaddr_storage ends[MAX_ENDS]; /* the listeners' addresses */
static socklen_t end_lens[MAX_ENDS];
static int nends;

static int is_own(int fd) {
	struct stat st;
	if (fstat(fd, &st) != 0)
		return 0;
	for (int i = 0; i < nown; i++)
		if (own[i].fd == fd && own[i].dev == st.st_dev && own[i].ino == st.st_ino)
			return 1;
	return 0;
}

/* hostler_owns is Go's, too: what has the number now is the server's. */
void hostler_owns(int fd) {
	struct stat st;
	int i = 0;
	while (i < nown && own[i].fd != fd)
		i++;
	if (i == MAX_OWN || fstat(fd, &st) != 0 || S_ISCHR(st.st_mode)) /* /dev/null stands for what there is not, and is everybody's */
		return;
	own[i] = (struct own){fd, st.st_dev, st.st_ino};
	if (i == nown)
		nown++;
}

/* same_end says whether a socket that is bound to a may have been accepted from the
 * listener at end. A connection to a wildcard address has one of its own. */
static int same_end(const struct sockaddr_storage *a, socklen_t n, const struct sockaddr_storage *end, socklen_t end_n) {
	if (a->ss_family != end->ss_family)
		return 0;
	const struct sockaddr_in *a4 = (const void *)a, *end4 = (const void *)end;
	const struct sockaddr_in6 *a6 = (const void *)a, *end6 = (const void *)end;
	switch (a->ss_family) {
	case AF_INET:
		return a4->sin_port == end4->sin_port && (end4->sin_addr.s_addr == INADDR_ANY || a4->sin_addr.s_addr == end4->sin_addr.s_addr);
	case AF_INET6:
		return a6->sin6_port == end6->sin6_port &&
			(IN6_IS_ADDR_UNSPECIFIED(&end6->sin6_addr) || IN6_ARE_ADDR_EQUAL(&a6->sin6_addr, &end6->sin6_addr));
	case AF_UNIX:
		return n == end_n && n > sizeof(sa_family_t) && memcmp(a, end, n) == 0;
	}
	return 0;
}

/* accepted says whether a descriptor is a client's connection. */
static int accepted(int fd) {
	int type = 0, listens = 0;
	socklen_t n = sizeof type;
	if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &n) != 0 || type != SOCK_STREAM)
		return 0;
	n = sizeof listens;
	if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &n) != 0 || listens)
		return 0; /* the application's, or is_own */
	struct sockaddr_storage a;
	n = sizeof a;
	if (getsockname(fd, (struct sockaddr *)&a, &n) != 0)
		return 0;
	for (int i = 0; i < nends; i++)
		if (same_end(&a, n, &ends[i], end_lens[i]))
			return 1;
	return 0;
}

static void close_ours(void) {
	DIR *d = opendir("/proc/self/fd");
	if (d == NULL)
		return;
	struct dirent *e;
	while ((e = readdir(d)) != NULL) {
		int fd = atoi(e->d_name);
		if (fd > 2 && fd != dirfd(d) && (is_own(fd) || accepted(fd)))
			close(fd);
	}
	closedir(d);
}

static void close_epoll(int fd) {
	char path[32], name[64];
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	ssize_t n = readlink(path, name, sizeof name - 1);
	if (n > 0 && (name[n] = 0, strcmp(name, "anon_inode:[eventpoll]") == 0))
		close(fd);
}

/* Only the thread that forked lives on: no Go. */
static void after_fork(void) {
	forked = 1;
	intervene_forked();
	close_ours();
	close_epoll(threads[0].task->epoll);
}

int fork_init(int listeners) {
	for (int fd = FD_CONTROL; fd < FD_LISTENERS + listeners; fd++)
		hostler_owns(fd);
	for (nends = 0; nends < listeners && nends < MAX_ENDS; nends++) {
		end_lens[nends] = sizeof ends[nends];
		if (getsockname(FD_LISTENERS + nends, (struct sockaddr *)&ends[nends], &end_lens[nends]) != 0)
			ends[nends].ss_family = AF_UNSPEC;
	}
	return pthread_atfork(NULL, NULL, after_fork);
}
