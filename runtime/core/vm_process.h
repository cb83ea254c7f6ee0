/* SPDX-License-Identifier: MIT
 *
 * lua_CFunctions behind event.process and forksafe.mark_safe.
 */
#ifndef FKS_VM_PROCESS_H
#define FKS_VM_PROCESS_H

#include "vm_private.h"

/* quarantine([peer]) -> count, or nil and why; peer: a pattern, nothing: all. */
int fks_vm_quarantine(lua_State *L);

/* unshare(bits of FKS_UNSHARE_*) -> count, or nil and why. */
int fks_vm_unshare(lua_State *L);

/* mark(pattern of ids) -> whether its kind is one. */
int fks_vm_mark(lua_State *L);

#endif
