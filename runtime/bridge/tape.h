/* SPDX-License-Identifier: MIT
 *
 * Values as bytes: what crosses a bridge. One tag, then what belongs to it, in the machine's own
 * byte order:
 *   n                          nil
 *   t, f                       true, false
 *   d <double>                 a number
 *   s <uint64 n> <n bytes>     a string
 *   l <uint64 n> <n values>    a list
 *   m <uint64 n> <n pairs>     a dictionary: a string and a value each
 * A language reads and writes it in its own code, so that its C API is hardly needed. Any process.
 */
#ifndef FKS_TAPE_H
#define FKS_TAPE_H

#include <stddef.h>

#include "core/luajit.h"

/* What is written: without `out` it is only measured. */
struct fks_tape {
    char *out;
    size_t length;
};

/* These write one value each; they throw nothing. */
void fks_tape_text(struct fks_tape *tape, const char *text, size_t length);
void fks_tape_open(struct fks_tape *tape, char tag, size_t count);

/* Writes the Lua value at `index` (absolute) of the stack, which fks_tape_check has found good.
 * Throws nothing; needs 3 free places on the stack. */
void fks_tape_value(struct fks_tape *tape, lua_State *L, int index);

enum fks_tape_shape { FKS_TAPE_FLAT, FKS_TAPE_EMPTY, FKS_TAPE_LIST, FKS_TAPE_MAP };

/* What the value at `index` (absolute) is; throws an argument error for what cannot cross. A
 * read-only view is replaced by the table behind it. */
enum fks_tape_shape fks_tape_check(lua_State *L, int index);

/* Pushes the next value of a tape that a language wrote, and moves *at behind it. May throw. */
void fks_tape_push(lua_State *L, const char **at, const char *end);

#endif
