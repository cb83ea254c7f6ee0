/* SPDX-License-Identifier: MIT
 *
 * Where hooks log in a host that has no log that we know: its standard error, as far as that is
 * one. Not stdio: its lock may be held by a thread that did not survive the fork. In the library,
 * and in the preloaded object, which has a line of its own where there is no library.
 */
#include "log_stderr.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define PATIENCE 100 /* ms: how long a line waits for a reader of standard error */

/* A server that closed its standard error has a file or a client of its own there. */
static bool takes_lines(const struct stat *info)
{
    struct sockaddr_storage name = {0};
    socklen_t size = sizeof name;
    int flags;
    switch (info->st_mode & S_IFMT) {
    case S_IFREG:
        flags = fcntl(STDERR_FILENO, F_GETFL);
        return (flags & O_ACCMODE) == O_WRONLY || flags & O_APPEND;
    case S_IFSOCK:
        return !getsockname(STDERR_FILENO, (struct sockaddr *)&name, &size) &&
               name.ss_family == AF_UNIX;
    default:
        return S_ISCHR(info->st_mode) || S_ISFIFO(info->st_mode);
    }
}

/* Whether a line goes out soon. Not poll(), which the preloaded object stands before. */
static bool has_room(void)
{
    struct pollfd out = {.fd = STDERR_FILENO, .events = POLLOUT};
    struct timespec patience = {.tv_nsec = PATIENCE * 1000000L};
    return syscall(SYS_ppoll, &out, 1, &patience, NULL, 0) == 1 && out.revents == POLLOUT;
}

/* Without the signals of a reader that has gone and of a file that has its largest size: they would
 * end the program. */
static void write_quietly(const struct iovec parts[2])
{
    static const struct timespec now;
    sigset_t ours, before, pending;
    int signal = 0;
    sigemptyset(&ours);
    sigaddset(&ours, SIGPIPE);
    sigaddset(&ours, SIGXFSZ);
    if (sigpending(&pending) || pthread_sigmask(SIG_BLOCK, &ours, &before))
        return;
    if (writev(STDERR_FILENO, parts, 2) < 0)
        signal = errno == EPIPE ? SIGPIPE : errno == EFBIG ? SIGXFSZ : 0;
    sigemptyset(&ours);
    if (signal && !sigismember(&pending, signal) && !sigaddset(&ours, signal))
        (void)sigtimedwait(&ours, NULL, &now);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
}

void fks_log_stderr(const char *line)
{
    const struct iovec parts[2] = {{(void *)line, strlen(line)}, {(void *)"\n", 1}};
    struct stat info;
    if (fstat(STDERR_FILENO, &info) || !takes_lines(&info))
        return;
    bool has_reader = S_ISFIFO(info.st_mode) || S_ISSOCK(info.st_mode);
    if (!has_reader || has_room())
        write_quietly(parts);
}
