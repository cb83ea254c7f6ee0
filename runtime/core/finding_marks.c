/* SPDX-License-Identifier: MIT
 *
 * Marks of known findings (finding_marks.h). Master; matching runs in any process.
 */
#include "finding_marks.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "finding_kinds.h"

#define LARGEST_FILE (1u << 20)
#define MOST_MARKS   4096

bool fks_pattern_fits(const char *pattern, const char *text)
{
    const char *star = NULL, *again = NULL;
    while (*text) {
        if (*pattern == '*') {
            star = pattern++;
            again = text;
        } else if (*pattern == *text) {
            pattern++;
            text++;
        } else if (star) { /* let the last star stand for one more */
            pattern = star + 1;
            text = ++again;
        } else {
            return false;
        }
    }
    while (*pattern == '*')
        pattern++;
    return !*pattern;
}

bool fks_marks_have(const struct fks_marks *marks, const char *id)
{
    for (size_t i = 0; i < marks->count; i++)
        if (fks_pattern_fits(marks->items[i], id))
            return true;
    return false;
}

int fks_marks_add(struct fks_marks *marks, const char *pattern)
{
    char kind[32];
    snprintf(kind, sizeof kind, "%.*s", (int)strcspn(pattern, ":"), pattern);
    if (fks_kind_named(kind) == FKS_FINDING_KIND_COUNT)
        return FORKSAFE_EUSAGE;
    for (size_t i = 0; i < marks->count; i++)
        if (!strcmp(marks->items[i], pattern))
            return 0;
    char **grown = marks->count < MOST_MARKS
                       ? realloc(marks->items, (marks->count + 1) * sizeof *grown)
                       : NULL;
    if (!grown)
        return FORKSAFE_ENOMEM;
    marks->items = grown;
    grown[marks->count] = strdup(pattern);
    if (!grown[marks->count])
        return FORKSAFE_ENOMEM;
    marks->count++;
    return 0;
}

/* A plain file's text, NUL-terminated, for free(). NULL with errno. */
static char *read_file(const char *path)
{
    struct stat st;
    char *text = NULL;
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd < 0)
        return NULL;
    errno = EINVAL;
    if (!fstat(fd, &st) && S_ISREG(st.st_mode) && st.st_size <= LARGEST_FILE &&
        (text = malloc((size_t)st.st_size + 1))) {
        ssize_t got = read(fd, text, (size_t)st.st_size);
        text[got > 0 ? got : 0] = '\0';
    }
    int saved = errno;
    close(fd);
    errno = saved;
    return text;
}

/* Takes white space and a comment from the end of a line, and white space from its beginning. */
static char *trim(char *line)
{
    char *comment = strstr(line, "  # ");
    if (comment)
        *comment = '\0';
    line += strspn(line, " \t");
    size_t length = strlen(line);
    while (length && strchr(" \t\r", line[length - 1]))
        line[--length] = '\0';
    return line;
}

int fks_marks_read(struct fks_marks *marks, const char *path, struct fks_error *error)
{
    char *text = read_file(path), *rest = text;
    if (!text)
        return fks_fail(error, FORKSAFE_EINI, "%s: forksafe.baseline cannot be read: %s", path,
                        strerror(errno));
    int code = 0;
    for (int number = 1; !code && rest; number++) {
        char *line = trim(strsep(&rest, "\n"));
        if (!*line || *line == '#')
            continue;
        code = fks_marks_add(marks, line);
        if (code == FORKSAFE_EUSAGE)
            fks_fail(error, code,
                     "%s:%d: is no id of a finding; write it as `forksafe debug` does, such as "
                     "shared-connection:10.0.0.5:5432, or with a * in it",
                     path, number);
        else if (code)
            fks_fail(error, code, "%s:%d: no memory for more ids", path, number);
    }
    free(text);
    return code;
}

void fks_marks_finish(struct fks_marks *marks)
{
    for (size_t i = 0; i < marks->count; i++)
        free(marks->items[i]);
    free(marks->items);
    *marks = (struct fks_marks){0};
}
