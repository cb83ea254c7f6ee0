/* SPDX-License-Identifier: MIT
 *
 * JSON as Lua values and back, through jansson: the debug object becomes tables, results become
 * JSON. In the command's process.
 */
#include "repl.h"

#include <math.h>

#define LARGEST_EXACT 9007199254740992.0 /* 2^53: whole numbers below it are exact in Lua */
#define DEEPEST       100                /* tables within tables, on their way to JSON */

/* Members of metatables: an empty object stays one when it is encoded again; a list knows its
 * columns. */
static const char object_mark[] = "__object", columns_mark[] = "__columns";

/* Appends the names of the object's members to the table `columns`, each once. `seen` is a set of
 * them. */
static void add_columns(lua_State *lua, const json_t *object, int columns, int seen)
{
    const char *name;
    json_t *member;
    json_object_foreach((json_t *)object, name, member)
    {
        lua_getfield(lua, seen, name);
        bool known = lua_toboolean(lua, -1);
        lua_pop(lua, 1);
        if (known)
            continue;
        lua_pushboolean(lua, true);
        lua_setfield(lua, seen, name);
        lua_pushstring(lua, name);
        lua_rawseti(lua, columns, (int)lua_objlen(lua, columns) + 1);
    }
}

/* Pushes the metatable of a list: one for all without objects, one of its own for each other. */
static void push_list_meta(lua_State *lua, const json_t *list)
{
    bool records = json_is_object(json_array_get(list, 0));
    if (!records && !luaL_newmetatable(lua, "forksafe.repl.list"))
        return;
    if (records)
        lua_createtable(lua, 0, 1);
    lua_newtable(lua); // meta columns
    lua_newtable(lua); // meta columns seen
    int columns = lua_gettop(lua) - 1;
    size_t i;
    json_t *item;
    json_array_foreach((json_t *)list, i, item)
    {
        if (records)
            add_columns(lua, item, columns, columns + 1);
    }
    lua_pop(lua, 1);
    lua_setfield(lua, -2, columns_mark); // meta
}

static void push_list(lua_State *lua, const json_t *list)
{
    lua_createtable(lua, (int)json_array_size(list), 0);
    size_t i;
    json_t *item;
    json_array_foreach((json_t *)list, i, item)
    {
        if (json_is_null(item))
            lua_pushlightuserdata(lua, NULL); /* nil would be a hole */
        else
            fks_repl_push_json(lua, item);
        lua_rawseti(lua, -2, (int)i + 1);
    }
    push_list_meta(lua, list);
    lua_setmetatable(lua, -2);
}

static void push_object(lua_State *lua, const json_t *object)
{
    lua_createtable(lua, 0, (int)json_object_size(object));
    const char *name;
    json_t *member;
    json_object_foreach((json_t *)object, name, member)
    {
        lua_pushstring(lua, name);
        fks_repl_push_json(lua, member);
        lua_rawset(lua, -3);
    }
    if (luaL_newmetatable(lua, "forksafe.repl.object")) {
        lua_pushboolean(lua, true);
        lua_setfield(lua, -2, object_mark);
    }
    lua_setmetatable(lua, -2);
}

void fks_repl_push_json(lua_State *lua, const json_t *value)
{
    luaL_checkstack(lua, 8, "a deeply nested JSON text");
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        push_object(lua, value);
        return;
    case JSON_ARRAY:
        push_list(lua, value);
        return;
    case JSON_STRING:
        lua_pushlstring(lua, json_string_value(value), json_string_length(value));
        return;
    case JSON_INTEGER:
    case JSON_REAL:
        lua_pushnumber(lua, json_number_value(value));
        return;
    case JSON_TRUE:
    case JSON_FALSE:
        lua_pushboolean(lua, json_is_true(value));
        return;
    case JSON_NULL:
        break;
    }
    lua_pushnil(lua);
}

static bool has_mark(lua_State *lua, int index, const char *mark)
{
    if (!lua_getmetatable(lua, index))
        return false;
    lua_pushstring(lua, mark);
    lua_rawget(lua, -2);
    bool marked = lua_toboolean(lua, -1);
    lua_pop(lua, 2);
    return marked;
}

/* Whether the table is written as a list: its keys are 1 to n, or it has none and no mark says
 * object. */
static bool is_list(lua_State *lua, int index)
{
    size_t count = 0, length = lua_objlen(lua, index);
    for (lua_pushnil(lua); lua_next(lua, index); lua_pop(lua, 1)) {
        double key = lua_type(lua, -2) == LUA_TNUMBER ? lua_tonumber(lua, -2) : 0;
        if (key < 1 || key > (double)length || key != floor(key)) {
            lua_pop(lua, 2);
            return false;
        }
        count++;
    }
    return count == length && (count || !has_mark(lua, index, object_mark));
}

static json_t *encode(lua_State *lua, int index, int depth, const char **problem);

static json_t *encode_list(lua_State *lua, int index, int depth, const char **problem)
{
    json_t *list = json_array();
    for (int i = 1, length = (int)lua_objlen(lua, index); i <= length && list; i++) {
        lua_rawgeti(lua, index, i);
        if (json_array_append_new(list, encode(lua, lua_gettop(lua), depth + 1, problem))) {
            json_decref(list);
            list = NULL;
        }
        lua_pop(lua, 1);
    }
    return list;
}

/* Adds the member whose key and value are on top of the stack. Returns 0 or -1. */
static int encode_member(lua_State *lua, json_t *object, int depth, const char **problem)
{
    int value = lua_gettop(lua), type = lua_type(lua, value - 1);
    if (type != LUA_TSTRING && type != LUA_TNUMBER) {
        *problem = "a table with keys that are neither text nor numbers has no JSON form";
        return -1;
    }
    lua_pushvalue(lua, value - 1); /* a copy: lua_tolstring would change the key under lua_next */
    const char *name = lua_tostring(lua, -1);
    int status = json_object_set_new(object, name, encode(lua, value, depth + 1, problem));
    lua_pop(lua, 1);
    return status;
}

static json_t *encode_object(lua_State *lua, int index, int depth, const char **problem)
{
    json_t *object = json_object();
    for (lua_pushnil(lua); lua_next(lua, index); lua_pop(lua, 1)) {
        if (!encode_member(lua, object, depth, problem))
            continue;
        lua_pop(lua, 2);
        json_decref(object);
        return NULL;
    }
    return object;
}

static json_t *encode_number(double number, const char **problem)
{
    *problem = "nan and inf have no JSON form";
    if (number == floor(number) && fabs(number) < LARGEST_EXACT)
        return json_integer((json_int_t)number);
    return json_real(number);
}

static json_t *encode_string(lua_State *lua, int index, const char **problem)
{
    size_t length;
    const char *text = lua_tolstring(lua, index, &length);
    *problem = "text that is not UTF-8 has no JSON form";
    return json_stringn(text, length);
}

static json_t *encode(lua_State *lua, int index, int depth, const char **problem)
{
    if (depth > DEEPEST || !lua_checkstack(lua, 8)) {
        *problem = "tables nested deeper than 100, or within themselves, have no JSON form";
        return NULL;
    }
    switch (lua_type(lua, index)) {
    case LUA_TNIL:
        return json_null();
    case LUA_TBOOLEAN:
        return json_boolean(lua_toboolean(lua, index));
    case LUA_TNUMBER:
        return encode_number(lua_tonumber(lua, index), problem);
    case LUA_TSTRING:
        return encode_string(lua, index, problem);
    case LUA_TTABLE:
        return is_list(lua, index) ? encode_list(lua, index, depth, problem)
                                   : encode_object(lua, index, depth, problem);
    case LUA_TLIGHTUSERDATA:
        if (!lua_touserdata(lua, index))
            return json_null();
    }
    *problem = "functions, threads and userdata have no JSON form";
    return NULL;
}

json_t *fks_repl_to_json(lua_State *lua, int index, const char **problem)
{
    *problem = "out of memory";
    return encode(lua, index, 0, problem);
}
