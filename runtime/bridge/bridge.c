/* SPDX-License-Identifier: MIT
 *
 * The Lua side of the bridges: call, exec and eval of every language. Arguments become bytes before
 * the interpreter is entered, and its answer becomes Lua values after it was left, so that neither
 * a Lua error nor an exception ever crosses the other's frames. Runs wherever a subscriber runs.
 */
#include "bridge.h"

#include <stdlib.h>
#include <string.h>

#include "core/limits.h"
#include "core/log.h"
#include "core/vm_private.h"
#include "tape.h"

static const struct fks_bridge *const bridges[] = {&fks_bridge_python, &fks_bridge_ruby};
static const char *const kinds[] = {"call", "exec", "eval"};

/* One crossing, on the C stack of the call from Lua. */
struct crossing {
    const struct fks_bridge *bridge;
    const char *kind, *what;
    const char *where; /* "hooks/postfork.lua:3: ", the line of the script, or nothing */
    size_t what_length;
    int arguments; /* at 2 and up on the Lua stack */
    bool keywords; /* one more: the table of them */
    struct fks_bridge_answer answer;
};

static void write_request(struct fks_tape *tape, lua_State *L, const struct crossing *crossing)
{
    fks_tape_text(tape, crossing->kind, strlen(crossing->kind));
    fks_tape_text(tape, crossing->what, crossing->what_length);
    size_t where = strlen(crossing->where);
    fks_tape_text(tape, crossing->where, where > 2 ? where - 2 : 0);
    fks_tape_open(tape, 'l', (size_t)crossing->arguments);
    for (int i = 0; i < crossing->arguments; i++)
        fks_tape_value(tape, L, 2 + i);
    if (crossing->keywords)
        fks_tape_value(tape, L, 2 + crossing->arguments);
    else
        fks_tape_open(tape, 'm', 0);
}

/* A last table with strings as keys, or with nothing in it, is the keyword arguments. */
static void check_arguments(lua_State *L, struct crossing *crossing, int top)
{
    enum fks_tape_shape last = FKS_TAPE_FLAT;
    for (int i = 2; i <= top; i++)
        last = fks_tape_check(L, i);
    crossing->keywords = last == FKS_TAPE_MAP;
    crossing->arguments = top - 1 - (last == FKS_TAPE_MAP || last == FKS_TAPE_EMPTY);
}

/* What is slow here is slow in every worker: say it, once a crossing, and never cut it. */
static void report_overrun(const struct fks_vm *vm, const struct crossing *crossing, uint64_t took)
{
    uint64_t limit = vm->spec->config->time_limit;
    if (limit && took > limit)
        fks_log(FORKSAFE_LOG_WARNING,
                "%sforksafe.%s.%s took %.3f s, longer than forksafe.time_limit; what runs in the "
                "application's own language is not stopped",
                crossing->where, crossing->bridge->language, crossing->kind, (double)took / 1e9);
}

/* Throws nothing. */
static enum fks_bridge_outcome cross(lua_State *L, struct crossing *crossing)
{
    struct fks_vm *vm = fks_vm_of(L);
    struct fks_tape tape = {0};
    write_request(&tape, L, crossing);
    tape.out = malloc(tape.length);
    if (!tape.out) {
        crossing->answer.text = "out of memory";
        return FKS_BRIDGE_FAILED;
    }
    size_t length = tape.length;
    tape.length = 0;
    write_request(&tape, L, crossing);
    fks_limits_pause(&vm->limits);
    enum fks_bridge_outcome outcome = crossing->bridge->run(tape.out, length, &crossing->answer);
    uint64_t took = fks_limits_resume(&vm->limits);
    free(tape.out);
    report_overrun(vm, crossing, took);
    return outcome;
}

/* lua_CFunction: the values of an answer. */
static int push_answer(lua_State *L)
{
    const struct fks_bridge_answer *answer = lua_touserdata(L, 1);
    const char *at = answer->tape, *end = at + answer->length;
    fks_tape_push(L, &at, end); // status
    fks_tape_push(L, &at, end); // status value
    return 2;
}

/* The status and the value of an answer as what Lua gets: value; nil, message; or an error. */
static int deliver(lua_State *L, const struct crossing *crossing)
{
    const char *status = lua_tolstring(L, -2, NULL);
    if (!strcmp(status, "value"))
        return 1;
    if (!strcmp(status, "absent")) {
        lua_pushnil(L);
        lua_insert(L, -2); // status nil message
        return 2;
    }
    lua_pushfstring(L, "%s%s: ", crossing->where, crossing->bridge->language);
    lua_insert(L, -2);
    lua_concat(L, 2);
    return lua_error(L);
}

/* Pushes status and value of an answer, and gives back what it came in; false with the error on
 * the stack. */
static bool take_answer(lua_State *L, struct crossing *crossing)
{
    lua_pushvalue(L, lua_upvalueindex(3)); // push_answer
    lua_pushlightuserdata(L, &crossing->answer);
    int failed = lua_pcall(L, 1, 2, 0);
    free(crossing->answer.tape);
    return !failed;
}

/* There is no answer. */
static int explain(lua_State *L, const struct crossing *crossing, enum fks_bridge_outcome outcome)
{
    if (outcome == FKS_BRIDGE_ABSENT) {
        lua_pushnil(L);
        lua_pushstring(L, crossing->bridge->absent);
        return 2;
    }
    lua_pushfstring(L, "%s%s: %s", crossing->where, crossing->bridge->language,
                    crossing->answer.text);
    return lua_error(L);
}

/* Pushes the nearest line of a script: a pcall may stand between. */
static const char *push_where(lua_State *L)
{
    const char *where = "";
    for (int level = 1; level <= 3 && !*where; level++) {
        luaL_where(L, level);
        where = lua_tolstring(L, -1, NULL);
    }
    return where;
}

/* call(target, ...), exec(source), eval(expression). Upvalues: the bridge, the kind, push_answer.
 */
static int api_cross(lua_State *L)
{
    struct crossing crossing = {.bridge = lua_touserdata(L, lua_upvalueindex(1)),
                                .kind = lua_touserdata(L, lua_upvalueindex(2))};
    int top = lua_gettop(L);
    crossing.what = luaL_checklstring(L, 1, &crossing.what_length);
    if (top > 1 && strcmp(crossing.kind, "call"))
        return luaL_argerror(L, 2, "there is one argument: the text");
    check_arguments(L, &crossing, top);
    luaL_checkstack(L, 8, "a bridge");
    crossing.where = push_where(L);
    struct fks_limits *limits = &fks_vm_of(L)->limits;
    fks_limits_shield(limits);
    enum fks_bridge_outcome outcome = cross(L, &crossing);
    bool answered = outcome == FKS_BRIDGE_ANSWERED, taken = answered && take_answer(L, &crossing);
    fks_limits_unshield(limits);
    if (!answered)
        return explain(L, &crossing, outcome);
    return taken ? deliver(L, &crossing) : lua_error(L);
}

void fks_bridges_find(void)
{
    for (size_t i = 0; i < sizeof bridges / sizeof *bridges; i++)
        bridges[i]->find();
}

void fks_bridges_push(lua_State *L)
{
    for (size_t i = 0; i < sizeof bridges / sizeof *bridges; i++) {
        lua_createtable(L, 0, 3); // native language
        for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
            lua_pushlightuserdata(L, (void *)bridges[i]);
            lua_pushlightuserdata(L, (void *)kinds[k]);
            lua_pushcclosure(L, push_answer, 0);
            lua_pushcclosure(L, api_cross, 3);
            lua_setfield(L, -2, kinds[k]);
        }
        lua_setfield(L, -2, bridges[i]->language);
    }
}
