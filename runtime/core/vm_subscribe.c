/* SPDX-License-Identifier: MIT
 *
 * forksafe.subscribe and forksafe.is_leader, the C side: a VM's list of subscribers while scripts
 * load, in the master, and asking it later, in any process.
 */
#include "vm_private.h"

#include <stdlib.h>
#include <string.h>

#include "leader.h"

static int add_subscriber(struct fks_vm *vm, const struct fks_subscriber *subscriber)
{
    if (vm->count == vm->room) {
        size_t room = vm->room ? vm->room * 2 : 16;
        struct fks_subscriber *grown = realloc(vm->subscribers, room * sizeof *grown);
        if (!grown)
            return -1;
        vm->subscribers = grown;
        vm->room = room;
    }
    vm->subscribers[vm->count] = *subscriber;
    struct fks_subscriber *added = &vm->subscribers[vm->count];
    added->name = strdup(subscriber->name);
    added->leader = subscriber->leader ? strdup(subscriber->leader) : NULL;
    if (!added->name || (subscriber->leader && !added->leader)) {
        free(added->name);
        return -1;
    }
    vm->count++;
    return 0;
}

static bool is_new_leader(const struct fks_vm *vm, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++)
        if (vm->subscribers[i].leader && !strcmp(vm->subscribers[i].leader, name))
            return false;
    return true;
}

/* Whether one more name would be more than a journal has room for. */
static bool too_many_leaders(const struct fks_vm *vm, const char *name)
{
    uint32_t names = is_new_leader(vm, vm->count, name);
    for (size_t i = 0; i < vm->count; i++)
        names += vm->subscribers[i].leader && is_new_leader(vm, i, vm->subscribers[i].leader);
    return names > FORKSAFE_MAX_LEADERS;
}

int fks_vm_subscribe(lua_State *L)
{
    struct fks_vm *vm = fks_vm_of(L);
    struct fks_subscriber subscriber = {
        .event = (enum forksafe_event)luaL_checkinteger(L, 2),
        .name = (char *)luaL_checklstring(L, 3, NULL),
        .order = (int32_t)luaL_checkinteger(L, 4),
        .on_error = (enum fks_on_error)luaL_checkinteger(L, 5),
        .line = (uint32_t)luaL_checkinteger(L, 6),
        .path = vm->loading->path,
        .script = vm->loading,
        .id = FORKSAFE_NO_SUBSCRIBER,
        .leader = (char *)luaL_optlstring(L, 7, NULL, NULL),
        .leader_id = FKS_NO_LEADER,
    };
    if (subscriber.leader && too_many_leaders(vm, subscriber.leader)) {
        lua_pushfstring(L, "there are %d leaders already, and no more can be",
                        (int)FORKSAFE_MAX_LEADERS);
        return 1;
    }
    lua_pushvalue(L, 1);
    subscriber.function = luaL_ref(L, LUA_REGISTRYINDEX);
    if (add_subscriber(vm, &subscriber))
        return luaL_error(L, "out of memory");
    return 0;
}

int fks_vm_is_leader(lua_State *L)
{
    const struct fks_vm *vm = fks_vm_of(L);
    const char *name = luaL_checklstring(L, 1, NULL);
    bool leads = false;
    for (size_t i = 0; i < vm->count && !leads; i++)
        leads = vm->subscribers[i].leader && !strcmp(vm->subscribers[i].leader, name) &&
                fks_leader_is(vm->subscribers[i].leader_id);
    lua_pushboolean(L, leads);
    return 1;
}
