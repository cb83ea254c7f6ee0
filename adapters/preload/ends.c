/* SPDX-License-Identifier: MIT
 *
 * How processes end: ChildExit in the master for what it has reaped, WorkerExit and Shutdown where
 * exit() runs. Programs reap, and some exit, in signal handlers: no Lua runs there, unless the
 * handler interrupted nothing but a call that waits.
 */
#include "preload.h"

#include <errno.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <unistd.h>

#define ENDS 256 /* noted in signal handlers until they are told; more are not told */

/* Handlers add at the tail; whoever tells takes from the head. Both only rise. */
static struct end {
    pid_t pid;
    int status;
} ends[ENDS];
static _Atomic unsigned head, tail;

/* Whose handlers may reap, or end a process. */
static const int handled[] = {SIGCHLD, SIGTERM, SIGINT, SIGQUIT, SIGHUP, SIGUSR1, SIGUSR2, SIGALRM};

bool fks_end_interrupts(void)
{
    sigset_t now;
    if (fks_waiting || pthread_sigmask(SIG_BLOCK, NULL, &now))
        return false;
    for (size_t i = 0; i < sizeof handled / sizeof *handled; i++)
        if (sigismember(&now, handled[i]) == 1 && sigismember(&fks_here.blocked, handled[i]) != 1)
            return true;
    return false;
}

bool fks_end_is_noted(void)
{
    return atomic_load(&head) != atomic_load(&tail);
}

void fks_end_forget(void)
{
    atomic_store(&head, atomic_load(&tail));
}

void fks_end_note(pid_t pid, int status)
{
    if (!fks_is_here() || (!WIFEXITED(status) && !WIFSIGNALED(status)))
        return;
    if (fks_here.standing == FKS_CANDIDATE)
        fks_lineage_forget(pid);
    else if (fks_here.standing != FKS_MASTER)
        return;
    unsigned at = atomic_load(&tail);
    do {
        if (at - atomic_load(&head) >= ENDS)
            return;
    } while (!atomic_compare_exchange_strong(&tail, &at, at + 1));
    ends[at % ENDS] = (struct end){pid, status};
    fks_attention = true;
    if (!fks_end_interrupts())
        fks_end_tell();
}

static void tell(const struct end *end)
{
    bool exited = WIFEXITED(end->status);
    fks_preload_emit(FORKSAFE_CHILD_EXIT, (struct forksafe_occasion){
                                              .child_pid = end->pid,
                                              .child_exit = exited ? WEXITSTATUS(end->status) : -1,
                                              .child_signal = exited ? 0 : WTERMSIG(end->status),
                                          });
}

void fks_end_tell(void)
{
    int saved = errno;
    fks_lineage_look();
    while (fks_end_is_noted()) {
        unsigned at = atomic_load(&head);
        struct end end = ends[at % ENDS];
        if (!atomic_compare_exchange_strong(&head, &at, at + 1))
            continue; /* another thread tells that one */
        if (fks_here.standing == FKS_MASTER)
            tell(&end);
    }
    fks_lineage_set_attention();
    errno = saved;
}

void fks_end_at_exit(void)
{
    if (!fks_is_here() || fks_end_interrupts())
        return;
    fks_lineage_show_work();
    if (fks_here.standing == FKS_CANDIDATE || fks_here.standing == FKS_MASTER)
        fks_end_tell();
    switch (fks_here.standing) {
    case FKS_CANDIDATE:
        fks_lineage_leave();
        return;
    case FKS_MASTER:
        fks_preload_emit(FORKSAFE_SHUTDOWN, (struct forksafe_occasion){0});
        return;
    case FKS_WORKER:
        fks_preload_emit(FORKSAFE_WORKER_EXIT, (struct forksafe_occasion){0});
        return;
    default:
        return;
    }
}
