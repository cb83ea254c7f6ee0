/* SPDX-License-Identifier: MIT
 *
 * A host without memory: for each N a process of its own opens the library, fires its events, forks
 * and reloads while the Nth allocation fails (failing_memory.c is preloaded), until a run has fewer
 * than N. Then it has memory again, and must still be a host that works.
 *
 *   memory_host once|for-good STEP INI     every N up to 200, every STEPth after that
 *
 * Prints "clean at N, M runs" at the end; a run that died, hung or failed without a line is
 * printed, and the exit status is 1.
 */
#include "failing_memory.h"
#include "host.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/wait.h>

static __typeof__(&failing_memory_arm) arm;
static __typeof__(&failing_memory_disarm) disarm;

enum { CLEAN = 0, FAILED_WELL = 3, SILENT = 4, CHILD_DIED = 5 };

static int fork_worker(void)
{
    int status = 0;
    pid_t pid = fork();
    if (pid == 0) {
        host_emit(FORKSAFE_WORKER_EXIT, FORKSAFE_ROLE_WORKER);
        _exit(0);
    }
    while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    return status;
}

/* All that a server does with the library. Returns how it went. */
static int live(const char *ini, unsigned long at, bool for_good)
{
    arm(at, for_good);
    int opened = host_open(ini);
    host_emit(FORKSAFE_MASTER_READY, FORKSAFE_ROLE_MASTER);
    int status = fork_worker();
    forksafe_free(forksafe_debug_json());
    int reopened = host_open(ini);
    unsigned long calls = disarm();
    if (opened < 0 && !host_lines)
        return SILENT;
    if (status || fork_worker())
        return CHILD_DIED;
    if (opened < 0 && reopened < 0) /* with memory it starts after all, or goes on without hooks */
        host_open(ini);
    if (fork_worker())
        return CHILD_DIED;
    return calls < at ? CLEAN : FAILED_WELL;
}

static int run(const char *ini, unsigned long at, bool for_good)
{
    pid_t pid = fork();
    if (pid == 0) {
        alarm(20); /* of this process: a run that hangs is killed */
        _exit(live(ini, at, for_good));
    }
    int status;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (WIFEXITED(status) && (WEXITSTATUS(status) == CLEAN || WEXITSTATUS(status) == FAILED_WELL))
        return WEXITSTATUS(status);
    printf("N=%lu: %s %d\n", at, WIFEXITED(status) ? "exit" : "signal",
           WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status));
    return -1;
}

int main(int argc, char **argv)
{
    arm = (__typeof__(arm))dlsym(RTLD_DEFAULT, "failing_memory_arm");
    disarm = (__typeof__(disarm))dlsym(RTLD_DEFAULT, "failing_memory_disarm");
    if (argc != 4 || !arm || !disarm) {
        fprintf(stderr, "usage: LD_PRELOAD=failing_memory.so memory_host once|for-good STEP INI\n");
        return 2;
    }
    bool for_good = !strcmp(argv[1], "for-good");
    unsigned long step = strtoul(argv[2], NULL, 10), runs = 0, at;
    int bad = 0, result = -1;
    setvbuf(stdout, NULL, _IONBF, 0);
    for (at = 1; result != CLEAN && at < 1000000; at += at < 200 ? 1 : step) {
        result = run(argv[3], at, for_good);
        bad += result < 0;
        runs++;
    }
    printf("clean at %lu, %lu runs\n", at, runs);
    return bad ? 1 : 0;
}
