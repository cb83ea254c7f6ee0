/* SPDX-License-Identifier: MIT
 *
 * The smallest host there is, built against an installed forksafe: opens the ini it is given, forks
 * one worker, and prints the debug object. Includes and links what pkg-config says, nothing of the
 * source tree.
 *
 *   installed_host INI
 */
#include <forksafe/forksafe.h>

#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

static int run_worker(void)
{
    const struct forksafe_occasion occasion = {
        .size = sizeof occasion, .role = FORKSAFE_ROLE_WORKER, .worker = 1, .forked = 1};
    return forksafe_emit(FORKSAFE_POST_FORK, &occasion);
}

static int open_ini(const char *ini)
{
    static const struct forksafe_fork_point points[] = {
        {.event = FORKSAFE_POST_FORK, .hook = "post_fork"},
    };
    const struct forksafe_host host = {
        .size = sizeof host,
        .container = "installedhost",
        .environment = "an installed host",
        .ini = ini,
        .points = points,
        .point_count = 1,
        .worker_uid = (uid_t)-1,
        .worker_gid = (gid_t)-1,
    };
    return forksafe_open(&host);
}

int main(int argc, char **argv)
{
    if (argc != 2 || open_ini(argv[1]))
        return 1;
    pid_t pid = fork();
    if (pid == 0)
        _exit(run_worker());
    int status = 1;
    waitpid(pid, &status, 0);
    char *json = forksafe_debug_json();
    printf("forksafe %s\n%s\n", forksafe_version(), json ? json : "no debug object");
    forksafe_free(json);
    return status != 0;
}
