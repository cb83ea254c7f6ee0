/* SPDX-License-Identifier: MIT
 *
 * The files of the page that `forksafe serve` shows (cli/page/), which the build puts into the
 * command: nothing is read from a disk.
 */
#ifndef FKS_SERVE_PAGE_H
#define FKS_SERVE_PAGE_H

#include <stddef.h>

/* The text of cli/page/NAME ("page.js"), static storage, *length bytes; NULL where there is none.
 */
const char *fks_page_file(const char *name, size_t *length);

#endif
