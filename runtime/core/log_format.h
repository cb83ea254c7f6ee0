/* SPDX-License-Identifier: MIT
 *
 * The lines of hooks, put together without Lua's string.format where that is plain.
 */
#ifndef FKS_LOG_FORMAT_H
#define FKS_LOG_FORMAT_H

#include "luajit.h"

/* lua_CFunction: log_line(level, text [, ...]), as forksafe.log.info(text, ...) was called. Returns
 * true where it has logged it; false where string.format, or a tostring, has to be asked: the text
 * is no string, has anything but %s, %d and %% or is long, or an argument is no string, whole
 * number, boolean or nil. Then nothing was logged. Any process; allocates nothing. */
int fks_log_format(lua_State *L);

#endif
