/* SPDX-License-Identifier: MIT
 *
 * /events of `forksafe serve`: what changes in the journals, as server-sent events. One look at the
 * journals serves all who listen; while nobody does there is none. In the serve process only.
 */
#ifndef FKS_SERVE_EVENTS_H
#define FKS_SERVE_EVENTS_H

#include <microhttpd.h>
#include <uv.h>

#include "serve_source.h"

#define FKS_EVENTS_CLIENTS 256 /* at the same time */

struct fks_events;

/* `source` is borrowed. `woken` is called after connections were resumed, so that MHD is run. NULL:
 * no memory. */
struct fks_events *fks_events_create(uv_loop_t *loop, struct fks_source *source,
                                     void (*woken)(void *data), void *data);

/* Ends all streams: their connections end as soon as MHD runs. Closes the timer; fks_events_destroy
 * once the loop has run to its end, and MHD was stopped. */
void fks_events_close(struct fks_events *events);
void fks_events_destroy(struct fks_events *events);

/* A new client. `instance` NULL: the only one; `last_id` NULL: a new stream. Returns the HTTP
 * status: 200 with *out for MHD_destroy_response, else a line in *error. */
unsigned fks_events_answer(struct fks_events *events, struct MHD_Connection *connection,
                           const char *instance, const char *last_id, struct MHD_Response **out,
                           struct fks_error *error);

#endif
