/* SPDX-License-Identifier: MIT
 *
 * A host that does what hosts do at the wrong moment: it forks inside a hook, emits from a signal
 * handler, forks from one thread and reloads from one while another is inside. Says what came back,
 * and ends with the debug object on standard output. reentrancy_spec.lua has the hooks.
 *
 *   reentrancy_host fork|signal|late|thread|reload|inherit INI [INI of the reload]
 */
#include <forksafe/forksafe.h>

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static atomic_bool inside; /* a hook has logged "inside" */

/* dprintf allocates: not in a signal handler, and not in what one calls. */
static void write_text(const char *text, int length)
{
    if (write(STDERR_FILENO, text, (size_t)length) != length)
        abort();
}

static void write_log(void *data, enum forksafe_log_level level, const char *line)
{
    char text[4200];
    (void)data, (void)level;
    write_text(text, snprintf(text, sizeof text, "%d %s\n", (int)getpid(), line));
    if (strstr(line, " inside"))
        inside = true;
}

static int emit(enum forksafe_event event, enum forksafe_role role)
{
    const struct forksafe_occasion occasion = {
        .size = sizeof occasion, .role = role, .worker = 1, .child_pid = 77};
    return forksafe_emit(event, &occasion);
}

/* The names lie on the heap and are gone after the call: the library borrows them only for it. */
static int open_ini(const char *ini, int atfork)
{
    const struct forksafe_fork_point points[] = {
        {FORKSAFE_PRE_FORK, atfork, "pre_fork"},
        {FORKSAFE_POST_FORK, atfork, "post_fork"},
        {FORKSAFE_POST_WORKER_INIT, 0, "post_worker_init"},
        {FORKSAFE_WORKER_EXIT, 0, "worker_exit"},
        {FORKSAFE_CHILD_EXIT, 0, "child_exit"},
    };
    char *container = strdup("reentrancyhost");
    const struct forksafe_host host = {
        .size = sizeof host,
        .container = container,
        .environment = "a host",
        .ini = ini,
        .points = points,
        .point_count = sizeof points / sizeof *points,
        .worker_uid = (uid_t)-1,
        .worker_gid = (gid_t)-1,
        .log = write_log,
    };
    int result = forksafe_open(&host);
    memset(container, 'x', strlen(container));
    free(container);
    return result;
}

/* The hook of PostFork forks; both processes come back from the emit and go on. */
static void fork_inside(pid_t self)
{
    int verdict = emit(FORKSAFE_POST_FORK, FORKSAFE_ROLE_SINGLE);
    bool child = getpid() != self;
    dprintf(STDERR_FILENO, "%s came back with %d\n", child ? "child" : "parent", verdict);
    emit(FORKSAFE_WORKER_EXIT, FORKSAFE_ROLE_WORKER);
    if (child)
        _exit(0);
    wait(NULL);
}

static void on_signal(int number)
{
    char text[32];
    (void)number;
    int verdict = emit(FORKSAFE_CHILD_EXIT, FORKSAFE_ROLE_MASTER);
    write_text(text, snprintf(text, sizeof text, "handler: %d\n", verdict));
}

/* The hook of PostFork raises SIGUSR1. */
static void signal_inside(void)
{
    pid_t self = getpid();
    signal(SIGUSR1, on_signal);
    dprintf(STDERR_FILENO, "emit: %d\n", emit(FORKSAFE_POST_FORK, FORKSAFE_ROLE_SINGLE));
    if (getpid() != self)
        _exit(0);
    wait(NULL);
}

static void *raise_late(void *thread)
{
    for (int tries = 0; !inside && tries < 5000; tries++)
        usleep(1000);
    usleep(20000);
    pthread_kill(*(const pthread_t *)thread, SIGUSR1);
    return NULL;
}

/* SIGUSR1 comes while the hook of PostFork, which has said "inside", is in a long call. */
static void signal_late(void)
{
    pthread_t self = pthread_self(), other;
    signal(SIGUSR1, on_signal);
    if (pthread_create(&other, NULL, raise_late, &self))
        exit(1);
    dprintf(STDERR_FILENO, "emit: %d\n", emit(FORKSAFE_POST_FORK, FORKSAFE_ROLE_SINGLE));
    pthread_join(other, NULL);
}

static void *other_thread(void *nothing)
{
    (void)nothing;
    dprintf(STDERR_FILENO, "thread: %d\n", emit(FORKSAFE_POST_WORKER_INIT, FORKSAFE_ROLE_SINGLE));
    return NULL;
}

/* A thread that is in the hook of PostWorkerInit by now; it stays there for a while. */
static pthread_t start_inside(void)
{
    pthread_t thread;
    if (pthread_create(&thread, NULL, other_thread, NULL))
        exit(1);
    for (int tries = 0; !inside && tries < 5000; tries++)
        usleep(1000);
    return thread;
}

static void fork_beside(void)
{
    pthread_t thread = start_inside();
    pid_t pid = fork();
    if (pid == 0) {
        emit(FORKSAFE_WORKER_EXIT, FORKSAFE_ROLE_WORKER);
        _exit(0);
    }
    int status = 1;
    waitpid(pid, &status, 0);
    dprintf(STDERR_FILENO, "child ended with %d\n", status);
    pthread_join(thread, NULL);
    pid_t self = getpid();
    emit(FORKSAFE_WORKER_EXIT, FORKSAFE_ROLE_MASTER); /* its hook may fork */
    if (getpid() != self)
        _exit(0);
    while (wait(NULL) > 0)
        ;
}

static void reload_beside(const char *ini)
{
    pthread_t thread = start_inside();
    dprintf(STDERR_FILENO, "reload: %d\n", open_ini(ini, 0));
    pthread_join(thread, NULL);
    emit(FORKSAFE_WORKER_EXIT, FORKSAFE_ROLE_SINGLE);
}

/* A child opens what it inherited open. */
static void open_in_child(const char *ini)
{
    pid_t pid = fork();
    if (pid == 0) {
        dprintf(STDERR_FILENO, "child: %d\n", open_ini(ini, 0));
        emit(FORKSAFE_WORKER_EXIT, FORKSAFE_ROLE_WORKER);
        _exit(0);
    }
    waitpid(pid, NULL, 0);
    dprintf(STDERR_FILENO, "master: %d\n", open_ini(ini, 0));
}

int main(int argc, char **argv)
{
    if (argc < 3 || open_ini(argv[2], !strcmp(argv[1], "thread")))
        return 1;
    if (!strcmp(argv[1], "fork"))
        fork_inside(getpid());
    else if (!strcmp(argv[1], "signal"))
        signal_inside();
    else if (!strcmp(argv[1], "late"))
        signal_late();
    else if (!strcmp(argv[1], "thread"))
        fork_beside();
    else if (!strcmp(argv[1], "inherit"))
        open_in_child(argv[2]);
    else if (argc == 4)
        reload_beside(argv[3]);
    char *json = forksafe_debug_json();
    puts(json ? json : "null");
    forksafe_free(json);
    return 0;
}
