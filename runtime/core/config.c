/* SPDX-License-Identifier: MIT
 *
 * The forksafe.* keys, read by the list in config.h. What is wrong is told with its place and what
 * would be right; a value is never shown, since a key in the wrong place may hold anything.
 */
#include "config.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config_types.h"
#include "config_values.h"
#include "settings_text.h"

#define HASH_DIGITS 6
/* A typing error that is further off than this is no longer guessed at. */
#define LARGEST_TYPO 4

struct key {
    const char *name, *fallback;
    size_t offset; /* in struct fks_config */
    fks_read_function *read;
    const char *takes; /* "takes ..." of an error, unless its limits say it better */
};

static const struct key keys[] = {
#define X(name, type, fallback, meaning) \
    {#name, fallback, offsetof(struct fks_config, name), fks_read_##type, FKS_TAKES_##type},
    FKS_CONFIG_KEYS(X)
#undef X
};

#define KEY_COUNT (sizeof keys / sizeof *keys)

/* "FILE:LINE: forksafe.KEY what", the key as the ini's format writes it. */
static int fail(const struct fks_settings *settings, const struct fks_pair *pair,
                struct fks_error *error, const char *what)
{
    char line[16] = "";
    if (pair->line)
        snprintf(line, sizeof line, ":%d", pair->line);
    return fks_fail(error, FORKSAFE_EINI, "%s%s: %s%s %s", pair->file ? pair->file : settings->path,
                    line, settings->own_format ? "" : "forksafe.", fks_shorten(pair->name).text,
                    what);
}

static const struct key *find_key(const char *name)
{
    for (size_t i = 0; i < KEY_COUNT; i++)
        if (!strcmp(keys[i].name, name))
            return &keys[i];
    return NULL;
}

static int fail_unknown(const struct fks_settings *settings, const struct fks_pair *pair,
                        struct fks_error *error)
{
    const char *nearest = NULL;
    unsigned least = LARGEST_TYPO + 1;
    for (size_t i = 0; i < KEY_COUNT; i++) {
        unsigned distance = fks_edit_distance(pair->name, keys[i].name);
        if (distance < least && distance < strlen(keys[i].name)) {
            least = distance;
            nearest = keys[i].name;
        }
    }
    char what[512] = "is not a key of forksafe; the keys are";
    size_t length = strlen(what);
    if (nearest)
        snprintf(what, sizeof what, "is not a key of forksafe; did you mean %s%s?",
                 settings->own_format ? "" : "forksafe.", nearest);
    for (size_t i = 0; !nearest && i < KEY_COUNT && length < sizeof what; i++)
        length += (size_t)snprintf(what + length, sizeof what - length, "%s %s", i ? "," : "",
                                   keys[i].name);
    return fail(settings, pair, error, what);
}

static int read_key(struct fks_config *out, const struct fks_settings *settings,
                    const struct key *key, const struct fks_pair *pair, struct fks_error *error)
{
    struct fks_reading reading = {settings->path, key->name, pair ? pair->value : key->fallback};
    int code = key->read(&reading, (char *)out + key->offset);
    if (code == FORKSAFE_ENOMEM)
        return fks_fail(error, code, "%s: out of memory while reading forksafe.%s", settings->path,
                        key->name);
    if (!code)
        return 0;
    const char *limits = fks_key_limits(key->name);
    char what[256];
    snprintf(what, sizeof what, "takes %s", limits ? limits : key->takes);
    static const struct fks_pair unknown = {0};
    struct fks_pair place = pair ? *pair : unknown;
    place.name = (char *)key->name;
    return fail(settings, &place, error, what);
}

static uint64_t hash_text(uint64_t hash, const char *text)
{
    for (; *text; text++)
        hash = (hash ^ (unsigned char)*text) * 0x100000001b3u;
    return hash;
}

/* "production-1a2b3c" for /srv/shop/production.ini; other characters than those of an instance
 * become "_". */
static char *make_instance(const struct fks_settings *settings)
{
    uint64_t hash = hash_text(0xcbf29ce484222325u, settings->real_path);
    if (strcmp(settings->app, "main"))
        hash = hash_text(hash_text(hash, "#"), settings->app);
    hash = (hash ^ hash >> 24 ^ hash >> 48) & 0xffffff;
    const char *file = fks_file_name(settings->path);
    size_t length = strlen(file);
    if (length > 4 && !strcmp(file + length - 4, ".ini"))
        length -= 4;
    char name[FKS_INSTANCE_BYTES - HASH_DIGITS]; /* the "-" has the place of the NUL */
    snprintf(name, sizeof name, "%.*s", (int)length, file);
    for (char *c = name; *c; c++)
        if (!fks_is_instance_character(*c) || (c == name && (*c == '.' || *c == '-')))
            *c = '_';
    char *instance;
    return asprintf(&instance, "%s-%06x", name, (unsigned)hash) < 0 ? NULL : instance;
}

/* Where complaints go. */
struct listener {
    void (*complain)(const struct fks_error *error, void *data);
    void *data;
};

/* What becomes of a wrong key: told and forgotten, or the end. */
static int settle(int code, const struct listener *listener, const struct fks_error *error)
{
    if (code != FORKSAFE_EINI || !listener)
        return code;
    listener->complain(error, listener->data);
    return 0;
}

static int check_names(const struct fks_settings *settings, const struct listener *listener,
                       const struct fks_pair **given, struct fks_error *error)
{
    int code = 0;
    for (size_t i = 0; !code && i < settings->forksafe.count; i++) {
        const struct fks_pair *pair = &settings->forksafe.items[i];
        const struct key *key = find_key(pair->name);
        if (key)
            given[key - keys] = pair;
        else
            code = settle(fail_unknown(settings, pair, error), listener, error);
    }
    return code;
}

/* A key of ours in [DEFAULT] would be taken from the application in silence: PasteDeploy moves it
 * to global_conf. */
static int check_global_conf(const struct fks_settings *settings, const struct listener *listener,
                             struct fks_error *error)
{
    static const char prefix[] = "forksafe.";
    int code = 0;
    for (size_t i = 0; !code && !settings->own_format && i < settings->global_conf.count; i++) {
        struct fks_pair pair = settings->global_conf.items[i];
        if (strncmp(pair.name, prefix, sizeof prefix - 1))
            continue;
        pair.name += sizeof prefix - 1;
        if (fks_pairs_get(&settings->forksafe, pair.name))
            continue;
        code = fail(settings, &pair, error,
                    "is in global_conf ([DEFAULT], `set`, or given beside the ini), which is not "
                    "read for keys of forksafe: it belongs in the application's section");
        code = settle(code, listener, error);
    }
    return code;
}

/* The key's value as given, or its default where it is not given or wrong. */
static int read_or_default(struct fks_config *out, const struct fks_settings *settings,
                           const struct key *key, const struct fks_pair *pair,
                           const struct listener *listener, struct fks_error *error)
{
    int code = read_key(out, settings, key, pair, error);
    if (code != FORKSAFE_EINI || !listener)
        return code;
    listener->complain(error, listener->data);
    return read_key(out, settings, key, NULL, error);
}

static int fill(struct fks_config *out, const struct fks_settings *settings,
                const struct listener *listener, struct fks_error *error)
{
    const struct fks_pair *given[KEY_COUNT] = {NULL};
    int code = check_names(settings, listener, given, error);
    if (!code)
        code = check_global_conf(settings, listener, error);
    for (size_t i = 0; !code && i < KEY_COUNT; i++)
        code = read_or_default(out, settings, &keys[i], given[i], listener, error);
    if (code || *out->instance)
        return code;
    free(out->instance);
    out->instance = make_instance(settings);
    if (out->instance)
        return 0;
    return fks_fail(error, FORKSAFE_ENOMEM, "%s: out of memory while naming its instance",
                    settings->path);
}

static int init(struct fks_config *out, const struct fks_settings *settings,
                const struct listener *listener, struct fks_error *error)
{
    memset(out, 0, sizeof *out);
    int code = fill(out, settings, listener, error);
    if (code)
        fks_config_finish(out);
    return code;
}

int fks_config_init(struct fks_config *out, const struct fks_settings *settings,
                    struct fks_error *error)
{
    return init(out, settings, NULL, error);
}

int fks_config_init_lenient(struct fks_config *out, const struct fks_settings *settings,
                            void (*complain)(const struct fks_error *error, void *data), void *data,
                            struct fks_error *error)
{
    struct fks_error ignored;
    struct listener listener = {complain, data};
    return init(out, settings, &listener, error ? error : &ignored);
}

#define FINISH_path(member)      free(member)
#define FINISH_text(member)      free(member)
#define FINISH_list(member)      free(member)
#define FINISH_bool(member)      (void)(member)
#define FINISH_count(member)     (void)(member)
#define FINISH_size(member)      (void)(member)
#define FINISH_time(member)      (void)(member)
#define FINISH_on_error(member)  (void)(member)
#define FINISH_lua_libs(member)  (void)(member)
#define FINISH_log_level(member) (void)(member)

void fks_config_finish(struct fks_config *config)
{
#define X(name, type, fallback, meaning) FINISH_##type(config->name);
    FKS_CONFIG_KEYS(X)
#undef X
    memset(config, 0, sizeof *config);
}

bool fks_config_list_has(const char *list, const char *word)
{
    struct fks_span found;
    char *at = (char *)list, *end = at + strlen(at);
    while (fks_next_word(&at, end, &found))
        if ((size_t)(found.end - found.start) == strlen(word) &&
            !memcmp(found.start, word, strlen(word)))
            return true;
    return false;
}
