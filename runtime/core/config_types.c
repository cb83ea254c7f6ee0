/* SPDX-License-Identifier: MIT
 *
 * The types of the forksafe.* keys: what each accepts, and the few keys that accept less than their
 * type does.
 */
#include "config_types.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config_values.h"
#include "settings_text.h"

/* What some keys may be; of the others anything of the type will do. */
struct limits {
    const char *name;
    uint64_t least, most;
    const char *takes;
};

static const struct limits all_limits[] = {
    {"instance", 0, 0, "at most 64 of the characters A-Z a-z 0-9 . _ - and neither . nor - first"},
    {"journal_keep", 0, 1000, "a number from 0 to 1000"},
    {"max_workers", 1, 100000, "a number from 1 to 100000"},
    {"records", 2, 65536, "a number from 2 to 65536"},
    {"time_limit", 1000000, 86400 * UINT64_C(1000000000),
     "a time such as 500ms or 2s, at least 1ms and at most a day, or 0 for none"},
    {"memory_limit", UINT64_C(1) << 20, UINT64_C(1) << 40, "a size such as 32M or 1G, at least 1M"},
};

static const struct limits *limits_of(const char *name)
{
    for (size_t i = 0; i < sizeof all_limits / sizeof *all_limits; i++)
        if (!strcmp(all_limits[i].name, name))
            return &all_limits[i];
    return NULL;
}

const char *fks_key_limits(const char *name)
{
    const struct limits *limits = limits_of(name);
    return limits ? limits->takes : NULL;
}

static bool in_range(const char *name, uint64_t number)
{
    const struct limits *limits = limits_of(name);
    return !limits || (number >= limits->least && number <= limits->most);
}

const char *fks_file_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static bool has_control(const char *text)
{
    for (const unsigned char *c = (const unsigned char *)text; *c; c++)
        if (*c < 0x20 || *c == 0x7f)
            return true;
    return false;
}

/* What may stand in a path, in JSON and in a metric's label without a second thought. */
bool fks_is_instance_character(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '_' || c == '-';
}

static bool is_instance(const char *text)
{
    size_t length = 0;
    while (fks_is_instance_character(text[length]))
        length++;
    return !text[length] && length <= FKS_INSTANCE_BYTES && text[0] != '.' && text[0] != '-';
}

int fks_read_text(const struct fks_reading *reading, void *out)
{
    char **text = out;
    bool instance = !strcmp(reading->name, "instance");
    if (has_control(reading->text) || (instance && !is_instance(reading->text)))
        return FORKSAFE_EINI;
    *text = strdup(reading->text);
    return *text ? 0 : FORKSAFE_ENOMEM;
}

int fks_read_path(const struct fks_reading *reading, void *out)
{
    char **path = out;
    const char *ini = reading->ini;
    bool absolute = reading->text[0] == '/' || !reading->text[0];
    if (has_control(reading->text))
        return FORKSAFE_EINI;
    int directory = absolute ? 0 : (int)(fks_file_name(ini) - ini);
    if (asprintf(path, "%.*s%s", directory, ini, reading->text) >= 0)
        return 0;
    *path = NULL;
    return FORKSAFE_ENOMEM;
}

int fks_read_list(const struct fks_reading *reading, void *out)
{
    static const char prefix[] = "forksafe.containers.";
    char **list = out;
    struct fks_span word;
    char *at = (char *)reading->text, *end = at + strlen(at);
    while (fks_next_word(&at, end, &word)) {
        size_t length = (size_t)(word.end - word.start);
        bool container =
            length > sizeof prefix - 1 && !memcmp(word.start, prefix, sizeof prefix - 1);
        if (!container && (length != 4 || memcmp(word.start, "auto", 4)))
            return FORKSAFE_EINI;
    }
    *list = strdup(reading->text);
    return *list ? 0 : FORKSAFE_ENOMEM;
}

int fks_read_bool(const struct fks_reading *reading, void *out)
{
    return fks_parse_bool(reading->text, out) ? 0 : FORKSAFE_EINI;
}

int fks_read_count(const struct fks_reading *reading, void *out)
{
    uint64_t number;
    if (!fks_parse_count(reading->text, &number) || !in_range(reading->name, number))
        return FORKSAFE_EINI;
    *(uint32_t *)out = (uint32_t)number;
    return 0;
}

int fks_read_size(const struct fks_reading *reading, void *out)
{
    uint64_t bytes;
    if (!fks_parse_size(reading->text, &bytes) || !in_range(reading->name, bytes))
        return FORKSAFE_EINI;
    *(uint64_t *)out = bytes;
    return 0;
}

int fks_read_time(const struct fks_reading *reading, void *out)
{
    uint64_t nanoseconds;
    if (!fks_parse_time(reading->text, &nanoseconds))
        return FORKSAFE_EINI;
    if (nanoseconds && !in_range(reading->name, nanoseconds))
        return FORKSAFE_EINI;
    *(uint64_t *)out = nanoseconds;
    return 0;
}

int fks_read_on_error(const struct fks_reading *reading, void *out)
{
    static const char *const words[] = {[FKS_ON_ERROR_LOG] = "log",
                                        [FKS_ON_ERROR_RETIRE_WORKER] = "retire_worker",
                                        [FKS_ON_ERROR_STOP_SERVER] = "stop_server",
                                        NULL};
    int choice;
    if (!fks_parse_choice(reading->text, words, &choice))
        return FORKSAFE_EINI;
    *(enum fks_on_error *)out = (enum fks_on_error)choice;
    return 0;
}

int fks_read_lua_libs(const struct fks_reading *reading, void *out)
{
    static const char *const words[] = {
        [FKS_LUA_LIBS_SAFE] = "safe", [FKS_LUA_LIBS_FULL] = "full", NULL};
    int choice;
    if (!fks_parse_choice(reading->text, words, &choice))
        return FORKSAFE_EINI;
    *(enum fks_lua_libs *)out = (enum fks_lua_libs)choice;
    return 0;
}

int fks_read_log_level(const struct fks_reading *reading, void *out)
{
    static const char *const words[] = {[FORKSAFE_LOG_DEBUG] = "debug",
                                        [FORKSAFE_LOG_INFO] = "info",
                                        [FORKSAFE_LOG_WARNING] = "warning",
                                        [FORKSAFE_LOG_ERROR] = "error",
                                        NULL};
    int choice;
    if (!fks_parse_choice(reading->text, words, &choice))
        return FORKSAFE_EINI;
    *(enum forksafe_log_level *)out = (enum forksafe_log_level)choice;
    return 0;
}
