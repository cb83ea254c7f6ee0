/* SPDX-License-Identifier: MIT
 *
 * A plain program that forks: it does what its arguments say, one after another, knows nothing of
 * forksafe, and says the pids of the children that are workers (preload_spec.lua).
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#define MANY    64
#define THREADS 4
#define LARGEST 65536 /* bytes of a file that may not grow */

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

/* The same, behind a mask of its own. */
static void on_child_masked(int number)
{
    sigset_t set, before;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigprocmask(SIG_BLOCK, &set, &before);
    sigprocmask(SIG_SETMASK, &before, NULL);
    on_child(number);
}

/* Reaps in a signal handler from now on. */
static void handle(const char *argument, const char *how)
{
    struct sigaction action = {.sa_handler =
                                   strcmp(argument, "masked") ? on_child : on_child_masked,
                               .sa_flags = SA_RESTART};
    sigaction(SIGCHLD, &action, NULL);
}

static sigjmp_buf back;

static void on_alarm(int number)
{
    siglongjmp(back, 1);
}

/* Gives up a wait by leaving it: a time limit of the old kind. */
static void jump(const char *argument, const char *how)
{
    signal(SIGALRM, on_alarm);
    if (sigsetjmp(back, 1))
        return;
    ualarm(1000, 0);
    for (;;)
        pause();
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

/* A worker that waits for work by that call, until it is released. */
static void wait_by(const char *call, const char *how)
{
    int ends[2];
    char byte;
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends))
        fail("socketpair");
    pid_t pid = fork_or_fail();
    if (pid == 0) {
        struct iovec part = {&byte, 1};
        struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
        struct pollfd one = {.fd = ends[0], .events = POLLIN};
        close(ends[1]);
        if (!strcmp(call, "recvmsg"))
            (void)!recvmsg(ends[0], &message, 0);
        else if (!strcmp(call, "recvfrom"))
            recvfrom(ends[0], &byte, 1, 0, NULL, NULL);
        else if (!strcmp(call, "readv"))
            readv(ends[0], &part, 1);
        else
            ppoll(&one, 1, NULL, NULL);
        raise(SIGKILL);
    }
    close(ends[0]);
    say("worker", pid);
    usleep(300000); /* longer than it is held */
    close(ends[1]);
    waitpid(pid, NULL, 0);
}

static void *fork_once(void *barrier)
{
    pthread_barrier_wait(barrier);
    pid_t pid = fork_or_fail();
    if (pid == 0)
        exit(0);
    say("worker", pid);
    return NULL;
}

static void *idle(void *unused)
{
    for (;;)
        pause();
    return unused;
}

/* A thread that no signal disturbs. */
static void start_thread(const char *argument, const char *how)
{
    sigset_t all, before;
    pthread_t thread;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    if (pthread_create(&thread, NULL, idle, NULL))
        fail("pthread_create");
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

/* Threads that fork at the same time. */
static void fork_in_threads(const char *argument, const char *how)
{
    pthread_t threads[THREADS];
    pthread_barrier_t barrier;
    pthread_barrier_init(&barrier, NULL, THREADS);
    for (int i = 0; i < THREADS; i++)
        if (pthread_create(&threads[i], NULL, fork_once, &barrier))
            fail("pthread_create");
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
}

/* What descriptor 2 is from now on: nothing, a file that is read and written, a file that may not
 * grow, a pipe that nobody reads any more, or one that nobody empties. */
static void replace_stderr(const char *kind, const char *path)
{
    int ends[2];
    if (!strcmp(kind, "broken") || !strcmp(kind, "full")) {
        if (pipe(ends) || dup2(ends[1], STDERR_FILENO) < 0)
            _exit(94);
        close(ends[1]);
    } else {
        close(STDERR_FILENO);
    }
    if (!strcmp(kind, "file") && open(path, O_RDWR) != STDERR_FILENO)
        _exit(94);
    if (!strcmp(kind, "limited") &&
        (open(path, O_WRONLY) != STDERR_FILENO || lseek(STDERR_FILENO, 0, SEEK_END) != LARGEST ||
         setrlimit(RLIMIT_FSIZE, &(struct rlimit){LARGEST, LARGEST})))
        _exit(94);
    if (!strcmp(kind, "broken"))
        close(ends[0]);
    signal(SIGPIPE, SIG_DFL);
    fcntl(STDERR_FILENO, F_SETFL, O_NONBLOCK);
    while (!strcmp(kind, "full") && write(STDERR_FILENO, kind, 1) == 1)
        ;
    fcntl(STDERR_FILENO, F_SETFL, 0);
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
    {"workers", fork_workers},  {"release", release},     {"reap", reap},
    {"handle", handle},         {"jump", jump},           {"spin", spin},
    {"one_by_one", one_by_one}, {"system", run_system},   {"popen", run_popen},
    {"spawn", run_spawn},       {"execute", execute},     {"grandchild", grandchild},
    {"wait_by", wait_by},       {"thread", start_thread}, {"threads", fork_in_threads},
    {"stderr", replace_stderr}, {"ready", ready_worker},  {"listen", listen_somewhere},
    {"daemon", call_daemon},    {"daemonise", daemonise}, {"block", block},
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
