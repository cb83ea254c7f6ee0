/* SPDX-License-Identifier: MIT
 *
 * The debug object, schema forksafe.debug/1: the one function that builds it, for hooks, the
 * commands and everything that shows it. Written as a stream, a piece at a time, so that the
 * largest journal needs little memory. No value of a setting is in it.
 */
#ifndef FKS_DEBUG_H
#define FKS_DEBUG_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "error.h"
#include "reader.h"

/* A piece of text; returns 0, or -1 to stop. */
typedef int (*fks_debug_sink)(const char *text, size_t length, void *data);

/* Writes the debug object of the journals of one instance, merged, oldest master first. With none:
 * the object of a server that has not been seen (status "attempting auto-configure"). `indent` as
 * jansson's JSON_INDENT (0: one line). Returns 0, or negative with a line. */
int fks_debug_write(struct fks_reader *const *readers, size_t count, const char *instance,
                    int indent, fks_debug_sink sink, void *data, struct fks_error *error);

/* A part of a debug object, for those who show it piece by piece. */
struct fks_debug_view {
    bool processes, subscribers, records; /* false: without that list */
    bool keys; /* each process and record has a member "key", the same whenever it is looked at */
    uint64_t records_from,
        records_to;        /* CLOCK_BOOTTIME: those that ran in between, or are running */
    size_t newest_records; /* of those no more than so many */
    const int32_t *pids;   /* processes and records of these only; NULL: of all */
    size_t pid_count;
};
extern const struct fks_debug_view fks_debug_whole; /* everything, without keys */

/* fks_debug_write, of a part. */
int fks_debug_write_view(struct fks_reader *const *readers, size_t count, const char *instance,
                         const struct fks_debug_view *view, int indent, fks_debug_sink sink,
                         void *data, struct fks_error *error);

/* The same as one allocated string (free()). NULL with *error on failure. */
char *fks_debug_text(struct fks_reader *const *readers, size_t count, const char *instance,
                     int indent, struct fks_error *error);

#endif
