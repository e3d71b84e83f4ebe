/* What the C files of the bridge share. Unless a comment says otherwise a
 * function is called with the GIL held. */
#ifndef HOSTLER_BRIDGE_H
#define HOSTLER_BRIDGE_H

#include "capi.h"
#include "task.h"

/* A Python thread that serves requests. */
struct thread {
	int index;
	struct task *task;
	int active;           /* a request is with the application: one of ACTIVE_ */
	int raised;           /* the timeout's exception is on its way to the application */
	int timed_out;        /* … and has got there, or the request ended before it did */
	int64_t step;         /* which step of a request the event loop is at, by its begin; 0: none */
	int64_t raise_in;     /* the request to raise it in, by task->taken, or by step; 0: none. Not under the GIL: atomic */
	int64_t stack_in;     /* the same for its stack */
	unsigned long ident;  /* as Python knows the thread */
	PyObject *context;    /* contextvars as they were before the first request; NULL: none to be had */
	PyObject *environ;    /* of the request, while the application has it; borrowed */
	PyObject *socket;     /* the request's hostler.websocket, once that has been accepted */
	int taken;            /* the application has its connection as a socket, and may have answered by that */
	int gone;             /* write() has told the application that the client has gone */
	int sending;          /* some thread is in Go for the response without the GIL; see sending_done */
	char *body;           /* small response bodies, copied to be sent without the GIL: SMALL_BODY bytes; NULL with green */
	PyObject *greenlet;   /* with green: in which the request runs */
	struct wait *waits;   /* … and what waits for its client */
	int cut;              /* … it has been told to end, since the worker leaves */
};

enum { SMALL_BODY = 8 << 10 };

/* ENDING: the application's part is over, and nothing is raised any more. */
enum { ACTIVE_NONE = 0, ACTIVE_APP, ACTIVE_ENDING };

/* thread.c */
extern struct thread *threads; /* one per Python thread, for the life of the process */
extern int nthreads;
extern __thread struct thread *current; /* NULL: not one of ours */
extern int forked; /* this is a child that the application forked: Go must not be entered */
extern PyObject *the_loop; /* the event loop that runs the application; NULL: threads do */
int64_t monotonic(void);
void drop_garbage(void);
/* What a child leaves with that does not say it (EX_SOFTWARE). */
enum { CHILD_STATUS = 70 };

/* Set where requests run in greenlets of threads[0]'s (green.c): each has a seat, and there
 * is a struct thread for each seat, whose index is its number. */
extern const struct green {
	struct thread *(*seat)(int); /* NULL: there is none of that number */
	struct thread *(*running)(void); /* whose greenlet runs; NULL: none of ours */
	struct thread *(*at)(void); /* the same, for other threads */
	int (*wait)(struct thread *, uint32_t what); /* wait_client in a greenlet */
	int (*here)(void); /* is this the thread of the hub? Else an exception is set */
	int (*pause)(struct wait **, int64_t until); /* waits until resume(), or a time that is not 0; or less */
	void (*resume)(struct wait **);
} *green;

static inline struct thread *thread_at(int i) {
	return i < nthreads ? &threads[i] : green ? green->seat(i) : NULL;
}

/* running returns whose request the caller is: its thread's, or its greenlet's. */
static inline struct thread *running(void) { return green ? green->running() : current; }

static inline PyObject *none(void) {
	Py_IncRef(Py_None);
	return Py_None;
}

/* sending_done waits for a thread that sends for th without the GIL. Nobody may
 * touch the response, or end the request, while one does. */
void sending_wait(struct thread *th);
static inline void sending_done(struct thread *th) {
	while (th->sending)
		sending_wait(th);
}

/* handles.c: callables that belong to one request carry its number and its
 * thread's. lookup returns NULL with an exception if the request has ended. */
PyObject *handle_new(struct thread *);
struct thread *handle_lookup(PyObject *handle);

/* environ.c */
int environ_init(PyObject *bases, PyObject *open_ends); /* lists, an item per listener: dicts, and see read_ends */
PyObject *environ_new(struct task *, PyObject *input); /* new reference or NULL */
PyObject *decode(const char *, size_t);                /* latin-1, as PEP 3333 wants it */

/* object.c */
size_t object_head(void); /* how large an object's head is in this build of Python; 0: an exception */

/* input.c */
int input_init(void);
PyObject *input_new(struct thread *); /* new reference */

/* type_of returns o's real type, which o keeps alive; borrowed. */
static inline PyTypeObject *type_of(PyObject *o) {
	PyObject *type = PyObject_Type(o);
	Py_DecRef(type);
	return (PyTypeObject *)type;
}

static inline int is_a(PyObject *o, PyTypeObject *type) { return PyType_IsSubtype(type_of(o), type); }

/* head.c. as_list returns headers as a list or a tuple, a new reference: other iterables
 * are taken, too; what has pieces that only look like headers is not. put_fields
 * writes the records of what as_list has returned behind *at in the response buffer.
 * broken_head puts a plain 500 where a head that was fine has been replaced by one
 * that is not: the application may catch the error and go on. */
PyObject *as_list(PyObject *headers);
int put_fields(struct task *, PyObject *headers, uint32_t *at);
int set_head(struct thread *, PyObject *status, PyObject *headers);
void broken_head(struct thread *);
void head_error(struct task *, int code, uint32_t off); /* raises what hostlerHead has found; off says in which field */

/* response.c */
int response_init(PyObject *file_wrapper);
PyObject *start_response_new(PyObject *handle);
int response_send(struct thread *, PyObject *result); /* 0, or -1 with an exception */
void response_close(struct thread *, PyObject *result); /* where nobody takes it */
PyObject *early_hints_new(void);

/* intervene.c */
void take_slow(int seat, PyObject *task); /* tells the engine what a Task, or greenlet, is at, that is over --slow-request */
int intervene_init(PyObject *exception, PyObject *no_op, PyObject *stack_function, PyObject *const *asks);
void withdraw(struct thread *); /* nothing is to be raised in the thread from here on */
void take_back(struct thread *); /* the timeout's exception, if it has not been raised yet */
int raise_pending(struct thread *); /* the timeout's exception, where no Python code runs that it could hit; -1: it is set. May be NULL */
int raise_coming(struct thread *);  /* raise_pending, which waits for one that is on its way */
PyObject *unraisable_new(PyObject *previous);
void intervene_forked(void);
int hostler_intervene(int what, int thread, int64_t taken); /* without the GIL */
int hostler_ask(int what, const char *request, int64_t n);    /* likewise */
PyObject *deadline_new(void);

/* runtime.c */
int start_runtime(void); /* once, before the first call into Go */
void slim(void);

/* fork.c */
int fork_init(int listeners);
void hostler_owns(int fd);

/* mold.c: methods of the module, for molds */
PyObject *fork_mold(PyObject *, PyObject *);
PyObject *fork_order(PyObject *, PyObject *);
PyObject *fork_arm(PyObject *, PyObject *);
PyObject *fork_done(PyObject *, PyObject *);

/* appmetrics.c: methods of the module */
PyObject *metrics_type(PyObject *, PyObject *);
PyObject *metrics_share(PyObject *, PyObject *);
PyObject *metrics_forked(PyObject *, PyObject *);
PyObject *metrics_end(PyObject *, PyObject *);

/* socket.c */
int socket_offer(struct thread *, PyObject *environ, PyObject *handle);
void socket_withdraw(PyObject *environ); /* which points to itself with green, and would stay until the collector came */
void socket_notice(uint32_t number); /* with green: there is news of a WebSocket */
int socket_answers(struct thread *);   /* is there a WebSocket, or an answer of the application's own? Then nothing else is sent */
int socket_tells_end(struct thread *); /* is the exception that is set no more than how such a request ends? */
void socket_end(struct thread *, int failed);
PyObject *socket_setup(PyObject *, PyObject *); /* of the module */

/* has_socket says whether some of that may be so. */
static inline int has_socket(const struct thread *th) { return th->taken || th->socket != NULL; }

/* request.c */
void request_init(PyObject *report);
/* wait_client waits for th's client, without the GIL, for a second at most; what is
 * NOTICE_BODY or NOTICE_ROOM. -1: an exception, a signal handler's or the timeout's. The
 * request's clock stands still. */
int wait_client(struct thread *th, uint32_t what);
void show_raised(int index, PyObject *told); /* with --debug the client sees what the log was told */
void log_exception(struct thread *);  /* and clear it */
void leave_child(struct thread *);

/* rules.c */
extern int rules_wanted; /* the rest is only called where they are */
PyObject *rules_by(PyObject *, PyObject *); /* of the module */
void tell_rule(int index, PyObject *place); /* environ or scope, a dict; no exception is set */

/* run.c */
void run_init(PyObject *app);
void run_request(struct thread *); /* from the application's call to the end of its response */

/* loop.c */
int loop_init(PyObject *app);
int thread_loop(struct thread *); /* 0, or -1 with an exception: this is a child that the application forked */
int threads_wait(void);
/* gil_contended reports whether a request waits for the GIL right now. Any thread. */
int gil_contended(void);           /* likewise; -1 for what a signal handler raised, too */

/* leave_if_forked stands after each return from the application's code. */
static inline void leave_if_forked(struct thread *th) {
	if (forked)
		leave_child(th);
}

/* In bridge.go; leaves: they never wait, and may be called with or without the
 * GIL. */
extern int hostlerNext(int);
extern int hostlerNextHeld(int);
extern int hostlerHead(int, uint32_t *);
extern int hostlerHeadSent(int);
extern void hostlerRaised(int, char *, int64_t);
extern void hostlerRule(int, char *, int64_t);
extern void hostlerHeadError(int, char *, int);
extern int hostlerWrite(int, void *, int64_t, uintptr_t, int);
extern void hostlerEndBody(int);
extern int hostlerWaitRoom(int);
extern int64_t hostlerRead(int, void *, int64_t);
extern int64_t hostlerReadAt(int, void *, int64_t, int64_t); /* no leaf: without the GIL */
extern int64_t hostlerWait(int, int64_t);
extern void hostlerIdentify(int, uint64_t);
extern void hostlerWaited(int, int64_t, int64_t);
extern int hostlerSendFile(int, int, int64_t);
extern int hostlerHints(int, void *, int64_t);
extern int hostlerGarbage(uintptr_t *, int);
extern void hostlerDrain(void);
extern void hostlerGILWanted(int);
extern void hostlerStacked(int, int64_t, void *, int64_t);
extern int hostlerDeadline(int, int64_t, int64_t *);
extern void hostlerProfiled(void *, int64_t); /* no leaf: without the GIL */
extern void hostlerCollected(void);          /* likewise */

#endif
