/* SPDX-License-Identifier: MIT
 *
 * Finding the journals to show, again and again (serve_source.h). What was seen once is kept: a
 * journal that was removed can still be read through the descriptor that is open.
 */
#include "serve_source.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define KEPT_DEAD 64 /* instances without a living master, where TARGET means several */

/* --- what was seen before --- */

static bool has_name(const struct fks_target *targets, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++)
        if (!strcmp(targets[i].instance, name))
            return true;
    return false;
}

/* Reads headers and tables again, in place. */
static int refresh(struct fks_target *target, struct fks_error *error)
{
    int rc = 0;
    for (size_t i = 0; !rc && i < target->reader_count; i++)
        rc = fks_reader_refresh(target->readers[i], error);
    return rc;
}

static bool is_kept_on_disk(const struct fks_target *target)
{
    const char *path = fks_reader_path(target->readers[target->reader_count - 1]);
    return path && access(path, F_OK) == 0;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct fks_target *)a)->instance,
                  ((const struct fks_target *)b)->instance);
}

/* Adds the instances of the last look that were not found now: their masters have died. */
static void keep_the_dead(struct fks_source *source, struct fks_target **found, size_t *count)
{
    struct fks_target *all = realloc(*found, (*count + source->count + 1) * sizeof *all);
    if (!all)
        return;
    *found = all;
    size_t living = *count;
    for (size_t i = 0; i < source->count && *count < living + KEPT_DEAD; i++) {
        struct fks_target *old = &source->targets[i];
        if (has_name(all, living, old->instance) || !is_kept_on_disk(old) || refresh(old, NULL))
            continue;
        all[(*count)++] = *old;
        *old = (struct fks_target){0};
    }
    qsort(all, *count, sizeof *all, by_name);
}

static void replace(struct fks_source *source, struct fks_target *found, size_t count)
{
    fks_target_close_all(source->targets, source->count);
    source->targets = found;
    source->count = count;
}

/* A process lives shorter than its server: from now on the instance is looked up. */
static void remember_instance(struct fks_source *source)
{
    const char *target = source->target;
    bool is_pid = target && *target && strspn(target, "0123456789") == strlen(target);
    char *name = is_pid && source->count == 1 ? strdup(source->targets[0].instance) : NULL;
    if (!name)
        return;
    free(source->target);
    source->target = name;
}

/* --- looking --- */

static int refresh_all(struct fks_source *source, struct fks_error *error)
{
    int rc = 0;
    for (size_t i = 0; !rc && i < source->count; i++)
        rc = refresh(&source->targets[i], error);
    return rc;
}

int fks_source_look(struct fks_source *source, struct fks_error *error)
{
    struct fks_target *found;
    size_t count;
    int rc = fks_target_open_all(&found, &count, source->target, false, NULL, error);
    if (rc == FORKSAFE_ENOENT && source->target)
        rc = fks_target_open_all(&found, &count, source->target, true, NULL, NULL);
    if (rc == FORKSAFE_ENOENT)
        return refresh_all(source, error);
    if (rc)
        return rc;
    if (!source->target)
        keep_the_dead(source, &found, &count);
    replace(source, found, count);
    return 0;
}

/* An ini that can be read: its server may be started later. */
static bool is_ini(const char *target)
{
    struct stat st;
    char *path = strdup(target);
    if (path)
        path[strcspn(path, "#")] = '\0';
    bool is_file = path && stat(path, &st) == 0 && S_ISREG(st.st_mode);
    free(path);
    return is_file;
}

int fks_source_init(struct fks_source *source, const char *target, struct fks_error *error)
{
    *source = (struct fks_source){.target = target ? strdup(target) : NULL};
    error->code = 0;
    if (target && !source->target)
        return fks_fail(error, FORKSAFE_ENOMEM, "no memory");
    int rc = fks_target_open_all(&source->targets, &source->count, target, false, NULL, error);
    if (!rc) {
        error->code = 0;
        remember_instance(source);
        return 0;
    }
    if (rc != FORKSAFE_ENOENT)
        return rc;
    rc = fks_target_open_all(&source->targets, &source->count, target, true, NULL, NULL);
    if (rc == FORKSAFE_ENOENT)
        return target && !is_ini(target) ? rc : 0;
    if (!rc)
        fks_fail(error, FORKSAFE_ENOENT, "no master lives: the last one is shown until one does");
    remember_instance(source);
    return rc;
}

void fks_source_finish(struct fks_source *source)
{
    fks_target_close_all(source->targets, source->count);
    free(source->target);
}

int fks_source_pick(const struct fks_source *source, const char *instance,
                    const struct fks_target **out, struct fks_error *error)
{
    static const struct fks_target unseen;
    for (size_t i = 0; instance && i < source->count; i++)
        if (!strcmp(source->targets[i].instance, instance)) {
            *out = &source->targets[i];
            return 0;
        }
    if (instance)
        return fks_fail(error, FORKSAFE_ENOENT,
                        "no such instance: '%.250s'; /instances.json lists them", instance);
    if (source->count > 1)
        return fks_fail(error, FORKSAFE_EUSAGE,
                        "there are %zu instances, name one: ?instance=NAME; /instances.json lists "
                        "them",
                        source->count);
    *out = source->count ? &source->targets[0] : &unseen;
    return 0;
}
