/* SPDX-License-Identifier: MIT
 *
 * The breaker of crash loops (breaker.h). Runs in workers that are about to go, and leaves their
 * signals as they are: it only looks at which are pending.
 */
#include "breaker.h"

#include <signal.h>
#include <time.h>
#include <unistd.h>

#include "journal_private.h"
#include "log.h"

#define MILLISECOND UINT64_C(1000000)
#define FIRST       (100 * MILLISECOND)
#define LONGEST     (5000 * MILLISECOND)
#define QUIET       (10000 * MILLISECOND) /* after it a retirement is the first one again */
#define SLICE       (50 * MILLISECOND)

static uint64_t pause_after(uint64_t retirements)
{
    if (!retirements)
        return 0;
    return retirements < 7 ? FIRST << (retirements - 1) : LONGEST;
}

/* Two that come at the same time after a quiet while may both be the first. */
static uint64_t next_pause(struct forksafe_journal_header *header, uint64_t now)
{
    uint64_t until = FKS_LOAD(header->retire_until);
    if (now > until + QUIET)
        FKS_STORE(header->retire_streak, 0);
    uint64_t pause = pause_after(FKS_ADD(header->retire_streak, 1) - 1);
    while (until < now + pause && !FKS_CAS(header->retire_until, until, now + pause))
        ;
    return pause;
}

/* Servers whose workers keep these signals blocked while they start are not to wait for us. */
static bool is_asked_to_end(void)
{
    static const int asking[] = {SIGTERM, SIGINT, SIGQUIT};
    sigset_t pending;
    bool asked = false;
    if (sigpending(&pending))
        return false;
    for (size_t i = 0; i < sizeof asking / sizeof *asking; i++)
        asked |= sigismember(&pending, asking[i]) == 1;
    return asked;
}

static void wait_until(uint64_t end)
{
    const pid_t master = getppid();
    for (uint64_t now = fks_now(); now < end; now = fks_now()) {
        uint64_t slice = end - now < SLICE ? end - now : SLICE;
        if (is_asked_to_end() || getppid() != master ||
            nanosleep(&(struct timespec){.tv_nsec = (long)slice}, NULL))
            return;
    }
}

void fks_breaker_retire(struct fks_journal *journal)
{
    uint64_t now = fks_now(), pause = next_pause(journal->header, now);
    FKS_ADD(journal->header->retired, 1);
    fks_log(FORKSAFE_LOG_WARNING,
            "process %d retires in %llu.%llu s: a subscriber with on_error = retire_worker failed",
            (int)getpid(), (unsigned long long)(pause / 1000 / MILLISECOND),
            (unsigned long long)(pause / 100 / MILLISECOND % 10));
    wait_until(now + pause);
}

void fks_breaker_reset(struct fks_journal *journal)
{
    FKS_STORE(journal->header->retire_streak, 0);
    FKS_STORE(journal->header->retire_until, 0);
}
