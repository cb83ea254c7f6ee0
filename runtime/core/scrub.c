/* SPDX-License-Identifier: MIT
 *
 * A list of secrets, longest first, and a copy that leaves them out.
 */
#include "scrub.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "guards.h"

#define SHORTEST 5 /* "true", "80", "main" would make every text unreadable */

struct secret {
    char *name;
    char *text;
    size_t length;
};

struct fks_scrub {
    struct secret *secrets;
    size_t count, room;
};

static bool is_common_word(const char *text, size_t length)
{
    return (length == 5 && !strncasecmp(text, "false", 5));
}

static int longest_first(const void *left, const void *right)
{
    const struct secret *a = left, *b = right;
    return (a->length < b->length) - (a->length > b->length);
}

static void finish(struct secret *secret)
{
    free(secret->name);
    free(secret->text);
}

static int add_part(struct fks_scrub *scrub, const char *name, const char *text, size_t length)
{
    if (length < SHORTEST || is_common_word(text, length))
        return 0;
    if (scrub->count == scrub->room) {
        size_t room = scrub->room ? scrub->room * 2 : 32;
        struct secret *grown = realloc(scrub->secrets, room * sizeof *grown);
        if (!grown)
            return -1;
        scrub->secrets = grown;
        scrub->room = room;
    }
    struct secret secret = {.name = strdup(name), .text = strndup(text, length), .length = length};
    if (!secret.name || !secret.text) {
        finish(&secret);
        return -1;
    }
    scrub->secrets[scrub->count++] = secret;
    return 0;
}

/* The whole value, each of its lines, and the password inside a URL: a script may have taken it
 * apart. */
static int add_value(struct fks_scrub *scrub, const char *name, const char *value)
{
    int result = add_part(scrub, name, value, strlen(value));
    for (const char *line = value; *line;) {
        size_t length = strcspn(line, "\n");
        if (length < strlen(value))
            result |= add_part(scrub, name, line, length);
        line += length + (line[length] == '\n');
    }
    const char *start = strstr(value, "://");
    const char *at = start ? strchr(start, '@') : NULL;
    const char *colon = at ? memchr(start + 3, ':', (size_t)(at - start - 3)) : NULL;
    if (colon)
        result |= add_part(scrub, name, colon + 1, (size_t)(at - colon - 1));
    return result;
}

static void sort(struct fks_scrub *scrub)
{
    if (scrub->count)
        qsort(scrub->secrets, scrub->count, sizeof *scrub->secrets, longest_first);
}

/* Ours, and public: they stand in the debug object. */
static bool is_ours(const char *name)
{
    return !strncmp(name, "forksafe.", 9) || !strcmp(name, "here") || !strcmp(name, "__file__");
}

static int add_pairs(struct fks_scrub *scrub, const struct fks_pairs *pairs)
{
    int result = 0;
    for (size_t i = 0; i < pairs->count; i++)
        if (!is_ours(pairs->items[i].name))
            result |= add_value(scrub, pairs->items[i].name, pairs->items[i].value);
    return result;
}

struct fks_scrub *fks_scrub_create(const struct fks_settings *settings)
{
    struct fks_scrub *scrub = calloc(1, sizeof *scrub);
    if (!scrub)
        return NULL;
    if (add_pairs(scrub, &settings->settings) || add_pairs(scrub, &settings->global_conf)) {
        fks_scrub_destroy(scrub);
        return NULL;
    }
    sort(scrub);
    return scrub;
}

void fks_scrub_allow(struct fks_scrub *scrub, const char *text)
{
    size_t kept = 0;
    for (size_t i = 0; i < scrub->count; i++) {
        if (strstr(text, scrub->secrets[i].text))
            finish(&scrub->secrets[i]);
        else
            scrub->secrets[kept++] = scrub->secrets[i];
    }
    scrub->count = kept;
}

int fks_scrub_add(struct fks_scrub *scrub, const char *name, const char *value)
{
    for (size_t i = 0; i < scrub->count; i++)
        if (!strcmp(scrub->secrets[i].text, value))
            return 0;
    int result = add_value(scrub, name, value);
    sort(scrub);
    return result;
}

void fks_scrub_destroy(struct fks_scrub *scrub)
{
    if (!scrub)
        return;
    for (size_t i = 0; i < scrub->count; i++)
        finish(&scrub->secrets[i]);
    free(scrub->secrets);
    free(scrub);
}

static const struct secret *secret_at(const struct fks_scrub *scrub, const char *text, size_t left)
{
    if (!fks_guard(FKS_GUARD_SECRETS))
        return NULL;
    for (size_t i = 0; scrub && i < scrub->count; i++)
        if (scrub->secrets[i].length <= left &&
            !memcmp(scrub->secrets[i].text, text, scrub->secrets[i].length))
            return &scrub->secrets[i];
    return NULL;
}

size_t fks_scrub_text(const struct fks_scrub *scrub, const char *text, size_t length, char *out,
                      size_t size)
{
    size_t used = 0;
    for (size_t at = 0; at < length;) {
        const struct secret *secret = secret_at(scrub, text + at, length - at);
        size_t need = secret ? strlen(secret->name) + 2 : 1;
        if (used + need + 4 > size) {
            memcpy(out + used, "...", 4);
            return used + 3;
        }
        if (secret)
            used += (size_t)sprintf(out + used, "<%s>", secret->name);
        else
            out[used++] = (char)(text[at] ? text[at] : ' ');
        at += secret ? secret->length : 1;
    }
    out[used] = '\0';
    return used;
}
