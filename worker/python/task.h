/* The C view of worker.Task and http1.Request; bridge_test.go holds the two
 * against each other. */
#ifndef HOSTLER_TASK_H
#define HOSTLER_TASK_H

#include <stdint.h>
#include <sys/epoll.h>

/* What the master left to us; see package protocol. */
enum { FD_CONTROL = 3, FD_SECRETS = 8, FD_LISTENERS = 10 };

enum { MAX_EVENTS = 64 };

enum { NEXT_RUN = 1, NEXT_LEAD, NEXT_FOLLOW, NEXT_EXIT, NEXT_NONE, NEXT_GARBAGE, NEXT_YIELD };
enum { TURN_IDLE = 0, TURN_MORE, TURN_RUN, TURN_NOTICE, TURN_GARBAGE, TURN_EXIT };
enum { NOTICE_BODY = 1, NOTICE_GONE = 2, NOTICE_ROOM = 4, NOTICE_TIMEOUT = 8, NOTICE_GRACE = 16, NOTICE_LEAVE = 32, NOTICE_SLOW = 64 };
enum { SOCKET_SEAT = 1 << 30 }; /* a notice for a WebSocket: its number is beside this */
enum { RESULT_FAILED = 1, RESULT_FINAL = 2, RESULT_TIMED_OUT = 4, RESULT_WHOLE = 8 };
enum { WRITE_OK = 0, WRITE_WAIT = 1, WRITE_CUT = 2, WRITE_GONE = -1, WRITE_NO_HEAD = -2, FILE_COPY = 3 };
enum { PIECE_LAST = 0, PIECE_WHOLE = 1, PIECE_MORE = 2 }; /* of a body: its end follows, it is the whole body, others follow */
enum { READ_END = 0, READ_WAIT = -1, READ_BROKEN = -2, READ_BAD = -3, READ_TOO_LARGE = -4, READ_DISK = -5 };
enum { FLAG_CHUNKED = 1, FLAG_WEBSOCKET = 1 << 30 };
enum { INTERVENE_PROBE = 0, INTERVENE_RAISE = 1, INTERVENE_STACK = 2 };
enum { ASK_PROFILE = 0, ASK_COLLECT = 1, ASKS = 2 };
enum { FORWARDED_HTTPS = 1, FORWARDED_HOST = 2, FORWARDED_PREFIX = 4, FORWARDED_HTTP = 8, FORWARDED_STRAY = 16 };

struct span { uint32_t off, len; };
struct field { struct span name, value; uint32_t known; };
struct request {
	struct span method, target, path, query;
	uint32_t head_len, nfields, method_id, minor, flags, pad;
	int64_t content_length;
	const struct field *fields;
	int64_t fields_len, fields_cap; /* the rest of Go's slice */
};

struct task {
	const char *buf;
	const char *path;
	const char *body;
	int64_t body_len;
	uint32_t path_len;
	uint32_t body_more;
	uint32_t listener;
	uint32_t forwarded;
	int32_t fd;
	uint32_t remote_len;
	uint32_t port_len;
	uint32_t contended;
	uint64_t seq;
	char remote[48];
	char port[8];
	struct span host, prefix;
	uint32_t host_name, room_events;
	const char *tls;
	uint32_t tls_len, body_file;
	struct request req;

	char *resp;
	uint32_t resp_cap;
	uint32_t status_len;
	uint32_t fields_len;
	uint32_t result;
	const char *out;
	int64_t out_len;
	uint32_t out_kept;

	uint32_t wake;
	int32_t epoll;
	int32_t nevents;
	int64_t polled;
	int64_t taken;
	int64_t started;
	struct epoll_event events[MAX_EVENTS];
};

#endif
