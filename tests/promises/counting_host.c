/* SPDX-License-Identifier: MIT
 *
 * A host that counts for itself what the library counts: children that run their events and end,
 * and children that fire one without end until they are killed at some moment
 * (10_counts_spec.lua).
 *
 *   counting_host FORKS KILLS INI    prints "asked A done D": events begun and ended by children
 */
#include "host.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>

static _Atomic unsigned long *counts; /* shared with the children: asked, done */

static void fire_once(void)
{
    counts[0]++;
    host_emit(FORKSAFE_WORKER_EXIT, FORKSAFE_ROLE_WORKER);
    counts[1]++;
}

static void reap(pid_t pid)
{
    int status = 0;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    const struct forksafe_occasion occasion = {
        .size = sizeof occasion,
        .role = FORKSAFE_ROLE_MASTER,
        .child_pid = pid,
        .child_exit = WIFEXITED(status) ? WEXITSTATUS(status) : -1,
        .child_signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0};
    forksafe_emit(FORKSAFE_CHILD_EXIT, &occasion);
}

static void end_by_itself(void)
{
    pid_t pid = fork();
    if (pid == 0) {
        fire_once();
        _exit(0);
    }
    reap(pid);
}

static void end_by_signal(void)
{
    pid_t pid = fork();
    if (pid == 0)
        for (;;)
            fire_once();
    const struct timespec moment = {.tv_nsec = rand() % 3000000};
    nanosleep(&moment, NULL);
    kill(pid, SIGKILL);
    reap(pid);
}

int main(int argc, char **argv)
{
    counts = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (argc != 4 || counts == MAP_FAILED || host_open(argv[3])) {
        fprintf(stderr, "usage: counting_host FORKS KILLS INI\n");
        return 2;
    }
    for (int i = 0, forks = atoi(argv[1]); i < forks; i++)
        end_by_itself();
    for (int i = 0, kills = atoi(argv[2]); i < kills; i++)
        end_by_signal();
    printf("asked %lu done %lu\n", counts[0], counts[1]);
    return 0;
}
