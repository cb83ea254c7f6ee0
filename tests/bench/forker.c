/* SPDX-License-Identifier: MIT
 *
 * A small C program that forks, with nothing, an empty pthread_atfork handler, or forksafe in it;
 * what tests/bench/run.sh measures in C. One line of JSON on standard output: microseconds of each
 * thing measured, and the journal in which the hook's counter is. Arguments: MODE COUNT [INI].
 *
 *   bare, handler, hook  COUNT forks, from fork to reaped
 *   forks                COUNT forks as well, timed as one, without forksafe: what is preloaded
 * counts warm                 COUNT emits in this process, timed as one open                 opens
 * forksafe, COUNT times 0 crowd                COUNT children that stay, and what the hook took in
 * each
 */
#include <forksafe/forksafe.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec * 1e6 + (double)time.tv_nsec / 1e3;
}

/* The container's log, which is not ours to measure. */
static void drop_line(void *data, enum forksafe_log_level level, const char *line)
{
    (void)data;
    (void)level;
    (void)line;
}

static int open_forksafe(const char *ini, int atfork)
{
    const struct forksafe_fork_point points[] = {{FORKSAFE_PRE_FORK, atfork, "pre_fork"},
                                                 {FORKSAFE_POST_FORK, atfork, "post_fork"}};
    const struct forksafe_host host = {.size = sizeof host,
                                       .container = "bench",
                                       .environment = "bench",
                                       .ini = ini,
                                       .points = points,
                                       .point_count = 2,
                                       .worker_uid = (uid_t)-1,
                                       .worker_gid = (gid_t)-1,
                                       .log = drop_line};
    return forksafe_open(&host);
}

static void emit(enum forksafe_event event, int role, int worker)
{
    const struct forksafe_occasion occasion = {.size = sizeof occasion,
                                               .role = role,
                                               .worker = worker,
                                               .forked = event == FORKSAFE_POST_FORK};
    forksafe_emit(event, &occasion);
}

static void nothing(void)
{
}

static int fork_once(void)
{
    pid_t pid = fork();
    if (!pid)
        _exit(0);
    return pid > 0 && waitpid(pid, NULL, 0) == pid ? 0 : -1;
}

static int compare(const void *left, const void *right)
{
    double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

static double median(double *values, size_t count)
{
    qsort(values, count, sizeof *values, compare);
    return values[count / 2];
}

static double each_fork(size_t count)
{
    double *values = malloc(count * sizeof *values), begun;
    for (size_t i = 0; values && i < count; i++) {
        begun = now();
        if (fork_once())
            exit(1);
        values[i] = now() - begun;
    }
    double middle = values ? median(values, count) : 0;
    free(values);
    return middle;
}

static double warm(size_t count)
{
    emit(FORKSAFE_POST_FORK, FORKSAFE_ROLE_WORKER, 1);
    double begun = now();
    for (size_t i = 0; i < count; i++)
        emit(FORKSAFE_POST_FORK, FORKSAFE_ROLE_WORKER, 1);
    return (now() - begun) / (double)count;
}

/* Children stay until the pipe is closed. Prints the median of the last tenth (at least 1) of each
 * decade. */
static void crowd(size_t count)
{
    int stay[2];
    double *took =
        mmap(NULL, count * sizeof *took, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (took == MAP_FAILED || pipe(stay))
        exit(1);
    for (size_t i = 0; i < count; i++) {
        emit(FORKSAFE_PRE_FORK, FORKSAFE_ROLE_MASTER, 0);
        pid_t pid = fork();
        if (pid < 0)
            exit(1);
        if (pid)
            continue;
        close(stay[1]);
        double begun = now();
        emit(FORKSAFE_POST_FORK, FORKSAFE_ROLE_WORKER, (int)i + 1);
        took[i] = now() - begun;
        char byte;
        _exit((int)read(stay[0], &byte, 1));
    }
    close(stay[1]);
    while (wait(NULL) > 0)
        ;
    printf("\"crowd\": [");
    for (size_t size = 10; size <= count;
         size *= 10) /* sorting a part leaves the next ones alone */
        printf("%s[%zu, %.2f]", size > 10 ? ", " : "", size,
               median(&took[size - size / 10], size / 10));
    printf("], ");
}

int main(int argc, char **argv)
{
    const char *mode = argc > 2 ? argv[1] : "";
    size_t count = argc > 2 ? strtoul(argv[2], NULL, 10) : 0;
    double begun = now(), opened = 0, microseconds = 0;
    if (argc > 3) {
        if (open_forksafe(argv[3], !strcmp(mode, "hook")))
            return 1;
        opened = now() - begun;
    }
    printf("{");
    fflush(stdout);
    if (!strcmp(mode, "handler"))
        pthread_atfork(nothing, NULL, nothing);
    if (!strcmp(mode, "bare") || !strcmp(mode, "handler") || !strcmp(mode, "hook"))
        microseconds = each_fork(count);
    else if (!strcmp(mode, "warm"))
        microseconds = warm(count);
    else if (!strcmp(mode, "crowd"))
        crowd(count);
    else if (strcmp(mode, "open"))
        return 2;
    const char *journal = forksafe_journal_path();
    printf("\"microseconds\": %.3f, \"open_microseconds\": %.1f, \"journal\": \"%s\"}\n",
           microseconds, opened, journal ? journal : "");
    return 0;
}
