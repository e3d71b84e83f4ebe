/* The application's own metrics: what the values of prometheus_client are made of.
 *
 * A value is a cell in memory that the process shares with the master, which maps it for
 * reading and takes none of it for granted (internal/appmetrics has the layout's other
 * half). So what a killed process has counted is there, and a scrape asks nobody, but for what
 * has no value until it does (collect.py), which is then put into cells, too.
 *
 * Cells are changed by atomic operations. What is recorded of them is guarded by a mutex,
 * and between its two ends nothing of Python's is called: no handler of a signal, no
 * collection and no __del__ can come in between, so metrics may be touched in all of
 * these. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "bridge.h"

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 8U
#endif

/* The layout: a head, records that are only ever appended, cells. */
enum {
	SIZE = 8 << 20,
	RECORDS = 64,
	CELLS = 7 << 20,
	MAX_CELLS = (SIZE - CELLS) / 8,
	MAX_FAMILIES = 4096,
	MAX_LABELS = 64,
	MAX_RECORD = 8 << 10,
	MAX_HELP = 1 << 10,
};
#define MAGIC UINT64_C(0x3173656c62617401)
#define GONE UINT64_MAX /* in a second cell: its series has been removed */

struct head {
	uint64_t magic;
	uint64_t published;  /* bytes of records; stored last */
	uint64_t unrecorded; /* values that had no room */
};

/* A record begins with its size, a multiple of 8, its kind, what there is of it, and its
 * number: a family's, or a value's first cell. What is set, and not added to, has two
 * cells, the second for the time of a mostrecent one: gauges, and what collectors say. */
enum { RECORD_FAMILY = 1, RECORD_VALUE, RECORD_FULL };
enum { COUNTER = 1, GAUGE, HISTOGRAM, SUMMARY };
enum { SAMPLE_VALUE, SAMPLE_TOTAL, SAMPLE_SUM, SAMPLE_COUNT, SAMPLE_BUCKET };
enum { KIND_AT = 2, NUMBER_AT = 4, BODY_AT = 8 };

struct record {
	size_t len;
	int bad; /* it does not fit, or is no text */
	unsigned char data[MAX_RECORD];
};

/* The last eighth of the room is for families of less than SMALL values, so that one with
 * labels without end does not shut out those that come after it. As much as FULL_ROOM is
 * for the records that say of a family that it had no more room. */
enum { SMALL = 64, FULL_ROOM = MAX_FAMILIES * 16, FIRST_SLOTS = 1 << 10 };

struct tables {
	struct { uint32_t values, bytes, told; } families[MAX_FAMILIES];
	uint32_t refs[MAX_CELLS]; /* objects with two cells, by their first one */
};

static struct {
	pthread_mutex_t mu;
	char *mem;           /* NULL: values are their objects' own */
	struct tables *tables;
	pid_t owner;         /* a child that nobody has told of its fork records nothing */
	uint32_t families, cells;
	uint32_t *by_hash;   /* where a record is, in eighths; 0: none */
	uint32_t slots, records; /* of by_hash, at least one of which is free */
	int leaving;         /* Python ends, and destroys what has not been removed */
} app = {.mu = PTHREAD_MUTEX_INITIALIZER};

/* What an object has. One that is set has its value in the cell alone, which objects of
 * the same series share. Those of other kinds keep what they have added themselves, too:
 * that is what the library shows in the process, and it may be set back. */
struct value {
	uint64_t *cell;   /* NULL: there is none */
	uint64_t own;
	uint32_t number;
	int set;
	PyObject *exemplar;
};

static PyTypeObject *value_type;
static size_t head_size;

static struct value *state(PyObject *self) { return (void *)((char *)self + head_size); }
static struct head *head(void) { return (void *)app.mem; }
static uint64_t *cell_at(uint32_t i) { return (uint64_t *)(void *)(app.mem + CELLS) + i; }

static double number_of(uint64_t bits) {
	double d;
	memcpy(&d, &bits, sizeof d);
	return d;
}

static uint64_t bits_of(double d) {
	uint64_t bits;
	memcpy(&bits, &d, sizeof bits);
	return bits;
}

static void add(uint64_t *cell, double d) {
	uint64_t was = __atomic_load_n(cell, __ATOMIC_RELAXED);
	while (!__atomic_compare_exchange_n(cell, &was, bits_of(number_of(was) + d), 0, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
		;
}

/* Records */

static void put(struct record *r, const void *s, size_t n) {
	if (n > sizeof r->data - r->len) {
		r->bad = 1;
		return;
	}
	memcpy(r->data + r->len, s, n);
	r->len += n;
}

/* put_text appends a text of at most `most` bytes; of a longer one, where cut is set, its
 * beginning. -1: an exception. */
static int put_text(struct record *r, PyObject *o, size_t most, int cut) {
	Py_ssize_t len;
	const char *s = PyUnicode_AsUTF8AndSize(o, &len);
	if (s == NULL) { /* not UTF-8, or no text at all */
		if (!PyErr_ExceptionMatches(PyExc_ValueError) && !PyErr_ExceptionMatches(PyExc_TypeError))
			return -1;
		PyErr_Clear();
		r->bad = 1;
		return 0;
	}
	size_t n = (size_t)len;
	if (n > most) {
		r->bad |= !cut;
		for (n = most; n > 0 && (s[n] & 0xc0) == 0x80; n--)
			;
	}
	uint16_t size = (uint16_t)n;
	put(r, &size, sizeof size);
	put(r, s, n);
	return 0;
}

static void begin(struct record *r, unsigned char kind, unsigned char what) {
	r->len = BODY_AT;
	r->bad = 0;
	memset(r->data, 0, BODY_AT);
	r->data[KIND_AT] = kind;
	r->data[KIND_AT + 1] = what;
}

/* same is what tells records apart: all but the number. */
static int same(const unsigned char *a, const unsigned char *b, size_t size) {
	return memcmp(a, b, NUMBER_AT) == 0 && memcmp(a + BODY_AT, b + BODY_AT, size - BODY_AT) == 0;
}

static uint64_t hash_of(const unsigned char *r, size_t len) {
	uint64_t hash = UINT64_C(14695981039346656037); /* FNV-1a */
	for (size_t i = 0; i < len; i++)
		if (i < NUMBER_AT || i >= BODY_AT)
			hash = (hash ^ r[i]) * UINT64_C(1099511628211);
	return hash ^ hash >> 32;
}

/* slot_of returns where in by_hash the record is or would be. */
static uint32_t *slot_of(const unsigned char *r, size_t len) {
	for (uint32_t i = (uint32_t)hash_of(r, len);; i++) {
		uint32_t *slot = &app.by_hash[i & (app.slots - 1)];
		if (*slot == 0 || same((unsigned char *)app.mem + 8 * (size_t)*slot, r, len))
			return slot;
	}
}

/* grow has by_hash keep half of its slots free, as long as there is memory. */
static void grow(void) {
	uint32_t *old = app.by_hash, slots = app.slots, *more;
	if (app.records < slots / 2 || (more = calloc(2 * (size_t)slots, sizeof *more)) == NULL)
		return;
	app.by_hash = more;
	app.slots = 2 * slots;
	for (uint32_t i = 0; i < slots; i++) {
		if (old[i] == 0)
			continue;
		const unsigned char *r = (unsigned char *)app.mem + 8 * (size_t)old[i];
		uint16_t size;
		memcpy(&size, r, sizeof size);
		*slot_of(r, size) = old[i];
	}
	free(old);
}

/* finish fills r up, and returns the slot of by_hash where it is or would be. */
static uint32_t *finish(struct record *r) {
	while (r->len % 8)
		r->data[r->len++] = 0;
	uint16_t size = (uint16_t)r->len;
	memcpy(r->data, &size, sizeof size);
	return slot_of(r->data, r->len);
}

static uint32_t found(uint32_t slot) {
	uint32_t number;
	memcpy(&number, app.mem + 8 * (size_t)slot + NUMBER_AT, sizeof number);
	return number;
}

/* append publishes r, if it ends before limit. */
static int append(struct record *r, uint32_t number, uint32_t *slot, size_t limit) {
	size_t at = RECORDS + head()->published;
	if (at + r->len > limit || (slot && app.records + 1 >= app.slots))
		return 0;
	memcpy(r->data + NUMBER_AT, &number, sizeof number);
	memcpy(app.mem + at, r->data, r->len);
	__atomic_store_n(&head()->published, at + r->len - RECORDS, __ATOMIC_RELEASE);
	if (slot) {
		*slot = (uint32_t)(at / 8);
		app.records++;
		grow(); /* slot may be nowhere from here on */
	}
	return 1;
}

/* no_room notes that a value of family is not recorded; -1: the family is not. */
static void no_room(int64_t family) {
	__atomic_store_n(&head()->unrecorded, head()->unrecorded + 1, __ATOMIC_RELAXED);
	if (family < 0 || app.tables->families[family].told)
		return;
	app.tables->families[family].told = 1;
	struct record r;
	begin(&r, RECORD_FULL, 0);
	r.data[0] = BODY_AT;
	append(&r, (uint32_t)family, NULL, CELLS);
}

static int64_t family_of(struct record *r) {
	uint32_t *slot = finish(r);
	if (*slot)
		return found(*slot);
	if (app.families == MAX_FAMILIES || !append(r, app.families, slot, CELLS - FULL_ROOM))
		return -1;
	return app.families++;
}

/* record finds or makes the value's cell. Called with the lock, and without the room to
 * fail in. */
static void record(struct value *v, struct record *family, struct record *value) {
	int64_t n = family->bad || value->bad ? -1 : family_of(family);
	if (n < 0) {
		no_room(-1);
		return;
	}
	uint32_t number = (uint32_t)n;
	memcpy(value->data + BODY_AT, &number, sizeof number);
	uint32_t *slot = finish(value), width = v->set ? 2 : 1;
	if (*slot) {
		v->number = found(*slot);
	} else {
		size_t limit = CELLS - FULL_ROOM;
		uint32_t cells = MAX_CELLS, values = app.tables->families[n].values, bytes = app.tables->families[n].bytes;
		if (values >= SMALL) {
			limit = CELLS / 8 * 7;
			cells = values >= MAX_CELLS / 2 || bytes >= CELLS / 2 ? 0 : MAX_CELLS / 8 * 7;
		}
		if (app.cells + width > cells || !append(value, app.cells, slot, limit)) {
			no_room(n);
			return;
		}
		v->number = app.cells;
		app.cells += width;
		app.tables->families[n].values++;
		app.tables->families[n].bytes += (uint32_t)value->len;
	}
	v->cell = cell_at(v->number);
	if (v->set && app.tables->refs[v->number]++ == 0) { /* a new one, or it is back */
		__atomic_store_n(v->cell, 0, __ATOMIC_RELAXED);
		__atomic_store_n(v->cell + 1, 0, __ATOMIC_RELEASE);
	}
}

/* What the library says of a value */

static int index_in(const char *const *names, const char *s) {
	for (int i = 0; names[i]; i++)
		if (strcmp(names[i], s) == 0)
			return i;
	return -1;
}

static const char *text_of(PyObject *o) {
	const char *s = o ? PyUnicode_AsUTF8AndSize(o, NULL) : "";
	if (s == NULL)
		PyErr_Clear(); /* what is no text is no name that we know */
	return s ? s : "?";
}

/* mode_of returns how values that are set are put together: 1 and up, 8 more for those of
 * the living alone. */
static int mode_of(const char *s) {
	static const char *const modes[] = {"all", "min", "max", "sum", "mostrecent", NULL};
	int live = strncmp(s, "live", 4) == 0 ? 8 : 0;
	int i = index_in(modes, *s ? s + (live ? 4 : 0) : "all");
	return i < 0 ? -1 : i + 1 + live;
}

/* describe writes down the value that p are the arguments of: type, name of the metric,
 * of the sample, label names, label values, help, mode. -1: an exception. A value of which
 * no record can be made has a bad one. */
static int describe(PyObject *const *p, struct value *v, struct record *family, struct record *value) {
	static const char *const types[] = {"", "counter", "gauge", "histogram", "summary", NULL};
	static const char *const samples[] = {"", "_total", "_sum", "_count", "_bucket", NULL};
	static const unsigned char fits[] = {0, 1 << SAMPLE_TOTAL, 1 << SAMPLE_VALUE, 1 << SAMPLE_BUCKET | 1 << SAMPLE_SUM, 1 << SAMPLE_VALUE | 1 << SAMPLE_SUM | 1 << SAMPLE_COUNT};
	const char *metric = text_of(p[1]), *name = text_of(p[2]);
	size_t n = strlen(metric);
	int type = index_in(types, text_of(p[0]));
	int sample = strncmp(metric, name, n) == 0 ? index_in(samples, name + n) : -1;
	/* The library gives gauges a mode, and collect.py whatever it has read and not counted. */
	int mode = type == GAUGE || p[6] ? mode_of(text_of(p[6])) : 0;
	v->set = mode > 0;
	begin(family, RECORD_FAMILY, (unsigned char)type);
	begin(value, RECORD_VALUE, (unsigned char)sample);
	family->bad = type <= 0 || sample < 0 || mode < 0 || !(fits[type] >> sample & 1);
	if (family->bad)
		return 0;
	PyObject *names = PySequence_List(p[3]), *values = names ? PySequence_List(p[4]) : NULL;
	int result = -1;
	if (values == NULL)
		goto done;
	Py_ssize_t labels = PyList_Size(names), have = PyList_Size(values), own = labels - (sample == SAMPLE_BUCKET);
	if (labels != have || own < 0 || own > MAX_LABELS) {
		family->bad = 1;
		result = 0;
		goto done;
	}
	unsigned char shape[2] = {(unsigned char)mode, (unsigned char)own};
	put(family, shape, sizeof shape);
	if (put_text(family, p[1], MAX_RECORD, 0) || put_text(family, p[5] ? p[5] : p[1], p[5] ? MAX_HELP : 0, 1))
		goto done;
	put(value, (uint32_t[]){0}, sizeof(uint32_t)); /* the family's number, see record */
	for (Py_ssize_t i = 0; i < labels; i++)
		if ((i < own && put_text(family, PyList_GetItem(names, i), MAX_RECORD, 0)) || put_text(value, PyList_GetItem(values, i), MAX_RECORD, 0))
			goto done;
	result = 0;
done:
	if (names)
		Py_DecRef(names);
	if (values)
		Py_DecRef(values);
	return result;
}

/* The type */

/* Value(typ, metric_name, name, labelnames, labelvalues, help_text, multiprocess_mode=…):
 * versions of the library differ in what of it they give by name, or at all. */
static PyObject *value_new(PyTypeObject *type, PyObject *args, PyObject *kw) {
	static const char *const names[] = {"typ", "metric_name", "name", "labelnames", "labelvalues", "help_text", "multiprocess_mode"};
	enum { N = sizeof names / sizeof *names, NEEDED = 5 };
	PyObject *p[N];
	for (Py_ssize_t i = 0; i < N; i++) {
		p[i] = i < PyTuple_Size(args) ? PyTuple_GetItem(args, i) : kw ? PyDict_GetItemString(kw, names[i]) : NULL;
		if (p[i] == NULL && i < NEEDED)
			return PyErr_Format(PyExc_TypeError, "a value needs the argument %s", names[i]);
	}
	PyObject *self = PyType_GenericAlloc(type, 0); /* zeroed */
	if (self == NULL)
		return NULL;
	struct value *v = state(self);
	struct record family, value;
	if (describe(p, v, &family, &value)) {
		Py_DecRef(self);
		return NULL;
	}
	pthread_mutex_lock(&app.mu);
	if (app.mem && app.owner == getpid())
		record(v, &family, &value);
	pthread_mutex_unlock(&app.mu);
	return self;
}

static void value_dealloc(PyObject *self) {
	PyTypeObject *type = (PyTypeObject *)PyObject_Type(self); /* new reference */
	struct value *v = state(self);
	if (v->exemplar)
		Py_DecRef(v->exemplar);
	if (v->set && v->cell) {
		pthread_mutex_lock(&app.mu);
		if (app.owner == getpid() && !app.leaving && --app.tables->refs[v->number] == 0)
			__atomic_store_n(v->cell + 1, GONE, __ATOMIC_RELAXED);
		pthread_mutex_unlock(&app.mu);
	}
	PyObject_Free(self);
	Py_DecRef((PyObject *)type); /* PyObject_Type's */
	Py_DecRef((PyObject *)type); /* the instance's */
}

/* amount reads what is to be added. What cannot be added to a float raises what it
 * raises there. */
static int amount(PyObject *o, double *d) {
	PyTypeObject *type = type_of(o);
	PyObject *sum = NULL;
	if (type != &PyFloat_Type && type != &PyLong_Type) {
		PyObject *zero = PyFloat_FromDouble(0);
		sum = zero ? PyNumber_Add(zero, o) : NULL;
		if (zero)
			Py_DecRef(zero);
		if (sum == NULL)
			return -1;
		o = sum;
	}
	*d = PyFloat_AsDouble(o);
	if (sum)
		Py_DecRef(sum);
	return *d == -1.0 && PyErr_Occurred() ? -1 : 0;
}

static PyObject *value_inc(PyObject *self, PyObject *o) {
	struct value *v = state(self);
	double d;
	if (amount(o, &d))
		return NULL;
	if (v->cell)
		add(v->cell, d);
	if (!v->cell || !v->set)
		add(&v->own, d);
	return none();
}

/* set(value, timestamp=None) */
static PyObject *value_set(PyObject *self, PyObject *const *args, Py_ssize_t n, PyObject *kw) {
	struct value *v = state(self);
	PyObject *given[2] = {n > 0 ? args[0] : NULL, n > 1 ? args[1] : NULL};
	for (Py_ssize_t i = 0; kw && i < PyTuple_Size(kw); i++) {
		const char *name = text_of(PyTuple_GetItem(kw, i));
		given[strcmp(name, "value") != 0] = args[n + i];
	}
	if (given[0] == NULL)
		return PyErr_Format(PyExc_TypeError, "set() needs a value");
	double d = PyFloat_AsDouble(given[0]), at = 0;
	if (d == -1.0 && PyErr_Occurred())
		return NULL;
	if (given[1] && given[1] != Py_None) {
		at = PyFloat_AsDouble(given[1]);
		if (at == -1.0 && PyErr_Occurred())
			return NULL;
	}
	if (v->cell && v->set) {
		__atomic_store_n(v->cell, bits_of(d), __ATOMIC_RELAXED);
		if (at > 0)
			__atomic_store_n(v->cell + 1, bits_of(at), __ATOMIC_RELEASE);
		return none();
	}
	double more = d - number_of(__atomic_exchange_n(&v->own, bits_of(d), __ATOMIC_RELAXED));
	if (v->cell && more > 0) /* what has been counted stays counted */
		add(v->cell, more);
	return none();
}

static PyObject *value_get(PyObject *self, PyObject *args) {
	(void)args;
	struct value *v = state(self);
	return PyFloat_FromDouble(number_of(__atomic_load_n(v->cell && v->set ? v->cell : &v->own, __ATOMIC_RELAXED)));
}

static PyObject *value_set_exemplar(PyObject *self, PyObject *exemplar) {
	Py_IncRef(exemplar);
	pthread_mutex_lock(&app.mu);
	PyObject *old = state(self)->exemplar;
	state(self)->exemplar = exemplar;
	pthread_mutex_unlock(&app.mu);
	if (old)
		Py_DecRef(old);
	return none();
}

static PyObject *value_get_exemplar(PyObject *self, PyObject *args) {
	(void)args;
	pthread_mutex_lock(&app.mu);
	PyObject *exemplar = state(self)->exemplar ? state(self)->exemplar : Py_None;
	Py_IncRef(exemplar);
	pthread_mutex_unlock(&app.mu);
	return exemplar;
}

static PyMethodDef value_methods[] = {
	{"inc", value_inc, METH_O, NULL},
	{"set", (PyCFunction)(void (*)(void))value_set, METH_FASTCALL | METH_KEYWORDS, NULL},
	{"get", value_get, METH_NOARGS, NULL},
	{"set_exemplar", value_set_exemplar, METH_O, NULL},
	{"get_exemplar", value_get_exemplar, METH_NOARGS, NULL},
	{0},
};

/* metrics_type(): what values are to be made of. */
PyObject *metrics_type(PyObject *self, PyObject *args) {
	(void)self, (void)args;
	static PyType_Slot slots[] = {{Py_tp_new, value_new}, {Py_tp_dealloc, value_dealloc}, {Py_tp_methods, value_methods}, {0}};
	static PyType_Spec spec = {"hostler.Value", 0, 0, Py_TPFLAGS_DEFAULT, slots};
	if (value_type == NULL) {
		if ((head_size = object_head()) == 0)
			return NULL;
		spec.basicsize = (int)(head_size + sizeof(struct value));
		PyObject *type = PyType_FromSpec(&spec), *no = PyBool_FromLong(0);
		if (type == NULL || PyObject_SetAttrString(type, "_multiprocess", no)) /* it is asked for by that name */
			return NULL;
		Py_DecRef(no);
		value_type = (PyTypeObject *)type;
	}
	Py_IncRef((PyObject *)value_type);
	return (PyObject *)value_type;
}

/* The memory */

/* copy has to be the same memory as what there is, with counters at 0 where fresh is set. */
static void copy(char *to, int fresh) {
	size_t published = head()->published;
	memcpy(to, app.mem, RECORDS + published);
	memcpy(to + CELLS, app.mem + CELLS, 8 * (size_t)app.cells);
	uint16_t size;
	uint32_t number;
	for (size_t at = RECORDS; fresh && at < RECORDS + published; at += size) {
		const unsigned char *r = (unsigned char *)app.mem + at;
		memcpy(&size, r, sizeof size);
		memcpy(&number, r + NUMBER_AT, sizeof number);
		if (r[KIND_AT] == RECORD_VALUE && r[KIND_AT + 1] != SAMPLE_VALUE)
			memset(to + CELLS + 8 * (size_t)number, 0, 8);
	}
}

/* move puts memory where cells are looked for. */
static int move(char *from) {
	return mremap(from, SIZE, SIZE, MREMAP_MAYMOVE | MREMAP_FIXED, app.mem) == MAP_FAILED ? -1 : 0;
}

/* memory_file is memfd_create, which glibc has from 2.27 on: the library runs with 2.17. */
static int memory_file(unsigned flags) {
	return (int)syscall(SYS_memfd_create, "hostler-app-metrics", MFD_CLOEXEC | MFD_ALLOW_SEALING | flags);
}

/* new_memory makes memory that nobody can make smaller under the master. */
static int new_memory(void) {
	int fd = memory_file(MFD_NOEXEC_SEAL);
	if (fd < 0 && errno == EINVAL) /* before Linux 6.3 */
		fd = memory_file(0);
	if (fd >= 0 && (ftruncate(fd, SIZE) || fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL))) {
		close(fd);
		fd = -1;
	}
	return fd;
}

/* hand_over sends the memory to the master. The socket may be one that does not wait. */
static int hand_over(const char *kind, int fd) {
	union { struct cmsghdr head; char room[CMSG_SPACE(sizeof(int))]; } beside;
	struct iovec packet = {.iov_base = (void *)(uintptr_t)kind, .iov_len = 1};
	struct msghdr m = {.msg_iov = &packet, .msg_iovlen = 1, .msg_control = &beside, .msg_controllen = sizeof beside};
	memset(&beside, 0, sizeof beside);
	beside.head.cmsg_level = SOL_SOCKET;
	beside.head.cmsg_type = SCM_RIGHTS;
	beside.head.cmsg_len = CMSG_LEN(sizeof fd);
	memcpy(CMSG_DATA(&beside.head), &fd, sizeof fd);
	for (int tries = 0; tries < 10; tries++) {
		if (sendmsg(FD_CONTROL, &m, MSG_NOSIGNAL | MSG_DONTWAIT) == 1)
			return 0;
		if (errno == EAGAIN)
			poll(&(struct pollfd){.fd = FD_CONTROL, .events = POLLOUT}, 1, 100);
		else if (errno != EINTR)
			return -1;
	}
	return -1;
}

/* take has values live in memory from here on: in a worker forked by a mold, with what
 * the mold's gauges say. */
static int take(char *memory) {
	if (app.mem) {
		if (app.owner != getpid()) /* what is there is the parent's still: metrics_forked had no memory */
			return -1;
		copy(memory, 0);
		if (move(memory))
			return -1;
	} else {
		app.by_hash = calloc(FIRST_SLOTS, sizeof *app.by_hash);
		if (app.by_hash == NULL)
			return -1;
		app.slots = FIRST_SLOTS;
		app.tables = mmap(NULL, sizeof *app.tables, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (app.tables == MAP_FAILED)
			return -1;
		app.mem = memory;
		head()->magic = MAGIC;
	}
	app.owner = getpid();
	return 0;
}

/* metrics_share(kind): the values that are made from now on, and those that are the
 * process's own since it was forked, can be read by the master, which gets a message of
 * that kind. False: they cannot. */
PyObject *metrics_share(PyObject *self, PyObject *kind) {
	(void)self;
	const char *k = PyBytes_AsString(kind);
	if (k == NULL)
		return NULL;
	int done = 0, fd = new_memory();
	if (fd < 0)
		return PyBool_FromLong(0);
	char *memory = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (memory != MAP_FAILED) {
		PyThreadState *ts = PyEval_SaveThread();
		done = hand_over(k, fd) == 0;
		PyEval_RestoreThread(ts);
		pthread_mutex_lock(&app.mu);
		done = done && take(memory) == 0;
		pthread_mutex_unlock(&app.mu);
		if (!done)
			munmap(memory, SIZE);
	}
	close(fd);
	return PyBool_FromLong(done);
}

/* metrics_forked(): this is a child. Its values are its own from here on, and what its
 * parent has counted is the parent's. */
PyObject *metrics_forked(PyObject *self, PyObject *args) {
	(void)self, (void)args;
	app.mu = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
	if (app.mem == NULL)
		return none();
	char *own = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (own == MAP_FAILED)
		return none(); /* it records nothing, and what it counts is added to its parent's */
	copy(own, 1);
	if (move(own) == 0)
		app.owner = getpid();
	return none();
}

/* metrics_end(): what is destroyed from now on has not been removed. */
PyObject *metrics_end(PyObject *self, PyObject *args) {
	(void)self, (void)args;
	app.leaving = 1;
	return none();
}
