/* SPDX-License-Identifier: MIT
 *
 * The live stream of one instance: its journals, watched, and the messages that come of it. Knows
 * nothing of HTTP and of who listens (serve_events.c). In the serve process only.
 */
#ifndef FKS_SERVE_STREAM_H
#define FKS_SERVE_STREAM_H

#include "serve_history.h"
#include "serve_source.h"
#include "serve_watch.h"

struct fks_stream {
    char instance[256];         /* empty: the only one, once there is one */
    struct fks_watch **watches; /* of its masters, also of those that have just died */
    size_t watch_count;
    struct fks_history history;
    bool lost;                    /* a message had no memory: who listens has to resume */
    uint64_t state_hash;          /* of the last state message; 0: none yet */
    uint64_t state_due;           /* CLOCK_BOOTTIME: not before */
    uint64_t renew_due;           /* likewise */
    bool is_large;                /* its state message goes without the subscribers */
    char trouble[FKS_ERROR_TEXT]; /* what was told last; empty: all is well */
};

/* The instance's name, or an empty one. */
void fks_stream_init(struct fks_stream *stream, const char *instance);
void fks_stream_finish(struct fks_stream *stream);

/* Looks for changes, and once a second for new masters; adds messages to the history. */
void fks_stream_look(struct fks_stream *stream, struct fks_source *source);

/* Prints what came after `since` (CLOCK_BOOTTIME) from the journals, and the state of now, with new
 * ids. */
void fks_stream_replay(struct fks_stream *stream, const struct fks_target *target, uint64_t since,
                       struct fks_text *to);

#endif
