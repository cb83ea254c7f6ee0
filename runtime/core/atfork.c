/* SPDX-License-Identifier: MIT
 *
 * The prepare handler fires PreFork in the master, the child handler PostFork in the worker, for
 * hosts whose adapters say so. Everything here may run while other threads of the host hold any
 * lock: nothing waits.
 */
#include "atfork.h"

#include <pthread.h>
#include <unistd.h>

#include "bridge/bridge.h"
#include "dispatch.h"

static struct {
    bool pre_fork, post_fork;
    bool (*is_master)(void *data);
    void *data;
    pid_t master;
} armed;

static bool forks_a_worker(void)
{
    return getpid() == armed.master && (!armed.is_master || armed.is_master(armed.data));
}

/* Set by prepare, read in the child: the child's own answer would be another. Of the thread, since
 * two may fork at a time; with the initial-exec model, whose first use allocates nothing. */
static _Thread_local bool in_worker_fork __attribute__((tls_model("initial-exec")));
static _Thread_local bool deferred __attribute__((tls_model("initial-exec"))); /* to Python */

static void fire_post_fork(bool may_wait)
{
    const struct forksafe_occasion occasion = {
        .size = sizeof occasion, .role = FORKSAFE_ROLE_WORKER, .forked = 1};
    fks_dispatch_emit(FORKSAFE_POST_FORK, &occasion, may_wait);
}

/* Called by Python at the end of its own repair in the child. */
static void deferred_child(void)
{
    if (!deferred)
        return;
    deferred = false;
    fire_post_fork(true);
}

static void prepare(void)
{
    in_worker_fork = armed.master && forks_a_worker();
    deferred = in_worker_fork && armed.post_fork && fks_python_defers_fork(deferred_child);
    if (!in_worker_fork || !armed.pre_fork)
        return;
    const struct forksafe_occasion occasion = {.size = sizeof occasion,
                                               .role = FORKSAFE_ROLE_MASTER};
    fks_dispatch_emit(FORKSAFE_PRE_FORK, &occasion, false);
}

static void child(void)
{
    if (in_worker_fork && armed.post_fork && !deferred)
        fire_post_fork(false);
}

void fks_atfork_arm(const struct forksafe_host *host)
{
    static bool registered;
    for (uint32_t i = 0; i < host->point_count; i++) {
        if (!host->points[i].atfork)
            continue;
        armed.pre_fork |= host->points[i].event == FORKSAFE_PRE_FORK;
        armed.post_fork |= host->points[i].event == FORKSAFE_POST_FORK;
    }
    armed.is_master = host->is_master;
    armed.data = host->data;
    armed.master = getpid();
    /* Once: a handler cannot be taken back, and libforksafe.so is linked -z nodelete for its sake.
     */
    if (!registered && (armed.pre_fork || armed.post_fork))
        registered = !pthread_atfork(prepare, NULL, child);
}
