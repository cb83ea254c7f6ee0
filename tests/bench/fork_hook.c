/* SPDX-License-Identifier: MIT
 *
 * What one PostFork hook costs in a fresh child: time and minor faults around the emit, and private
 * dirty memory of the child, each beside a child in which nothing is emitted. Arms are interleaved;
 * medians are printed as JSON. Arguments: INI ROUNDS.
 */
#include <forksafe/forksafe.h>

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "spent.h"

enum arm { BARE, HOOK, ARMS };

struct sample {
    double microseconds; /* around the emit, or around nothing */
    double lifetime;     /* from before fork to after wait, in the parent */
    double faults;
    double dirty_kb;
};

static const struct forksafe_fork_point points[] = {{FORKSAFE_PRE_FORK, 0, "pre_fork"},
                                                    {FORKSAFE_POST_FORK, 0, "post_fork"}};

static double private_dirty(void)
{
    char line[256];
    double kilobytes = 0;
    FILE *file = fopen("/proc/self/smaps_rollup", "re");
    while (file && fgets(line, sizeof line, file))
        if (sscanf(line, "Private_Dirty: %lf", &kilobytes) == 1)
            break;
    if (file)
        fclose(file);
    return kilobytes;
}

static void emit(enum forksafe_event event, int role)
{
    const struct forksafe_occasion occasion = {
        .size = sizeof occasion, .role = role, .worker = 1, .forked = event == FORKSAFE_POST_FORK};
    forksafe_emit(event, &occasion);
}

static void child(enum arm arm, struct sample *sample)
{
    (void)now(); /* the measuring's own pages */
    double faults_before = faults();
    double before = now();
    if (arm == HOOK)
        emit(FORKSAFE_POST_FORK, FORKSAFE_ROLE_WORKER);
    double after = now();
    sample->faults = faults() - faults_before;
    sample->microseconds = after - before;
    sample->dirty_kb = private_dirty();
    _exit(0);
}

static int compare(const void *left, const void *right)
{
    double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

static double median(const struct sample *samples, size_t count, size_t offset)
{
    double *values = malloc(count * sizeof *values);
    for (size_t i = 0; i < count; i++)
        memcpy(&values[i], (const char *)&samples[i] + offset, sizeof values[i]);
    qsort(values, count, sizeof *values, compare);
    double middle = values[count / 2];
    free(values);
    return middle;
}

static void print_arm(const char *name, const struct sample *samples, size_t count)
{
    printf("  \"%s\": {\"microseconds\": %.2f, \"fork_to_wait_microseconds\": %.1f, "
           "\"minor_faults\": %.0f, \"private_dirty_kb\": %.0f}",
           name, median(samples, count, offsetof(struct sample, microseconds)),
           median(samples, count, offsetof(struct sample, lifetime)),
           median(samples, count, offsetof(struct sample, faults)),
           median(samples, count, offsetof(struct sample, dirty_kb)));
}

/* The container's log, which is not ours to measure. */
static void drop_line(void *data, enum forksafe_log_level level, const char *line)
{
    (void)data;
    (void)level;
    (void)line;
}

int main(int argc, char **argv)
{
    size_t rounds = argc > 2 ? strtoul(argv[2], NULL, 10) : 0;
    if (argc != 3 || !rounds) {
        fprintf(stderr, "usage: fork_hook INI ROUNDS\n");
        return 2;
    }
    const struct forksafe_host host = {.size = sizeof host,
                                       .container = "bench",
                                       .environment = "bench",
                                       .ini = argv[1],
                                       .points = points,
                                       .point_count = 2,
                                       .worker_uid = (uid_t)-1,
                                       .worker_gid = (gid_t)-1,
                                       .log = drop_line};
    if (forksafe_open(&host))
        return 1;
    size_t size = ARMS * rounds * sizeof(struct sample);
    struct sample *samples =
        mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (samples == MAP_FAILED)
        return 1;
    memset(samples, 0, size);
    for (size_t round = 0; round < rounds; round++)
        for (int arm = 0; arm < ARMS; arm++) {
            struct sample *sample = &samples[(size_t)arm * rounds + round];
            emit(FORKSAFE_PRE_FORK, FORKSAFE_ROLE_MASTER);
            double before = now();
            pid_t pid = fork();
            if (!pid)
                child((enum arm)arm, sample);
            if (pid < 0 || waitpid(pid, NULL, 0) != pid)
                return 1;
            sample->lifetime = now() - before;
        }
    printf("{\n  \"rounds\": %zu,\n", rounds);
    print_arm("bare", samples, rounds);
    printf(",\n");
    print_arm("hook", samples + rounds, rounds);
    printf("\n}\n");
    return 0;
}
