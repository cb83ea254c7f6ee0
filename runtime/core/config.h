/* SPDX-License-Identifier: MIT
 *
 * The forksafe.* keys of an ini: one list gives the struct, the parser, the defaults and the
 * documentation. Read in the master, before the first fork; plain data afterwards.
 */
#ifndef FKS_CONFIG_H
#define FKS_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

#include "error.h"
#include "settings.h"

enum fks_on_error { FKS_ON_ERROR_LOG, FKS_ON_ERROR_RETIRE_WORKER, FKS_ON_ERROR_STOP_SERVER };
enum fks_lua_libs { FKS_LUA_LIBS_SAFE, FKS_LUA_LIBS_FULL };

/*  name           type       default      meaning. Types: path, text, list, bool, count, size
 * (bytes), time (ns), and the choices. */
/* clang-format off */
#define FKS_CONFIG_KEYS(X)                                                                         \
    X(scripts,       path,      "",        "directory of Lua scripts; none: no subscribers of ours")     \
    X(includes,      list,      "auto",    "container adapters: auto, or names such as forksafe.containers.uwsgi") \
    X(enabled,       bool,      "true",    "false, or FORKSAFE=off in the environment: every adapter is inert") \
    X(required,      bool,      "false",   "the server must not start without forksafe")            \
    X(instance,      text,      "",        "name in paths and JSON; none: the ini's name and a short hash of its real path") \
    X(runtime_dir,   path,      "",        "where journals live; none: the first of the list that can be had") \
    X(journal,       path,      "",        "a fixed path for the journal")                          \
    X(journal_keep,  count,     "3",       "journals of dead masters kept")                         \
    X(journal_group, text,      "",        "group that may read the journal; none: the workers' group") \
    X(max_workers,   count,     "1024",    "slots of the journal, 1 to 100000")                     \
    X(records,       count,     "32",      "records in each slot's ring, 2 to 65536")               \
    X(time_limit,    time,      "1s",      "a subscriber's CPU time (ms, s), ten times that is its wall time; 0: none") \
    X(memory_limit,  size,      "32M",     "memory of the Lua VM (K, M, G), at least 1M")           \
    X(lua_libs,      lua_libs,  "safe",    "safe or full")                                          \
    X(on_error,      on_error,  "log",     "log, retire_worker or stop_server")                     \
    X(audit,         bool,      "on",      "look for what is not safe to fork")                     \
    X(baseline,      path,      "",        "file of findings that are known: an id a line, * for any text; none: all are told") \
    X(log_level,     log_level, "info",    "debug, info, warning or error")                         \
    X(worker_script, path,      "",        "forksafe prefork only: Lua script that is the worker's work")
/* clang-format on */

typedef char *fks_config_path;
typedef char *fks_config_text;
typedef char *fks_config_list; /* as written; split on white space with fks_config_list_has */
typedef bool fks_config_bool;
typedef uint32_t fks_config_count;
typedef uint64_t fks_config_size;
typedef uint64_t fks_config_time;
typedef enum fks_on_error fks_config_on_error;
typedef enum fks_lua_libs fks_config_lua_libs;
typedef enum forksafe_log_level fks_config_log_level;

struct fks_config {
#define X(name, type, fallback, meaning) fks_config_##type name;
    FKS_CONFIG_KEYS(X)
#undef X
};

/* Reads settings->forksafe into *out. Paths that are not absolute start at the directory of the ini
 * that was loaded, whichever file has the key. `instance` is never empty afterwards: as given (at
 * most 64 of A-Z a-z 0-9 . _ - and neither . nor - first), or "<ini name without .ini, other
 * characters as
 * _>-<6 hex digits of a hash of the real path and, where it is not main, the app>".
 *
 * Wrong are: an unknown key (told with the nearest known one), a value that its key does not take,
 * and a forksafe.* key that PasteDeploy hides in global_conf. Each is one line with file and line
 * that says what would be right, and never has a value in it.
 *
 * Stops at the first of them: returns 0, FORKSAFE_EINI or FORKSAFE_ENOMEM; on success *out is for
 * fks_config_finish. */
int fks_config_init(struct fks_config *out, const struct fks_settings *settings,
                    struct fks_error *error);

/* The same, but each wrong key is told to `complain` (the error is borrowed; its code is
 * FORKSAFE_EINI), and the key has its default. Returns 0 or FORKSAFE_ENOMEM; on success *out is for
 * fks_config_finish. */
int fks_config_init_lenient(struct fks_config *out, const struct fks_settings *settings,
                            void (*complain)(const struct fks_error *error, void *data), void *data,
                            struct fks_error *error);

/* Frees what init allocated; a zeroed struct is harmless. */
void fks_config_finish(struct fks_config *config);

/* Whether the white-space separated list has the word. */
bool fks_config_list_has(const char *list, const char *word);

#endif
