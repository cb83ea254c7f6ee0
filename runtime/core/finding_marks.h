/* SPDX-License-Identifier: MIT
 *
 * What is known to be safe: patterns of finding ids, from forksafe.baseline, from the adapter and
 * from forksafe.mark_safe. Filled in the master while the scripts load, read at each fork.
 *
 * A pattern is an id, in which "*" stands for any text: "shared-connection:*:5432".
 */
#ifndef FKS_FINDING_MARKS_H
#define FKS_FINDING_MARKS_H

#include <stdbool.h>
#include <stddef.h>

#include "error.h"

struct fks_marks {
    char **items;
    size_t count;
};

/* Adds a copy, once. Returns 0, FORKSAFE_EUSAGE where what stands before ":" is no kind, or
 * FORKSAFE_ENOMEM, which is also the answer where there are thousands. */
int fks_marks_add(struct fks_marks *marks, const char *pattern);

/* Adds a list: a pattern a line, empty lines and "# ..." left out, what stands behind "  # " too.
 * Returns 0, or negative with a line that names the file and the line. May block. */
int fks_marks_read(struct fks_marks *marks, const char *path, struct fks_error *error);

/* Whether a pattern fits the id. No allocation. */
bool fks_marks_have(const struct fks_marks *marks, const char *id);

/* Frees; zeros are harmless. */
void fks_marks_finish(struct fks_marks *marks);

/* Whether the text is the pattern, with "*" for any text. */
bool fks_pattern_fits(const char *pattern, const char *text);

#endif
