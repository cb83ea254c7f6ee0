/* SPDX-License-Identifier: MIT
 *
 * The TARGET argument and --previous, the same for every command that reads journals: argp parsers
 * to be children of a command's own.
 */
#ifndef FKS_TARGET_OPTION_H
#define FKS_TARGET_OPTION_H

#include <argp.h>
#include <stdbool.h>

struct fks_target_option {
    const char *target; /* borrowed from argv; NULL: all that can be found */
    bool previous;
};

/* What a command's own parser needs: in its table of children, and in its function under
 * ARGP_KEY_INIT `state->child_inputs[0] = &options->where;`. */
extern const struct argp_child fks_target_child[];          /* TARGET */
extern const struct argp_child fks_target_previous_child[]; /* TARGET and --previous */

#endif
