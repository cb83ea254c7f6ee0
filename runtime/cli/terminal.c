/* SPDX-License-Identifier: MIT
 *
 * How text comes to a person (terminal.h): the one place that decides about colour, and about names
 * that a server, a script or a damaged journal could have filled with terminal escapes.
 */
#include "terminal.h"

#include <locale.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <wchar.h>
#include <wctype.h>

#include "core/debug_json.h"

#define COUNT(list) (sizeof(list) / sizeof *(list))

void fks_terminal_init(void)
{
    setlocale(LC_CTYPE, "");
    signal(SIGPIPE, SIG_DFL);
}

/* --- colour --- */

int fks_color_parse(enum fks_color_when *out, const char *word)
{
    static const char *const words[] = {
        [FKS_COLOR_AUTO] = "auto", [FKS_COLOR_ALWAYS] = "always", [FKS_COLOR_NEVER] = "never"};
    for (size_t i = 0; i < COUNT(words); i++)
        if (!strcmp(word ? word : "always", words[i])) {
            *out = (enum fks_color_when)i;
            return 0;
        }
    return -1;
}

bool fks_color_wanted(enum fks_color_when when, FILE *to)
{
    const char *no = getenv("NO_COLOR"), *term = getenv("TERM");
    if (when != FKS_COLOR_AUTO)
        return when == FKS_COLOR_ALWAYS;
    return !(no && *no) && term && strcmp(term, "dumb") && isatty(fileno(to));
}

const char *fks_tone_sequence(enum fks_tone tone)
{
    static const char *const sequences[] = {
        [FKS_TONE_PLAIN] = NULL,       [FKS_TONE_GOOD] = "\033[32m", [FKS_TONE_BUSY] = "\033[33m",
        [FKS_TONE_BAD] = "\033[1;31m", [FKS_TONE_FAINT] = "\033[2m",
    };
    return sequences[tone];
}

enum fks_tone fks_tone_of(const char *word)
{
    static const struct {
        const char *word;
        enum fks_tone tone;
    } tones[] = {
        {"ok", FKS_TONE_GOOD},        {"error", FKS_TONE_BAD},     {"timeout", FKS_TONE_BAD},
        {"memory", FKS_TONE_BAD},     {"abandoned", FKS_TONE_BAD}, {"refused", FKS_TONE_BAD},
        {"unfinished", FKS_TONE_BAD}, {"running", FKS_TONE_BUSY},  {"queued", FKS_TONE_BUSY},
        {"ready", FKS_TONE_GOOD},     {"starting", FKS_TONE_BUSY}, {"exiting", FKS_TONE_BUSY},
        {"dead", FKS_TONE_BAD},       {"gone", FKS_TONE_BAD},      {"exited", FKS_TONE_FAINT},
    };
    for (size_t i = 0; i < COUNT(tones); i++)
        if (!strcmp(word, tones[i].word))
            return tones[i].tone;
    return FKS_TONE_PLAIN;
}

/* --- text --- */

/* The character at `text`: its bytes, and in *columns what it takes; false: it must not be shown.
 */
static bool is_harmless(const char *text, size_t length, size_t *bytes, size_t *columns)
{
    mbstate_t state = {0};
    wchar_t wide;
    unsigned code;
    *bytes = fks_utf8_unsafe((const unsigned char *)text, length, &code);
    if (*bytes)
        return false;
    size_t got = mbrtowc(&wide, text, length, &state);
    bool is_character = got && got != (size_t)-1 && got != (size_t)-2;
    int width = is_character && iswprint((wint_t)wide) ? wcwidth(wide) : -1;
    *bytes = is_character ? got : 1;
    *columns = width < 0 ? 0 : (size_t)width;
    return width >= 0;
}

/* `to` NULL: only counts. */
static size_t put(FILE *to, const char *text, size_t length)
{
    size_t columns = 0;
    for (size_t at = 0, bytes, more; at < length; at += bytes) {
        if (is_harmless(text + at, length - at, &bytes, &more)) {
            if (to)
                fwrite(text + at, 1, bytes, to);
            columns += more;
            continue;
        }
        for (size_t i = 0; to && i < bytes; i++)
            fprintf(to, "\\x%02x", (unsigned char)text[at + i]);
        columns += 4 * bytes;
    }
    return columns;
}

size_t fks_terminal_put(FILE *to, const char *text, size_t length)
{
    return put(to, text, length);
}

size_t fks_terminal_width(const char *text, size_t length)
{
    return put(NULL, text, length);
}

char *fks_terminal_text(const char *text, size_t length)
{
    char *shown = NULL;
    size_t size;
    FILE *to = open_memstream(&shown, &size);
    if (!to)
        return NULL;
    put(to, text, length);
    if (!fclose(to))
        return shown;
    free(shown);
    return NULL;
}

/* --- numbers --- */

char *fks_duration_text(char to[FKS_SHORT], uint64_t ns)
{
    static const struct {
        uint64_t below, unit;
        const char *name;
    } units[] = {
        {1000000, 1000, "us"}, {1000000000, 1000000, "ms"}, {60000000000, 1000000000, "s"}};
    unsigned long long seconds = ns / 1000000000;
    if (ns < 1000) {
        snprintf(to, FKS_SHORT, "%uns", (unsigned)ns);
        return to;
    }
    for (size_t i = 0; i < COUNT(units); i++)
        if (ns < units[i].below) {
            double value = (double)ns / (double)units[i].unit;
            snprintf(to, FKS_SHORT, "%.*f%s",
                     value < 10    ? 2
                     : value < 100 ? 1
                                   : 0,
                     value, units[i].name);
            return to;
        }
    if (seconds < 3600)
        snprintf(to, FKS_SHORT, "%llum%02llus", seconds / 60, seconds % 60);
    else
        snprintf(to, FKS_SHORT, "%lluh%02llum", seconds / 3600, seconds / 60 % 60);
    return to;
}

char *fks_age_text(char to[FKS_SHORT], uint64_t ns)
{
    unsigned long long seconds = ns / 1000000000;
    if (seconds < 60)
        snprintf(to, FKS_SHORT, "%llus", seconds);
    else if (seconds < 3600)
        snprintf(to, FKS_SHORT, "%llum", seconds / 60);
    else if (seconds < 86400)
        snprintf(to, FKS_SHORT, "%lluh", seconds / 3600);
    else
        snprintf(to, FKS_SHORT, "%llud", seconds / 86400);
    return to;
}
