/* ASGI, on the event loop of this process's only Python thread. What the C files of it
 * share:
 *
 *     asgi.c       turns: from an event or a notice of the engine's to a step
 *     call.c       one call of the application: the coroutine that its Task runs
 *     pending.c    what receive() returns, and send() where it has to wait
 *     receive.c    receive(): what there is to be received
 *     send.c       send(): messages, their order, and what becomes of them
 *     reply.c      the parts of a response, checked and handed to the engine
 *     files.c      files as a part of it
 *     scope.c      the scope
 *     step.c       a Task whose first step is run at once
 *     websocket.c  the messages of WebSockets
 *
 * All of it is called with the GIL held, on the loop's thread (on_loop). A step of a
 * Task's runs the application's code, which may do anything: end the call, cancel others,
 * fork. No step is run inside another one's.
 *
 * Who holds whom: the engine's seat (seats[]) holds the call, from its first wait to the
 * end of its response; the call holds its Task as long, the coroutine until that has
 * returned, and what waits in it; each of these holds the call. So there is a cycle while
 * a call is on, which call_end breaks, or, where the Task is given up by everybody,
 * Python's collector. */
#ifndef HOSTLER_ASGI_H
#define HOSTLER_ASGI_H

#include "bridge.h"

enum { NO_SEAT = -1 };

struct pending;

/* One call of the application. It is the coroutine of a Task, and what receive and send
 * are bound to. */
struct call {
	int seat;             /* NO_SEAT: the response has ended, or never belonged to one */
	struct task *seated;  /* what the seat has with the engine */
	unsigned asked;       /* notices that the engine owes us */
	PyObject *scope;      /* until the first step; with rules_wanted, to the end */
	PyObject *coro;       /* the application's, from the first step until it returns */
	PyObject *task;       /* while it has a seat, from its first wait on */
	PyObject *method, *target; /* for the log, once it has no seat */
	struct call *before, *after; /* among those in the background */
	struct pending *first, *last; /* those that wait, oldest first; each a reference */
	int64_t since;        /* when it began, by monotonic() */
	int64_t received;     /* bytes of the body that the application has */
	char running;         /* its own Task is being stepped */
	char begun;           /* http.response.start has come */
	char trailers;        /* … and says that trailers follow the body */
	char bodied;          /* … which is over */
	char headed;          /* … and the engine has sent it, or has been told to */
	char ended;           /* the last of the body has come */
	char asked_body;      /* receive() has given the first part of it */
	char body_over;       /* … and the last */
	char gone;            /* the client has */
	char leaving;         /* the worker drains, and has told the application */
	char timed_out;       /* --timeout has cancelled it */
	char cut;             /* we have cancelled it for another reason */
	char over;            /* the application has returned */
	char back;            /* it goes on without a seat */
	char websocket;       /* it is for a WebSocket */
	char connected;       /* … and websocket.connect has been given */
	char accepted;        /* … and it has been accepted: socket is its number */
	char closed;          /* … and closed by the application */
	uint32_t socket;
	uint32_t trailers_len; /* of the records of those that have come */
};

/* Values that are made once. */
extern struct names {
	PyObject *type, *status, *headers, *body, *more_body, *links, *path, *trailers, *more_trailers, *file, *offset, *count;
	PyObject *method, *raw_path, *root_path, *query_string, *http_version, *scheme, *client, *asgi, *extensions, *state, *tls, *tls_version, *cipher_suite, *client_cert_name, *client_cert_chain;
	PyObject *loop, *name, *eager_start, *context, *call_soon, *create_task, *get_task_factory, *send, *throw_, *close, *cancel, *await;
	PyObject *request, *disconnect, *empty, *v10, *v2, *http, *https, *task_name;
} names;

extern PyObject *gone_error;    /* hostler.ClientDisconnected */
extern PyObject *cancelled_error; /* asyncio's */

/* on_loop says whether this is the loop's thread, and no forked child; else an exception
 * is set. */
int on_loop(void);

/* asgi.c */
void seat_leave(struct call *); /* the engine's part is over; where the application's is not, it goes on in the background */
extern long background;         /* how many do so */
void turn_due(void);            /* what has been sent outside of a turn leaves at the end of the next, which is to be soon */

/* call.c */
int call_init(PyObject *app, PyObject *report, PyObject *is_gone);
PyObject *call_new(int seat, struct task *seated); /* new reference */
struct call *call_of(PyObject *);
PyObject *send_new(PyObject *call); /* send(), new reference */
void call_notice(PyObject *call, uint32_t what);
void call_fail(PyObject *call);  /* it has not got to its first step; an exception is set */
int call_named(struct call *);   /* keeps what the log is to say of it without its seat */
void call_detach(struct call *); /* the response is over, and the application may go on */
void background_add(struct call *);

/* pending.c: receive_now and send_now say whether it is time. */
enum { WAITS_RECEIVE, WAITS_ROOM };
int pending_init(void);
PyObject *pending_new(PyObject *call, int kind);
PyObject *done_new(void);      /* what send() returns else: it does not wait */
void pending_serve(PyObject *call, uint32_t what); /* steps those that need not wait any longer */
void pending_end(PyObject *call);  /* the call is over: they hear so in a later step */
void pending_drop(struct call *);  /* without another word: for Python's collector */
int pending_visit(struct call *, visitproc, void *);
void pending_again(struct call *);  /* those that wait, wait for something else now */
int pending_listens(struct call *); /* does one wait for a message? */
int pending_ask(struct call *, uint32_t *have); /* ask the engine for what they wait for */

/* receive.c: 1, and a new reference to a message; 0: it has to wait; -1: an exception. */
int receive_now(struct call *, PyObject **message);
int receive_init(void);

/* send.c */
struct sent {       /* what has become of a message */
	int wait;       /* the client does not take so much so fast */
	int over;       /* of a file: it was the last of the body */
	PyObject *rest; /* a coroutine that does the rest; NULL: nothing is left */
};
PyObject *asgi_send(PyObject *call, PyObject *message);
PyObject *gone_exception(void); /* sets it; NULL */
int send_http(struct call *, const char *type, PyObject *message, int *wait); /* http.response.start and .body */

/* files.c */
int files_init(PyObject *copied);
int send_path(PyObject *call, PyObject *path, struct sent *);
int send_descriptor(PyObject *call, PyObject *message, int more, struct sent *);

/* reply.c; -1: an exception is set. */
int reply_init(PyObject *phrases);
int reply_start(struct call *, PyObject *message);
int reply_head(struct call *);                     /* the head leaves without a body; a WRITE_ code */
int reply_body(struct call *, PyObject *body, int more, int *wait);
int reply_trailers(struct call *, PyObject *headers, int more);
int reply_hints(struct call *, PyObject *links);
int reply_fields(struct call *, PyObject *headers, uint32_t *n); /* records, at the begin of Task.resp */
int reply_refuse(struct call *); /* 403, whole */

/* scope.c */
int scope_init(PyObject *bases, PyObject *state, PyObject *ciphers); /* a list of dicts; None, or a dict that each gets a copy of; names to numbers */
PyObject *scope_new(struct task *);

/* websocket.c */
int websocket_init(void);
int websocket_scope(PyObject *scope, const struct task *); /* makes it a WebSocket's */
int websocket_receive(struct call *, PyObject **message);
uint32_t websocket_await(struct call *, uint32_t what); /* hostlerAwait for one that has been accepted */
int websocket_send(struct call *, const char *type, PyObject *message, int *wait);
PyObject *websocket_call(uint32_t number); /* borrowed */
void websocket_done(struct call *, int failed);
PyObject *websocket_offered(const struct task *); /* subprotocols, as a list */

/* step.c: first_step makes a Task of the coroutine and runs its first step, or has the
 * loop's task factory make it. A new reference. */
int step_init(PyObject *task_type, int eager);
PyObject *first_step(PyObject *coro);

/* raise_given raises what throw() of an awaitable has been given. */
void raise_given(PyObject *args);

/* In asgi.c and for all: a type with a head of this Python's size. */
extern size_t head_size;
PyTypeObject *make_type(const char *name, size_t size, unsigned flags, PyType_Slot *slots);
void free_object(PyObject *, int gc);
int visit_type(PyObject *, visitproc, void *);

static inline void drop(PyObject **p) {
	PyObject *o = *p;
	*p = NULL;
	if (o)
		Py_DecRef(o);
}

static inline PyObject *keep(PyObject *o) {
	if (o)
		Py_IncRef(o);
	return o;
}

/* In bridge.go; leaves, with the GIL held. */
extern int hostlerTurn(int polled, uint32_t *seat, uint32_t *what);
extern void hostlerAsync(void);
extern void hostlerGreen(void);
extern void hostlerAway(void);
extern void hostlerForeign(void);
extern void hostlerSlow(int seat, void *, int64_t);
extern uint32_t hostlerAwait(int seat, uint32_t what);
extern void hostlerFinish(int seat);
extern void hostlerFlush(int waits);
extern int hostlerSendHead(int seat);
extern int hostlerSendPart(int seat, int fd, int64_t off, int64_t n, int more); /* no leaf: without the GIL */
extern void hostlerTrailers(int seat);
extern int hostlerEndTrailers(int seat, void *fields, int64_t n, int more);
extern int64_t hostlerGraceLeft(void);
extern int hostlerLeaving(void);
extern int64_t hostlerStep(int seat);
extern void hostlerStepped(void);
extern void *hostlerTask(int seat);

#endif
