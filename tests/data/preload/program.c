/* SPDX-License-Identifier: MIT
 *
 * A plain program that forks: it does what its arguments say, one after another, knows nothing of
 * forksafe, and says the pids of the children that are workers (preload_spec.lua).
 */
#include <errno.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define MANY 64

extern char **environ;
extern int forksafe_ready(void) __attribute__((weak));

static pid_t children[MANY];
static int count;
static int held[2] = {-1, -1}; /* children read it: its end is theirs */

static void fail(const char *what)
{
    perror(what);
    exit(99);
}

static void say(const char *what, long number)
{
    char line[64];
    int length = snprintf(line, sizeof line, "%s %ld\n", what, number);
    if (write(STDOUT_FILENO, line, (size_t)length) != length)
        _exit(98);
}

static pid_t fork_or_fail(void)
{
    pid_t pid = fork();
    if (pid < 0)
        fail("fork");
    return pid;
}

static void wait_until_released(void)
{
    char byte;
    close(held[1]);
    while (read(held[0], &byte, 1) < 0 && errno == EINTR)
        ;
}

static void end_by(const char *how)
{
    if (!strcmp(how, "exit3"))
        exit(3);
    if (!strcmp(how, "_exit3"))
        _exit(3);
    if (!strcmp(how, "kill"))
        raise(SIGKILL);
    if (!strcmp(how, "segv")) {
        signal(SIGSEGV, SIG_DFL);
        raise(SIGSEGV);
    }
    exit(0);
}

/* --- what it can be told to do --- */

/* Forks that many workers at once; they live until they are released. */
static void fork_workers(const char *number, const char *how)
{
    if (held[0] < 0 && pipe(held))
        fail("pipe");
    for (int i = atoi(number); i > 0 && count < MANY; i--) {
        pid_t pid = fork_or_fail();
        if (pid == 0) {
            wait_until_released();
            end_by(how);
        }
        children[count++] = pid;
        say("worker", pid);
    }
}

static void release(const char *argument, const char *how)
{
    close(held[0]);
    close(held[1]);
    held[0] = held[1] = -1;
}

static void reap(const char *argument, const char *how)
{
    while (waitpid(-1, NULL, 0) > 0)
        ;
    count = 0;
}

static void on_child(int number)
{
    int saved = errno;
    while (waitpid(-1, NULL, WNOHANG) > 0)
        count--;
    errno = saved;
}

/* Reaps in a signal handler from now on. */
static void handle(const char *argument, const char *how)
{
    struct sigaction action = {.sa_handler = on_child, .sa_flags = SA_RESTART};
    sigaction(SIGCHLD, &action, NULL);
}

/* Works, without any call that waits, until the handler has reaped all. */
static void spin(const char *argument, const char *how)
{
    static const char line[] = "spun\n";
    for (volatile unsigned long turns = 0; *(volatile int *)&count > 0 && turns < 4000000000u;
         turns++)
        ;
    if (write(STDERR_FILENO, line, sizeof line - 1) < 0)
        fail("write");
}

static void one_by_one(const char *number, const char *how)
{
    for (int i = atoi(number); i > 0; i--) {
        pid_t pid = fork_or_fail();
        if (pid == 0)
            end_by(how);
        waitpid(pid, NULL, 0);
    }
}

static void run_system(const char *command, const char *how)
{
    say("system", system(command));
}

static void run_popen(const char *command, const char *how)
{
    FILE *stream = popen(command, "r");
    say("popen", stream ? pclose(stream) : -1);
}

static void run_spawn(const char *command, const char *how)
{
    char *argv[] = {(char *)command, NULL};
    pid_t pid;
    if (posix_spawnp(&pid, command, NULL, NULL, argv, environ))
        fail("posix_spawnp");
    waitpid(pid, NULL, 0);
}

/* A worker that becomes another program: `sleep 600`. */
static void execute(const char *argument, const char *how)
{
    pid_t pid = fork_or_fail();
    if (pid == 0) {
        execlp("sleep", "sleep", "600", (char *)NULL);
        _exit(97);
    }
    children[count++] = pid;
    say("executed", pid);
}

/* A worker that forks. */
static void grandchild(const char *argument, const char *how)
{
    pid_t pid = fork_or_fail();
    if (pid == 0) {
        pid_t own = fork_or_fail();
        if (own == 0)
            exit(0);
        waitpid(own, NULL, 0);
        exit(0);
    }
    say("worker", pid);
    waitpid(pid, NULL, 0);
}

static void ready_worker(const char *argument, const char *how)
{
    pid_t pid = fork_or_fail();
    if (pid == 0) {
        say("ready", forksafe_ready ? forksafe_ready() : -1);
        exit(0);
    }
    say("worker", pid);
    waitpid(pid, NULL, 0);
}

static void call_daemon(const char *argument, const char *how)
{
    if (daemon(1, 1))
        fail("daemon");
    say("daemon", getpid());
}

/* By hand: the child goes on in a session of its own; `wait`: the parent waits to hear of it. */
static void daemonise(const char *argument, const char *how)
{
    int heard[2];
    char byte = 0;
    if (pipe(heard))
        fail("pipe");
    if (fork_or_fail()) {
        close(heard[1]);
        if (!strcmp(argument, "wait") && read(heard[0], &byte, 1) < 0)
            _exit(96);
        _exit(0);
    }
    close(heard[0]);
    setsid();
    usleep(1000); /* a parent that waits is still there */
    if (!strcmp(argument, "twice") && fork_or_fail())
        _exit(0);
    close(heard[1]);
    say("daemon", getpid());
}

static void listen_somewhere(const char *argument, const char *how)
{
    if (listen(socket(AF_INET, SOCK_STREAM, 0), 1)) /* the kernel finds a port */
        fail("listen");
}

/* As a program does that hears of its children by sigwait() or signalfd(). */
static void block(const char *argument, const char *how)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigaddset(&set, SIGTERM);
    sigprocmask(SIG_BLOCK, &set, NULL);
}

static void do_sleep(const char *milliseconds, const char *how)
{
    usleep((useconds_t)atoi(milliseconds) * 1000);
}

static const struct {
    const char *name;
    void (*run)(const char *argument, const char *how);
} steps[] = {
    {"workers", fork_workers},
    {"release", release},
    {"reap", reap},
    {"handle", handle},
    {"spin", spin},
    {"one_by_one", one_by_one},
    {"system", run_system},
    {"popen", run_popen},
    {"spawn", run_spawn},
    {"execute", execute},
    {"grandchild", grandchild},
    {"ready", ready_worker},
    {"listen", listen_somewhere},
    {"daemon", call_daemon},
    {"daemonise", daemonise},
    {"block", block},
    {"sleep", do_sleep},
};

/* STEP[:ARGUMENT[:HOW]] ... */
int main(int argc, char **argv)
{
    say("program", getpid());
    for (int i = 1; i < argc; i++) {
        char *name = strtok(argv[i], ":"), *argument = strtok(NULL, ":"), *how = strtok(NULL, "");
        size_t at = 0;
        while (at < sizeof steps / sizeof *steps && strcmp(steps[at].name, name))
            at++;
        if (at == sizeof steps / sizeof *steps)
            return 95;
        steps[at].run(argument ? argument : "", how ? how : "");
    }
    return 0;
}
