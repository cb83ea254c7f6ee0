/* SPDX-License-Identifier: MIT
 *
 * %(name)s and %%, bound when the value is asked for. A nesting of ten makes it easy to write an
 * ini of a kilobyte that expands to more than any memory, so what a load may replace is bounded.
 */
#include "settings_load.h"

#include <stdlib.h>
#include <string.h>

#include "settings_text.h"

#define DEEPEST 10

struct expansion {
    struct fks_load *load;
    const struct fks_ini_file *file;
    const struct fks_dict *section;
    const struct fks_pair *asked; /* the pair whose value is wanted */
    char *bytes;                  /* malloc()ed */
    size_t length, capacity;
};

static const char *file_of(const struct expansion *x, const struct fks_pair *pair)
{
    return pair->file ? pair->file : x->file->path;
}

static int add(struct expansion *x, const char *text, size_t length)
{
    if (length > FKS_LOAD_EXPANSION - x->load->expansion)
        return fks_load_fail(x->load, file_of(x, x->asked), x->asked->line,
                             "%s: the values come to more than %u MB with their %%(name)s replaced",
                             fks_shorten(x->asked->name).text, FKS_LOAD_EXPANSION >> 20);
    if (x->capacity - x->length < length) {
        size_t wanted = (x->length + length) * 2;
        char *larger = realloc(x->bytes, wanted);
        if (!larger)
            return fks_load_no_memory(x->load, x->file->path);
        x->bytes = larger;
        x->capacity = wanted;
    }
    if (length)
        memcpy(x->bytes + x->length, text, length);
    x->length += length;
    x->load->expansion += length;
    return 0;
}

/* Says what is wrong in the value of `pair`; what comes from no file is told by where it does come
 * from. */
static int fail_in(const struct expansion *x, const struct fks_pair *pair, const char *what)
{
    const char *hint = "";
    if (!pair->line && (!strcmp(pair->name, "here") || !strcmp(pair->name, "__file__")))
        hint = " (it comes from the path of the ini: a % there has to go)";
    else if (!pair->line)
        hint = " (it was given beside the ini)";
    return fks_load_fail(x->load, file_of(x, pair), pair->line, "%s: %s%s",
                         fks_shorten(pair->name).text, what, hint);
}

/* The name in "%(name)s" at text: its length, 0 where it is not of that form. */
static size_t reference_length(const char *text)
{
    const char *end = strchr(text + 2, ')');
    return end && end[1] == 's' ? (size_t)(end - text - 2) : 0;
}

static const struct fks_pair *look_up(const struct expansion *x, const char *name, size_t length)
{
    const struct fks_pair *pair = x->section ? fks_dict_find_bytes(x->section, name, length) : NULL;
    return pair ? pair : fks_dict_find_bytes(x->file->ini.defaults, name, length);
}

static int expand(struct expansion *x, const struct fks_pair *pair, int depth);

/* Replaces the reference of `length` bytes at name, which stands in the value of pair. */
static int replace(struct expansion *x, const struct fks_pair *pair, const char *name,
                   size_t length, int depth)
{
    const struct fks_pair *found = look_up(x, name, length);
    if (!found)
        return fail_in(x, pair,
                       "has a %(name)s whose name is neither in this section nor in [DEFAULT]");
    if (++x->load->substitutions > FKS_LOAD_SUBSTITUTIONS)
        return fail_in(x, pair,
                       "has more %(name)s in it, one inside the other, than can be replaced");
    if (strchr(found->value, '%'))
        return expand(x, found, depth + 1);
    return add(x, found->value, strlen(found->value));
}

static int expand(struct expansion *x, const struct fks_pair *pair, int depth)
{
    if (depth > DEEPEST)
        return fail_in(x, x->asked,
                       "has %(name)s more than ten deep; does a value refer to itself?");
    const char *text = pair->value;
    for (const char *percent; (percent = strchr(text, '%'));) {
        int code = add(x, text, (size_t)(percent - text));
        size_t length = percent[1] == '(' ? reference_length(percent) : 0;
        if (code)
            return code;
        if (percent[1] == '%') {
            code = add(x, "%", 1);
            text = percent + 2;
        } else if (length) {
            code = replace(x, pair, percent + 2, length, depth);
            text = percent + length + 4;
        } else {
            code = fail_in(x, pair,
                           "has a % that is neither %% nor %(name)s; write %% for a percent sign");
        }
        if (code)
            return code;
    }
    return add(x, text, strlen(text));
}

int fks_interpolate(struct fks_load *load, const struct fks_ini_file *file,
                    const struct fks_dict *section, const struct fks_pair *pair, char **out)
{
    *out = pair->value;
    if (!strchr(pair->value, '%'))
        return 0;
    struct expansion x = {.load = load, .file = file, .section = section, .asked = pair};
    int code = expand(&x, pair, 1);
    if (!code) {
        *out = fks_store_text(load->work, x.bytes ? x.bytes : "", x.length);
        code = *out ? 0 : fks_load_no_memory(load, file->path);
    }
    free(x.bytes);
    return code;
}

int fks_interpolate_defaults(struct fks_load *load, struct fks_ini_file *file)
{
    if (file->interpolated_defaults)
        return 0;
    const struct fks_dict *defaults = file->ini.defaults;
    struct fks_dict *result = fks_dict_create(load->work);
    if (!result)
        return fks_load_no_memory(load, file->path);
    for (size_t i = 0; i < defaults->count; i++) {
        struct fks_pair pair = defaults->items[i];
        int code = fks_interpolate(load, file, NULL, &defaults->items[i], &pair.value);
        if (code)
            return code;
        if (!*pair.value) /* PasteDeploy: a default that interpolates to nothing keeps its text as
                             written */
            pair.value = defaults->items[i].value;
        if (fks_dict_put(result, &pair))
            return fks_load_no_memory(load, file->path);
    }
    file->interpolated_defaults = result;
    return 0;
}
