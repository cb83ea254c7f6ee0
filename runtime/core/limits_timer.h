/* SPDX-License-Identifier: MIT
 *
 * The timer of a run: a signal that nobody in this process uses, sent to the thread that runs. The
 * host's actions and masks are as before once it is given back.
 */
#ifndef FKS_LIMITS_TIMER_H
#define FKS_LIMITS_TIMER_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

struct fks_limits_timer {
    timer_t id;
    struct sigaction before;
    int signal;
    pid_t pid; /* whose it is: a child has none */
    bool was_blocked;
};

/* Makes the timer and points it at the calling thread; it is not set yet. `tick` runs as signal
 * handler, with `data` in info->si_value. Returns 0, or errno: where there is no timer, nothing was
 * changed. No allocation, no descriptor; any process. */
int fks_limits_timer_arm(struct fks_limits_timer *timer, void (*tick)(int, siginfo_t *, void *),
                         void *data);

/* One signal after `ns` from now (0: none). Async-signal-safe. */
void fks_limits_timer_set(const struct fks_limits_timer *timer, uint64_t ns);

/* Gives all back; no signal comes from here on. The thread that armed it, or its copy in a child.
 */
void fks_limits_timer_disarm(struct fks_limits_timer *timer);

/* Child: gives back what was inherited of another thread's timer, which is the action of its
 * signal. */
void fks_limits_timer_forget(int signal);

#endif
