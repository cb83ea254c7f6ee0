/* SPDX-License-Identifier: MIT
 *
 * How processes end: ChildExit in the master for what it has reaped, WorkerExit and Shutdown where
 * exit() runs. Programs reap, and some exit, in signal handlers: no Lua runs there, unless the
 * handler interrupted nothing but a call that waits.
 */
#include "preload.h"

#include <errno.h>
#include <limits.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <unistd.h>

#define ENDS 256 /* noted in signal handlers until they are told; more are not told */

/* Handlers add at the tail, one thread at a time takes from the head. Both only rise. */
static struct end {
    _Atomic pid_t pid; /* 0: nothing here, or not yet */
    int status;
} ends[ENDS];
static _Atomic unsigned head, tail;
static atomic_flag telling = ATOMIC_FLAG_INIT;

#define STANDARD (~0UL >> (sizeof(long) * CHAR_BIT - SIGSYS)) /* signals 1 to SIGSYS of a set */

/* The sets' first words as they are: sigismember(), for each signal, lies on a page of libc that a
 * child which just ends would touch for nothing else. */
bool fks_end_is_handler(const sigset_t *now)
{
    return (now->__val[0] & ~fks_blocked.__val[0] & STANDARD) != 0;
}

bool fks_end_interrupts(void)
{
    sigset_t now;
    if (fks_preload_is_inside())
        return true;
    return !fks_waiting && !pthread_sigmask(SIG_BLOCK, NULL, &now) && fks_end_is_handler(&now);
}

bool fks_end_is_noted(void)
{
    return atomic_load(&head) != atomic_load(&tail);
}

void fks_end_forget(void)
{
    for (unsigned at = atomic_load(&head); at != atomic_load(&tail); at++)
        atomic_store(&ends[at % ENDS].pid, 0);
    atomic_store(&head, atomic_load(&tail));
    atomic_flag_clear(&telling);
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
    ends[at % ENDS].status = status;
    atomic_store(&ends[at % ENDS].pid, pid);
    fks_attention = true;
    if (!fks_end_interrupts())
        fks_end_tell();
}

/* False: there is none, or another thread is noting it right now. */
static bool take(pid_t *pid, int *status)
{
    unsigned at = atomic_load(&head);
    struct end *next = &ends[at % ENDS];
    if (at == atomic_load(&tail))
        return false;
    *pid = atomic_exchange(&next->pid, 0);
    if (!*pid)
        return false;
    *status = next->status;
    atomic_store(&head, at + 1);
    return true;
}

static void tell(pid_t pid, int status)
{
    bool exited = WIFEXITED(status);
    fks_preload_emit(FORKSAFE_CHILD_EXIT, (struct forksafe_occasion){
                                              .child_pid = pid,
                                              .child_exit = exited ? WEXITSTATUS(status) : -1,
                                              .child_signal = exited ? 0 : WTERMSIG(status),
                                          });
}

void fks_end_tell(void)
{
    int saved = errno, status;
    pid_t pid;
    fks_lineage_look();
    if (!atomic_flag_test_and_set(&telling)) { /* else another thread tells all */
        while (take(&pid, &status))
            if (fks_here.standing == FKS_MASTER)
                tell(pid, status);
        atomic_flag_clear(&telling);
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
