/* SPDX-License-Identifier: MIT
 *
 * Takes the values of settings out of texts that leave us: error texts quote what a script had in
 * its hands.
 */
#ifndef FKS_SCRUB_H
#define FKS_SCRUB_H

#include <stddef.h>

#include "settings.h"

struct fks_scrub;

/* Collects what is secret: every value of the settings and of global_conf (each line of it, and the
 * password of a URL) of five bytes and more, but those of forksafe.* keys, `here` and `__file__`,
 * which are our own paths and names, and "false". Copies. NULL where memory is short. */
struct fks_scrub *fks_scrub_create(const struct fks_settings *settings);

/* NULL is harmless. */
void fks_scrub_destroy(struct fks_scrub *scrub);

/* Text that may be seen: what stands in it is no secret. */
void fks_scrub_allow(struct fks_scrub *scrub, const char *text);

/* One more secret, copied (an environment variable that a script has read). Returns 0, or -1 where
 * memory is short. */
int fks_scrub_add(struct fks_scrub *scrub, const char *name, const char *value);

/* Copies text into out (size bytes, NUL-terminated, cut texts end in "..."), each secret as
 * "<name>", longest first, a NUL as a space. Does not allocate. Returns the length. `scrub` NULL:
 * copies. */
size_t fks_scrub_text(const struct fks_scrub *scrub, const char *text, size_t length, char *out,
                      size_t size);

#endif
