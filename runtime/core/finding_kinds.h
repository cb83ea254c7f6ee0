/* SPDX-License-Identifier: MIT
 *
 * The one list of what can be unsafe to fork: name, severity, what is said about it and what to do.
 * The audit in the master, the readers of journals and `forksafe doctor` share it; the last is also
 * built alone, so nothing here needs the rest of the library.
 */
#ifndef FKS_FINDING_KINDS_H
#define FKS_FINDING_KINDS_H

#include <stddef.h>

#include "finding_rules.h"

enum fks_severity { FKS_SEVERITY_HIGH, FKS_SEVERITY_MEDIUM, FKS_SEVERITY_LOW, FKS_SEVERITIES };

/* How the link of a kernel object without a name begins in /proc/PID/fd. */
#define FKS_LINK_EPOLL    "anon_inode:[eventpoll]"
#define FKS_LINK_EVENTFD  "anon_inode:[eventfd"
#define FKS_LINK_TIMERFD  "anon_inode:[timerfd"
#define FKS_LINK_INOTIFY  "anon_inode:inotify"
#define FKS_LINK_IO_URING "anon_inode:[io_uring]"
#define FKS_LINK_SIGNALFD "anon_inode:[signalfd]"

/*  id, name, severity, subject, link, what, remedy, call, advice
 *
 *  subject  what tells two of one kind apart: a member of the JSON; NULL: all are one finding
 *  what     a sentence up to "in"; %s is the subject, fks_finding_what fills in the rest
 *  remedy   a line of postfork.lua that repairs it, %s is the subject; NULL: only the user can
 *  call     what the user's own repair may be called
 *  advice   what it has to do */
/* clang-format off */
#define FKS_FINDING_KINDS(X)                                                                        \
    X(CONNECTION, "shared-connection", HIGH, "peer", NULL,                                          \
      "%s is open in",                                                                              \
      "event.process:quarantine{ peer = \"%s\" }", "reconnect()",                                   \
      "open this connection in each worker, and do not close the inherited one")                    \
    X(EPOLL, "shared-epoll", HIGH, NULL, FKS_LINK_EPOLL,                                            \
      "an epoll set (an event loop) was made before the fork and is open in",                       \
      "event.process:unshare{ \"epoll\", \"eventfd\", \"timerfd\", \"socketpair\" }", "make_anew()", \
      "make the event loop in each worker")                                                         \
    X(EVENTFD, "shared-eventfd", MEDIUM, NULL, FKS_LINK_EVENTFD,                                    \
      "an eventfd (what wakes an event loop) was made before the fork and is open in",              \
      "event.process:unshare{ \"epoll\", \"eventfd\", \"timerfd\", \"socketpair\" }", "make_anew()", \
      "make the event loop in each worker")                                                         \
    X(TIMERFD, "shared-timerfd", MEDIUM, NULL, FKS_LINK_TIMERFD,                                    \
      "a timerfd, which only one of them sees expire, was made before the fork and is open in",     \
      "event.process:unshare{ \"timerfd\" }", "make_anew()",                                        \
      "make the timer in each worker")                                                              \
    X(INOTIFY, "shared-inotify", MEDIUM, NULL, FKS_LINK_INOTIFY,                                    \
      "an inotify queue, each of whose events only one of them gets, was made before the fork and " \
      "is open in",                                                                                 \
      NULL, "make_anew()",                                                                          \
      "start watching in each worker, or in the master alone")                                      \
    X(IO_URING, "shared-io_uring", HIGH, NULL, FKS_LINK_IO_URING,                                   \
      "an io_uring was made before the fork and is open in",                                        \
      NULL, "make_anew()",                                                                          \
      "set up the ring in each worker")                                                             \
    X(SIGNALFD, "shared-signalfd", LOW, NULL, FKS_LINK_SIGNALFD,                                    \
      "a signalfd was made before the fork and is open in",                                         \
      NULL, "make_anew()",                                                                          \
      "make the signalfd in each worker")                                                           \
    X(DATABASE, "shared-database", HIGH, "path", NULL,                                              \
      "the database %s was opened before the fork and is open in",                                  \
      NULL, "reopen()",                                                                             \
      "open the database in each worker, and do not close the inherited handle")                    \
    X(FILE, "shared-file", MEDIUM, "path", NULL,                                                    \
      "the file %s was opened for writing before the fork and is written at one offset by",         \
      NULL, "reopen()",                                                                             \
      "open the file in each worker, or with O_APPEND")                                             \
    X(DEVICE, "inherited-device", HIGH, "path", NULL,                                               \
      "CUDA was initialised before the fork, which it does not survive: %s is open in",             \
      NULL, "load_model()",                                                                         \
      "load the model in each worker: nothing may touch the GPU before the fork")                   \
    X(THREAD, "lost-thread", MEDIUM, "thread", NULL,                                                \
      "a thread \"%s\" ran in the master when it forked; it, and locks it held, are dead in",       \
      NULL, "start_thread()",                                                                       \
      "start the thread in each worker")                                                            \
    X(LISTENER, "leaked-listener", MEDIUM, "address", NULL,                                         \
      "the listening socket %s was left open (without close-on-exec) for programs that the server " \
      "started, in",                                                                                \
      NULL, "set_cloexec()",                                                                        \
      "set FD_CLOEXEC on it where it is made, or start the program with all other descriptors "     \
      "closed")
/* clang-format on */

enum fks_finding_kind {
#define X(id, name, severity, subject, link, what, remedy, call, advice) FKS_FINDING_##id,
    FKS_FINDING_KINDS(X)
#undef X
        FKS_FINDING_KIND_COUNT
};

struct fks_kind {
    const char *name;
    enum fks_severity severity;
    const char *subject, *link, *what, *remedy, *call, *advice;
};

extern const struct fks_kind fks_kinds[FKS_FINDING_KIND_COUNT];
extern const char *const fks_severities[];

/* The kind of that name, or of the link /proc/PID/fd/N; FKS_FINDING_KIND_COUNT: none. */
enum fks_finding_kind fks_kind_named(const char *name);
enum fks_finding_kind fks_kind_of_link(const char *link);

/* The kind's severity, or less: a datagram has no state that two could mix up. */
enum fks_severity fks_finding_severity(enum fks_finding_kind kind, const char *subject);

/* Writes the id: "shared-connection:10.0.0.5:5432". */
void fks_finding_id(char *out, size_t size, enum fks_finding_kind kind, const char *subject);

/* Writes the sentence, up to and with `where` ("4 processes"). */
void fks_finding_what(char *out, size_t size, enum fks_finding_kind kind, const char *subject,
                      const char *where);

/* An expression in that language that makes the object anew; NULL: none is known. */
const char *fks_finding_expression(enum fks_finding_kind kind, const char *subject,
                                   enum fks_language language);

/* Writes a line for postfork.lua in this container ("uwsgi"), with what else could be done. */
void fks_finding_fix(char *out, size_t size, enum fks_finding_kind kind, const char *subject,
                     const char *container);

#endif
