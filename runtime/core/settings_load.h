/* SPDX-License-Identifier: MIT
 *
 * What the parts of one load of settings share: its memory, its bounds and how it fails; and the
 * two formats that can be loaded. In the master and in the commands; one load at a time a struct.
 */
#ifndef FKS_SETTINGS_LOAD_H
#define FKS_SETTINGS_LOAD_H

#include <stddef.h>
#include <stdint.h>

#include "error.h"
#include "ini_reader.h"
#include "settings_store.h"

/* Bounds of one load: no honest ini comes near them, and a hostile one costs seconds and not the
 * server. */
#define FKS_LOAD_DEPTH         32           /* sections that use each other, one inside the other */
#define FKS_LOAD_CONTEXTS      1000         /* sections used in all */
#define FKS_LOAD_SUBSTITUTIONS (16u << 20)  /* %(name)s replaced in all */
#define FKS_LOAD_EXPANSION     (256u << 20) /* bytes of interpolated values in all */

/* Where a name was asked for: the key that has it; key NULL: it was given beside the ini. All
 * borrowed. */
struct fks_place {
    const char *file, *key;
    int line;
};

struct fks_load {
    struct fks_store *work; /* of the load; gone when it ends */
    struct fks_store *kept; /* of the result: what pairs call their file */
    struct fks_error *error;
    int depth;
    const struct fks_place
        *outermost; /* the first key that used another section; while depth > 0 */
    size_t contexts, substitutions, expansion;
};

/* "FILE:LINE: what", or "FILE: what" where line is 0. Returns FORKSAFE_EINI. The text never holds a
 * value. */
__attribute__((format(printf, 4, 5))) int fks_load_fail(struct fks_load *load, const char *file,
                                                        int line, const char *format, ...);

/* Returns FORKSAFE_ENOMEM. */
int fks_load_no_memory(struct fks_load *load, const char *file);

/* An ini of a load: what is in it, and what its %(name)s can see. */
struct fks_ini_file {
    struct fks_ini
        ini;          /* ini.defaults: here, __file__, [DEFAULT], and what the loading side added */
    const char *path; /* absolute, not resolved; in load->kept */
    const char *directory;                  /* where its relative `config:` names start */
    struct fks_dict *interpolated_defaults; /* made by fks_interpolate_defaults, once */
};

/* Reads the ini at the absolute path open_path. NULL on failure, which load->error tells and *code
 * says. Blocks. */
struct fks_ini_file *fks_ini_file_open(struct fks_load *load, const char *open_path, int *code);

/* Replaces %(name)s and %% in pair->value, as configparser's BasicInterpolation: names are looked
 * up in `section` (may be NULL), then in file->ini.defaults. *out is pair->value itself or a text
 * in load->work. Returns 0 or negative. */
int fks_interpolate(struct fks_load *load, const struct fks_ini_file *file,
                    const struct fks_dict *section, const struct fks_pair *pair, char **out);

/* The defaults, interpolated among themselves; made once for a file, so add to its defaults before.
 * Returns 0 or negative. */
int fks_interpolate_defaults(struct fks_load *load, struct fks_ini_file *file);

/* What a format gives: tables in load->work. */
struct fks_loaded {
    struct fks_dict *settings, *global_conf;
    struct fks_dict *forksafe; /* names without the prefix */
};

/* PasteDeploy: the application `app` of file, with the names that are given beside the ini. Returns
 * 0 or negative. */
int fks_load_paste(struct fks_load *load, struct fks_ini_file *file, const char *app,
                   struct fks_dict *global_conf, struct fks_loaded *out);

/* Whether the file is of forksafe's own format: it has [forksafe], and no section of an
 * application. */
bool fks_ini_is_own(const struct fks_ini *ini);

/* forksafe's own: [forksafe], [settings] and [DEFAULT]. Returns 0 or negative. */
int fks_load_own(struct fks_load *load, struct fks_ini_file *file, const struct fks_dict *options,
                 struct fks_loaded *out);

#endif
