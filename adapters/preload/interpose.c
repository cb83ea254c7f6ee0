/* SPDX-License-Identifier: MIT
 *
 * The functions of libc that this object stands before, since programs show by them what a process
 * is: a session of its own, a program executed, a listening socket, a child reaped, a wait for
 * work, a jump out of a signal handler. Each goes on to libc's own, and none changes what it does.
 * Async-signal-safe where libc's is.
 */
#include "preload.h"

#include <alloca.h>
#include <dlfcn.h>
#include <errno.h>
#include <poll.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* One of libc's own. All are looked up before the program begins: dlsym() is not for signal
 * handlers. */
struct own {
    const char *name;
    void *function;
};

/* The linker's: all that REAL has made. */
extern struct own __start_fks_own[] __attribute__((visibility("hidden")));
extern struct own __stop_fks_own[] __attribute__((visibility("hidden")));

__attribute__((constructor)) static void look_up_own(void)
{
    /* cppcheck-suppress comparePointers */ /* both ends of one section */
    for (struct own *own = __start_fks_own; own < __stop_fks_own; own++)
        own->function = dlsym(RTLD_NEXT, own->name);
}

/* Other objects begin, and may call, before this one does. */
static void *find_own(struct own *own)
{
    if (__builtin_expect(!own->function, 0))
        own->function = dlsym(RTLD_NEXT, own->name);
    return own->function;
}

/* libc's own: `real`. */
#define REAL(type, name, parameters)                                                 \
    static struct own own __attribute__((section("fks_own"), used)) = {#name, NULL}; \
    type(*real) parameters = (type(*) parameters)find_own(&own)

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
    FORKSAFE_API type name parameters;             \
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
WAITING(ssize_t, recvfrom,
        (int fd, void *data, size_t size, int flags, __SOCKADDR_ARG peer, socklen_t *peer_size),
        (fd, data, size, flags, peer, peer_size))
WAITING(ssize_t, recvmsg, (int fd, struct msghdr *message, int flags), (fd, message, flags))
WAITING(ssize_t, readv, (int fd, const struct iovec *parts, int count), (fd, parts, count))
WAITING(int, poll, (struct pollfd * fds, nfds_t count, int limit), (fds, count, limit))
WAITING(int, ppoll,
        (struct pollfd * fds, nfds_t count, const struct timespec *limit, const sigset_t *mask),
        (fds, count, limit, mask))
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
WAITING(int, sigtimedwait, (const sigset_t *set, siginfo_t *info, const struct timespec *limit),
        (set, info, limit))
WAITING(unsigned, sleep, (unsigned seconds), (seconds))
WAITING(int, usleep, (useconds_t microseconds), (microseconds))
WAITING(int, nanosleep, (const struct timespec *time, struct timespec *left), (time, left))
WAITING(int, clock_nanosleep,
        (clockid_t clock, int flags, const struct timespec *time, struct timespec *left),
        (clock, flags, time, left))

WAITING(int, sem_wait, (sem_t * semaphore), (semaphore))
WAITING(int, sem_timedwait, (sem_t * semaphore, const struct timespec *until), (semaphore, until))
WAITING(int, sem_clockwait, (sem_t * semaphore, clockid_t clock, const struct timespec *until),
        (semaphore, clock, until))

/* What _FORTIFY_SOURCE makes of some: the size of the buffer is one argument more. */
WAITING(ssize_t, __read_chk, (int fd, void *data, size_t size, size_t room), (fd, data, size, room))
WAITING(ssize_t, __recv_chk, (int fd, void *data, size_t size, size_t room, int flags),
        (fd, data, size, room, flags))
WAITING(ssize_t, __recvfrom_chk,
        (int fd, void *data, size_t size, size_t room, int flags, __SOCKADDR_ARG peer,
         socklen_t *peer_size),
        (fd, data, size, room, flags, peer, peer_size))
WAITING(int, __poll_chk, (struct pollfd * fds, nfds_t count, int limit, size_t room),
        (fds, count, limit, room))
WAITING(int, __ppoll_chk,
        (struct pollfd * fds, nfds_t count, const struct timespec *limit, const sigset_t *mask,
         size_t room),
        (fds, count, limit, mask, room))

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
    if (result || options & WNOWAIT || end->si_pid <= 0)
        return result;
    if (end->si_code == CLD_EXITED || end->si_code == CLD_KILLED || end->si_code == CLD_DUMPED)
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

static void change_noted(int how, const sigset_t *set)
{
    if (how == SIG_SETMASK)
        fks_blocked = *set;
    for (int number = 1; number < NSIG && how != SIG_SETMASK; number++)
        if (sigismember(set, number) == 1)
            (void)(how == SIG_BLOCK ? sigaddset(&fks_blocked, number)
                                    : sigdelset(&fks_blocked, number));
}

/* `before`: the mask until now. What a handler blocks is not the program's to keep: it only takes
 * away. */
static void note_mask(int how, const sigset_t *set, const sigset_t *before)
{
    if (fks_here.standing == FKS_OUTSIDER || !fks_is_here())
        return;
    if (!fks_end_is_handler(before) || how == SIG_UNBLOCK)
        change_noted(how, set);
    else if (how == SIG_SETMASK)
        sigandset(&fks_blocked, &fks_blocked, set);
}

/* `set` and `before` may be the same. */
#define BLOCKING(name)                                                    \
    FORKSAFE_API int name(int how, const sigset_t *set, sigset_t *before) \
    {                                                                     \
        REAL(int, name, (int, const sigset_t *, sigset_t *));             \
        sigset_t wanted, own_before;                                      \
        if (set)                                                          \
            wanted = *set;                                                \
        if (!before)                                                      \
            before = &own_before;                                         \
        int result = real(how, set, before);                              \
        if (result == 0 && set)                                           \
            note_mask(how, &wanted, before);                              \
        return result;                                                    \
    }

BLOCKING(sigprocmask)
BLOCKING(pthread_sigmask)

/* --- calls that leave a signal handler by the side: the wait that it interrupted is over --- */

static void leave_frames(struct __jmp_buf_tag *to)
{
    sigset_t before;
    fks_waiting = false;
    if (to->__mask_was_saved && !pthread_sigmask(SIG_BLOCK, NULL, &before))
        note_mask(SIG_SETMASK, (const sigset_t *)&to->__saved_mask, &before);
}

#define JUMPING(name)                                                                        \
    FORKSAFE_API __attribute__((noreturn)) void name(struct __jmp_buf_tag to[1], int value); \
    FORKSAFE_API void name(struct __jmp_buf_tag to[1], int value)                            \
    {                                                                                        \
        REAL(void, name, (struct __jmp_buf_tag *, int));                                     \
        leave_frames(to);                                                                    \
        real(to, value);                                                                     \
        __builtin_unreachable();                                                             \
    }

JUMPING(longjmp)
JUMPING(_longjmp)
JUMPING(siglongjmp)
JUMPING(__longjmp_chk)

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
