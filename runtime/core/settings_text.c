/* SPDX-License-Identifier: MIT
 *
 * White space and UTF-8, by their tables.
 */
#include "settings_text.h"

#include <stdint.h>
#include <string.h>

static size_t wide_space_bytes(const unsigned char *c, size_t left)
{
    if (left >= 2 && c[0] == 0xc2)
        return c[1] == 0x85 || c[1] == 0xa0 ? 2 : 0; /* next line, no-break space */
    if (left < 3)
        return 0;
    uint32_t three = (uint32_t)c[0] << 16 | (uint32_t)c[1] << 8 | c[2];
    switch (three) {
    case 0xe19a80: /* U+1680 */
    case 0xe280a8: /* U+2028 */
    case 0xe280a9:
    case 0xe280af: /* U+202F */
    case 0xe2819f: /* U+205F */
    case 0xe38080: /* U+3000 */
        return 3;
    }
    return three >= 0xe28080 && three <= 0xe2808a ? 3 : 0; /* U+2000 to U+200A */
}

size_t fks_space_bytes(const char *at, const char *end)
{
    if (at >= end)
        return 0;
    unsigned char c = (unsigned char)*at;
    if (c < 0x80)
        return c == ' ' || (c >= 0x09 && c <= 0x0d) || (c >= 0x1c && c <= 0x1f);
    return wide_space_bytes((const unsigned char *)at, (size_t)(end - at));
}

struct fks_span fks_strip_right(struct fks_span span)
{
    while (span.end > span.start) {
        char *last = span.end - 1;
        while (last > span.start && ((unsigned char)*last & 0xc0) == 0x80)
            last--;
        size_t bytes = fks_space_bytes(last, span.end);
        if (!bytes || last + bytes != span.end)
            break;
        span.end = last;
    }
    return span;
}

struct fks_span fks_strip(struct fks_span span)
{
    for (size_t bytes; (bytes = fks_space_bytes(span.start, span.end));)
        span.start += bytes;
    return fks_strip_right(span);
}

bool fks_next_word(char **at, char *end, struct fks_span *word)
{
    for (size_t bytes; (bytes = fks_space_bytes(*at, end));)
        *at += bytes;
    word->start = *at;
    while (*at < end && !fks_space_bytes(*at, end))
        (*at)++;
    word->end = *at;
    return word->end > word->start;
}

bool fks_same_word(struct fks_span span, const char *word)
{
    for (const char *c = span.start; c < span.end; c++, word++)
        if ((*c >= 'A' && *c <= 'Z' ? *c | 0x20 : *c) != *word || !*word)
            return false;
    return !*word;
}

static bool is_tail(const unsigned char *c, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if ((c[i] & 0xc0) != 0x80)
            return false;
    return true;
}

size_t fks_utf8_bytes(const char *at, const char *end)
{
    const unsigned char *c = (const unsigned char *)at;
    size_t left = (size_t)(end - at);
    if (!left)
        return 0;
    if (c[0] < 0x80)
        return 1;
    size_t bytes = c[0] >= 0xf0 ? 4 : c[0] >= 0xe0 ? 3 : 2;
    if (c[0] < 0xc2 || c[0] > 0xf4 || left < bytes || !is_tail(c + 1, bytes - 1))
        return 0;
    bool overlong = (c[0] == 0xe0 && c[1] < 0xa0) || (c[0] == 0xf0 && c[1] < 0x90);
    bool surrogate = c[0] == 0xed && c[1] > 0x9f;
    bool beyond = c[0] == 0xf4 && c[1] > 0x8f;
    return overlong || surrogate || beyond ? 0 : bytes;
}

bool fks_utf8_valid(const char *text, size_t length)
{
    const char *end = text + length;
    while (text < end) {
        size_t bytes = fks_utf8_bytes(text, end);
        if (!bytes)
            return false;
        text += bytes;
    }
    return true;
}

struct fks_short_name fks_shorten(const char *name)
{
    struct fks_short_name out;
    size_t length = strlen(name);
    if (length < sizeof out.text) {
        memcpy(out.text, name, length + 1);
        return out;
    }
    length = sizeof out.text - 4;
    while (length && ((unsigned char)name[length] & 0xc0) == 0x80)
        length--;
    memcpy(out.text, name, length);
    memcpy(out.text + length, "...", 4);
    return out;
}
