/* SPDX-License-Identifier: MIT
 *
 * What stands behind the ? of a request: which instance, and which part of its debug object. In the
 * serve process only.
 */
#ifndef FKS_SERVE_QUERY_H
#define FKS_SERVE_QUERY_H

#include <microhttpd.h>

#include "core/debug.h"

#define FKS_QUERY_PIDS 256 /* processes that a request can ask for */

struct fks_query {
    const char *instance;       /* NULL: none named; borrowed from the connection */
    struct fks_debug_view view; /* its pids are those below */
    int32_t pids[FKS_QUERY_PIDS];
};

/* Reads instance, records, records_from, records_to, keys and pids; others are let be. With pids
 * the view has no subscribers: it is what somebody asks for who knows the rest. Returns 0, or
 * FORKSAFE_EUSAGE with a line. */
int fks_query_read(struct fks_query *out, struct MHD_Connection *connection,
                   struct fks_error *error);

#endif
