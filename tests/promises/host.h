/* SPDX-License-Identifier: MIT
 *
 * What the hosts of this folder share: opening the library as a small server does, with the fork
 * points of one, and firing its events. Lines go to standard error.
 */
#ifndef PROMISES_HOST_H
#define PROMISES_HOST_H

#include <forksafe/forksafe.h>

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static atomic_int host_lines; /* how many the library has logged in this process */

static void host_log(void *data, enum forksafe_log_level level, const char *line)
{
    (void)data, (void)level;
    host_lines++;
    (void)!write(STDERR_FILENO, line, strlen(line));
    (void)!write(STDERR_FILENO, "\n", 1);
}

static const struct forksafe_fork_point host_points[] = {
    {FORKSAFE_MASTER_READY, 0, "master_ready"}, {FORKSAFE_PRE_FORK, 1, "pre_fork"},
    {FORKSAFE_POST_FORK, 1, "post_fork"},       {FORKSAFE_WORKER_EXIT, 0, "worker_exit"},
    {FORKSAFE_CHILD_EXIT, 0, "child_exit"},
};

/* The library's own handlers fire PreFork and PostFork. */
static inline int host_open(const char *ini)
{
    const struct forksafe_host host = {
        .size = sizeof host,
        .container = "promises",
        .environment = "a host",
        .ini = ini,
        .points = host_points,
        .point_count = sizeof host_points / sizeof *host_points,
        .worker_uid = (uid_t)-1,
        .worker_gid = (gid_t)-1,
        .log = host_log,
    };
    return forksafe_open(&host);
}

static inline int host_emit(enum forksafe_event event, enum forksafe_role role)
{
    const struct forksafe_occasion occasion = {.size = sizeof occasion, .role = (int32_t)role};
    return forksafe_emit(event, &occasion);
}

#endif
