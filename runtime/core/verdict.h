/* SPDX-License-Identifier: MIT
 *
 * What a failed subscriber's on_error comes to: the one place that knows where a policy cannot be
 * followed. Any process; pure functions.
 */
#ifndef FKS_VERDICT_H
#define FKS_VERDICT_H

#include "config.h"
#include "forksafe/forksafe.h"

/* What the host is told after a failure at that event. `cannot`: FORKSAFE_CANNOT_* of the host. */
enum forksafe_verdict fks_verdict_of(enum fks_on_error on_error, enum forksafe_event event,
                                     uint32_t cannot);

/* Why the failure is no more than logged, where the policy asks for more: for the log; NULL: it is
 * followed. */
const char *fks_verdict_obstacle(enum fks_on_error on_error, enum forksafe_event event,
                                 uint32_t cannot);

#endif
