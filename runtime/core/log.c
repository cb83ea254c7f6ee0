/* SPDX-License-Identifier: MIT
 *
 * The way out for every line: prefix, one line at a time, the adapter's log() or standard error.
 */
#include "log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "error.h"
#include "log_stderr.h"

#define LINE 4096

static struct {
    void (*log)(void *data, enum forksafe_log_level level, const char *line);
    void *data;
    char instance[FKS_INSTANCE];
    enum forksafe_log_level level;
} sink = {.instance = "-", .level = FORKSAFE_LOG_INFO};

void fks_log_init(const struct forksafe_host *host, const char *instance,
                  enum forksafe_log_level level)
{
    sink.log = host->log;
    sink.data = host->data;
    fks_log_level(level, instance);
}

void fks_log_level(enum forksafe_log_level level, const char *instance)
{
    sink.level = level;
    snprintf(sink.instance, sizeof sink.instance, "%s", instance);
}

/* Appends up to the end of the line; returns where the next goes. */
static size_t append(char line[LINE], size_t at, const char *text, size_t length)
{
    size_t room = LINE - 1 - at;
    memcpy(line + at, text, length < room ? length : room);
    return at + (length < room ? length : room);
}

/* Not snprintf: it is most of what a line of a hook costs in a fresh child. */
static void write_line(enum forksafe_log_level level, const char *text, size_t length)
{
    static const char name[] = "forksafe[";
    char line[LINE + 1];
    int errno_before = errno;
    size_t at = append(line, 0, name, sizeof name - 1);
    at = append(line, at, sink.instance, strlen(sink.instance));
    at = append(line, at, "]: ", 3);
    bool cut = length > LINE - 1 - at;
    line[append(line, at, text, length)] = 0;
    if (cut)
        memcpy(line + LINE - 4, "...", 4);
    fks_one_line(line);
    if (sink.log)
        sink.log(sink.data, level, line);
    else
        fks_log_stderr(line);
    if (errno != errno_before)
        errno = errno_before;
}

void fks_log_text(enum forksafe_log_level level, const char *text)
{
    if (level < sink.level)
        return;
    do {
        size_t length = (size_t)(strchrnul(text, '\n') - text);
        write_line(level, text, length);
        text += length;
    } while (*text == '\n' && *++text);
}

void fks_log(enum forksafe_log_level level, const char *format, ...)
{
    if (level < sink.level)
        return;
    char text[LINE];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (length >= (int)sizeof text)
        memcpy(text + sizeof text - 4, "...", 4);
    fks_log_text(level, text);
}
