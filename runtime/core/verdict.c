/* SPDX-License-Identifier: MIT
 *
 * What a failed subscriber's on_error comes to (verdict.h).
 */
#include "verdict.h"

#include <stddef.h>

/* Where there is a worker to be replaced. A worker that is at its end already needs no verdict. */
static const bool has_worker[FORKSAFE_EVENT_COUNT] = {
    [FORKSAFE_POST_FORK] = true,
    [FORKSAFE_POST_WORKER_INIT] = true,
    [FORKSAFE_WORKER_EXIT] = true,
};

const char *fks_verdict_obstacle(enum fks_on_error on_error, enum forksafe_event event,
                                 uint32_t cannot)
{
    if (on_error == FKS_ON_ERROR_RETIRE_WORKER && !has_worker[event])
        return "this event is not in a worker";
    if (on_error == FKS_ON_ERROR_RETIRE_WORKER && cannot & FORKSAFE_CANNOT_RETIRE)
        return "this server cannot replace a worker";
    if (on_error == FKS_ON_ERROR_STOP_SERVER && cannot & FORKSAFE_CANNOT_STOP)
        return "this server cannot be stopped by a hook";
    return NULL;
}

enum forksafe_verdict fks_verdict_of(enum fks_on_error on_error, enum forksafe_event event,
                                     uint32_t cannot)
{
    if (fks_verdict_obstacle(on_error, event, cannot))
        return FORKSAFE_OK;
    if (on_error == FKS_ON_ERROR_STOP_SERVER)
        return FORKSAFE_STOP;
    return on_error == FKS_ON_ERROR_RETIRE_WORKER && event != FORKSAFE_WORKER_EXIT ? FORKSAFE_RETIRE
                                                                                   : FORKSAFE_OK;
}
