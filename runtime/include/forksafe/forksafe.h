/* SPDX-License-Identifier: MIT
 *
 * forksafe for hosts: what an adapter calls from inside its server. Readers of journals include
 * journal_layout.h instead.
 *
 * Ownership: every pointer given to the library is borrowed for the call only, except
 * forksafe_host.is_master, .log and .data, which must stay valid for the life of the process.
 * What the library returns is freed with forksafe_free, never with free().
 *
 * The library never ends a process and never blocks beyond the limits in the ini. All functions may
 * be called from any thread; one emit runs at a time.
 */
#ifndef FORKSAFE_H
#define FORKSAFE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "events.h"

#ifdef __cplusplus
extern "C" {
#endif

#define FORKSAFE_API __attribute__((visibility("default")))

/*  Errors: functions that can fail return 0 or one of these, negative. */
#define FORKSAFE_ERRORS(X)                                                    \
    X(EUSAGE, 1, "wrong use of a forksafe function")                          \
    X(EINI, 2, "the ini cannot be used")                                      \
    X(ESCRIPT, 3, "a script cannot be used")                                  \
    X(EJOURNAL, 4, "the journal cannot be used")                              \
    X(ELUAJIT, 5, "LuaJIT cannot be used")                                    \
    X(ENOMEM, 6, "out of memory")                                             \
    X(EOFF, 7, "switched off")                                                \
    X(EREQUIRED, 8, "cannot work, and the ini says forksafe.required = true") \
    X(ENOENT, 9, "no such instance")                                          \
    X(EACCESS, 10, "permission denied")                                       \
    X(EVERSION, 11, "a version that this build cannot read")

enum forksafe_error {
#define X(id, number, text) FORKSAFE_##id = -(number),
    FORKSAFE_ERRORS(X)
#undef X
};

/*  What the adapter has to do after an emit; anything else is the host's own business. */
enum forksafe_verdict {
    FORKSAFE_OK = 0,     /* go on */
    FORKSAFE_RETIRE = 1, /* a subscriber with on_error=retire_worker failed: let this worker exit
                            and be replaced */
    FORKSAFE_STOP = 2, /* a subscriber with on_error=stop_server failed: shut the server down in an
                          orderly way */
};

/*  Verdicts that a server cannot follow: forksafe_host.cannot. */
#define FORKSAFE_CANNOT_RETIRE 1u
#define FORKSAFE_CANNOT_STOP   2u

/*  forksafe_occasion.worker where the server numbers nothing: the library keeps the smallest number
 * that is free, 1..N, for the process, from its first event on until its CHILD_EXIT (or until it is
 * found dead). An end of a child that has no number is then no event: it was no worker. */
#define FORKSAFE_WORKER_KEPT (-1)

enum forksafe_log_level {
    FORKSAFE_LOG_DEBUG,
    FORKSAFE_LOG_INFO,
    FORKSAFE_LOG_WARNING,
    FORKSAFE_LOG_ERROR,
};

/*  One place in the container's life where it calls out. An adapter lists all it serves. */
struct forksafe_fork_point {
    int32_t event;  /* enum forksafe_event; at most one fork point an event */
    int32_t atfork; /* 1: the library's own pthread_atfork handler fires it (PRE_FORK and POST_FORK
                       only), 0: the adapter does */
    const char *hook; /* "post_fork_hook": recorded as "containers.<container>.<hook>" */
};

/*  The contract of an adapter: who it is, and how the library reaches its server. */
struct forksafe_host {
    uint32_t size; /* sizeof(struct forksafe_host) of the adapter's build: mandatory; a shorter one
                      is padded with zeros */
    uint32_t point_count;    /* entries in points */
    const char *container;   /* "uwsgi": mandatory, lower case, a part of hook names */
    const char *environment; /* "uWSGI": mandatory, what the debug object calls it; empty: there is
                                no container */
    const char *version;     /* of the server; NULL if not known */
    const char *ini;         /* INI[#APP]; NULL: FORKSAFE_INI from the environment */
    const struct forksafe_fork_point *points; /* mandatory; copied */
    pid_t master; /* pid of the master; 0: the process that calls forksafe_open. Its own pid: also
                     where a parent has it open, which only launched it */
    uid_t worker_uid; /* who the workers will be; (uid_t)-1: who we are now */
    gid_t worker_gid; /* likewise; (gid_t)-1 */

    /* Called by the library's atfork handlers in the forking process, while its other threads run:
     * must be async-signal-safe. True only where a fork now makes a worker (not while daemonising,
     * not for a helper program). NULL: the process that called forksafe_open, and only it. */
    bool (*is_master)(void *data);

    /* One line, no newline, for the container's own log; begins "forksafe[instance]: ". Called in
     * any process, also in the middle of a subscriber; must not call back into the library. NULL:
     * standard error. */
    void (*log)(void *data, enum forksafe_log_level level, const char *line);

    void *data; /* handed to both */

    /* Why this server cannot be served as it is configured ("you have to enable the uWSGI master
     * process ..."); NULL where it can. With a problem the journal is made and says it, and no
     * subscriber runs. */
    const char *problem;

    uint32_t cannot; /* bits: FORKSAFE_CANNOT_*; what this server cannot do with a verdict: the
                        library says so at open to whoever asks for it, and never returns it */

    /* Findings of the audit that are this server's own business and safe: ids, "*" in them for any
     * text, a newline between two ("lost-thread:ev-io*\nshared-epoll"). NULL: none. */
    const char *known;
};

/*  What is special about this one firing of an event. Zero is right for what does not apply. */
struct forksafe_occasion {
    uint32_t size;        /* sizeof(struct forksafe_occasion): mandatory */
    int32_t role;         /* enum forksafe_role of the calling process */
    int32_t worker;       /* stable slot 1..N of the worker concerned; 0: the server has none;
                             FORKSAFE_WORKER_KEPT: the library keeps one */
    int32_t forked;       /* 1: the process is a fork; 0: it is the original one */
    int32_t app_loaded;   /* 1: the application is loaded in this process by now */
    pid_t child_pid;      /* CHILD_EXIT only: who was reaped */
    int32_t child_exit;   /* CHILD_EXIT only: exit status, -1 if it ended by a signal */
    int32_t child_signal; /* CHILD_EXIT only: signal, 0 if it exited */
    int32_t at_fork; /* 1: fired from an atfork handler of the adapter's, where nothing may wait
                        and no interpreter may be entered that has not repaired itself yet */
};

/*  Makes the directory for journals and hands it to the workers' user. Only for a host that drops
 * its privileges before it knows its master: call it while still privileged. Same process as
 * forksafe_open will be or an ancestor. May block on file systems. Returns 0 or negative;
 * forksafe_open still works after a failure. */
FORKSAFE_API int forksafe_prepare(const struct forksafe_host *host);

/*  Reads the ini and loads the scripts as forksafe_open would, and lets go of them: for a server's
 * own test of its configuration. Makes no journal and fires nothing. Where forksafe is not open.
 * May block on file systems. Returns what forksafe_open would, after the same lines in the log. */
FORKSAFE_API int forksafe_check(const struct forksafe_host *host);

/*  Reads the ini, loads the scripts, makes (or finds again) the journal. Call it in the master when
 * it is known (after daemonising) and before the first fork; where there is no master, in the
 * process itself. Calling it again is a reload: the new scripts replace the old ones if they load,
 * else the old ones stay; the generation rises only on success. A reload waits up to a second for a
 * subscriber of another thread, and is refused after that; so is one in a process that inherited
 * the library open from its master. May block on file systems. Returns 0, or negative after one
 * line in the log (or two); FORKSAFE_EREQUIRED asks the host not to start, after any other it runs
 * on and emits do nothing. */
FORKSAFE_API int forksafe_open(const struct forksafe_host *host);

/*  Runs the subscribers of an event in the calling process and records what ran. Bounded by
 * time_limit a subscriber; before FORKSAFE_RETIRE comes back, the process waits up to five seconds
 * where workers were retired one after another. Does nothing (and returns FORKSAFE_OK) where the
 * library is not open. An emit from within an emit is queued and runs when the outer one ends.
 * Returns an enum forksafe_verdict. */
FORKSAFE_API int forksafe_emit(enum forksafe_event event, const struct forksafe_occasion *occasion);

/*  For the atfork prepare handler of an adapter: whether the thread that forks is in os.fork() of a
 * Python in this process. Then `fire` is called in the child, by Python, after Python has repaired
 * itself there, and what is emitted then may enter Python; in the atfork child handler it may not.
 * The child of a fork in which Python runs nothing of its own (subprocess) never calls it. Does not
 * block. Returns 1 or 0. */
FORKSAFE_API int forksafe_defer(void (*fire)(void));

/*  Says that the calling process is something else from now on: a worker that is about to execute
 * another program is a helper. Only the journal is told. Any process; async-signal-safe. Returns 0,
 * or FORKSAFE_EUSAGE where it has no slot, or for a role that is none. */
FORKSAFE_API int forksafe_role(enum forksafe_role role);

/*  Sets what the debug object says of the set-up. Each may be NULL: left as it is; `line` is
 * appended to autoconfigure.log unless it stands there. Any process; meant for the master. Returns
 * 0, or FORKSAFE_EUSAGE where the library is not open. */
FORKSAFE_API int forksafe_status(const char *status, const char *environment, const char *line);

/*  The debug object as JSON text (UTF-8, NUL-terminated; schema forksafe.debug/1), from this
 * process's journal. Any process; does not block. NULL where the library is not open or memory is
 * short. Free with forksafe_free. */
FORKSAFE_API char *forksafe_debug_json(void);

/*  Frees what the library returned; NULL is harmless. */
FORKSAFE_API void forksafe_free(void *text);

/*  The path of this process's journal; NULL where there is none. Valid until the next
 * forksafe_open. */
FORKSAFE_API const char *forksafe_journal_path(void);

/*  The container whose adapter opened the library last, in this process or in the one that it was
 * forked from: "gunicorn". NULL where nothing runs. Valid until the next forksafe_open. */
FORKSAFE_API const char *forksafe_container(void);

/*  "0.1.0". */
FORKSAFE_API const char *forksafe_version(void);

#ifdef __cplusplus
}
#endif

#endif
