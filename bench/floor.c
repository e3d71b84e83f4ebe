/*
 * The floor: what the kernel alone takes for the same bytes. One thread, one
 * epoll set, no HTTP parser beyond finding the end of the head and its
 * Content-Length, no Python. How far a server stands above this is what the server
 * and Python cost. (For small messages: with 1 MB responses it matters more how the
 * bytes are handed to the kernel, and this takes the way of any epoll server.)
 *
 * Answers any GET of / with 13 bytes, /1mb with 1 MB, and any POST with the
 * number of body bytes it read. Usage: floor PORT
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define HEAD 8192
#define MEGABYTE (1 << 20)

struct conn {
    int fd, waiting;    /* waiting: for room in the socket, else for a request */
    size_t have;        /* bytes of a head that is not whole yet */
    long body, got;     /* request body: bytes to come, bytes seen */
    const char *out;    /* response: what is left of it */
    size_t left;
    char head[HEAD + 1], reply[160];
};

static char hello[] = "HTTP/1.1 200 OK\r\nServer: floor\r\nContent-Type: text/plain\r\nContent-Length: 13\r\n\r\nHello, World!";
static char *big;
static size_t big_len;
static char scratch[1 << 18];
static int ep;

/* Sends what is left; where the socket is full, asks to be told when it is not. 0: the client is gone. */
static int flush(struct conn *c)
{
    struct epoll_event ev = {.events = EPOLLOUT, .data.ptr = c};
    while (c->left) {
        ssize_t n = send(c->fd, c->out, c->left, MSG_NOSIGNAL);
        if (n < 0) {
            if (errno != EAGAIN)
                return 0;
            if (!c->waiting)
                epoll_ctl(ep, EPOLL_CTL_MOD, c->fd, &ev);
            c->waiting = 1;
            return 1;
        }
        c->out += n;
        c->left -= n;
    }
    ev.events = EPOLLIN;
    if (c->waiting)
        epoll_ctl(ep, EPOLL_CTL_MOD, c->fd, &ev);
    c->waiting = 0;
    return 1;
}

static int uploaded(struct conn *c)
{
    char num[24];
    int digits = snprintf(num, sizeof num, "%ld", c->got);
    c->left = snprintf(c->reply, sizeof c->reply,
                       "HTTP/1.1 200 OK\r\nServer: floor\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n%s", digits, num);
    c->out = c->reply;
    return flush(c);
}

/* One readiness event: 1 to go on, 0 to close. */
static int serve(struct conn *c)
{
    if (c->left)
        return flush(c);
    if (c->body) { /* in the middle of an upload: count and drop */
        ssize_t n = recv(c->fd, scratch, c->body < (long)sizeof scratch ? (size_t)c->body : sizeof scratch, 0);
        if (n <= 0)
            return n < 0;
        c->body -= n;
        c->got += n;
        return c->body ? 1 : uploaded(c);
    }
    ssize_t n = recv(c->fd, c->head + c->have, HEAD - c->have, 0);
    if (n <= 0)
        return n < 0;
    c->have += n;
    c->head[c->have] = 0;
    char *end = strstr(c->head, "\r\n\r\n");
    if (!end)
        return c->have < HEAD;
    size_t extra = c->have - (end + 4 - c->head);
    c->have = 0;
    if (c->head[0] == 'P') {
        char *length = strcasestr(c->head, "\r\ncontent-length:");
        c->got = extra;
        c->body = (length ? atol(length + 17) : 0) - (long)extra;
        if (c->body <= 0) {
            c->body = 0;
            return uploaded(c);
        }
        return 1;
    }
    int one_mb = !strncmp(c->head, "GET /1mb ", 9);
    c->out = one_mb ? big : hello;
    c->left = one_mb ? big_len : sizeof hello - 1;
    return flush(c);
}

int main(int argc, char **argv)
{
    int one = 1, ls = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(argc > 1 ? atoi(argv[1]) : 8000)};
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(ls, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(ls, (struct sockaddr *)&a, sizeof a) || listen(ls, 1024)) {
        perror("floor: cannot listen");
        return 1;
    }
    ep = epoll_create1(0);
    big = malloc(MEGABYTE + 256);
    if (!big)
        return 1;
    big_len = sprintf(big, "HTTP/1.1 200 OK\r\nServer: floor\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n", MEGABYTE);
    memset(big + big_len, 'x', MEGABYTE);
    big_len += MEGABYTE;
    struct epoll_event ev = {.events = EPOLLIN}, evs[256];
    epoll_ctl(ep, EPOLL_CTL_ADD, ls, &ev); /* data.ptr is NULL: the listener */
    for (;;) {
        int n = epoll_wait(ep, evs, 256, -1);
        for (int i = 0; i < n; i++) {
            struct conn *c = evs[i].data.ptr;
            if (c) {
                if (!serve(c)) {
                    close(c->fd);
                    free(c);
                }
                continue;
            }
            int fd = accept4(ls, 0, 0, SOCK_NONBLOCK);
            if (fd < 0)
                continue;
            setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
            c = calloc(1, sizeof *c);
            if (!c)
                return 1;
            c->fd = fd;
            struct epoll_event cev = {.events = EPOLLIN, .data.ptr = c};
            epoll_ctl(ep, EPOLL_CTL_ADD, fd, &cev);
        }
    }
}
