/* SPDX-License-Identifier: MIT
 *
 * What other parts of the library may know of this process's set-up (forksafe.c has it).
 */
#ifndef FKS_INSTANCE_H
#define FKS_INSTANCE_H

#include <stddef.h>

#include "settings.h"

/* The application's settings; NULL where the library is not open. Borrowed until the next reload.
 */
const struct fks_settings *fks_instance_settings(void);

/* Keys of the ini and scripts that could not be used; 0 where the library is not open. */
size_t fks_instance_failed(void);

/* The journal of the next forksafe_open is made at `path`, whatever the ini says: for `forksafe
 * test`, which must not stand among the servers' journals. Copied. */
void fks_instance_journal(const char *path);

#endif
