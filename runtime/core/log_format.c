/* SPDX-License-Identifier: MIT
 *
 * What most hooks log is "%s" and "%d" of strings and numbers. string.format would make a string of
 * it, which lies in parts of LuaJIT and of the VM that a fresh child touches for nothing else: five
 * pages of about sixteen. So the line is put together here, and Lua has the rest.
 */
#include "log_format.h"

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "log.h"

#define ROOM   512u              /* of a line; longer ones go the other way */
#define FIRST  3                 /* argument of log_line that is put in first */
#define WHOLE  100000000000000.0 /* 1e14: from here on %s has an exponent */
#define DIGITS 20u

struct line {
    size_t length;
    char text[ROOM];
};

static bool put(struct line *line, const char *text, size_t length)
{
    if (length >= ROOM - line->length)
        return false;
    memcpy(line->text + line->length, text, length);
    line->length += length;
    return true;
}

/* A whole number; -0 is written with its sign, and not by us. */
static bool put_number(struct line *line, double number)
{
    char digits[DIGITS];
    size_t at = sizeof digits;
    if (!(number > -WHOLE && number < WHOLE) || number != (double)(int64_t)number ||
        (number == 0 && signbit(number)))
        return false;
    uint64_t left = (uint64_t)(number < 0 ? -number : number);
    do
        digits[--at] = (char)('0' + left % 10);
    while (left /= 10);
    if (number < 0)
        digits[--at] = '-';
    return put(line, digits + at, sizeof digits - at);
}

static bool put_string(struct line *line, lua_State *L, int argument)
{
    size_t length;
    const char *text = lua_tolstring(L, argument, &length);
    return put(line, text, length);
}

/* As %s writes it, or %d: a number of any kind. */
static bool put_argument(struct line *line, lua_State *L, int argument, char as)
{
    switch (lua_type(L, argument)) {
    case LUA_TNUMBER:
        return put_number(line, lua_tonumber(L, argument));
    case LUA_TSTRING:
        return as == 's' && put_string(line, L, argument);
    case LUA_TBOOLEAN:
        return as == 's' &&
               (lua_toboolean(L, argument) ? put(line, "true", 4) : put(line, "false", 5));
    case LUA_TNIL:
        return as == 's' && put(line, "nil", 3);
    default:
        return false;
    }
}

/* Not memchr, which lies where nothing else in libc is needed. */
static const char *find(const char *text, const char *end, char wanted)
{
    while (text < end && *text != wanted)
        text++;
    return text < end ? text : NULL;
}

/* With arguments; false for what is not plain. */
static bool put_format(struct line *line, lua_State *L, const char *format, size_t length,
                       int count)
{
    const char *end = format + length, *percent;
    int next = FIRST;
    while ((percent = find(format, end, '%'))) {
        if (!put(line, format, (size_t)(percent - format)) || percent + 1 == end)
            return false;
        const char as = percent[1];
        format = percent + 2;
        if (as == '%'
                ? !put(line, "%", 1)
                : (as != 's' && as != 'd') || next > count || !put_argument(line, L, next++, as))
            return false;
    }
    return put(line, format, (size_t)(end - format));
}

int fks_log_format(lua_State *L)
{
    struct line line;
    size_t length;
    int count = lua_gettop(L);
    bool plain = count >= 2 && lua_type(L, 2) == LUA_TSTRING;
    if (plain) {
        const char *text = lua_tolstring(L, 2, &length);
        line.length = 0;
        plain =
            count < FIRST ? put(&line, text, length) : put_format(&line, L, text, length, count);
    }
    if (plain && find(line.text, line.text + line.length, 0))
        plain = false; /* a NUL ends a line there */
    if (plain) {
        line.text[line.length] = 0;
        fks_log_text((enum forksafe_log_level)lua_tointeger(L, 1), line.text);
    }
    lua_pushboolean(L, plain);
    return 1;
}
