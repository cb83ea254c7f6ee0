/* SPDX-License-Identifier: MIT
 *
 * A host with eight threads that are in every lock of libc all the time (malloc, stdio, time zones,
 * dlopen, the resolver, syslog, locales, the environment), while the main thread forks: a fork that
 * deadlocks, in the parent or in the child, is the failure (18_threads_spec.lua). Each child runs
 * its hooks, and ends by _exit.
 *
 *   busy_host FORKS INI     prints "N forks, M bad"
 */
#include "host.h"

#include <dlfcn.h>
#include <errno.h>
#include <locale.h>
#include <netdb.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <syslog.h>
#include <time.h>

#define CHILD_SECONDS 10u
#define MOST_BAD      3 /* after so many it is clear, and each takes its time */

static atomic_bool over;

static void use_malloc(void)
{
    void *blocks[32];
    for (int i = 0; i < 32; i++)
        blocks[i] = malloc((size_t)(i * 977 + 1));
    for (int i = 0; i < 32; i++)
        free(blocks[i]);
}

static void use_stdio(void)
{
    FILE *file = fopen("/dev/null", "w");
    if (!file)
        return;
    fprintf(file, "%d %s %f\n", 1, "x", 1.5);
    fclose(file);
    fprintf(stdout, "%s", "");
    fflush(NULL);
}

static void use_tz(void)
{
    time_t now = time(NULL);
    struct tm parts;
    tzset();
    localtime_r(&now, &parts);
    (void)!mktime(&parts);
}

static void use_dl(void)
{
    void *handle = dlopen("libm.so.6", RTLD_NOW);
    if (!handle)
        return;
    (void)dlsym(handle, "cos");
    dlclose(handle);
}

static void use_resolver(void)
{
    struct addrinfo *found = NULL, hints = {.ai_flags = AI_NUMERICSERV};
    if (getaddrinfo("localhost", "80", &hints, &found) == 0)
        freeaddrinfo(found);
}

static void use_syslog(void)
{
    openlog("busy_host", 0, LOG_USER);
    syslog(LOG_DEBUG, "busy");
    closelog();
}

static void use_locale(void)
{
    locale_t locale = newlocale(LC_ALL_MASK, "C.UTF-8", (locale_t)0);
    if (locale)
        freelocale(locale);
    setlocale(LC_ALL, "C");
}

static void use_environment(void)
{
    setenv("BUSY_HOST", "1", 1);
    unsetenv("BUSY_HOST");
}

static void (*const uses[])(void) = {use_malloc,   use_stdio,  use_tz,     use_dl,
                                     use_resolver, use_syslog, use_locale, use_environment};

static void *be_busy(void *use)
{
    while (!over)
        (*(void (*const *)(void))use)();
    return NULL;
}

/* Waits for a child that must end with 0; alarm() ends one that hangs. */
static bool ends_well(pid_t pid)
{
    int status;
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            return false;
    if (status)
        printf("a child ended with status %x\n", (unsigned)status);
    return status == 0;
}

int main(int argc, char **argv)
{
    pthread_t threads[sizeof uses / sizeof *uses];
    int forks = argc == 3 ? atoi(argv[1]) : 0, bad = 0;
    if (!forks || host_open(argv[2])) {
        fprintf(stderr, "usage: busy_host FORKS INI\n");
        return 2;
    }
    for (size_t i = 0; i < sizeof uses / sizeof *uses; i++)
        if (pthread_create(&threads[i], NULL, be_busy, (void *)&uses[i]))
            return 2;
    for (int i = 0; i < forks && bad < MOST_BAD; i++) {
        pid_t pid = fork();
        if (pid == 0) {
            alarm(CHILD_SECONDS);
            host_emit(FORKSAFE_WORKER_EXIT, FORKSAFE_ROLE_WORKER);
            _exit(0);
        }
        bad += pid < 0 || !ends_well(pid);
    }
    over = true;
    for (size_t i = 0; i < sizeof uses / sizeof *uses; i++)
        pthread_join(threads[i], NULL);
    printf("%d forks, %d bad\n", forks, bad);
    return bad ? 1 : 0;
}
