/* SPDX-License-Identifier: MIT
 *
 * The URIs of PasteDeploy: config: (another ini), egg: and call: (somebody's Python, which is not
 * asked).
 */
#include "settings_paste.h"

#include <string.h>
#include <sys/stat.h>

#include "settings_path.h"
#include "settings_text.h"

/* The path that `config:` means, absolute; *code says why it is NULL. */
static char *config_path(struct fks_load *load, const struct fks_ini_file *from, const char *name,
                         const struct fks_place *place, int *code)
{
    char *path = fks_path_join(load->work, from ? from->directory : "/", name);
    if (!path) {
        *code = fks_load_no_memory(load, place->file);
        return NULL;
    }
    for (char *c = path; *c; c++)
        if (*c == '\\')
            *c = '/';
    if (!strncmp(path, "///", 3))
        path += 2;
    struct fks_span text = {path, path};
    if (fks_path_unquote(path))
        text.end = path + strlen(path);
    if (text.end == text.start || !fks_utf8_valid(text.start, strlen(text.start))) {
        *code = fks_paste_fail(load, place, "`config:` names a path that is not UTF-8 text");
        return NULL;
    }
    text = fks_strip(text);
    *text.end = '\0';
    return text.start;
}

/* Another ini, which sees the global_conf of the one that uses it as defaults that do not overwrite
 * its own. */
static int open_config(struct fks_load *load, const struct fks_ini_file *from,
                       const struct fks_paste_type *type, const char *what, const char *name,
                       const struct fks_place *place, struct fks_dict *global_conf,
                       struct fks_context **out)
{
    int code = 0;
    if (!from && *what != '/')
        return fks_paste_fail(load, place, "`config:` inside `egg:` needs an absolute path");
    char *path = config_path(load, from, what, place, &code);
    if (!path)
        return code;
    struct stat status;
    if (stat(path, &status))
        return fks_paste_fail(load, place, "the ini that `config:` names is not there");
    if (!S_ISREG(status.st_mode))
        return fks_paste_fail(load, place, "what `config:` names is not a regular file");
    struct fks_ini_file *file = fks_ini_file_open(load, path, &code);
    if (!file)
        return code;
    code = fks_ini_file_add_defaults(load, file, global_conf);
    return code ? code : fks_context_get(load, file, type, name, place, global_conf, out);
}

/* "SCHEME:", letters only, as PasteDeploy tells a URI from a section's name: the scheme's length,
 * or 0. */
size_t fks_uri_scheme(const char *name)
{
    size_t length = 0;
    while ((name[length] | 0x20) >= 'a' && (name[length] | 0x20) <= 'z')
        length++;
    return length && name[length] == ':' ? length : 0;
}

static bool is_scheme(const char *uri, size_t length, const char *scheme)
{
    return fks_same_word((struct fks_span){(char *)uri, (char *)uri + length}, scheme);
}

static bool has_space(const char *text)
{
    const char *end = text + strlen(text);
    for (const char *at = text; at < end; at++)
        if (fks_space_bytes(at, end))
            return true;
    return false;
}

/* SCHEME:WHAT[#NAME]. `from` is the ini that a relative config: starts at, NULL where there is
 * none. */
int fks_uri_context(struct fks_load *load, struct fks_ini_file *from,
                    const struct fks_paste_type *type, const char *uri, size_t scheme,
                    const struct fks_place *place, struct fks_dict *global_conf,
                    struct fks_context **out)
{
    const char *hash = strchr(uri, '#');
    const char *name = hash ? hash + 1 : "main";
    const char *start = uri + scheme + 1;
    char *what = fks_store_text(load->work, start, hash ? (size_t)(hash - start) : strlen(start));
    if (!what)
        return fks_load_no_memory(load, place->file);
    if (is_scheme(uri, scheme, "config"))
        return open_config(load, from, type, what, name, place, global_conf, out);
    bool egg = is_scheme(uri, scheme, "egg");
    if (!egg && !is_scheme(uri, scheme, "call"))
        return fks_paste_fail(load, place, "knows config:, egg: and call:, and no other scheme");
    if (egg && (!*what || has_space(what) || strchr(name, '\n')))
        return fks_paste_fail(load, place, "`egg:` needs distribution#name, on one line");
    const char *colon = strchr(what, ':');
    if (!egg && (!colon || colon == what || strchr(colon + 1, ':')))
        return fks_paste_fail(load, place, "`call:` needs module:function");
    size_t inner = egg ? fks_uri_scheme(name) : 0;
    if (inner)
        return fks_context_get(load, NULL, type, name, place, global_conf, out);
    *out = fks_context_create(load, global_conf, NULL);
    return *out ? 0 : fks_load_no_memory(load, place->file);
}
