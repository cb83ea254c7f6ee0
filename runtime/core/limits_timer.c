/* SPDX-License-Identifier: MIT
 *
 * Which signal, and what is done with it (limits_timer.h). Servers use SIGALRM, other runtimes the
 * low real-time signals: the search goes downward from the top, over what has an action already.
 */
#include "limits_timer.h"

#include <errno.h>
#include <stdatomic.h>
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
        sigaction(signal, &timer->before, NULL);
    }
    atomic_fetch_and(&taken, ~bit_of(signal));
    return false;
}

static void give_back(struct fks_limits_timer *timer)
{
    sigaction(timer->signal, &timer->before, NULL);
    atomic_fetch_and(&taken, ~bit_of(timer->signal));
    timer->armed = false;
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
        give_back(timer);
        return problem;
    }
    sigset_t ours_alone = set_of(signal), before;
    pthread_sigmask(SIG_UNBLOCK, &ours_alone, &before);
    timer->was_blocked = sigismember(&before, signal);
    timer->pid = getpid();
    timer->armed = true;
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
    if (!timer->armed)
        return;
    /* What is pending is delivered before this returns: the signal is this thread's, and unblocked.
     * After a jump out of the handler it is blocked. */
    sigset_t ours_alone = set_of(timer->signal);
    if (timer->pid == getpid())
        timer_delete(timer->id);
    give_back(timer);
    if (timer->was_blocked)
        pthread_sigmask(SIG_BLOCK, &ours_alone, NULL);
}

void fks_limits_timer_forget(struct fks_limits_timer *timer)
{
    if (timer->armed)
        give_back(timer);
}
