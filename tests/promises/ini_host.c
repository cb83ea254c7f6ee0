/* SPDX-License-Identifier: MIT
 *
 * Loads inis that are good ones made bad, one after the other in one process, as a server does
 * at its start: each has to be read, or to be one line that names file and line
 * (07_hostile_ini_spec.lua). The same seed makes the same inis.
 *
 *   ini_host MUTANTS SEED DIRECTORY INI...
 *
 * Prints "N read, M refused, K wrong keys"; what was not well is printed, its ini is kept in
 * DIRECTORY/app.ini, and the exit status is 1.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/config.h"
#include "core/settings.h"

#define MOST  16384u
#define SEEDS 256

struct text {
    size_t length;
    char bytes[MOST];
};

static struct text seeds[SEEDS];
static size_t seed_count;
static uint64_t state;
static unsigned long read_well, refused, wrong_keys;

/* What stands in inis, and what should not. */
static const char *const words[] = {
    "[",
    "]",
    "[app:main]\n",
    "[DEFAULT]\n",
    "[forksafe]\n",
    "[settings]\n",
    "\n",
    "\r\n",
    "\r",
    "=",
    ":",
    "\n  ",
    "\n\n\t",
    "use = ",
    "use = config:app.ini\n",
    "use = main\n",
    "%(here)s",
    "%(x)s",
    "%",
    "%%",
    "%(",
    "%(%(here)s)s",
    "set ",
    "get ",
    "#",
    ";",
    "\xef\xbb\xbf",
    "\xff",
    "\xc3",
    "\x1b[2J",
    "forksafe.",
    "forksafe.scripts = ",
    "forksafe.time_limit = ",
    "99999999999999999999",
    "-1",
    "forksafe.memory_limit = 1M\n",
    "[pipeline:main]\npipeline = a b\n",
    "[composite:main]\nuse = egg:Paste#urlmap\n/ = main\n",
};

static size_t below(size_t limit)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return limit ? (size_t)(state % limit) : 0;
}

/* Puts bytes over `cut` bytes at a place, as far as there is room. */
static void splice(struct text *text, size_t at, size_t cut, const char *bytes, size_t length)
{
    if (cut > text->length - at)
        cut = text->length - at;
    size_t rest = text->length - at - cut;
    if (at + length + rest > MOST)
        return;
    memmove(text->bytes + at + length, text->bytes + at + cut, rest);
    memcpy(text->bytes + at, bytes, length);
    text->length = at + length + rest;
}

static void mutate_once(struct text *text)
{
    static struct text piece;
    size_t at = below(text->length + 1), some = below(1 + below(64));
    const struct text *other = &seeds[below(seed_count)];
    const char *word = words[below(sizeof words / sizeof *words)];
    switch (below(7)) {
    case 0: /* another byte */
        splice(text, at, 1, (const char[]){(char)below(256)}, 1);
        break;
    case 1: /* less */
        splice(text, at, some, "", 0);
        break;
    case 2: /* the end is missing */
        text->length = at;
        break;
    case 3: /* twice */
        piece = *text;
        splice(text, at, 0, piece.bytes, below(piece.length + 1));
        break;
    case 4: /* a piece of another */
        at = below(other->length + 1);
        splice(text, below(text->length + 1), some, other->bytes + at,
               below(other->length - at + 1));
        break;
    default:
        splice(text, at, some, word, strlen(word));
    }
}

/* "/FILE:LINE: what": one line, and a line's number unless it is about what is nowhere. The file
 * may be one that the ini uses. */
static bool is_clear(const char *text)
{
    const char *colon = text;
    if (*text != '/' || strpbrk(text, "\n\r\x1b"))
        return false;
    if (strstr(text, "has no section"))
        return true;
    while ((colon = strchr(colon + 1, ':')))
        if (colon[1] >= '1' && colon[1] <= '9' && colon[1 + strspn(colon + 1, "0123456789")] == ':')
            return true;
    return false;
}

static void hear(const struct fks_error *error, void *bad)
{
    wrong_keys++;
    if (is_clear(error->text))
        return;
    printf("a wrong key is told as: %s\n", error->text);
    *(bool *)bad = true;
}

static bool load_well(const char *path)
{
    struct fks_settings *settings;
    struct fks_config config;
    struct fks_error error = {0};
    bool bad = false;
    if (fks_settings_load(&settings, path, NULL, NULL, 0, &error)) {
        refused++;
        if (!is_clear(error.text) || settings)
            printf("a refusal is: %s\n", error.text);
        return is_clear(error.text) && !settings;
    }
    read_well++;
    if (!fks_config_init_lenient(&config, settings, hear, &bad, &error))
        fks_config_finish(&config);
    fks_settings_destroy(settings);
    return !bad;
}

static bool read_seed(const char *path)
{
    FILE *file = fopen(path, "r");
    if (!file || seed_count == SEEDS)
        return false;
    seeds[seed_count].length = fread(seeds[seed_count].bytes, 1, MOST, file);
    seed_count++;
    return !fclose(file);
}

static bool write_ini(const char *path, const struct text *text)
{
    unlink(path); /* a file system may write one that is cut to the disk first */
    FILE *file = fopen(path, "w");
    return file && fwrite(text->bytes, 1, text->length, file) == text->length && !fclose(file);
}

int main(int argc, char **argv)
{
    static struct text mutant;
    char path[512];
    int bad = 0;
    for (int i = 4; i < argc; i++)
        if (!read_seed(argv[i]))
            return 2;
    if (argc < 5 || (size_t)snprintf(path, sizeof path, "%s/app.ini", argv[3]) >= sizeof path) {
        fprintf(stderr, "usage: ini_host MUTANTS SEED DIRECTORY INI...\n");
        return 2;
    }
    state = strtoull(argv[2], NULL, 10) * 2654435761u + 1;
    for (unsigned long i = 0, mutants = strtoul(argv[1], NULL, 10); i < mutants && !bad; i++) {
        mutant = seeds[below(seed_count)];
        for (size_t times = 1 + below(3); times; times--)
            mutate_once(&mutant);
        if (!write_ini(path, &mutant))
            return 2;
        alarm(20); /* of this process: a load that does not end is a failure */
        bad += !load_well(path);
    }
    printf("%lu read, %lu refused, %lu wrong keys\n", read_well, refused, wrong_keys);
    return bad ? 1 : 0;
}
