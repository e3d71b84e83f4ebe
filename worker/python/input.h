/* wsgi.input: body.c knows where the bytes are, input.c is the file to Python. */
#ifndef HOSTLER_INPUT_H
#define HOSTLER_INPUT_H

#include "bridge.h"

struct input {
	uint64_t seq; /* the request; 0: none, the body is empty */
	int index;    /* of its thread */
	int busy;     /* a read waits, without the GIL */
	int closed;
	int whole;    /* all of the body is there, and can be read again */
	int64_t pos;  /* of the next byte; of a body that is not whole: in its first part */
	char *ahead;  /* what was fetched and not read; malloc */
	size_t ahead_at, ahead_len, ahead_cap;
};

/* body_owner returns the thread whose request the body is, or NULL with an
 * exception: the request has ended, another read waits. Of an empty body nobody
 * is the owner. */
struct thread *body_owner(struct input *);

/* body_held returns how many bytes from the position on are in memory, and where. */
size_t body_held(struct input *, struct task *, const char **at);
void body_consume(struct input *, struct task *, size_t n);

/* body_rest says whether there may be more than is held. */
int body_rest(struct input *, struct task *);

/* body_left returns how many bytes follow the position in a body that is whole, -1 of
 * any other. */
int64_t body_left(struct input *, struct task *);

/* body_more gets more of them there; 1: there are, 0: the end, -1: exception. */
int body_more(struct input *, struct thread *);

/* body_take moves up to n bytes to dst, as many as are there, and waits for the
 * first of them. 0: the end, -1: exception. */
int64_t body_take(struct input *, struct thread *, char *dst, size_t n);

int64_t body_size(struct input *); /* of a whole body */
void body_seek(struct input *, int64_t pos);

#endif
