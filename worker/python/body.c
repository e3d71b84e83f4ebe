/* Where the bytes of wsgi.input are. The body, or its first part, lies in the
 * request's buffer; what does not fit there is fetched from the connection while
 * the application reads. Or it is whole, and in a file, which is read ahead. */
#include <stdlib.h>
#include <string.h>

#include "input.h"

enum { AHEAD = 16 << 10 }; /* how much is read ahead, at least */

struct thread *body_owner(struct input *in) {
	if (forked) {
		PyErr_SetString(PyExc_RuntimeError, "hostler: a forked child cannot read its parent's request");
		return NULL;
	}
	if (in->busy) {
		PyErr_SetString(PyExc_RuntimeError, "hostler: wsgi.input is already being read, by another thread or around a signal handler");
		return NULL;
	}
	struct thread *th = thread_at(in->index);
	if (th == NULL || !th->active || th->task->seq != in->seq) {
		PyErr_SetString(PyExc_ValueError, "hostler: the request has ended");
		return NULL;
	}
	return th;
}

/* in_file says whether the whole body is in a file. */
static int in_file(struct input *in, struct task *t) { return in->whole && t->body_file; }

/* pull asks Go for up to n bytes. Where it has to read a file, that is done without the
 * GIL, for the disk may take its time; the request cannot end meanwhile. */
static int64_t pull(struct input *in, struct thread *th, char *dst, int64_t n) {
	if (!th->task->body_file)
		return hostlerRead(th->index, dst, n);
	sending_done(th);
	if (body_owner(in) == NULL)
		return -1;
	int64_t off = in->pos + (int64_t)(in->ahead_len - in->ahead_at);
	in->busy = 1;
	th->sending = 1;
	PyThreadState *ts = PyEval_SaveThread();
	int64_t got = in->whole ? hostlerReadAt(th->index, dst, n, off) : hostlerRead(th->index, dst, n);
	PyEval_RestoreThread(ts);
	th->sending = 0;
	in->busy = 0;
	return got;
}

/* fetch reads up to n bytes that are not in memory yet. 0: the end; -1: an
 * exception is set. dst stays valid while it waits, since in is busy. */
static int64_t fetch(struct input *in, struct thread *th, char *dst, int64_t n) {
	for (;;) {
		int64_t got = pull(in, th, dst, n);
		if (got < 0 && PyErr_Occurred())
			return -1;
		switch (got) {
		case READ_WAIT:
			in->busy = 1;
			int rc = wait_client(th, NOTICE_BODY);
			in->busy = 0;
			/* In the meantime the request may have ended, if this is another
			 * thread than its own. */
			if (rc || body_owner(in) == NULL)
				return -1;
			continue;
		case READ_BROKEN:
			PyErr_SetString(PyExc_OSError, "the client did not send the whole request body");
			return -1;
		case READ_BAD:
			PyErr_SetString(PyExc_OSError, "malformed chunk in the request body");
			return -1;
		case READ_TOO_LARGE:
			PyErr_SetString(PyExc_OSError, "request body too large");
			return -1;
		case READ_DISK:
			PyErr_SetString(PyExc_OSError, "the file that has the request body cannot be read");
			return -1;
		}
		return got;
	}
}

int64_t body_size(struct input *in) { return in->seq ? thread_at(in->index)->task->body_len : 0; }

void body_seek(struct input *in, int64_t pos) {
	int64_t by = pos - in->pos;
	if (by >= -(int64_t)in->ahead_at && by <= (int64_t)(in->ahead_len - in->ahead_at))
		in->ahead_at = (size_t)((int64_t)in->ahead_at + by);
	else
		in->ahead_at = in->ahead_len = 0;
	in->pos = pos;
}

int body_rest(struct input *in, struct task *t) {
	return t->body_more || (in_file(in, t) && in->pos + (int64_t)(in->ahead_len - in->ahead_at) < t->body_len);
}

int64_t body_left(struct input *in, struct task *t) {
	if (!in->whole)
		return -1;
	return in->pos < t->body_len ? t->body_len - in->pos : 0;
}

size_t body_held(struct input *in, struct task *t, const char **at) {
	if (in->pos < t->body_len && !in_file(in, t)) {
		*at = t->body + in->pos;
		return (size_t)(t->body_len - in->pos);
	}
	*at = in->ahead + in->ahead_at;
	return in->ahead_len - in->ahead_at;
}

void body_consume(struct input *in, struct task *t, size_t n) {
	if (in_file(in, t)) {
		in->pos += (int64_t)n;
		in->ahead_at += n;
	} else if (in->pos < t->body_len) {
		in->pos += (int64_t)n;
	} else {
		in->ahead_at += n;
	}
}

/* room makes some in ahead for n bytes. */
static int room(struct input *in, size_t n) {
	if (in->ahead_at == in->ahead_len)
		in->ahead_at = in->ahead_len = 0;
	if (in->ahead_cap - in->ahead_len >= n)
		return 0;
	if (in->ahead_at > 0) {
		in->ahead_len -= in->ahead_at;
		memmove(in->ahead, in->ahead + in->ahead_at, in->ahead_len);
		in->ahead_at = 0;
	}
	if (in->ahead_cap - in->ahead_len >= n)
		return 0;
	size_t cap = in->ahead_cap ? 2 * in->ahead_cap : 65536;
	while (cap - in->ahead_len < n)
		cap *= 2;
	char *p = realloc(in->ahead, cap);
	if (p == NULL) {
		PyErr_NoMemory();
		return -1;
	}
	in->ahead = p;
	in->ahead_cap = cap;
	return 0;
}

int body_more(struct input *in, struct thread *th) {
	struct task *t = th->task;
	if (!body_rest(in, t))
		return 0;
	if (in->pos < t->body_len && !in_file(in, t)) { /* what follows the first part has to lie behind it */
		size_t n = (size_t)(t->body_len - in->pos);
		if (room(in, n))
			return -1;
		memcpy(in->ahead + in->ahead_len, t->body + in->pos, n);
		in->ahead_len += n;
		in->pos = t->body_len;
	}
	if (room(in, AHEAD))
		return -1;
	int64_t n = fetch(in, th, in->ahead + in->ahead_len, (int64_t)(in->ahead_cap - in->ahead_len));
	if (n <= 0)
		return (int)n;
	in->ahead_len += (size_t)n;
	return 1;
}

int64_t body_take(struct input *in, struct thread *th, char *dst, size_t n) {
	const char *at;
	size_t have = body_held(in, th->task, &at);
	if (have == 0 && !body_rest(in, th->task))
		return 0;
	if (have == 0 && in_file(in, th->task) && n < AHEAD) { /* not a system call, and the GIL, for every few bytes */
		int more = body_more(in, th);
		if (more <= 0)
			return more;
		have = body_held(in, th->task, &at);
	} else if (have == 0) {
		int64_t got = fetch(in, th, dst, (int64_t)n);
		if (got > 0 && in_file(in, th->task))
			in->pos += got;
		return got;
	}
	if (n > have)
		n = have;
	memcpy(dst, at, n);
	body_consume(in, th->task, n);
	return (int64_t)n;
}
