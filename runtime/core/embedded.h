/* SPDX-License-Identifier: MIT
 *
 * The Lua files of lua/, which the build puts into the library, so that what is installed needs no
 * file beside it.
 */
#ifndef FKS_EMBEDDED_H
#define FKS_EMBEDDED_H

#include <stddef.h>

/* The text of lua/NAME ("forksafe/init.lua"), static storage, *length bytes; NULL where there is no
 * such file. */
const char *fks_embedded(const char *name, size_t *length);

#endif
