/* SPDX-License-Identifier: MIT
 *
 * A host whose hook runs away each time: fires an event again and again in one process, counts how
 * often that came back, and looks at its memory, its signals and the clock (01_runaway_spec.lua).
 *
 *   runaway_host RUNS INI
 *
 * Prints "N runs, resident K KiB more, longest M us of its processor", then the debug object. Exit
 * status 1: a signal's action or the mask differs.
 */
#include "host.h"

#include <signal.h>
#include <stdlib.h>
#include <time.h>

#define FIRST_LOOK 20 /* runs before memory is looked at: what grows once has grown */

static void on_signal(int number)
{
    (void)number;
}

/* What the first signals of the search have: it must go past them. */
static void set_up(void)
{
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    sigaction(SIGRTMAX - 3, &action, NULL);
    signal(SIGRTMAX - 4, SIG_IGN);
}

/* As nginx has its signals in its children while it forks. */
static void block_all(void)
{
    sigset_t blocked;
    sigfillset(&blocked);
    pthread_sigmask(SIG_BLOCK, &blocked, NULL);
}

struct state {
    void (*handlers[65])(int);
    int flags[65];
    sigset_t mask, pending;
};

static void look(struct state *state)
{
    memset(state, 0, sizeof *state);
    for (int i = 1; i < 65; i++) {
        struct sigaction action;
        if (sigaction(i, NULL, &action))
            continue;
        state->handlers[i] = action.sa_handler;
        state->flags[i] = action.sa_flags;
    }
    pthread_sigmask(SIG_SETMASK, NULL, &state->mask);
    sigpending(&state->pending);
}

/* Tells what differs, and how much does. */
static int compare(const struct state *before, const struct state *after)
{
    int differs = 0;
    for (int i = 1; i < 65; i++) {
        if (before->handlers[i] == after->handlers[i] && before->flags[i] == after->flags[i])
            continue;
        fprintf(stderr, "the action of signal %d differs\n", i);
        differs++;
    }
    for (int i = 1; i < 65; i++) {
        if (sigismember(&before->mask, i) == sigismember(&after->mask, i) &&
            sigismember(&before->pending, i) == sigismember(&after->pending, i))
            continue;
        fprintf(stderr, "signal %d: blocked %d, pending %d\n", i, sigismember(&after->mask, i),
                sigismember(&after->pending, i));
        differs++;
    }
    return differs;
}

static long resident_kib(void)
{
    long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (!file || fscanf(file, "%*d %ld", &pages) != 1)
        exit(2);
    fclose(file);
    return pages * (sysconf(_SC_PAGESIZE) / 1024);
}

static long long microseconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return now.tv_sec * 1000000LL + now.tv_nsec / 1000;
}

int main(int argc, char **argv)
{
    static struct state before, after;
    int runs = argc == 3 ? atoi(argv[1]) : 0;
    long first = 0;
    int differs = 0;
    long long longest = 0;
    if (!runs || host_open(argv[2])) {
        fprintf(stderr, "usage: runaway_host RUNS INI\n");
        return 2;
    }
    set_up();
    look(&before);
    for (int i = 0; i < runs; i++) {
        if (i == runs / 2) {
            look(&after);
            differs = compare(&before, &after);
            block_all();
            look(&before);
        }
        long long start = microseconds();
        host_emit(FORKSAFE_WORKER_EXIT, FORKSAFE_ROLE_WORKER);
        long long took = microseconds() - start;
        longest = took > longest ? took : longest;
        if (i == FIRST_LOOK)
            first = resident_kib();
    }
    look(&after);
    printf("%d runs, resident %ld KiB more, longest %lld us of its processor\n", runs,
           resident_kib() - first, longest);
    char *json = forksafe_debug_json();
    puts(json ? json : "null");
    forksafe_free(json);
    return compare(&before, &after) || differs ? 1 : 0;
}
