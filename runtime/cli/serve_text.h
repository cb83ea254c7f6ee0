/* SPDX-License-Identifier: MIT
 *
 * A text that grows, up to a limit: bodies and messages of `forksafe serve`.
 */
#ifndef FKS_SERVE_TEXT_H
#define FKS_SERVE_TEXT_H

#include <stdbool.h>
#include <stddef.h>

/* Zeros, but for the limit, are an empty one. `bytes` is for free(). */
struct fks_text {
    char *bytes; /* NUL-terminated; NULL: nothing was added */
    size_t length, room, limit;
    bool failed; /* it would have been longer than the limit, or memory is short */
};

/* A fks_debug_sink; data is the struct fks_text. Returns -1 where it failed, now or before. */
int fks_text_add(const char *bytes, size_t length, void *text);

__attribute__((format(printf, 2, 3))) void fks_text_print(struct fks_text *text, const char *format,
                                                          ...);

#endif
