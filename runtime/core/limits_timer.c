/* SPDX-License-Identifier: MIT
 *
 * Which signal, and what is done with it (limits_timer.h). Servers use SIGALRM, other runtimes the
 * low real-time signals: the search goes downward from the top, over what has an action already.
 */
#include "limits_timer.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define HIGHEST (SIGRTMAX - 3)

#ifndef sigev_notify_thread_id
#define sigev_notify_thread_id _sigev_un._tid
#endif

/* A bit for each signal that a run of ours uses now: two threads do not take the same. */
static _Atomic uint64_t taken;

static uint64_t bit_of(int signal)
{
    return UINT64_C(1) << (signal - 1);
}

static bool is_free(const struct sigaction *action)
{
    return !(action->sa_flags & SA_SIGINFO) && action->sa_handler == SIG_DFL;
}

/* What the kernel has: libc's sigaction() would add a flag of its own to the host's action. */
static void restore_action(int signal, const struct sigaction *action)
{
    struct {
        void *handler;
        unsigned long flags;
        void (*restorer)(void);
        uint64_t mask;
    } kernel = {.handler = (void *)(uintptr_t)action->sa_handler,
                .flags = (unsigned)action->sa_flags,
                .restorer = action->sa_restorer};
    memcpy(&kernel.mask, &action->sa_mask, sizeof kernel.mask);
    syscall(SYS_rt_sigaction, signal, &kernel, NULL, sizeof kernel.mask);
}

/* Takes the signal if nobody has it, with our action. */
static bool take(struct fks_limits_timer *timer, int signal, const struct sigaction *ours)
{
    if (atomic_fetch_or(&taken, bit_of(signal)) & bit_of(signal))
        return false;
    if (!sigaction(signal, ours, &timer->before)) {
        if (is_free(&timer->before)) {
            timer->signal = signal;
            return true;
        }
        restore_action(signal, &timer->before);
    }
    atomic_fetch_and(&taken, ~bit_of(signal));
    return false;
}

static void give_back(int signal, const struct sigaction *before)
{
    restore_action(signal, before);
    atomic_fetch_and(&taken, ~bit_of(signal));
}

static sigset_t set_of(int signal)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, signal);
    return set;
}

int fks_limits_timer_arm(struct fks_limits_timer *timer, void (*tick)(int, siginfo_t *, void *),
                         void *data)
{
    struct sigaction ours = {.sa_sigaction = tick,
                             .sa_flags = SA_SIGINFO | SA_RESTART | SA_ONSTACK};
    int signal = HIGHEST;
    while (signal >= SIGRTMIN && !take(timer, signal, &ours))
        signal--;
    if (signal < SIGRTMIN)
        return EBUSY;
    struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID,
                             .sigev_signo = signal,
                             .sigev_value.sival_ptr = data,
                             .sigev_notify_thread_id = gettid()};
    if (timer_create(CLOCK_MONOTONIC, &event, &timer->id)) {
        int problem = errno;
        give_back(signal, &timer->before);
        return problem;
    }
    sigset_t ours_alone = set_of(signal), before;
    pthread_sigmask(SIG_UNBLOCK, &ours_alone, &before);
    timer->was_blocked = sigismember(&before, signal);
    timer->pid = getpid();
    return 0;
}

void fks_limits_timer_set(const struct fks_limits_timer *timer, uint64_t ns)
{
    const struct itimerspec after = {
        .it_value = {.tv_sec = (time_t)(ns / 1000000000u), .tv_nsec = (long)(ns % 1000000000u)}};
    timer_settime(timer->id, 0, &after, NULL);
}

void fks_limits_timer_disarm(struct fks_limits_timer *timer)
{
    sigset_t ours_alone = set_of(timer->signal);
    if (timer->pid == getpid())
        timer_delete(timer->id);
    /* After a jump out of the handler the signal is blocked, and may be pending: to ignore it drops
     * it, before the default action could meet it. */
    signal(timer->signal, SIG_IGN);
    give_back(timer->signal, &timer->before);
    pthread_sigmask(timer->was_blocked ? SIG_BLOCK : SIG_UNBLOCK, &ours_alone, NULL);
}

void fks_limits_timer_forget(int signal)
{
    give_back(signal, &(struct sigaction){.sa_handler = SIG_DFL});
}
