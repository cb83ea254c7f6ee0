/* SPDX-License-Identifier: MIT
 *
 * The two halves of PasteDeploy's loader: sections (settings_paste.c) and the URIs that sections
 * use (settings_uri.c). In the master and in the commands.
 */
#ifndef FKS_SETTINGS_PASTE_H
#define FKS_SETTINGS_PASTE_H

#include "settings_load.h"

/* What a name stands for: an application or a filter. */
struct fks_paste_type;

/* What a section or a URI comes to: the two tables that a factory would be given. */
struct fks_context {
    struct fks_dict *global_conf, *local_conf;
    struct fks_context
        *application; /* what a pipeline, a filter-app or a filter-with is around; else NULL */
};

/* "FILE:LINE: KEY: what". Returns FORKSAFE_EINI. */
int fks_paste_fail(struct fks_load *load, const struct fks_place *place, const char *what);

/* NULL where memory is short; local_conf NULL: an empty one. */
struct fks_context *fks_context_create(struct fks_load *load, struct fks_dict *global_conf,
                                       struct fks_dict *local_conf);

/* The section `name` of file, or what `name` says if it is a URI (then file may be NULL: there is
 * nothing that a relative config: could start from), with all that it uses. Returns 0 or negative.
 */
int fks_context_get(struct fks_load *load, struct fks_ini_file *file,
                    const struct fks_paste_type *type, const char *name,
                    const struct fks_place *place, struct fks_dict *global_conf,
                    struct fks_context **out);

/* Length of the "SCHEME" of a URI; 0: it is a section's name. */
size_t fks_uri_scheme(const char *name);

/* The same for a URI, whose fks_uri_scheme is `scheme`. */
int fks_uri_context(struct fks_load *load, struct fks_ini_file *file,
                    const struct fks_paste_type *type, const char *uri, size_t scheme,
                    const struct fks_place *place, struct fks_dict *global_conf,
                    struct fks_context **out);

/* Gives file the defaults that it has not itself. Returns 0 or FORKSAFE_ENOMEM. */
int fks_ini_file_add_defaults(struct fks_load *load, struct fks_ini_file *file,
                              const struct fks_dict *defaults);

#endif
