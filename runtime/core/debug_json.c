/* SPDX-License-Identifier: MIT
 *
 * How values of the debug object become JSON (debug_json.h).
 */
#include "debug_json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "guards.h"

#define DIGITS     12 /* of a real: nanoseconds below a quarter of an hour */
#define LEAST_ROOM 64 /* for a dump; more is made where it is not enough */

/* --- the stream --- */

static void put(struct fks_json_stream *stream, const char *text, size_t length)
{
    if (!stream->failed && length && stream->sink(text, length, stream->data))
        stream->failed = true;
}

static void put_text(struct fks_json_stream *stream, const char *text)
{
    put(stream, text, strlen(text));
}

static void put_line(struct fks_json_stream *stream, int depth)
{
    if (!stream->indent)
        return;
    put_text(stream, "\n");
    for (int i = 0; i < depth * stream->indent; i++)
        put(stream, " ", 1);
}

size_t fks_utf8_unsafe(const unsigned char *text, size_t left, unsigned *code)
{
    if (!fks_guard(FKS_GUARD_INJECTION))
        return 0;
    if (text[0] == 0x7f) {
        *code = 0x7f;
        return 1;
    }
    if (left >= 2 && (text[0] & 0xe0) == 0xc0) {
        *code = (unsigned)(text[0] & 0x1f) << 6 | (text[1] & 0x3f);
        return (*code >= 0x80 && *code <= 0x9f) || *code == 0x61c ? 2 : 0;
    }
    if (left < 3 || (text[0] & 0xf0) != 0xe0)
        return 0;
    *code = (unsigned)(text[0] & 0x0f) << 12 | (unsigned)(text[1] & 0x3f) << 6 | (text[2] & 0x3f);
    bool is_unsafe = *code == 0x200e || *code == 0x200f || (*code >= 0x2028 && *code <= 0x202e) ||
                     (*code >= 0x2066 && *code <= 0x2069) || *code == 0xfeff;
    return is_unsafe ? 3 : 0;
}

/* Where the next byte of 0x7f or above may be: nearly all text has none, and is passed eight bytes
 * at a time. */
static size_t pass_ascii(const char *text, size_t at, size_t length)
{
    for (uint64_t eight; length - at >= sizeof eight; at += sizeof eight) {
        memcpy(&eight, text + at, sizeof eight);
        if ((eight | (eight + UINT64_C(0x0101010101010101))) & UINT64_C(0x8080808080808080))
            break;
    }
    return at;
}

/* Writes dumped JSON. Only inside of strings can there be such characters, so that an escape is
 * always right. */
static void put_safe(struct fks_json_stream *stream, const char *text, size_t length)
{
    size_t begin = 0, at = 0;
    while (at < length) {
        unsigned code;
        char escape[8];
        size_t bytes = (unsigned char)text[at] < 0x7f
                           ? 0
                           : fks_utf8_unsafe((const unsigned char *)text + at, length - at, &code);
        if (!bytes) {
            at = pass_ascii(text, at + 1, length);
            continue;
        }
        put(stream, text + begin, at - begin);
        snprintf(escape, sizeof escape, "\\u%04x", code);
        put_text(stream, escape);
        at += bytes;
        begin = at;
    }
    put(stream, text + begin, length - begin);
}

/* Room for `size` bytes; what stands there stays. */
static bool make_room(char **text, size_t *room, size_t size)
{
    if (size <= *room)
        return true;
    char *more = realloc(*text, size * 2);
    if (!more)
        return false;
    *text = more;
    *room = size * 2;
    return true;
}

/* Dumps a value behind the first `used` bytes of a text that grows. Returns the bytes of it, 0: no
 * memory. */
static size_t dump(const struct fks_json_stream *stream, const json_t *value, size_t used,
                   char **text, size_t *room)
{
    size_t flags =
        JSON_ENCODE_ANY | JSON_REAL_PRECISION(DIGITS) | (stream->indent ? 0 : JSON_COMPACT);
    if (!make_room(text, room, used + LEAST_ROOM))
        return 0;
    size_t length = json_dumpb(value, *text + used, *room - used, flags);
    if (length <= *room - used)
        return length;
    return make_room(text, room, used + length)
               ? json_dumpb(value, *text + used, *room - used, flags)
               : 0;
}

void fks_json_value(struct fks_json_stream *stream, json_t *value)
{
    size_t length = value ? dump(stream, value, 0, &stream->buffer, &stream->size) : 0;
    json_decref(value);
    if (length)
        put_safe(stream, stream->buffer, length);
    else
        stream->failed = true;
}

/* jansson would open a file to seed its tables, and a host may not have that. */
static void seed_tables(void)
{
    size_t seed = 0;
    if (getrandom(&seed, sizeof seed, GRND_NONBLOCK) == (ssize_t)sizeof seed && seed)
        json_object_seed(seed);
}

static int64_t read_clock(clockid_t id)
{
    struct timespec now = {0};
    clock_gettime(id, &now);
    return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

/* Two clocks are never read at once: the closest of some tries, to a tenth of a millisecond, so
 * that the difference, which does not change unless somebody sets the clock, is the same each time.
 */
int64_t fks_json_clock_difference(void)
{
    int64_t difference = 0, closest = INT64_MAX;
    for (int i = 0; i < 5; i++) {
        int64_t before = read_clock(CLOCK_BOOTTIME), real = read_clock(CLOCK_REALTIME);
        int64_t apart = read_clock(CLOCK_BOOTTIME) - before;
        if (apart < closest) {
            closest = apart;
            difference = real - before - apart / 2;
        }
    }
    return (difference + 50000) / 100000 * 100000;
}

void fks_json_begin(struct fks_json_stream *stream, fks_debug_sink sink, void *data, int indent)
{
    seed_tables();
    *stream = (struct fks_json_stream){
        .sink = sink,
        .data = data,
        .indent = indent,
        .first_key = true,
        .clock_difference = fks_json_clock_difference(),
    };
    put_text(stream, "{");
}

static void put_key(struct fks_json_stream *stream, const char *key)
{
    if (!stream->first_key)
        put_text(stream, ",");
    stream->first_key = false;
    put_line(stream, 1);
    put_text(stream, "\"");
    put_text(stream, key);
    put_text(stream, stream->indent ? "\": " : "\":");
}

void fks_json_member(struct fks_json_stream *stream, const char *key, json_t *value)
{
    put_key(stream, key);
    fks_json_value(stream, value);
}

void fks_json_list(struct fks_json_stream *stream, const char *key)
{
    put_key(stream, key);
    put_text(stream, "[");
    stream->first_item = true;
}

static void begin_item(struct fks_json_stream *stream)
{
    if (!stream->first_item)
        put_text(stream, ",");
    stream->first_item = false;
    put_line(stream, 2);
}

void fks_json_item(struct fks_json_stream *stream, json_t *item)
{
    begin_item(stream);
    fks_json_value(stream, item);
}

/* What stands before the first value of an object, and before the others. */
static const char *before_key(const struct fks_json_stream *stream, bool is_first)
{
    if (is_first)
        return "{\"";
    return stream->indent ? ", \"" : ",\"";
}

/* A member that was not there in the item before. */
static bool begin_text(const struct fks_json_stream *stream, struct fks_json_text *text,
                       bool is_first, const char *key)
{
    const char *parts[] = {before_key(stream, is_first), key, stream->indent ? "\": " : "\":"};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        size_t length = strlen(parts[i]);
        if (!make_room(&text->text, &text->room, text->before + length))
            return false;
        memcpy(text->text + text->before, parts[i], length);
        text->before += length;
    }
    return true;
}

/* Makes the text of a member, if it is not that of this value. */
static bool renew_text(const struct fks_json_stream *stream, struct fks_json_text *text,
                       json_t *value)
{
    if (text->value == value)
        return true;
    json_decref(text->value);
    text->value = json_incref(value);
    size_t length = dump(stream, value, text->before, &text->text, &text->room);
    text->length = text->before + length;
    return length != 0;
}

/* Puts the item's text into the buffer, without its last brace. */
static bool join_texts(struct fks_json_stream *stream, struct fks_json_alike *alike, json_t *item,
                       size_t *length)
{
    const char *key;
    json_t *value;
    size_t i = 0;
    json_object_foreach(item, key, value)
    {
        struct fks_json_text *text = &alike->members[i];
        if (i == FKS_JSON_ALIKE || (!text->before && !begin_text(stream, text, i == 0, key)) ||
            !renew_text(stream, text, value) ||
            !make_room(&stream->buffer, &stream->size, *length + text->length + 1))
            return false;
        memcpy(stream->buffer + *length, text->text, text->length);
        *length += text->length;
        i++;
    }
    return i != 0;
}

void fks_json_item_alike(struct fks_json_stream *stream, struct fks_json_alike *alike, json_t *item)
{
    size_t length = 0;
    bool whole = join_texts(stream, alike, item, &length);
    json_decref(item);
    if (!whole) {
        stream->failed = true;
        return;
    }
    stream->buffer[length++] = '}';
    begin_item(stream);
    put_safe(stream, stream->buffer, length);
}

void fks_json_alike_finish(struct fks_json_alike *alike)
{
    for (size_t i = 0; i < FKS_JSON_ALIKE; i++) {
        json_decref(alike->members[i].value);
        free(alike->members[i].text);
    }
}

void fks_json_list_end(struct fks_json_stream *stream)
{
    if (!stream->first_item)
        put_line(stream, 1);
    put_text(stream, "]");
}

int fks_json_finish(struct fks_json_stream *stream)
{
    put_line(stream, 0);
    put_text(stream, "}");
    free(stream->buffer);
    stream->buffer = NULL;
    return stream->failed ? -1 : 0;
}

/* --- values --- */

size_t fks_utf8_sequence(const unsigned char *text, size_t left)
{
    static const unsigned least[] = {0, 0, 0x80, 0x800, 0x10000};
    if (text[0] < 0x80)
        return 1;
    size_t length = text[0] >= 0xf0 ? 4 : text[0] >= 0xe0 ? 3 : 2;
    if (text[0] < 0xc2 || text[0] > 0xf4 || length > left)
        return 0;
    unsigned code = text[0] & (0xffu >> (length + 1));
    for (size_t i = 1; i < length; i++) {
        if ((text[i] & 0xc0) != 0x80)
            return 0;
        code = code << 6 | (text[i] & 0x3f);
    }
    return code >= least[length] && code <= 0x10ffff && (code < 0xd800 || code > 0xdfff) ? length
                                                                                         : 0;
}

json_t *fks_json_text(const char *text, size_t length)
{
    json_t *string = json_stringn(text, length);
    if (string)
        return string;
    char *clean = malloc(length * 3 + 1);
    size_t used = 0;
    for (size_t at = 0; clean && at < length;) {
        size_t bytes = fks_utf8_sequence((const unsigned char *)text + at, length - at);
        memcpy(clean + used, bytes ? text + at : "\xef\xbf\xbd", bytes ? bytes : 3);
        used += bytes ? bytes : 3;
        at += bytes ? bytes : 1;
    }
    string = clean ? json_stringn(clean, used) : NULL;
    free(clean);
    return string;
}

json_t *fks_json_text_or_null(const char *text, size_t length)
{
    return length ? fks_json_text(text, length) : json_null();
}

json_t *fks_json_count(uint64_t value)
{
    return json_integer(value < INT64_MAX ? (json_int_t)value : INT64_MAX);
}

json_t *fks_json_seconds(uint64_t ns)
{
    return json_real((double)ns / 1e9);
}

/* Days since 1970-01-01 as a date of the Gregorian calendar. The year is taken to begin in March,
 * so that the leap day is its last. */
static void date_of(int64_t days, int *year, int *month, int *day)
{
    days += 719468; /* since 0000-03-01 */
    int64_t era = days / 146097, of_era = days % 146097;
    int64_t year_of_era = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
    int64_t of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    int64_t from_march = (5 * of_year + 2) / 153;
    *day = (int)(of_year - (153 * from_march + 2) / 5) + 1;
    *month = (int)(from_march < 10 ? from_march + 3 : from_march - 9);
    *year = (int)(year_of_era + era * 400 + (*month <= 2));
}

/* By hand: a large journal has half a million of them, and printf is slow. */
static void put_digits(char *to, int count, int64_t value)
{
    for (; count; value /= 10)
        to[--count] = (char)('0' + value % 10);
}

json_t *fks_json_time(const struct fks_json_stream *stream, uint64_t boottime_ns, int digits)
{
    int64_t ns = 0;
    if (!boottime_ns || boottime_ns > INT64_MAX ||
        __builtin_add_overflow((int64_t)boottime_ns, stream->clock_difference, &ns) || ns < 0)
        return json_null();
    int64_t seconds = ns / 1000000000, fraction = ns % 1000000000;
    int64_t of_day = seconds % 86400;
    int year, month, day;
    char text[40] = "0000-00-00T00:00:00.000000000Z";
    date_of(seconds / 86400, &year, &month, &day);
    put_digits(text, 4, year);
    put_digits(text + 5, 2, month);
    put_digits(text + 8, 2, day);
    put_digits(text + 11, 2, of_day / 3600);
    put_digits(text + 14, 2, of_day / 60 % 60);
    put_digits(text + 17, 2, of_day % 60);
    put_digits(text + 20, 9, fraction);
    strcpy(text + 20 + digits, "Z");
    return json_string(text);
}
