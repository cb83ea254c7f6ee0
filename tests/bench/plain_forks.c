/* SPDX-License-Identifier: MIT
 *
 * A program that knows nothing of forksafe and forks: what is preloaded into it counts. Argument:
 * how often. One line of JSON on standard output: microseconds from fork to reaped.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    long count = argc > 1 ? atol(argv[1]) : 0;
    struct timespec before, after;
    clock_gettime(CLOCK_MONOTONIC, &before);
    for (long i = 0; i < count; i++) {
        pid_t pid = fork();
        if (!pid)
            _exit(0);
        if (pid < 0 || waitpid(pid, NULL, 0) != pid)
            return 1;
    }
    clock_gettime(CLOCK_MONOTONIC, &after);
    double ns =
        (double)(after.tv_sec - before.tv_sec) * 1e9 + (double)(after.tv_nsec - before.tv_nsec);
    printf("{\"microseconds\": %.3f}\n", count ? ns / 1e3 / (double)count : 0);
    return 0;
}
