/* SPDX-License-Identifier: MIT
 *
 * The way out for every line: prefix, one line at a time, the adapter's log() or standard error.
 */
#include "log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "error.h"
#include "log_stderr.h"

#define LINE  4096
#define SHORT 512

static struct {
    void (*log)(void *data, enum forksafe_log_level level, const char *line);
    void *data;
    char names[2][FKS_INSTANCE]; /* a reload writes one while a thread's hook reads the other */
    const char *_Atomic instance;
    _Atomic enum forksafe_log_level level;
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
    const char *now = sink.instance;
    atomic_store_explicit(&sink.level, level, memory_order_relaxed);
    if (!strcmp(now, instance))
        return;
    char *next = sink.names[now == sink.names[0]];
    snprintf(next, FKS_INSTANCE, "%s", instance);
    atomic_store_explicit(&sink.instance, next, memory_order_release);
}

static bool is_wanted(enum forksafe_log_level level)
{
    return level >= atomic_load_explicit(&sink.level, memory_order_relaxed);
}

/* What a line is put together in. */
struct line {
    char *text;
    size_t size, length;
};

/* Appends as much as there is room for. */
static void append(struct line *line, const char *text, size_t length)
{
    size_t room = line->size - 1 - line->length;
    size_t fits = length < room ? length : room;
    memcpy(line->text + line->length, text, fits);
    line->length += fits;
}

static const char name[] = "forksafe[";

/* Not snprintf: it is most of what a line of a hook costs in a fresh child. */
static void write_line(struct line line, enum forksafe_log_level level, const char *text,
                       size_t length)
{
    int errno_before = errno;
    const char *instance = atomic_load_explicit(&sink.instance, memory_order_acquire);
    append(&line, name, sizeof name - 1);
    append(&line, instance, strlen(instance));
    append(&line, "]: ", 3);
    bool cut = length > line.size - 1 - line.length;
    append(&line, text, length);
    line.text[line.length] = 0;
    if (cut)
        memcpy(line.text + line.length - 3, "...", 4);
    fks_one_line(line.text);
    if (sink.log)
        sink.log(sink.data, level, line.text);
    else
        fks_log_stderr(line.text);
    if (errno != errno_before)
        errno = errno_before;
}

__attribute__((noinline)) static void write_long(enum forksafe_log_level level, const char *text,
                                                 size_t length)
{
    char room[LINE + 1];
    write_line((struct line){room, sizeof room, 0}, level, text, length);
}

/* Most lines are short, and need no page of the stack that the process has not touched yet. */
__attribute__((noinline)) static void write_short(enum forksafe_log_level level, const char *text,
                                                  size_t length)
{
    char room[sizeof name + FKS_INSTANCE + 3 + SHORT];
    write_line((struct line){room, sizeof room, 0}, level, text, length);
}

void fks_log_text(enum forksafe_log_level level, const char *text)
{
    if (!is_wanted(level))
        return;
    do {
        size_t length = (size_t)(strchrnul(text, '\n') - text);
        if (length > SHORT)
            write_long(level, text, length);
        else
            write_short(level, text, length);
        text += length;
    } while (*text == '\n' && *++text);
}

void fks_log(enum forksafe_log_level level, const char *format, ...)
{
    if (!is_wanted(level))
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
