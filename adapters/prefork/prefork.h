/* SPDX-License-Identifier: MIT
 *
 * forksafe prefork, forksafe's own container: what its files share. The master (master.c, with its
 * workers in crew.c) forks and supervises; a worker (worker.c) runs the hooks and then its work. It
 * uses the public API of libforksafe as any other server would, and so is the adapter to read
 * first.
 */
#ifndef FKS_PREFORK_H
#define FKS_PREFORK_H

#include <signal.h>
#include <stdbool.h>
#include <sys/types.h>

#include "forksafe/forksafe.h"

#define FKS_PREFORK_MAX_WORKERS 1024

/*  What the command line asks for. Does not change; borrowed from argv. */
struct fks_prefork_plan {
    const char *ini; /* INI[#APP] */
    char **command;  /* COMMAND of the workers, NULL-terminated; NULL: none */
    int workers;     /* 1..FKS_PREFORK_MAX_WORKERS */
    int grace;       /* seconds from TERM to KILL */
    bool once;       /* workers end after their events */
};

/*  The signals that the master takes (NULL: ignores), and so the dispositions that a child gets
 * back as they were inherited. */
#define FKS_PREFORK_SIGNALS(X) \
    X(SIGCHLD, on_child)       \
    X(SIGTERM, on_stop)        \
    X(SIGINT, on_quick_stop)   \
    X(SIGQUIT, on_quick_stop)  \
    X(SIGHUP, on_reload)       \
    X(SIGTTIN, on_more)        \
    X(SIGTTOU, on_fewer)       \
    X(SIGUSR1, on_unused)      \
    X(SIGUSR2, on_unused)      \
    X(SIGPIPE, NULL)

enum fks_prefork_signal {
#define X(number, action) FKS_PREFORK_##number,
    FKS_PREFORK_SIGNALS(X)
#undef X
        FKS_PREFORK_SIGNAL_COUNT
};

/*  Exit statuses of a worker that say something to the master; the numbers are gunicorn's. */
enum fks_prefork_status {
    FKS_PREFORK_RETIRED = 3, /* a subscriber with on_error = retire_worker failed */
    FKS_PREFORK_STOPPED = 4, /* a subscriber with on_error = stop_server failed */
};

/*  Shared by all processes: what a worker says before it exits, so that a COMMAND may exit with
 * those numbers too. */
struct fks_prefork_told {
    volatile sig_atomic_t stop;                      /* one exits with FKS_PREFORK_STOPPED */
    volatile pid_t retired[FKS_PREFORK_MAX_WORKERS]; /* by slot, from 0: exits with
                                                        FKS_PREFORK_RETIRED */
};

/*  What a child finds in the memory that it inherits. Filled in the master before the fork. */
struct fks_prefork_birth {
    const struct fks_prefork_plan *plan;
    const char *script; /* path of the worker_script; NULL: none */
    int worker;         /* slot, from 1 */
    pid_t master;
    int loop_fd;   /* of the master's event loop: to close, by number */
    sigset_t mask; /* what the master inherited */
    struct sigaction actions[FKS_PREFORK_SIGNAL_COUNT]; /* likewise */
    struct fks_prefork_told *told;
};

/*  The worker, from the fork to the end of the process. Child only, right after fork() with all
 * signals blocked. */
_Noreturn void fks_prefork_worker_run(const struct fks_prefork_birth *birth);

/*  The server: runs until a signal or a verdict ends it, or with plan->once its workers have ended.
 * Returns the exit status of the command: 0, or 1 where it could not start, was stopped by a
 * verdict, or (once) a worker failed. */
int fks_prefork_master_run(const struct fks_prefork_plan *plan);

/*  One line for the container's own log: "forksafe prefork[PID]: ..." on standard error. Any
 * process. */
__attribute__((format(printf, 1, 2))) void fks_prefork_log(const char *format, ...);

/*  The library's lines, as they are: forksafe_host.log. Any process, also in the middle of a
 * subscriber. */
void fks_prefork_library_log(void *data, enum forksafe_log_level level, const char *line);

/*  Reads `forksafe.worker_script` of an ini. Returns 0 with a path for free(), or NULL in *script
 * where none is set; negative, *script untouched, where the ini cannot be used: forksafe_open says
 * why. Master only, blocks on the file system. */
int fks_prefork_script_read(const char *ini, char **script);

#endif
