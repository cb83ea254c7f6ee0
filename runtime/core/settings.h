/* SPDX-License-Identifier: MIT
 *
 * registry.settings as the PasteDeploy loader gives it: one function reads it for hooks and for
 * `forksafe settings`. Runs in the master before the first fork, and in the commands. inih splits
 * the file; an ini_reader in front of it keeps the real text, and a second pass here interpolates
 * and follows `use`, `set` and `get`.
 */
#ifndef FKS_SETTINGS_H
#define FKS_SETTINGS_H

#include <stdbool.h>
#include <stddef.h>

#include "error.h"

struct fks_pair {
    char *name;       /* NUL-terminated UTF-8 */
    char *value;      /* NUL-terminated UTF-8 */
    const char *file; /* absolute path (not resolved) of the ini that has it; NULL where it comes
                         from no file */
    int line;         /* 1-based line of the key in that file; 0 where it has none */
};

struct fks_pairs {
    struct fks_pair *items; /* in the order in which the loader met them */
    size_t count;
};

/* forksafe's own format is what an ini has that has a section [forksafe] and no section of an
 * application: [forksafe] holds the forksafe.* keys, bare; [settings] is all of the application's
 * settings; both can refer to
 * %(here)s, %(__file__)s, options and [DEFAULT]; any other section is an error, and so is an #APP.
 * The grammar is the same. */
struct fks_settings {
    struct fks_pairs settings;    /* of the application as PasteDeploy's appconfig gives them (a
                                     pipeline has none); or [settings] */
    struct fks_pairs global_conf; /* here, __file__, [DEFAULT], `set`, options; with a forksafe ini
                                     the same without `set` */
    struct fks_pairs forksafe; /* the forksafe.* keys, with the prefix taken off. Of [app:x], where
                                  they also stand in settings (an application sees its own ini); of
                                  a pipeline, filter-app or filter-with those of the application
                                  inside, too; or [forksafe], which is not in settings */
    char *path; /* absolute path of the ini, as PasteDeploy's __file__ (not resolved) */
    char *
        real_path; /* the same with symbolic links resolved: what an instance's name is made from */
    char *app;     /* "main" unless INI#APP or `app` says otherwise */
    bool own_format; /* [forksafe] and [settings] instead of PasteDeploy's sections */
};

/* Loads `uri` ("INI" or "INI#APP", relative to the working directory; a path, not a URL). `app`
 * (may be NULL) wins over #APP. `options` (may be NULL) are NAME=VALUE pairs given beside the ini:
 * they join global_conf and interpolation. On success *out is the caller's, for
 * fks_settings_destroy. On failure *out is NULL and *error says file, and line where one is at
 * fault; never the value of a setting. Blocks on the file system. Returns 0, FORKSAFE_EINI,
 * FORKSAFE_EACCESS or FORKSAFE_ENOMEM. Rules: PasteDeploy's loader (paste.deploy.loadwsgi) and
 * Python's configparser, but that Python is not asked whether an egg, a module or a distribution is
 * there, and NUL bytes are refused. */
int fks_settings_load(struct fks_settings **out, const char *uri, const char *app,
                      const struct fks_pair *options, size_t option_count, struct fks_error *error);

/* NULL is harmless. */
void fks_settings_destroy(struct fks_settings *settings);

/* The value of `name`, borrowed; NULL where it is not set. */
const char *fks_pairs_get(const struct fks_pairs *pairs, const char *name);

/* PasteDeploy's converters' rules (pyramid.settings.asbool): true, yes, y, t, on, 1 in any case,
 * white space around it ignored; everything else, NULL too, is false. */
bool fks_asbool(const char *text);

#endif
