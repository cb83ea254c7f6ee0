/* SPDX-License-Identifier: MIT
 *
 * libmicrohttpd on the libuv loop (serve_http.h), and what is checked of every request before it is
 * answered.
 */
#include "serve_http.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "core/guards.h"
#include "serve_answer.h"

/* Nothing of another origin may load, frame or read what is served, and the page loads nothing from
 * elsewhere. */
static const char *const headers[][2] = {
    {"Content-Security-Policy",
     "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' "
     "data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"},
    {"X-Content-Type-Options", "nosniff"},
    {"Referrer-Policy", "no-referrer"},
    {"Cache-Control", "no-store"},
    {"Cross-Origin-Resource-Policy", "same-origin"},
};

/* --- the Host header --- */

/* Whether the text is the address that the connection came in at. */
static bool is_local_address(const char *text, const struct sockaddr_storage *local)
{
    struct in_addr four;
    struct in6_addr six;
    const struct sockaddr_in *in = (const struct sockaddr_in *)local;
    const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)local;
    if (inet_pton(AF_INET, text, &four) == 1) {
        if (local->ss_family == AF_INET)
            return !memcmp(&four, &in->sin_addr, sizeof four);
        return local->ss_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr) &&
               !memcmp(&four, in6->sin6_addr.s6_addr + 12, sizeof four);
    }
    return inet_pton(AF_INET6, text, &six) == 1 && local->ss_family == AF_INET6 &&
           !memcmp(&six, &in6->sin6_addr, sizeof six);
}

/* The host of "host:port", "[address]:port" or either without a port; false where it is none. */
static bool split_host(const char *header, char *host, size_t size)
{
    size_t length = header[0] == '[' ? strcspn(header, "]") : strcspn(header, ":");
    const char *rest = header + length;
    if (header[0] == '[') {
        if (*rest++ != ']')
            return false;
        header++;
        length--;
    }
    if (!length || length >= size || (*rest && *rest != ':') ||
        (*rest == ':' && strspn(rest + 1, "0123456789") != strlen(rest + 1)))
        return false;
    memcpy(host, header, length);
    host[length] = '\0';
    return true;
}

static enum MHD_Result count_hosts(void *data, enum MHD_ValueKind kind, const char *key,
                                   const char *value)
{
    int *count = data;
    *count += !strcasecmp(key, "Host");
    return MHD_YES;
}

/* A page of somebody else's whose name was made to lead here must not read anything: the name would
 * be in the Host header. */
static bool is_host_allowed(const struct fks_http *http, struct MHD_Connection *connection)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    struct sockaddr_storage local = {0};
    socklen_t length = sizeof local;
    if (!info || getsockname(info->connect_fd, (struct sockaddr *)&local, &length))
        return false;
    if (local.ss_family == AF_UNIX)
        return true;
    int count = 0;
    char host[256];
    const char *header = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "Host");
    MHD_get_connection_values(connection, MHD_HEADER_KIND, count_hosts, &count);
    if (!header || count != 1 || !split_host(header, host, sizeof host))
        return false;
    if (!strcasecmp(host, "localhost") || is_local_address(host, &local))
        return true;
    for (const char *const *name = http->hosts; *name; name++)
        if (!strcasecmp(host, *name))
            return true;
    return false;
}

/* --- answering --- */

static enum MHD_Result send_answer(struct MHD_Connection *connection, struct fks_answer answer)
{
    if (!answer.response)
        return MHD_NO;
    MHD_add_response_header(answer.response, "Content-Type", answer.type);
    for (size_t i = 0; i < sizeof headers / sizeof *headers; i++)
        MHD_add_response_header(answer.response, headers[i][0], headers[i][1]);
    if (answer.status == MHD_HTTP_METHOD_NOT_ALLOWED)
        MHD_add_response_header(answer.response, "Allow", "GET, HEAD");
    if (answer.status == MHD_HTTP_SERVICE_UNAVAILABLE)
        MHD_add_response_header(answer.response, "Retry-After", "5");
    enum MHD_Result result = MHD_queue_response(connection, answer.status, answer.response);
    MHD_destroy_response(answer.response);
    return result;
}

/* A MHD_AccessHandlerCallback. It is called with the headers first, and again with each piece of a
 * body (nobody wants one) and at its end: then is the time to answer a request that is in order. */
static enum MHD_Result handle(void *data, struct MHD_Connection *connection, const char *path,
                              const char *method, const char *version, const char *body,
                              size_t *body_size, void **seen)
{
    static char marker;
    struct fks_http *http = data;
    bool head = !strcmp(method, "HEAD");
    if (!is_host_allowed(http, connection) && fks_guard(FKS_GUARD_PAGE))
        return send_answer(connection,
                           fks_answer_line(MHD_HTTP_MISDIRECTED_REQUEST,
                                           "this Host is not served here; name it with --host"));
    if (!head && strcmp(method, "GET"))
        return send_answer(connection, fks_answer_line(MHD_HTTP_METHOD_NOT_ALLOWED,
                                                       "only GET and HEAD are understood"));
    if (*seen != &marker || *body_size) {
        *seen = &marker;
        *body_size = 0;
        return MHD_YES;
    }
    return send_answer(connection, fks_answer_path(http, connection, path, head));
}

/* --- the loop --- */

static void run(struct fks_http *http);

static void on_timer(uv_timer_t *timer)
{
    run(timer->data);
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
    run(poll->data);
}

static void on_woken(void *data)
{
    run(data);
}

/* Lets libmicrohttpd do what is to be done, and calls it again when it wants to be. */
static void run(struct fks_http *http)
{
    MHD_UNSIGNED_LONG_LONG wait_ms;
    MHD_run(http->daemon);
    uv_timer_stop(&http->timer);
    if (MHD_get_timeout(http->daemon, &wait_ms) == MHD_YES)
        uv_timer_start(&http->timer, on_timer, wait_ms, 0);
}

int fks_http_open(struct fks_http *http, uv_loop_t *loop, int fd, struct fks_source *source,
                  const char *const *hosts, struct fks_error *error)
{
    *http = (struct fks_http){.source = source, .hosts = hosts};
    http->events = fks_events_create(loop, source, on_woken, http);
    if (!http->events)
        return fks_fail(error, FORKSAFE_ENOMEM, "no memory");
    http->daemon = MHD_start_daemon(
        MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME, 0, NULL, NULL, handle, http,
        MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_CONNECTION_LIMIT, FKS_HTTP_CONNECTIONS,
        MHD_OPTION_CONNECTION_TIMEOUT, FKS_HTTP_IDLE, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
        (size_t)FKS_HTTP_MEMORY, MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_END);
    if (!http->daemon) {
        fks_events_close(http->events);
        return fks_fail(error, FORKSAFE_EOFF, "the HTTP server cannot be started");
    }
    const union MHD_DaemonInfo *info = MHD_get_daemon_info(http->daemon, MHD_DAEMON_INFO_EPOLL_FD);
    uv_timer_init(loop, &http->timer);
    uv_poll_init(loop, &http->poll, info->epoll_fd);
    http->timer.data = http->poll.data = http;
    uv_poll_start(&http->poll, UV_READABLE, on_poll);
    run(http);
    return 0;
}

void fks_http_close(struct fks_http *http)
{
    if (!http->daemon)
        return;
    uv_poll_stop(&http->poll);
    fks_events_close(http->events);
    MHD_run(http->daemon);
    MHD_stop_daemon(http->daemon);
    uv_close((uv_handle_t *)&http->poll, NULL);
    uv_close((uv_handle_t *)&http->timer, NULL);
}

void fks_http_finish(struct fks_http *http)
{
    if (http->events)
        fks_events_destroy(http->events);
}
