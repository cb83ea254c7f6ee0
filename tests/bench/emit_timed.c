/* SPDX-License-Identifier: MIT
 *
 * Time and minor faults around forksafe_emit, for a process that is not in C: python_host.py calls
 * it through ctypes, so that none of Python's own is in the figure. Any process.
 */
#include <forksafe/forksafe.h>

#include "spent.h"

/* The container's log, which is not ours to measure. */
void drop_line(void *data, enum forksafe_log_level level, const char *line);

void drop_line(void *data, enum forksafe_log_level level, const char *line)
{
    (void)data;
    (void)level;
    (void)line;
}

/* Emits PostFork `count` times; microseconds of each into figures[0], minor faults of all into
 * figures[1]. Returns the last verdict. */
int emit_timed(int count, double figures[2]);

int emit_timed(int count, double figures[2])
{
    const struct forksafe_occasion occasion = {
        .size = sizeof occasion, .role = FORKSAFE_ROLE_WORKER, .worker = 1, .forked = 1};
    int verdict = 0;
    (void)now(); /* the measuring's own pages */
    double faults_before = faults();
    double before = now();
    for (int i = 0; i < count; i++)
        verdict = forksafe_emit(FORKSAFE_POST_FORK, &occasion);
    double after = now();
    figures[0] = (after - before) / count;
    figures[1] = faults() - faults_before;
    return verdict;
}
