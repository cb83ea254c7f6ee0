/* SPDX-License-Identifier: MIT
 *
 * One error on its way up: a code of forksafe.h and one line that says what, where (file:line) and
 * what to do. Filled where it happens, printed where somebody can be told. Any process; never
 * allocates.
 */
#ifndef FKS_ERROR_H
#define FKS_ERROR_H

#include "forksafe/forksafe.h"

#define FKS_ERROR_TEXT 1024

struct fks_error {
    int code;
    char text[FKS_ERROR_TEXT]; /* one line, NUL-terminated; control characters replaced; cut texts
                                  end in "..." */
};

/* Fills *error (which may be NULL) and returns code, so that a function can `return fks_fail(...)`.
 */
__attribute__((format(printf, 3, 4))) int fks_fail(struct fks_error *error, int code,
                                                   const char *format, ...);

/* The list's text for a code of forksafe.h; "unknown error" for any other number. Static storage.
 */
const char *fks_error_text(int code);

/* Replaces control characters, so that text becomes one harmless line; in place. */
void fks_one_line(char *text);

#endif
