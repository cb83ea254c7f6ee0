/* SPDX-License-Identifier: MIT
 *
 * Who listens to /events (serve_events.h): each client is a place in its stream's history. A
 * connection with nothing to send is suspended, and resumed when there is.
 */
#include "serve_events.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "core/debug_json.h"
#include "core/journal.h"
#include "serve_stream.h"

#define LOOK_MS      100
#define PING_SECONDS 15
#define RETRY_MS     1000 /* when a client that was cut may come back */
#define BLOCK        16384
#define LARGEST_OWN  (32u << 20)          /* of what is sent to one client alone */
#define MARGIN       UINT64_C(2000000000) /* ns: what was written then may have been seen later */
#define SECOND       UINT64_C(1000000000)

struct client {
    struct client *next;
    struct listened *to;
    struct MHD_Connection *connection;
    struct fks_text own; /* for this client alone: sent first */
    size_t own_at;
    const struct fks_message *message; /* sent next; NULL: it has all there is */
    size_t at;                         /* bytes of it that were sent */
    bool waiting;                      /* suspended */
    bool cut;                          /* to be ended: its last id resumes */
};

/* A stream and who listens to it. */
struct listened {
    struct listened *next;
    struct fks_events *events;
    struct fks_stream stream;
    struct client *clients;
    uint64_t looked; /* CLOCK_BOOTTIME */
};

struct fks_events {
    uv_timer_t timer;
    struct fks_source *source; /* borrowed */
    void (*woken)(void *data);
    void *data;
    struct listened *streams;
    size_t client_count;
    uint64_t ping_due, check_due; /* CLOCK_BOOTTIME */
};

/* --- sending --- */

static size_t copy(char *to, size_t room, const char *from, size_t length, size_t *at)
{
    size_t take = length - *at < room ? length - *at : room;
    memcpy(to, from + *at, take);
    *at += take;
    return take;
}

static void forget_own(struct client *client)
{
    free(client->own.bytes);
    client->own = (struct fks_text){.limit = LARGEST_OWN};
    client->own_at = 0;
}

static size_t take_own(struct client *client, char *to, size_t room)
{
    size_t taken = copy(to, room, client->own.bytes, client->own.length, &client->own_at);
    if (client->own_at == client->own.length)
        forget_own(client);
    return taken;
}

static size_t take_message(struct client *client, char *to, size_t room)
{
    const struct fks_message *message = client->message;
    size_t taken = copy(to, room, message->text, message->length, &client->at);
    if (client->at == message->length) {
        client->message = message->next;
        client->at = 0;
    }
    return taken;
}

/* A MHD_ContentReaderCallback. What is the client's own goes between two messages, never inside. */
static ssize_t send_more(void *data, uint64_t position, char *to, size_t room)
{
    struct client *client = data;
    size_t used = 0;
    while (used < room && !client->cut) {
        if (client->own.length && !client->at)
            used += take_own(client, to + used, room - used);
        else if (client->message)
            used += take_message(client, to + used, room - used);
        else
            break;
    }
    if (used)
        return (ssize_t)used;
    if (client->cut)
        return MHD_CONTENT_READER_END_OF_STREAM;
    MHD_suspend_connection(client->connection);
    client->waiting = true;
    return 0;
}

static void wake(struct client *client)
{
    if (!client->waiting || !(client->cut || client->own.length || client->message))
        return;
    client->waiting = false;
    MHD_resume_connection(client->connection);
}

/* A MHD_ContentReaderFreeCallback: the connection is over. */
static void forget_client(void *data)
{
    struct client *client = data;
    struct client **link = &client->to->clients;
    while (*link != client)
        link = &(*link)->next;
    *link = client->next;
    client->to->events->client_count--;
    free(client->own.bytes);
    free(client);
}

/* --- streams --- */

static void cut_all(struct listened *listened)
{
    for (struct client *client = listened->clients; client; client = client->next) {
        client->cut = true;
        client->message = NULL;
    }
}

/* The oldest messages go; who has not got them yet is cut. */
static void trim(struct listened *listened)
{
    struct fks_history *history = &listened->stream.history;
    while (fks_history_is_over_full(history)) {
        for (struct client *client = listened->clients; client; client = client->next)
            if (client->message == history->oldest) {
                client->cut = true;
                client->message = NULL;
            }
        fks_history_drop_oldest(history);
    }
}

/* Looks at the journals; who had everything has the new messages before him now. */
static void look(struct listened *listened)
{
    struct fks_history *history = &listened->stream.history;
    const struct fks_message *before = history->newest;
    fks_stream_look(&listened->stream, listened->events->source);
    const struct fks_message *first = before ? before->next : history->oldest;
    for (struct client *client = listened->clients; client; client = client->next)
        if (!client->message)
            client->message = first;
    if (listened->stream.lost)
        cut_all(listened);
    listened->stream.lost = false;
    trim(listened);
    listened->looked = fks_now();
}

static void drop_stream(struct listened **link)
{
    struct listened *listened = *link;
    *link = listened->next;
    fks_stream_finish(&listened->stream);
    free(listened);
}

/* Streams that nobody came back to. */
static void drop_forgotten(struct fks_events *events)
{
    uint64_t now = fks_now();
    for (struct listened **link = &events->streams; *link;) {
        struct listened *listened = *link;
        if (!listened->clients && now - listened->looked > FKS_HISTORY_SECONDS * SECOND)
            drop_stream(link);
        else
            link = &listened->next;
    }
}

static struct listened *find_stream(struct fks_events *events, const char *instance)
{
    struct listened *listened = events->streams;
    while (listened && strcmp(listened->stream.instance, instance))
        listened = listened->next;
    if (listened)
        return listened;
    listened = calloc(1, sizeof *listened);
    if (!listened)
        return NULL;
    listened->events = events;
    fks_stream_init(&listened->stream, instance);
    listened->next = events->streams;
    events->streams = listened;
    return listened;
}

/* --- the clock --- */

/* A suspended connection does not notice that its client has gone. */
static bool is_gone(const struct client *client)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(client->connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    char byte;
    ssize_t got = info ? recv(info->connect_fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) : -1;
    return got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR);
}

static void attend(struct listened *listened, bool check, bool ping)
{
    look(listened);
    for (struct client *client = listened->clients; client; client = client->next) {
        if (check && client->waiting && is_gone(client))
            client->cut = true;
        if (ping && !client->own.length)
            fks_text_print(&client->own, ": ping\n\n");
        wake(client);
    }
}

static bool is_due(uint64_t *due, uint64_t now, uint64_t seconds)
{
    if (now < *due)
        return false;
    *due = now + seconds * SECOND;
    return true;
}

static void on_timer(uv_timer_t *timer)
{
    struct fks_events *events = timer->data;
    uint64_t now = fks_now();
    bool check = is_due(&events->check_due, now, 1);
    bool ping = is_due(&events->ping_due, now, PING_SECONDS);
    for (struct listened *listened = events->streams; listened; listened = listened->next)
        if (listened->clients)
            attend(listened, check, ping);
    events->woken(events->data);
    uint64_t cost_ms = (fks_now() - now) / 1000000; /* a tenth of the time at most */
    if (events->client_count)
        uv_timer_start(timer, on_timer, cost_ms * 10 > LOOK_MS ? cost_ms * 10 : LOOK_MS, 0);
}

static void start_timer(struct fks_events *events)
{
    events->check_due = events->ping_due = fks_now();
    (void)is_due(&events->ping_due, events->ping_due, PING_SECONDS);
    uv_timer_start(&events->timer, on_timer, LOOK_MS, 0);
}

/* --- a new client --- */

static void print_hello(struct client *client, uint64_t id, bool resumed)
{
    struct fks_json_stream clock = {.clock_difference = fks_json_clock_difference()};
    fks_message_print_json(&client->own, id, "hello",
                           json_pack("{so, sb}", "generated_at",
                                     fks_json_time(&clock, fks_now(), 3), "resumed", resumed));
}

/* 0 where it is no id. */
static uint64_t parse_id(const char *text)
{
    size_t length = text ? strlen(text) : 0;
    if (!length || length > 18 || strspn(text, "0123456789") != length)
        return 0;
    return strtoull(text, NULL, 10);
}

/* Sends again from the journals what came after an id that the history does not reach back to.
 * False where the id is of another boot, or it would be too much. */
static bool replay(struct client *client, uint64_t id)
{
    struct fks_stream *stream = &client->to->stream;
    const struct fks_target *target;
    uint64_t difference = (uint64_t)fks_json_clock_difference(), ns = id * 1000;
    if (id > UINT64_MAX / 1000 || ns <= difference || id >= stream->history.floor ||
        fks_source_pick(client->to->events->source, *stream->instance ? stream->instance : NULL,
                        &target, NULL))
        return false;
    ns -= difference;
    print_hello(client, id, true);
    fks_stream_replay(stream, target, ns > MARGIN ? ns - MARGIN : 0, &client->own);
    if (!client->own.failed)
        return true;
    forget_own(client);
    return false;
}

/* Where in the stream the client begins. */
static void greet(struct client *client, uint64_t id)
{
    const struct fks_history *history = &client->to->stream.history;
    fks_text_print(&client->own, "retry: %d\n\n", RETRY_MS);
    if (id >= history->floor && id <= history->last_id) {
        client->message = fks_history_after(history, id);
        print_hello(client, id, true);
    } else if (!id || !replay(client, id)) {
        print_hello(client, history->last_id, false);
    }
}

static struct client *add_client(struct listened *listened, struct MHD_Connection *connection,
                                 uint64_t id)
{
    struct client *client = calloc(1, sizeof *client);
    if (!client)
        return NULL;
    client->own.limit = LARGEST_OWN;
    client->to = listened;
    client->connection = connection;
    greet(client, id);
    client->next = listened->clients;
    listened->clients = client;
    if (!listened->events->client_count++)
        start_timer(listened->events);
    return client;
}

/* Finds the stream that is asked for, as of now. Returns the HTTP status. */
static unsigned find(struct fks_events *events, const char *instance, struct listened **out,
                     struct fks_error *error)
{
    const struct fks_target *target;
    if (events->client_count >= FKS_EVENTS_CLIENTS) {
        fks_fail(error, FORKSAFE_EUSAGE, "%d clients listen already", FKS_EVENTS_CLIENTS);
        return MHD_HTTP_SERVICE_UNAVAILABLE;
    }
    if (fks_source_look(events->source, error))
        return MHD_HTTP_SERVICE_UNAVAILABLE;
    int rc = fks_source_pick(events->source, instance, &target, error);
    if (rc)
        return rc == FORKSAFE_ENOENT ? MHD_HTTP_NOT_FOUND : MHD_HTTP_BAD_REQUEST;
    drop_forgotten(events);
    *out = find_stream(events, target->instance);
    if (!*out) {
        fks_fail(error, FORKSAFE_ENOMEM, "no memory");
        return MHD_HTTP_SERVICE_UNAVAILABLE;
    }
    look(*out);
    return MHD_HTTP_OK;
}

unsigned fks_events_answer(struct fks_events *events, struct MHD_Connection *connection,
                           const char *instance, const char *last_id, struct MHD_Response **out,
                           struct fks_error *error)
{
    struct listened *listened;
    unsigned status = find(events, instance, &listened, error);
    if (status != MHD_HTTP_OK)
        return status;
    struct client *client = add_client(listened, connection, parse_id(last_id));
    *out = client ? MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, BLOCK, send_more, client,
                                                      forget_client)
                  : NULL;
    if (*out)
        return MHD_HTTP_OK;
    if (client)
        forget_client(client);
    fks_fail(error, FORKSAFE_ENOMEM, "no memory");
    return MHD_HTTP_SERVICE_UNAVAILABLE;
}

/* --- life --- */

struct fks_events *fks_events_create(uv_loop_t *loop, struct fks_source *source,
                                     void (*woken)(void *data), void *data)
{
    struct fks_events *events = calloc(1, sizeof *events);
    if (!events)
        return NULL;
    events->source = source;
    events->woken = woken;
    events->data = data;
    uv_timer_init(loop, &events->timer);
    events->timer.data = events;
    return events;
}

void fks_events_close(struct fks_events *events)
{
    for (struct listened *listened = events->streams; listened; listened = listened->next) {
        cut_all(listened);
        for (struct client *client = listened->clients; client; client = client->next)
            wake(client);
    }
    uv_close((uv_handle_t *)&events->timer, NULL);
}

void fks_events_destroy(struct fks_events *events)
{
    while (events->streams)
        drop_stream(&events->streams);
    free(events);
}
