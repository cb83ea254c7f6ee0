/* SPDX-License-Identifier: MIT
 *
 * The container's own log: standard error, one write a line, so that lines of several processes
 * never mix. No stdio: a line may be written in the middle of a subscriber that is then cut off.
 * Any process.
 */
#include "prefork.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#define LINE_SIZE 1024

static void write_line(const char *text, size_t length)
{
    struct iovec parts[] = {{.iov_base = (void *)text, .iov_len = length},
                            {.iov_base = (char *)"\n", .iov_len = 1}};
    /* Nobody can be told that the log is gone, and the server goes on without it. */
    if (writev(STDERR_FILENO, parts, 2) < 0)
        return;
}

void fks_prefork_log(const char *format, ...)
{
    char line[LINE_SIZE];
    int head = snprintf(line, sizeof line, "forksafe prefork[%d]: ", (int)getpid());
    va_list arguments;
    va_start(arguments, format);
    int rest = vsnprintf(line + head, sizeof line - (size_t)head, format, arguments);
    va_end(arguments);
    if (rest < 0)
        return;
    /* Paths and arguments are put in as they are: no newline or escape of theirs reaches a
     * terminal. */
    for (unsigned char *c = (unsigned char *)line; *c; c++)
        if (*c < 0x20 || *c == 0x7f)
            *c = ' ';
    write_line(line, strlen(line));
}

void fks_prefork_library_log(void *data, enum forksafe_log_level level, const char *line)
{
    write_line(line, strlen(line));
}
