/* SPDX-License-Identifier: MIT
 *
 * A host with a thread in each lock of libc all the time (the table `uses`), while the main thread
 * forks: a fork that deadlocks, in the parent or in the child, is the failure
 * (18_threads_spec.lua). Each child runs its hooks, and ends by _exit.
 *
 *   busy_host FORKS INI [emit]     prints "N forks, M bad"
 *
 * With "emit" one more thread fires MasterReady all the time, and so is inside the library's own
 * lock at most forks.
 */
#include "host.h"

#include <dlfcn.h>
#include <errno.h>
#include <grp.h>
#include <iconv.h>
#include <libintl.h>
#include <locale.h>
#include <netdb.h>
#include <pthread.h>
#include <pwd.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <syslog.h>
#include <time.h>

#define CHILD_SECONDS  10u
#define LESS_THAN_MAIN 5
#define MOST_BAD       3 /* after so many it is clear, and each takes its time */

static atomic_bool over;

static void use_malloc(void)
{
    void *blocks[32];
    for (int i = 0; i < 32; i++)
        blocks[i] = malloc((size_t)i * 977 + 1);
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

/* main() has set it: one more would move the environment, in which others look without its lock. */
static void use_environment(void)
{
    setenv("BUSY_HOST", "1", 1);
    setenv("BUSY_HOST", "2", 1);
}

static void use_library(void)
{
    host_emit(FORKSAFE_MASTER_READY, FORKSAFE_ROLE_MASTER);
}

static void use_users(void)
{
    char text[4096];
    struct passwd user, *found;
    struct group group, *group_found;
    getpwnam_r("nobody", &user, text, sizeof text, &found);
    getgrnam_r("nogroup", &group, text, sizeof text, &group_found);
    setpwent();
    (void)getpwent();
    endpwent();
}

static void use_services(void)
{
    struct servent service, *found;
    struct protoent protocol, *protocol_found;
    char text[4096];
    getservbyname_r("http", "tcp", &service, text, sizeof text, &found);
    getprotobyname_r("udp", &protocol, text, sizeof text, &protocol_found);
}

extern int __cxa_atexit(void (*function)(void *), void *data, void *object);
extern void __cxa_finalize(void *object);

static void do_nothing(void *data)
{
    (void)data;
}

static void use_atexit(void)
{
    static char object; /* whose functions are taken out again */
    __cxa_atexit(do_nothing, NULL, &object);
    __cxa_finalize(&object);
}

static void use_random(void)
{
    srandom((unsigned)random());
    (void)rand();
}

static void use_iconv(void)
{
    iconv_t way = iconv_open("UTF-16LE", "ISO-8859-15");
    char in[] = "busy", out[32], *from = in, *to = out;
    size_t in_left = sizeof in, out_left = sizeof out;
    if (way == (iconv_t)-1)
        return;
    iconv(way, &from, &in_left, &to, &out_left);
    iconv_close(way);
}

static void use_messages(void)
{
    bindtextdomain("busy_host", "/nonexistent");
    (void)dgettext("busy_host", "busy");
}

static void *end_at_once(void *data)
{
    return data;
}

static void use_stacks(void)
{
    pthread_t thread;
    if (!pthread_create(&thread, NULL, end_at_once, NULL))
        pthread_join(thread, NULL);
}

static struct use {
    const char *name;
    void (*run)(void);
    atomic_ulong rounds;
} uses[] = {
    {"malloc", use_malloc, 0}, {"stdio", use_stdio, 0},
    {"tz", use_tz, 0},         {"dl", use_dl, 0},
    {"dns", use_resolver, 0},  {"syslog", use_syslog, 0},
    {"locale", use_locale, 0}, {"env", use_environment, 0},
    {"users", use_users, 0},   {"services", use_services, 0},
    {"atexit", use_atexit, 0}, {"random", use_random, 0},
    {"iconv", use_iconv, 0},   {"gettext", use_messages, 0},
    {"stacks", use_stacks, 0}, {"library", use_library, 0}, /* the last: only with "emit" */
};
#define USES (sizeof uses / sizeof *uses)

static void *be_busy(void *data)
{
    struct use *use = data;
    setpriority(PRIO_PROCESS, (id_t)gettid(), LESS_THAN_MAIN); /* which would wait for them all */
    while (!over) {
        use->run();
        use->rounds++;
    }
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

static int fork_child(void)
{
    pid_t pid = fork();
    if (pid == 0) {
        alarm(CHILD_SECONDS);
        host_emit(FORKSAFE_WORKER_EXIT, FORKSAFE_ROLE_WORKER);
        _exit(0);
    }
    return pid < 0 || !ends_well(pid);
}

int main(int argc, char **argv)
{
    pthread_t threads[USES];
    int forks = argc >= 3 ? atoi(argv[1]) : 0, bad = 0;
    size_t count = argc == 4 ? USES : USES - 1;
    if (!forks || host_open(argv[2])) {
        fprintf(stderr, "usage: busy_host FORKS INI [emit]\n");
        return 2;
    }
    setenv("BUSY_HOST", "0", 1);
    for (size_t i = 0; i < count; i++)
        if (pthread_create(&threads[i], NULL, be_busy, &uses[i]))
            return 2;
    for (int i = 0; i < forks && bad < MOST_BAD; i++)
        bad += fork_child();
    over = true;
    for (size_t i = 0; i < count; i++)
        pthread_join(threads[i], NULL);
    printf("%d forks, %d bad\n", forks, bad);
    for (size_t i = 0; i < count; i++)
        printf("%s %lu\n", uses[i].name, (unsigned long)uses[i].rounds);
    return bad ? 1 : 0;
}
