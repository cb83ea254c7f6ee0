/* SPDX-License-Identifier: MIT
 *
 * The version of a server's scripts (ps_scripts.h), from the journal's table of subscribers.
 */
#include "ps_scripts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/debug_object.h"
#include "core/script.h"

struct script {
    const char *path; /* not NUL-terminated */
    size_t length;
    const struct forksafe_subscriber *subscriber; /* one of those that it has */
};

static int compare_text(const char *one, size_t length, const char *other, size_t other_length)
{
    int order = memcmp(one, other, length < other_length ? length : other_length);
    return order ? order : (length > other_length) - (length < other_length);
}

/* The file's name, which may be its subscription. */
static const char *name_of(const struct script *script, size_t *length)
{
    const char *slash = memrchr(script->path, '/', script->length);
    const char *name = slash ? slash + 1 : script->path;
    *length = script->length - (size_t)(name - script->path);
    return name;
}

static int by_name(const void *a, const void *b)
{
    const struct script *one = a, *other = b;
    size_t length, other_length;
    const char *name = name_of(one, &length), *other_name = name_of(other, &other_length);
    int order = compare_text(name, length, other_name, other_length);
    if (!order)
        order = compare_text(one->path, one->length, other->path, other->length);
    if (order)
        return order;
    return (one->subscriber->hash > other->subscriber->hash) -
           (one->subscriber->hash < other->subscriber->hash);
}

/* The scripts of the current generation's subscribers, one entry for each subscriber, by name. */
static struct script *collect(const struct fks_reader *reader, size_t *count)
{
    const struct forksafe_journal_header *header = fks_reader_header(reader);
    struct script *scripts = calloc(header->subscriber_count + 1, sizeof *scripts);
    *count = 0;
    for (uint32_t i = 0; scripts && i < header->subscriber_count; i++) {
        struct script script = {.subscriber = fks_reader_subscriber(reader, i)};
        script.path = fks_reader_string(reader, script.subscriber->path, &script.length);
        if (script.length && script.subscriber->generation == header->generation)
            scripts[(*count)++] = script;
    }
    if (*count)
        qsort(scripts, *count, sizeof *scripts, by_name);
    return scripts;
}

/* Both hashes one after the other. */
static uint64_t chain(uint64_t hash, uint64_t next)
{
    uint64_t both[] = {hash, next};
    return fks_hash(both, sizeof both);
}

void fks_ps_scripts_init(struct fks_ps_scripts *out, const struct fks_reader *reader)
{
    size_t count;
    struct script *scripts = collect(reader, &count);
    uint64_t hash = 0;
    *out = (struct fks_ps_scripts){.generation = fks_reader_header(reader)->generation,
                                   .stale = count ? 0 : -1};
    for (size_t i = 0; i < count; i++) {
        if (i && !by_name(&scripts[i - 1], &scripts[i]))
            continue;
        size_t length;
        const char *name = name_of(&scripts[i], &length);
        hash = chain(chain(hash, fks_hash(name, length)), scripts[i].subscriber->hash);
        int stale = out->stale > 0 ? 1 : fks_debug_stale(reader, scripts[i].subscriber);
        if (stale)
            out->stale = stale;
    }
    if (count)
        snprintf(out->version, sizeof out->version, "%08x", (unsigned)(hash ^ hash >> 32));
    free(scripts);
}

struct fks_ps_scripts fks_ps_scripts_of(const struct fks_ps_scripts *current, uint32_t generation)
{
    struct fks_ps_scripts own = *current;
    if (generation && generation == current->generation)
        return own;
    own.version[0] = '\0';
    own.stale = generation && *current->version ? 1 : -1;
    return own;
}
