/* SPDX-License-Identifier: MIT
 *
 * The HTTP server of `forksafe serve`: libmicrohttpd on the libuv loop. What it answers is in
 * serve_answer.h. In the serve process only, one thread.
 *
 * Limits: FKS_HTTP_CONNECTIONS at the same time, a further one waits until one ends; a connection
 * on which nothing moves for FKS_HTTP_IDLE seconds is ended (a live stream is not: it pings); a
 * request's line and headers fit into FKS_HTTP_MEMORY; bodies that are being sent are
 * FKS_HTTP_BODIES bytes at most, then 503.
 */
#ifndef FKS_SERVE_HTTP_H
#define FKS_SERVE_HTTP_H

#include <microhttpd.h>
#include <uv.h>

#include "serve_events.h"
#include "serve_source.h"

#define FKS_HTTP_CONNECTIONS 1024u
#define FKS_HTTP_IDLE        10u
#define FKS_HTTP_MEMORY      16384u
#define FKS_HTTP_BODIES      (256u << 20)

struct fks_http {
    struct fks_source *source; /* borrowed */
    const char *const *hosts;  /* borrowed: names that a Host header may have, NULL-terminated */
    struct fks_events *events;
    struct MHD_Daemon *daemon;
    uv_poll_t poll;
    uv_timer_t timer;
    size_t body_bytes; /* in responses that are being sent */
};

/* Serves on a listening socket, which it takes over where it succeeds. Returns 0 for
 * fks_http_close, or FORKSAFE_EOFF with a line. */
int fks_http_open(struct fks_http *http, uv_loop_t *loop, int fd, struct fks_source *source,
                  const char *const *hosts, struct fks_error *error);

/* Ends all connections and closes all handles; fks_http_finish once the loop has run to its end. */
void fks_http_close(struct fks_http *http);
void fks_http_finish(struct fks_http *http);

#endif
