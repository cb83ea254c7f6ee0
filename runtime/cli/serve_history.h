/* SPDX-License-Identifier: MIT
 *
 * The messages of one live stream, numbered, as far back as a client may need that was away for a
 * moment. All clients send from here: one that is slow costs nothing. In the serve process only.
 */
#ifndef FKS_SERVE_HISTORY_H
#define FKS_SERVE_HISTORY_H

#include <jansson.h>
#include <stdint.h>

#include "serve_text.h"

#define FKS_HISTORY_BYTES   (32u << 20)
#define FKS_HISTORY_SECONDS 120

struct fks_message {
    struct fks_message *next; /* the newer one */
    uint64_t id;
    uint64_t made; /* CLOCK_BOOTTIME */
    size_t length;
    char text[]; /* as it is sent */
};

struct fks_history {
    struct fks_message *oldest, *newest;
    size_t bytes;
    uint64_t last_id; /* of the newest, also when that is gone */
    uint64_t floor;   /* all messages with a higher id are there */
};

/* Begins at the present. */
void fks_history_init(struct fks_history *history);
void fks_history_finish(struct fks_history *history);

/* The next id: microseconds since 1970, or more where the clock stands still or goes back. So it
 * rises over restarts of the process too, and tells since when something was missed. */
uint64_t fks_history_next_id(struct fks_history *history);

/* Writes one message. `data` is one line. */
void fks_message_print(struct fks_text *to, uint64_t id, const char *event, const char *data,
                       size_t length);

/* Writes one message with a JSON value; takes ownership of it, NULL fails the text. */
void fks_message_print_json(struct fks_text *to, uint64_t id, const char *event, json_t *value);

/* Adds what was printed with that id; takes ownership of the text's bytes. NULL: there was no
 * memory for it, then and now. */
struct fks_message *fks_history_add(struct fks_history *history, uint64_t id,
                                    struct fks_text *text);

/* The first message after that id; NULL: none yet. */
struct fks_message *fks_history_after(const struct fks_history *history, uint64_t id);

/* Whether the oldest has to go. */
bool fks_history_is_over_full(const struct fks_history *history);
void fks_history_drop_oldest(struct fks_history *history);

#endif
