/* SPDX-License-Identifier: MIT
 *
 * The server that `forksafe check` starts, until nothing of it is left (check.h). This process is
 * the subreaper: what daemonises, and what a parent leaves behind, becomes its child. Signals are
 * blocked and waited for, so that there are no handlers.
 */
#include "check.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define COUNT(list) (sizeof(list) / sizeof *(list))

/* How a server is asked to end: TERM; INT for those to whom TERM is a reload (uWSGI); then no more
 * asking. */
static const struct {
    int signal;
    unsigned milliseconds; /* that it may take */
} endings[] = {{SIGTERM, 4000}, {SIGINT, 4000}, {SIGKILL, 5000}};

enum { STEP = 50 };

static void fill_signals(sigset_t *set)
{
    static const int ours[] = {SIGCHLD, SIGINT, SIGTERM, SIGHUP};
    sigemptyset(set);
    for (size_t i = 0; i < COUNT(ours); i++)
        sigaddset(set, ours[i]);
}

/* --- starting --- */

/* In the child; `said` takes errno where there is no program to become. A process group of its own:
 * Apache sends TERM to all of it. And with that no terminal to read from. */
static void execute(char **command, const sigset_t *mask, pid_t parent, int said)
{
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent)
        _exit(127);
    setpgid(0, 0);
    sigprocmask(SIG_SETMASK, mask, NULL);
    int none = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (none >= 0 && dup2(none, STDIN_FILENO) >= 0 && dup2(STDERR_FILENO, STDOUT_FILENO) >= 0)
        execvp(command[0], command);
    int error = errno;
    (void)!write(said, &error, sizeof error);
    _exit(127);
}

/* 0, or the errno of exec. */
static int read_error(int from)
{
    int error = 0;
    ssize_t got;
    do
        got = read(from, &error, sizeof error);
    while (got < 0 && errno == EINTR);
    close(from);
    return got == (ssize_t)sizeof error ? error : 0;
}

int fks_server_start(struct fks_server *server, char **command, struct fks_error *error)
{
    sigset_t set, before;
    int said[2];
    *server = (struct fks_server){.command = command[0], .alone = true};
    signal(SIGCHLD, SIG_DFL);
    fill_signals(&set);
    sigprocmask(SIG_BLOCK, &set, &before);
    if (prctl(PR_SET_CHILD_SUBREAPER, 1) || pipe2(said, O_CLOEXEC))
        return fks_fail(error, FORKSAFE_ENOMEM, "%s cannot be started: %s", command[0],
                        strerror(errno));
    pid_t self = getpid();
    server->pid = fork();
    if (server->pid == 0)
        execute(command, &before, self, said[1]);
    int failed = errno;
    close(said[1]);
    if (server->pid > 0)
        failed = read_error(said[0]);
    else
        close(said[0]);
    server->alone = server->pid < 0;
    if (failed)
        return fks_fail(error, FORKSAFE_ENOENT, "%s cannot be started: %s", command[0],
                        strerror(failed));
    return 0;
}

/* --- watching --- */

static void reap(struct fks_server *server)
{
    int status;
    pid_t pid;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        if (pid != server->pid || server->ended)
            continue;
        server->ended = true;
        server->status = status;
    }
    server->alone = pid < 0 && errno == ECHILD;
}

static int list_processes(struct fks_server *server, struct fks_error *error)
{
    fks_doctor_finish(&server->at);
    server->at = (struct fks_doctor){.proc = opendir("/proc")};
    if (!server->at.proc)
        return fks_fail(error, FORKSAFE_EACCESS, "/proc cannot be read (%s): mount it",
                        strerror(errno));
    return fks_doctor_tree(&server->at, getpid(), error);
}

int fks_server_wait(struct fks_server *server, unsigned milliseconds, struct fks_error *error)
{
    const struct timespec time = {.tv_sec = milliseconds / 1000,
                                  .tv_nsec = milliseconds % 1000 * 1000000L};
    sigset_t set;
    fill_signals(&set);
    int signal = sigtimedwait(&set, NULL, &time);
    if (signal > 0 && signal != SIGCHLD)
        server->interrupted = signal;
    reap(server);
    return list_processes(server, error);
}

static const struct fks_doctor_process *find_parent(const struct fks_server *server, size_t process)
{
    const struct fks_doctor *at = &server->at;
    for (size_t i = 1; i < process; i++) /* [0] is this command; parents stand before children */
        if (at->processes[i].pid == at->processes[process].ppid)
            return &at->processes[i];
    return NULL;
}

bool fks_server_is_fork(const struct fks_server *server, size_t process)
{
    const struct fks_doctor_process *parent = find_parent(server, process);
    return parent && fks_doctor_is_fork(&server->at.processes[process], parent);
}

bool fks_server_forks(const struct fks_server *server, size_t process)
{
    const struct fks_doctor *at = &server->at;
    for (size_t i = process + 1; i < at->process_count; i++)
        if (at->processes[i].ppid == at->processes[process].pid &&
            fks_doctor_is_fork(&at->processes[i], &at->processes[process]))
            return true;
    return false;
}

/* --- ending --- */

static unsigned long long milliseconds_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (unsigned long long)now.tv_sec * 1000 + (unsigned long long)now.tv_nsec / 1000000;
}

/* To our children, which pass it on as they see fit; what they leave behind is our child next time.
 * To end by force, to all. `last` is who was asked before: nobody is asked twice. */
static void ask(const struct fks_server *server, int signal, struct fks_doctor *last)
{
    const struct fks_doctor *at = &server->at;
    for (size_t i = 1; i < at->process_count; i++) {
        const struct fks_doctor_process *one = &at->processes[i];
        bool asked = false;
        if (signal != SIGKILL && one->ppid != getpid())
            continue;
        for (size_t n = 1; n < last->process_count && !asked; n++)
            asked = last->processes[n].pid == one->pid && last->processes[n].ppid == one->ppid &&
                    last->processes[n].started == one->started;
        if (asked && signal != SIGKILL)
            continue;
        kill(one->pid, signal);
        kill(one->pid, SIGCONT);
    }
}

/* Returns whether nothing is left. */
static bool end_with(struct fks_server *server, int signal, unsigned milliseconds)
{
    unsigned long long until = milliseconds_now() + milliseconds;
    struct fks_doctor last = {0};
    while (!server->alone && milliseconds_now() < until) {
        ask(server, signal, &last);
        fks_doctor_finish(&last);
        last = server->at;
        server->at = (struct fks_doctor){0};
        if (fks_server_wait(server, STEP, NULL))
            break;
    }
    fks_doctor_finish(&last);
    return server->alone;
}

bool fks_server_end(struct fks_server *server)
{
    bool orderly = true;
    for (size_t i = 0; !server->alone && i < COUNT(endings); i++) {
        orderly = endings[i].signal != SIGKILL;
        (void)fks_server_wait(server, 0, NULL);
        (void)end_with(server, endings[i].signal, endings[i].milliseconds);
    }
    fks_doctor_finish(&server->at);
    server->at = (struct fks_doctor){0};
    return orderly;
}

void fks_server_pass_on(int number)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, number);
    signal(number, SIG_DFL);
    raise(number);
    sigprocmask(SIG_UNBLOCK, &set, NULL);
}

void fks_server_ending(const struct fks_server *server, char *out, size_t size)
{
    if (WIFSIGNALED(server->status))
        snprintf(out, size, "was ended by signal %d (%s)", WTERMSIG(server->status),
                 strsignal(WTERMSIG(server->status)));
    else
        snprintf(out, size, "exited with status %d", WEXITSTATUS(server->status));
}
