/* SPDX-License-Identifier: MIT
 *
 * What the programs that measure a hook or a fork read before and after it.
 */
#ifndef BENCH_SPENT_H
#define BENCH_SPENT_H

#include <sys/resource.h>
#include <time.h>

/* Microseconds of the monotonic clock. */
static inline double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec * 1e6 + (double)time.tv_nsec / 1e3;
}

/* Minor faults of this process so far. */
static inline double faults(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)usage.ru_minflt;
}

#endif
