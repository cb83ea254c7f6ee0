/* SPDX-License-Identifier: MIT
 *
 * A host that looks at itself: what every signal does, the masks, timers, the alternate stack,
 * descriptors and errno, before and after all that the library does (19_untouched_spec.lua).
 *
 *   quiet_host INI [INI of a reload]     prints what differs, and "looked N times"
 */
#include "host.h"

#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>

#define SIGNALS 65
#define FDS     64

struct state {
    struct sigaction actions[SIGNALS];
    sigset_t mask, pending;
    struct itimerval timers[3];
    stack_t stack;
    int flags[FDS]; /* 0: not open */
    mode_t umask;
    int error;
};

static int looks;

static void on_signal(int number)
{
    (void)number;
}

static void look(struct state *state)
{
    int errno_before = errno;
    memset(state, 0, sizeof *state);
    for (int i = 1; i < SIGNALS; i++)
        sigaction(i, NULL, &state->actions[i]);
    pthread_sigmask(SIG_SETMASK, NULL, &state->mask);
    sigpending(&state->pending);
    for (int i = 0; i < 3; i++)
        getitimer((__itimer_which_t)i, &state->timers[i]);
    sigaltstack(NULL, &state->stack);
    for (int fd = 0; fd < FDS; fd++) {
        struct stat info;
        state->flags[fd] = fstat(fd, &info) ? 0 : (int)info.st_ino | 1;
    }
    umask(state->umask = umask(0));
    state->error = errno_before;
    errno = errno_before;
}

static int compare(const char *when, const struct state *before)
{
    struct state after;
    int differs = 0;
    look(&after);
    looks++;
#define SAME(part)                                               \
    if (memcmp(&before->part, &after.part, sizeof after.part)) { \
        printf("%s: " #part " differs\n", when);                 \
        differs++;                                               \
    }
    for (int i = 1; i < SIGNALS; i++)
        if (before->actions[i].sa_handler != after.actions[i].sa_handler ||
            before->actions[i].sa_flags != after.actions[i].sa_flags) {
            printf("%s: the action of signal %d differs\n", when, i);
            differs++;
        }
    SAME(mask)
    SAME(pending)
    SAME(timers)
    /* NOLINTNEXTLINE(bugprone-suspicious-memory-comparison): look() cleared the gaps */
    SAME(stack)
    SAME(flags)
    SAME(umask)
    SAME(error)
    return differs;
}

/* What a host may have set up, so that the least touch shows. */
static void set_up(void)
{
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    static const int handled[] = {SIGUSR1, SIGCHLD, SIGALRM, SIGPROF, SIGVTALRM};
    static char room[65536];
    const stack_t stack = {.ss_sp = room, .ss_size = sizeof room};
    sigset_t blocked;
    for (size_t i = 0; i < sizeof handled / sizeof *handled; i++)
        sigaction(handled[i], &action, NULL);
    signal(SIGPIPE, SIG_IGN);
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGUSR2);
    sigaddset(&blocked, SIGRTMIN + 3);
    pthread_sigmask(SIG_SETMASK, &blocked, NULL);
    sigaltstack(&stack, NULL);
    umask(027);
}

int main(int argc, char **argv)
{
    struct state before;
    int differs, status = 0;
    if (argc < 2)
        return 2;
    set_up();
    errno = EXDEV;
    look(&before);
    if (host_open(argv[1]))
        return 2;
    errno = EXDEV; /* only an emit keeps it */
    differs = compare("after opening", &before);
    host_emit(FORKSAFE_MASTER_READY, FORKSAFE_ROLE_MASTER);
    differs += compare("after an event", &before);
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        errno = EXDEV;
        differs = compare("in a worker", &before);
        host_emit(FORKSAFE_WORKER_EXIT, FORKSAFE_ROLE_WORKER);
        differs += compare("in a worker at its end", &before);
        fflush(stdout);
        _exit(differs);
    }
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    errno = EXDEV;
    differs += compare("after a fork", &before);
    if (argc > 2)
        host_open(argv[2]);
    errno = EXDEV;
    differs += compare("after a reload", &before);
    printf("looked %d times\n", looks);
    return differs || status ? 1 : 0;
}
