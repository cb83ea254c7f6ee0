/* SPDX-License-Identifier: MIT
 *
 * The HTTP side of `forksafe serve`: the real server over a UNIX socket or TCP, with a server's
 * journal to show, and any bytes as requests. Control characters in the input stand for what
 * happens meanwhile (enum happening); '4' at its start is a server over TCP. libFuzzer's process
 * only.
 */
#include "fuzz.h"

#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "core/journal.h"
#include "serve_http.h"
#include "serve_listen.h"

#define TURNS   64 /* of the loop, at most, for one request */
#define CLIENTS 4
#define MOST    24 /* happenings of one input; it takes a while else */

enum happening {
    DAMAGE = 0x18,     /* the journal becomes one of another version, or good again */
    CONNECT = 0x19,    /* what follows comes from another client */
    MOMENT_AGO = 0x1a, /* the id of an event of three seconds ago is sent */
    LAST_ID = 0x1b,    /* the id of the event that came last is sent */
    PAUSE = 0x1c,      /* what stands before it is sent alone */
    LATER = 0x1d,      /* 110 ms go by */
    MUCH_LATER = 0x1e, /* 20 s go by */
    HOOK = 0x1f,       /* the master runs a hook */
};

/* One of the clients, and what it got, as far as that is looked at. */
struct client {
    int fd;
    char start[16];
    size_t length;
    int closed;
};

/* One server for each input. */
struct talk {
    struct fks_listen listening;
    struct fks_http http;
    struct client clients[CLIENTS];
    size_t count;
    int is_tcp;
    char last_id[20]; /* of the events that came */
};

static const char ini[] = "[forksafe]\nmax_workers = 8\nrecords = 4\n";
static uv_loop_t loop;
static struct fks_source source;
static struct fks_journal *journal;
static uint64_t skipped_ns;

/* In place of the C library's, for the server, libuv and libmicrohttpd: time goes by when the input
 * says so. libFuzzer looks at CLOCK_REALTIME. */
__attribute__((visibility("default"))) int clock_gettime(clockid_t clock, struct timespec *now)
{
    int rc = (int)syscall(SYS_clock_gettime, clock, now);
    if (rc ||
        (clock != CLOCK_MONOTONIC && clock != CLOCK_MONOTONIC_COARSE && clock != CLOCK_BOOTTIME))
        return rc;
    uint64_t ns = (uint64_t)now->tv_nsec + skipped_ns;
    now->tv_sec += (time_t)(ns / 1000000000u);
    now->tv_nsec = (long)(ns % 1000000000u);
    return 0;
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    struct fks_error error;
    char path[256];
    signal(SIGPIPE, SIG_IGN);
    setenv("RUNTIME_DIRECTORY", fuzz_directory(), 1);
    journal = fuzz_journal("app.ini", ini);
    snprintf(path, sizeof path, "%s/app.ini", fuzz_directory());
    fuzz_require(!fks_source_init(&source, path, &error), error.text);
    fuzz_require(source.count == 1, "the sample's journal is found");
    uv_loop_init(&loop);
    return 0;
}

/* --- clients --- */

static int connect_unix(const struct fks_listen *listening)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s", listening->path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    fuzz_require(fd >= 0 && !connect(fd, (struct sockaddr *)&address, sizeof address),
                 "it accepts");
    return fd;
}

/* Its end is a reset: ports are used again at once. */
static int connect_tcp(const struct fks_listen *listening)
{
    const struct linger at_once = {.l_onoff = 1};
    struct sockaddr_in address;
    socklen_t length = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    fuzz_require(!getsockname(listening->fd, (struct sockaddr *)&address, &length), "it listens");
    fuzz_require(fd >= 0 && !connect(fd, (struct sockaddr *)&address, sizeof address),
                 "it accepts");
    (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    return fd;
}

static void add_client(struct talk *talk)
{
    if (talk->count == CLIENTS)
        return;
    int fd = talk->is_tcp ? connect_tcp(&talk->listening) : connect_unix(&talk->listening);
    talk->clients[talk->count++] = (struct client){.fd = fd};
}

static void see_id(struct talk *talk, char *bytes)
{
    for (char *at = bytes; (at = strstr(at, "\nid: ")); at += 5)
        snprintf(talk->last_id, sizeof talk->last_id, "%.*s", (int)strspn(at + 5, "0123456789"),
                 at + 5);
}

/* Takes what has come; whether there was anything. */
static int take(struct talk *talk, struct client *client)
{
    static char bytes[1 << 16];
    if (client->closed)
        return 0;
    ssize_t got = recv(client->fd, bytes, sizeof bytes - 1, MSG_DONTWAIT);
    client->closed = got == 0;
    bytes[got > 0 ? got : 0] = '\0';
    see_id(talk, bytes);
    for (ssize_t i = 0; i < got && client->length < sizeof client->start; i++)
        client->start[client->length++] = bytes[i];
    return got > 0;
}

/* Lets the server work until nothing more comes. */
static void listen_to_it(struct talk *talk)
{
    for (int turns = 0, quiet = 0; turns < TURNS && quiet < 3; turns++, quiet++) {
        uv_run(&loop, UV_RUN_NOWAIT);
        for (size_t i = 0; i < talk->count; i++)
            if (take(talk, &talk->clients[i]))
                quiet = 0;
    }
}

/* --- what happens --- */

static void say(struct talk *talk, const void *bytes, size_t size)
{
    if (size)
        (void)!send(talk->clients[talk->count - 1].fd, bytes, size, MSG_NOSIGNAL | MSG_DONTWAIT);
}

/* An event's id is the wall time, in microseconds. */
static void say_moment_ago(struct talk *talk)
{
    struct timespec now;
    char text[32];
    clock_gettime(CLOCK_REALTIME, &now);
    int length =
        snprintf(text, sizeof text, "%lld%06ld", (long long)now.tv_sec - 3, now.tv_nsec / 1000);
    say(talk, text, (size_t)length);
}

static void damage(void)
{
    ((struct forksafe_journal_header *)fks_journal_header(journal))->version ^= 1;
}

static void let_happen(struct talk *talk, uint8_t what)
{
    static unsigned hooks;
    if (what == LATER)
        skipped_ns += 110000000u;
    if (what == MUCH_LATER)
        skipped_ns += 20000000000u;
    if (what == HOOK)
        fuzz_journal_run(journal, hooks++);
    if (what == DAMAGE)
        damage();
    if (what == CONNECT)
        add_client(talk);
    if (what == MOMENT_AGO)
        say_moment_ago(talk);
    if (what == LAST_ID)
        say(talk, talk->last_id, strlen(talk->last_id));
}

static size_t piece_length(const uint8_t *data, size_t size, int happened)
{
    size_t length = 0;
    if (happened == MOST)
        return size;
    while (length < size && (data[length] < DAMAGE || data[length] > HOOK))
        length++;
    return length;
}

/* Sends the input in its pieces, and sees to what happens between them. */
static void converse(struct talk *talk, const uint8_t *data, size_t size)
{
    add_client(talk);
    for (int happened = 0; size; happened++) {
        size_t length = piece_length(data, size, happened);
        say(talk, data, length);
        if (length == size)
            break;
        if (data[length] != MOMENT_AGO && data[length] != LAST_ID)
            listen_to_it(talk);
        let_happen(talk, data[length]);
        data += length + 1;
        size -= length + 1;
    }
    listen_to_it(talk);
}

/* --- from the first to the last --- */

static void open_server(struct talk *talk)
{
    static const char *const hosts[] = {"status.example.org", NULL};
    struct fks_error error;
    char where[256] = "127.0.0.1:0";
    if (!talk->is_tcp)
        snprintf(where, sizeof where, "unix:%s/http.sock", fuzz_directory());
    fuzz_require(!fks_listen_open(&talk->listening, where, &error), error.text);
    fuzz_require(!fks_http_open(&talk->http, &loop, talk->listening.fd, &source, hosts, &error),
                 error.text);
}

/* The clients go: the server must come to know it, and have forgotten all of theirs. */
static void leave(struct talk *talk)
{
    for (size_t i = 0; i < talk->count; i++) {
        struct client *client = &talk->clients[i];
        shutdown(client->fd, SHUT_WR);
        listen_to_it(talk);
        close(client->fd);
        fuzz_require(client->length < 9 || !memcmp(client->start, "HTTP/1.", 7),
                     "it answers in HTTP");
    }
    talk->count = 0;
    for (int second = 0; second < 3; second++) {
        listen_to_it(talk);
        skipped_ns += 1100000000u;
    }
    listen_to_it(talk);
    fuzz_require(talk->http.body_bytes == 0, "no body is counted that nobody waits for");
}

static void close_server(struct talk *talk)
{
    fks_http_close(&talk->http);
    fks_listen_close(&talk->listening, false);
    for (int turns = 0; uv_run(&loop, UV_RUN_NOWAIT); turns++)
        fuzz_require(turns < TURNS, "its loop comes to an end");
    fks_http_finish(&talk->http);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct talk talk = {.is_tcp = size && *data == '4'};
    open_server(&talk);
    converse(&talk, data + talk.is_tcp, size - (size_t)talk.is_tcp);
    if (fks_journal_header(journal)->version != FORKSAFE_JOURNAL_VERSION)
        damage();
    leave(&talk);
    close_server(&talk);
    return 0;
}
