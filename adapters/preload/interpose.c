/* SPDX-License-Identifier: MIT
 *
 * The functions of libc that this object stands before, since programs show by them what a process
 * is: a session of its own, a program executed, a listening socket, a child reaped, a wait for
 * work. Each goes on to libc's own, and none changes what it does. Async-signal-safe where libc's
 * is.
 */
#include "preload.h"

#include <alloca.h>
#include <dlfcn.h>
#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/single_threaded.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* libc's own, looked up once: `real`. */
#define REAL(type, name, parameters) \
    static type(*real) parameters;   \
    if (__builtin_expect(!real, 0))  \
    real = (type(*) parameters)dlsym(RTLD_NEXT, #name)

/* --- calls that wait --- */

/* A worker waits for work; a master has time for what it has put aside. */
static void pay_attention(void)
{
    int saved = errno;
    if (!fks_is_here() || fks_end_interrupts())
        return;
    fks_lineage_release();
    fks_lineage_show_work();
    if (fks_end_is_noted())
        fks_end_tell();
    errno = saved;
}

static inline bool begin_waiting(void)
{
    bool before = fks_waiting;
    if (__builtin_expect(fks_attention, 0))
        pay_attention();
    fks_waiting = true;
    return before;
}

static inline void end_waiting(bool before)
{
    fks_waiting = before;
    if (__builtin_expect(fks_attention, 0) && fks_end_is_noted())
        pay_attention();
}

#define WAITING(type, name, parameters, arguments) \
    FORKSAFE_API type name parameters              \
    {                                              \
        REAL(type, name, parameters);              \
        bool before = begin_waiting();             \
        type result = real arguments;              \
        end_waiting(before);                       \
        return result;                             \
    }

WAITING(int, accept, (int fd, __SOCKADDR_ARG peer, socklen_t *size), (fd, peer, size))
WAITING(int, accept4, (int fd, __SOCKADDR_ARG peer, socklen_t *size, int flags),
        (fd, peer, size, flags))
WAITING(ssize_t, read, (int fd, void *data, size_t size), (fd, data, size))
WAITING(ssize_t, recv, (int fd, void *data, size_t size, int flags), (fd, data, size, flags))
WAITING(int, poll, (struct pollfd * fds, nfds_t count, int limit), (fds, count, limit))
WAITING(int, select, (int count, fd_set *in, fd_set *out, fd_set *other, struct timeval *limit),
        (count, in, out, other, limit))
WAITING(int, pselect,
        (int count, fd_set *in, fd_set *out, fd_set *other, const struct timespec *limit,
         const sigset_t *mask),
        (count, in, out, other, limit, mask))
WAITING(int, epoll_wait, (int fd, struct epoll_event *events, int count, int limit),
        (fd, events, count, limit))
WAITING(int, epoll_pwait,
        (int fd, struct epoll_event *events, int count, int limit, const sigset_t *mask),
        (fd, events, count, limit, mask))
WAITING(int, pause, (void), ())
WAITING(int, sigsuspend, (const sigset_t *mask), (mask))
WAITING(int, sigwait, (const sigset_t *set, int *number), (set, number))
WAITING(int, sigwaitinfo, (const sigset_t *set, siginfo_t *info), (set, info))
WAITING(unsigned, sleep, (unsigned seconds), (seconds))
WAITING(int, usleep, (useconds_t microseconds), (microseconds))
WAITING(int, nanosleep, (const struct timespec *time, struct timespec *left), (time, left))
WAITING(int, clock_nanosleep,
        (clockid_t clock, int flags, const struct timespec *time, struct timespec *left),
        (clock, flags, time, left))

/* --- calls that reap --- */

/* The status is wanted here even where the caller does not ask for it. */
#define REAPING(name, parameters, arguments) \
    FORKSAFE_API pid_t name parameters       \
    {                                        \
        REAL(pid_t, name, parameters);       \
        int own_status = 0;                  \
        if (!status)                         \
            status = &own_status;            \
        bool before = begin_waiting();       \
        pid_t reaped = real arguments;       \
        end_waiting(before);                 \
        if (reaped > 0)                      \
            fks_end_note(reaped, *status);   \
        return reaped;                       \
    }

REAPING(wait, (int *status), (status))
REAPING(waitpid, (pid_t pid, int *status, int options), (pid, status, options))
REAPING(wait3, (int *status, int options, struct rusage *usage), (status, options, usage))
REAPING(wait4, (pid_t pid, int *status, int options, struct rusage *usage),
        (pid, status, options, usage))

static int status_of(const siginfo_t *end)
{
    return end->si_code == CLD_EXITED ? W_EXITCODE(end->si_status, 0) : end->si_status;
}

FORKSAFE_API int waitid(idtype_t type, id_t id, siginfo_t *end, int options)
{
    REAL(int, waitid, (idtype_t, id_t, siginfo_t *, int));
    siginfo_t own_end = {0};
    if (!end)
        end = &own_end;
    bool before = begin_waiting();
    int result = real(type, id, end, options);
    end_waiting(before);
    bool ended =
        end->si_code == CLD_EXITED || end->si_code == CLD_KILLED || end->si_code == CLD_DUMPED;
    if (result == 0 && end->si_pid > 0 && ended && !(options & WNOWAIT))
        fks_end_note(end->si_pid, status_of(end));
    return result;
}

/* --- calls of daemons --- */

FORKSAFE_API pid_t setsid(void)
{
    REAL(pid_t, setsid, (void));
    fks_lineage_show_session();
    return real();
}

FORKSAFE_API int daemon(int nochdir, int noclose)
{
    REAL(int, daemon, (int, int));
    fks_here.in_daemon_call = true;
    int result = real(nochdir, noclose);
    fks_here.in_daemon_call = false;
    return result;
}

FORKSAFE_API int listen(int fd, int backlog)
{
    REAL(int, listen, (int, int));
    int result = real(fd, backlog);
    if (result == 0 && fks_is_here())
        fks_here.listened = true;
    return result;
}

/* --- calls that block signals: what is blocked beside these is so in a handler --- */

static void note_mask(int how, const sigset_t *set)
{
    sigset_t *blocked = &fks_here.blocked;
    if (!set || !fks_is_here() || !__libc_single_threaded) /* a thread's mask is its own */
        return;
    if (how == SIG_SETMASK)
        *blocked = *set;
    for (int number = 1; number < NSIG && how != SIG_SETMASK; number++)
        if (sigismember(set, number) == 1)
            (void)(how == SIG_BLOCK ? sigaddset(blocked, number) : sigdelset(blocked, number));
}

#define BLOCKING(name)                                                    \
    FORKSAFE_API int name(int how, const sigset_t *set, sigset_t *before) \
    {                                                                     \
        REAL(int, name, (int, const sigset_t *, sigset_t *));             \
        int result = real(how, set, before);                              \
        if (result == 0)                                                  \
            note_mask(how, set);                                          \
        return result;                                                    \
    }

BLOCKING(sigprocmask)
BLOCKING(pthread_sigmask)

/* --- calls that end a process, but for exit(), whose handlers know it --- */

static void end_at_once(void)
{
    if (!fks_is_here() || fks_end_interrupts())
        return;
    fks_lineage_show_work();
    fks_lineage_leave();
}

FORKSAFE_API void _exit(int status)
{
    REAL(void, _exit, (int));
    end_at_once();
    real(status);
    __builtin_unreachable();
}

FORKSAFE_API void _Exit(int status)
{
    _exit(status);
}

/* --- calls that execute a program --- */

static int failed(int result)
{
    int saved = errno;
    fks_lineage_execute_failed();
    errno = saved;
    return result;
}

#define EXECUTING(name, parameters, arguments) \
    FORKSAFE_API int name parameters           \
    {                                          \
        REAL(int, name, parameters);           \
        fks_lineage_execute();                 \
        return failed(real arguments);         \
    }

EXECUTING(execve, (const char *path, char *const argv[], char *const envp[]), (path, argv, envp))
EXECUTING(execv, (const char *path, char *const argv[]), (path, argv))
EXECUTING(execvp, (const char *file, char *const argv[]), (file, argv))
EXECUTING(execvpe, (const char *file, char *const argv[], char *const envp[]), (file, argv, envp))
EXECUTING(fexecve, (int fd, char *const argv[], char *const envp[]), (fd, argv, envp))

/* The arguments of the three that have a list become `argv`; `next` stands behind their NULL. */
#define ARGUMENTS(first)                              \
    va_list next, counting;                           \
    size_t count = 1;                                 \
    va_start(next, first);                            \
    va_copy(counting, next);                          \
    while (va_arg(counting, char *))                  \
        count++;                                      \
    va_end(counting);                                 \
    char **argv = alloca((count + 1) * sizeof *argv); \
    argv[0] = (char *)(first);                        \
    for (size_t i = 1; i <= count; i++)               \
    argv[i] = va_arg(next, char *)

FORKSAFE_API int execl(const char *path, const char *argument, ...)
{
    ARGUMENTS(argument); /* cppcheck-suppress allocaCalled ; as much as libc itself takes here */
    va_end(next);
    return execv(path, argv);
}

FORKSAFE_API int execlp(const char *file, const char *argument, ...)
{
    ARGUMENTS(argument); /* cppcheck-suppress allocaCalled ; as much as libc itself takes here */
    va_end(next);
    return execvp(file, argv);
}

FORKSAFE_API int execle(const char *path, const char *argument, ...)
{
    ARGUMENTS(argument); /* cppcheck-suppress allocaCalled ; as much as libc itself takes here */
    char *const *envp = va_arg(next, char *const *);
    va_end(next);
    return execve(path, argv, envp);
}
