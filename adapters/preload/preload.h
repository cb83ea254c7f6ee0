/* SPDX-License-Identifier: MIT
 *
 * What the files of the preloaded object share. lineage.c knows which process is the master and
 * which of its children are workers, environment.c which program it is looked for in, ends.c how
 * processes end, interpose.c stands before the calls of libc by which a program shows it, host.c
 * speaks to libforksafe. All of it runs inside any program, in its master and its workers; in all
 * others it does nothing.
 */
#ifndef FKS_PRELOAD_H
#define FKS_PRELOAD_H

#include <signal.h>
#include <stdbool.h>
#include <sys/types.h>

#include "forksafe/forksafe.h"

/*  What a process is to the adapter. */
enum fks_standing {
    FKS_OUTSIDER,  /* of no concern: what a worker starts, a shell, a program without hooks */
    FKS_CANDIDATE, /* may become the master, or fork it */
    FKS_DOUBTED,   /* first child of a candidate: its worker, or what it lives on as when it ends */
    FKS_MASTER,
    FKS_WORKER,
};

struct fks_here {
    enum fks_standing standing;
    pid_t pid;           /* of the process that this is about: in a vfork child it is another's */
    bool listened;       /* it has called listen() */
    bool opened;         /* the library is open */
    bool in_daemon_call; /* daemon(3) is forking */
    bool app_loaded;     /* it has called forksafe_ready() */
};
extern struct fks_here fks_here;

/*  Something waits for the next waiting call: a child in doubt, or ends of children. Read before
 * every such call, so it is all that costs. */
extern bool fks_attention;

/*  The thread is in a waiting call of libc: a signal handler that runs now has interrupted nothing
 * else. */
extern _Thread_local bool fks_waiting __attribute__((tls_model("initial-exec")));

/*  What the program has blocked in this thread, by calls of its own; in the first one, and in the
 * one that forked, also what was blocked when it began. More is blocked in a signal handler. */
extern _Thread_local sigset_t fks_blocked __attribute__((tls_model("initial-exec")));

/*  The calling process is the one that fks_here is about. */
bool fks_is_here(void);

/* --- host.c --- */

/* Opens forksafe in the master to be. False after a line in the log: there will be no hooks. Blocks
 * on files. */
bool fks_preload_open(void);

/* Fires an event; size, role, worker, forked and app_loaded of the occasion are filled in. */
void fks_preload_emit(enum forksafe_event event, struct forksafe_occasion occasion);

/* The calling thread is opening forksafe or firing an event: what it calls then comes through our
 * functions too. */
bool fks_preload_is_inside(void);

/* Around what our atfork handlers do: nothing waits there, and interpreters are not entered. */
void fks_preload_in_handler(bool in);

/* At the end of prepare, where the fork may make a worker: in a Python that is forking, the
 * PostFork of the child handler waits until Python has repaired itself. */
void fks_preload_forks(void);

/* As forksafe_role. Async-signal-safe. */
void fks_preload_role(enum forksafe_role role);

/* --- environment.c --- */

/* Whether the object does anything in the program that begins here; marks its environment then. */
bool fks_environment_begins(void);

/* What is executed with this process's pid is of concern from now on. Async-signal-safe. */
void fks_environment_mark(void);

/* --- lineage.c --- */

/* Child in doubt: does what only a worker does, waiting for work or ending. Where its parent lives,
 * it is a worker from now on and runs PostFork; else it is a daemon. */
void fks_lineage_show_work(void);

/* Child in doubt: begins a session of its own, as daemons do. */
void fks_lineage_show_session(void);

/* Before and, where it failed, after exec. A child in doubt was none, and what it executes may be
 * the master; a worker is a helper. */
void fks_lineage_execute(void);
void fks_lineage_execute_failed(void);

/* Candidate: it waits, or it ends, and tells no more about its child in doubt. */
void fks_lineage_release(void);
void fks_lineage_leave(void);

/* Candidate: its child in doubt has ended. */
void fks_lineage_forget(pid_t child);

/* Candidate: what its child has shown; it is a master if that is a worker. */
void fks_lineage_look(void);

/* Decides anew whether anything waits. */
void fks_lineage_set_attention(void);

/* --- ends.c --- */

/* A child was reaped: ChildExit, now or, in a signal handler, at the next waiting call or fork. */
void fks_end_note(pid_t pid, int status);

/* Tells the ends that were noted. */
void fks_end_tell(void);
bool fks_end_is_noted(void);
void fks_end_forget(void);

/* Registered with atexit() where the lineage begins. */
void fks_end_at_exit(void);

/* Whether a thread with this mask is in a signal handler: more is blocked than the program
 * blocked. */
bool fks_end_is_handler(const sigset_t *now);

/* Whether no event may be fired now: this is a signal handler, and what it interrupted is not a
 * waiting call, or this thread is firing one. */
bool fks_end_interrupts(void);

#endif
