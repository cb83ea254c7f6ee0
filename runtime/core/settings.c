/* SPDX-License-Identifier: MIT
 *
 * One load of settings from its start to its end: the path, the file, the format, and the result in
 * memory of its own.
 */
#include "settings.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "settings_load.h"
#include "settings_path.h"
#include "settings_text.h"

/* What the caller gets, and the memory that it lies in. */
struct result {
    struct fks_settings settings; /* first: it is what destroy is given */
    struct fks_store store;
};

int fks_load_fail(struct fks_load *load, const char *file, int line, const char *format, ...)
{
    char what[FKS_ERROR_TEXT];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(what, sizeof what, format, arguments);
    va_end(arguments);
    if (line)
        return fks_fail(load->error, FORKSAFE_EINI, "%s:%d: %s", file, line, what);
    return fks_fail(load->error, FORKSAFE_EINI, "%s: %s", file, what);
}

int fks_load_no_memory(struct fks_load *load, const char *file)
{
    return fks_fail(load->error, FORKSAFE_ENOMEM, "%s: out of memory while loading its settings",
                    file);
}

static int put_default(struct fks_load *load, struct fks_dict *defaults, const char *name,
                       char *value)
{
    struct fks_pair pair = {(char *)name, value, NULL, 0};
    return value && !fks_dict_put(defaults, &pair) ? 0 : fks_load_no_memory(load, name);
}

struct fks_ini_file *fks_ini_file_open(struct fks_load *load, const char *open_path, int *code)
{
    struct fks_ini_file *file = fks_store_take(load->work, sizeof *file);
    char *path = file ? fks_path_normalise(load->kept, open_path) : NULL;
    char *here = path ? fks_path_directory(load->work, path) : NULL;
    char *directory = here ? fks_path_directory(load->work, open_path) : NULL;
    struct fks_dict *defaults = directory ? fks_dict_create(load->work) : NULL;
    if (!defaults) {
        *code = fks_load_no_memory(load, open_path);
        return NULL;
    }
    *file = (struct fks_ini_file){
        .path = path, .directory = directory, .ini = {.path = path, .defaults = defaults}};
    *code = put_default(load, defaults, "here", here);
    if (!*code)
        *code = put_default(load, defaults, "__file__", path);
    if (!*code)
        *code = fks_ini_read(&file->ini, load->work, open_path, load->error);
    return *code ? NULL : file;
}

/* The absolute path of "INI" in "INI[#APP]", by text; NULL with *code. */
static char *absolute_path(struct fks_load *load, const char *uri, int *code)
{
    char *name = fks_store_text(load->work, uri, strcspn(uri, "#"));
    char *directory = name ? getcwd(NULL, 0) : NULL;
    char *path = directory ? fks_path_join(load->work, directory, name) : NULL;
    free(directory);
    *code = 0;
    if (path && *name && fks_utf8_valid(path, strlen(path)))
        return path;
    if (!path)
        *code = fks_load_no_memory(load, uri);
    else if (!*name)
        *code = fks_fail(load->error, FORKSAFE_EINI, "no ini is named");
    else
        *code = fks_fail(load->error, FORKSAFE_EINI, "%s: its path is not UTF-8", path);
    return NULL;
}

/* The names given beside the ini. In PasteDeploy's format here and __file__ are among them. */
static struct fks_dict *given_names(struct fks_load *load, const struct fks_ini_file *file,
                                    bool own, const struct fks_pair *options, size_t count)
{
    struct fks_dict *given = fks_dict_create(load->work);
    char *here = fks_path_directory(load->work, file->path);
    if (!given || !here)
        return NULL;
    if (!own && (put_default(load, given, "__file__", (char *)file->path) ||
                 put_default(load, given, "here", here)))
        return NULL;
    for (size_t i = 0; i < count; i++) {
        struct fks_pair pair = {options[i].name, options[i].value, NULL, 0};
        if (fks_dict_put(given, &pair))
            return NULL;
    }
    return given;
}

static int load_file(struct fks_load *load, struct fks_settings *settings,
                     struct fks_ini_file *file, const struct fks_pair *options, size_t count,
                     struct fks_loaded *loaded)
{
    settings->own_format = fks_ini_is_own(&file->ini);
    struct fks_dict *given = given_names(load, file, settings->own_format, options, count);
    if (!given)
        return fks_load_no_memory(load, file->path);
    if (!settings->own_format)
        return fks_load_paste(load, file, settings->app, given, loaded);
    if (strcmp(settings->app, "main"))
        return fks_load_fail(load, file->path, 0,
                             "has [forksafe] and no applications: it is named without #%s",
                             fks_shorten(settings->app).text);
    return fks_load_own(load, file, given, loaded);
}

/* Copies a table into the result's own memory; files are in it already. */
static int keep_pairs(struct fks_store *store, const struct fks_dict *from, struct fks_pairs *to)
{
    to->items = fks_store_take(store, (from->live + 1) * sizeof *to->items);
    if (!to->items)
        return FORKSAFE_ENOMEM;
    for (size_t i = 0; i < from->count; i++) {
        const struct fks_pair *pair = &from->items[i];
        if (!pair->name)
            continue;
        struct fks_pair *copy = &to->items[to->count++];
        *copy = *pair;
        copy->name = fks_store_text(store, pair->name, strlen(pair->name));
        copy->value = fks_store_text(store, pair->value, strlen(pair->value));
        if (!copy->name || !copy->value)
            return FORKSAFE_ENOMEM;
    }
    return 0;
}

static int keep_path(struct fks_load *load, struct fks_settings *settings, const char *open_path,
                     const struct fks_ini_file *file)
{
    char *real = realpath(open_path, NULL);
    settings->path = (char *)file->path;
    settings->real_path =
        fks_store_text(load->kept, real ? real : file->path, strlen(real ? real : file->path));
    free(real);
    return settings->real_path ? 0 : fks_load_no_memory(load, file->path);
}

static int fill(struct fks_load *load, struct result *result, const char *uri, const char *app,
                const struct fks_pair *options, size_t count)
{
    struct fks_settings *settings = &result->settings;
    const char *hash = strchr(uri, '#');
    const char *name = app ? app : hash && hash[1] ? hash + 1 : "main";
    int code;
    char *open_path = absolute_path(load, uri, &code);
    struct fks_ini_file *file = open_path ? fks_ini_file_open(load, open_path, &code) : NULL;
    if (!file)
        return code;
    settings->app = fks_store_text(load->kept, name, strlen(name));
    if (!settings->app)
        return fks_load_no_memory(load, file->path);
    code = keep_path(load, settings, open_path, file);
    struct fks_loaded loaded = {0};
    if (!code)
        code = load_file(load, settings, file, options, count, &loaded);
    if (code)
        return code;
    if (keep_pairs(load->kept, loaded.settings, &settings->settings) ||
        keep_pairs(load->kept, loaded.global_conf, &settings->global_conf) ||
        keep_pairs(load->kept, loaded.forksafe, &settings->forksafe))
        return fks_load_no_memory(load, file->path);
    return 0;
}

int fks_settings_load(struct fks_settings **out, const char *uri, const char *app,
                      const struct fks_pair *options, size_t option_count, struct fks_error *error)
{
    struct fks_store work = {0};
    struct result *result = calloc(1, sizeof *result);
    *out = NULL;
    if (!result)
        return fks_fail(error, FORKSAFE_ENOMEM, "%s: out of memory while loading its settings",
                        uri);
    struct fks_load load = {.work = &work, .kept = &result->store, .error = error};
    int code = fill(&load, result, uri, app, options, option_count);
    fks_store_finish(&work);
    if (code) {
        fks_settings_destroy(&result->settings);
        return code;
    }
    *out = &result->settings;
    return 0;
}

void fks_settings_destroy(struct fks_settings *settings)
{
    struct result *result = (struct result *)settings;
    if (!result)
        return;
    fks_store_finish(&result->store);
    free(result);
}

const char *fks_pairs_get(const struct fks_pairs *pairs, const char *name)
{
    for (size_t i = 0; i < pairs->count; i++)
        if (!strcmp(pairs->items[i].name, name))
            return pairs->items[i].value;
    return NULL;
}

bool fks_asbool(const char *text)
{
    static const char *const words[] = {"true", "yes", "y", "t", "on", "1"};
    if (!text)
        return false;
    struct fks_span span = fks_strip((struct fks_span){(char *)text, (char *)text + strlen(text)});
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (fks_same_word(span, words[i]))
            return true;
    return false;
}
