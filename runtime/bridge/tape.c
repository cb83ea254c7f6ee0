/* SPDX-License-Identifier: MIT
 *
 * Lua values to bytes and back (tape.h has the format). Runs wherever a subscriber runs.
 */
#include "tape.h"

#include <stdint.h>
#include <string.h>

static void put(struct fks_tape *tape, const void *bytes, size_t length)
{
    if (tape->out && length)
        memcpy(tape->out + tape->length, bytes, length);
    tape->length += length;
}

void fks_tape_open(struct fks_tape *tape, char tag, size_t count)
{
    const uint64_t number = count;
    put(tape, &tag, 1);
    put(tape, &number, sizeof number);
}

void fks_tape_text(struct fks_tape *tape, const char *text, size_t length)
{
    fks_tape_open(tape, 's', length);
    put(tape, text, length);
}

static size_t count_entries(lua_State *L, int index)
{
    size_t count = 0;
    for (lua_pushnil(L); lua_next(L, index); lua_settop(L, -2))
        count++;
    return count;
}

static void put_table(struct fks_tape *tape, lua_State *L, int index)
{
    size_t length = lua_objlen(L, index);
    if (length || !count_entries(L, index)) {
        fks_tape_open(tape, 'l', length);
        for (size_t i = 1; i <= length; i++) {
            lua_rawgeti(L, index, (int)i);
            fks_tape_value(tape, L, lua_gettop(L));
            lua_settop(L, -2);
        }
        return;
    }
    fks_tape_open(tape, 'm', count_entries(L, index));
    for (lua_pushnil(L); lua_next(L, index); lua_settop(L, -2)) {
        int value = lua_gettop(L);
        fks_tape_value(tape, L, value - 1);
        fks_tape_value(tape, L, value);
    }
}

void fks_tape_value(struct fks_tape *tape, lua_State *L, int index)
{
    size_t length;
    double number;
    const char *text;
    switch (lua_type(L, index)) {
    case LUA_TBOOLEAN:
        put(tape, lua_toboolean(L, index) ? "t" : "f", 1);
        break;
    case LUA_TNUMBER:
        number = lua_tonumber(L, index);
        put(tape, "d", 1);
        put(tape, &number, sizeof number);
        break;
    case LUA_TSTRING:
        text = lua_tolstring(L, index, &length);
        fks_tape_text(tape, text, length);
        break;
    case LUA_TTABLE:
        put_table(tape, L, index);
        break;
    default:
        put(tape, "n", 1);
    }
}

/* What init.lua hands out read-only is an empty table in front of the real one. */
static void look_behind(lua_State *L, int index)
{
    if (!luaL_getmetafield(L, index, "__index"))
        return;
    if (lua_type(L, -1) == LUA_TTABLE)
        lua_replace(L, index);
    else
        lua_settop(L, -2);
}

/* The key and the value on top of the stack belong to a table at `index`, an argument. */
static bool is_list_entry(lua_State *L, int index)
{
    int value = lua_type(L, -1), key = lua_type(L, -2);
    if (value == LUA_TTABLE)
        luaL_argerror(L, index, "a table in a table cannot cross; hand it over as text");
    if (value != LUA_TBOOLEAN && value != LUA_TNUMBER && value != LUA_TSTRING)
        luaL_argerror(L, index, "only strings, numbers and booleans in a table can cross");
    if (key == LUA_TSTRING)
        return false;
    double number = key == LUA_TNUMBER ? lua_tonumber(L, -2) : 0;
    if (!(number >= 1 && number <= (double)lua_objlen(L, index)))
        luaL_argerror(L, index, "a table that crosses is a list, or has strings as keys");
    return true;
}

static enum fks_tape_shape check_table(lua_State *L, int index)
{
    size_t listed = 0, named = 0;
    look_behind(L, index);
    for (lua_pushnil(L); lua_next(L, index); lua_settop(L, -2))
        ++*(is_list_entry(L, index) ? &listed : &named);
    if (listed != lua_objlen(L, index) || (listed && named))
        luaL_argerror(L, index,
                      "a table that crosses is a list without holes, or has strings as "
                      "keys, not both");
    return listed ? FKS_TAPE_LIST : named ? FKS_TAPE_MAP : FKS_TAPE_EMPTY;
}

enum fks_tape_shape fks_tape_check(lua_State *L, int index)
{
    switch (lua_type(L, index)) {
    case LUA_TNIL:
    case LUA_TBOOLEAN:
    case LUA_TNUMBER:
    case LUA_TSTRING:
        return FKS_TAPE_FLAT;
    case LUA_TTABLE:
        return check_table(L, index);
    default:
        luaL_argerror(L, index,
                      "only strings, numbers, booleans, nil and tables of them can cross");
        return FKS_TAPE_FLAT;
    }
}

static void take(lua_State *L, const char **at, const char *end, void *out, size_t length)
{
    if ((size_t)(end - *at) < length)
        luaL_error(L, "the answer of the bridge is cut off");
    memcpy(out, *at, length);
    *at += length;
}

static void push_items(lua_State *L, char tag, uint64_t count, const char **at, const char *end)
{
    luaL_checkstack(L, 4, "an answer of the bridge");
    lua_createtable(L, tag == 'l' ? (int)count : 0, tag == 'm' ? (int)count : 0);
    for (uint64_t i = 1; i <= count; i++) {
        fks_tape_push(L, at, end); // table value, or table key
        if (tag == 'l') {
            lua_rawseti(L, -2, (int)i);
            continue;
        }
        fks_tape_push(L, at, end); // table key value
        lua_rawset(L, -3);
    }
}

void fks_tape_push(lua_State *L, const char **at, const char *end)
{
    char tag;
    double number;
    uint64_t count;
    take(L, at, end, &tag, 1);
    switch (tag) {
    case 't':
    case 'f':
        lua_pushboolean(L, tag == 't');
        return;
    case 'd':
        take(L, at, end, &number, sizeof number);
        lua_pushnumber(L, number);
        return;
    case 'n':
        lua_pushnil(L);
        return;
    }
    take(L, at, end, &count, sizeof count);
    if (count > (uint64_t)(end - *at))
        luaL_error(L, "the answer of the bridge is cut off");
    if (tag != 's') {
        push_items(L, tag, count, at, end);
        return;
    }
    lua_pushlstring(L, *at, count);
    *at += count;
}
