/* SPDX-License-Identifier: MIT
 *
 * Growing texts (serve_text.h).
 */
#include "serve_text.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool make_room(struct fks_text *text, size_t length)
{
    if (text->failed || length > text->limit - text->length) {
        text->failed = true;
        return false;
    }
    size_t needed = text->length + length + 1;
    if (needed <= text->room)
        return true;
    char *more = realloc(text->bytes, needed * 2);
    text->failed = !more;
    if (!more)
        return false;
    text->bytes = more;
    text->room = needed * 2;
    return true;
}

int fks_text_add(const char *bytes, size_t length, void *data)
{
    struct fks_text *text = data;
    if (!make_room(text, length))
        return -1;
    memcpy(text->bytes + text->length, bytes, length);
    text->length += length;
    text->bytes[text->length] = '\0';
    return 0;
}

void fks_text_print(struct fks_text *text, const char *format, ...)
{
    char line[512];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    if (length < 0 || (size_t)length >= sizeof line)
        text->failed = true;
    else
        (void)fks_text_add(line, (size_t)length, text);
}
