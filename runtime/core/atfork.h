/* SPDX-License-Identifier: MIT
 *
 * Fork points that no server offers: our own pthread_atfork handlers. POSIX runs them in fork()
 * only, not in vfork, posix_spawn or clone.
 */
#ifndef FKS_ATFORK_H
#define FKS_ATFORK_H

#include "forksafe/forksafe.h"

/* Master: registers the handlers, once a process life, if a fork point of the host asks for them,
 * and arms them for the calling process. Borrows host->is_master and host->data for good. */
void fks_atfork_arm(const struct forksafe_host *host);

#endif
