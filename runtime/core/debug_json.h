/* SPDX-License-Identifier: MIT
 *
 * How values of the debug object become JSON: a stream that writes one element of a list at a time,
 * safe strings, times. Used by debug.c in hosts and commands; opens nothing.
 */
#ifndef FKS_DEBUG_JSON_H
#define FKS_DEBUG_JSON_H

#include "debug.h"

struct fks_json_stream {
    fks_debug_sink sink;
    void *data;
    int indent;      /* 0: all on one line */
    bool failed;     /* the sink said stop, or memory is short; all calls after that do nothing */
    bool first_key;  /* nothing in the object yet */
    bool first_item; /* nothing in the open list yet */
    int64_t clock_difference; /* ns to add to CLOCK_BOOTTIME for the time of day */
    char *buffer;             /* of one element; freed by fks_json_finish */
    size_t size;
};

void fks_json_begin(struct fks_json_stream *stream, fks_debug_sink sink, void *data, int indent);

/* Writes a member of the top object. Takes ownership of the value; NULL (no memory) fails the
 * stream. */
void fks_json_member(struct fks_json_stream *stream, const char *key, json_t *value);

/* Writes a member that is a list, an item at a time, each on a line of its own. Takes ownership. */
void fks_json_list(struct fks_json_stream *stream, const char *key);
void fks_json_item(struct fks_json_stream *stream, json_t *item);
void fks_json_list_end(struct fks_json_stream *stream);

/* The members of the item before, as text, in the order of the object: what the next one has as the
 * same value is not dumped again. Zeros at first. */
#define FKS_JSON_ALIKE 16
struct fks_json_alike {
    struct fks_json_text {
        json_t *value;
        char *text; /* with what stands before the value */
        size_t before, length, room;
    } members[FKS_JSON_ALIKE];
};

/* fks_json_item for objects that all have the same few names (FKS_JSON_ALIKE at most, in need of no
 * escape) in the same order. Takes ownership. */
void fks_json_item_alike(struct fks_json_stream *stream, struct fks_json_alike *alike,
                         json_t *item);
void fks_json_alike_finish(struct fks_json_alike *alike);

/* A value alone, after which the stream is as before: for a stream that was not begun but is zeros
 * with `sink` and `data`. Takes ownership. Its `buffer` is for free(). */
void fks_json_value(struct fks_json_stream *stream, json_t *value);

/* What added to CLOCK_BOOTTIME gives the time of day, in ns; fks_json_begin asks for it. */
int64_t fks_json_clock_difference(void);

/* Closes the object. Returns 0, or -1 where the stream failed. */
int fks_json_finish(struct fks_json_stream *stream);

/* Any bytes as a string: what is no UTF-8 becomes U+FFFD. */
json_t *fks_json_text(const char *text, size_t length);

/* The same, null where it is empty. */
json_t *fks_json_text_or_null(const char *text, size_t length);

/* Bytes of the UTF-8 sequence at `text`, of which `left` bytes are there; 0: it is none. */
size_t fks_utf8_sequence(const unsigned char *text, size_t left);

/* Characters that JSON and others take as they are, and that a terminal or an editor acts on: C1
 * and DEL, marks that turn the direction of text, line separators, byte order marks. Returns the
 * bytes of the one at `text`, with its code; 0: it is none. */
size_t fks_utf8_unsafe(const unsigned char *text, size_t left, unsigned *code);

/* A counter; beyond what JSON readers take, the largest they do. */
json_t *fks_json_count(uint64_t value);

/* Nanoseconds as seconds. */
json_t *fks_json_seconds(uint64_t ns);

/* CLOCK_BOOTTIME as RFC 3339 in UTC with 3 or 6 digits of a second; null for 0. Own arithmetic:
 * libc's takes a lock that a forked child may never get. */
json_t *fks_json_time(const struct fks_json_stream *stream, uint64_t boottime_ns, int digits);

#endif
