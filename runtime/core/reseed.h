/* SPDX-License-Identifier: MIT
 *
 * Random number generators in C whose state a fork copies: forksafe.reseed(name).
 */
#ifndef FKS_RESEED_H
#define FKS_RESEED_H

#include "luajit.h"

/* Looks up what the process has of OpenSSL, without loading it. Master: dlopen is not for a fresh
 * child. */
void fks_reseed_find(void);

/* lua_CFunction: reseed(name) returns 1, or 0 where there is no such generator. Any process; does
 * not block. */
int fks_reseed(lua_State *L);

#endif
