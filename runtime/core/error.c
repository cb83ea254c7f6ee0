/* SPDX-License-Identifier: MIT
 *
 * Error texts: one line each, whatever went into them.
 */
#include "error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void fks_one_line(char *text)
{
    for (unsigned char *c = (unsigned char *)text; *c; c++)
        if (*c < 0x20 || *c == 0x7f)
            *c = ' ';
}

int fks_fail(struct fks_error *error, int code, const char *format, ...)
{
    if (!error)
        return code;
    error->code = code;
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(error->text, sizeof error->text, format, arguments);
    va_end(arguments);
    if (length < 0)
        error->text[0] = '\0';
    else if ((size_t)length >= sizeof error->text)
        memcpy(error->text + sizeof error->text - 4, "...", 4);
    fks_one_line(error->text);
    return code;
}

const char *fks_error_text(int code)
{
    switch (code) {
#define X(id, number, text) \
    case FORKSAFE_##id:     \
        return text;
        FORKSAFE_ERRORS(X)
#undef X
    }
    return "unknown error";
}
