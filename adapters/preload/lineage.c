/* SPDX-License-Identifier: MIT
 *
 * Who is the master: the command itself, or what it lives on as when it has daemonised. A fork does
 * not say whether it makes a worker or the daemon, so the first child of a candidate that neither
 * listens nor has threads is in doubt: it is held, before it runs anything of the program's own,
 * until the parent forks again (a worker), ends (a daemon) or waits; then it goes on, and shows
 * what it is. All later children are workers. README.md tells the rule.
 */
#include "preload.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/single_threaded.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define HOLD   100  /* ms: how long a child is held where its parent shows nothing */
#define SETTLE 5000 /* ms: and where the parent runs MasterReady and PreFork meanwhile */

/* What is known of a child in doubt. */
enum verdict {
    HELD,
    SETTLING, /* its parent forks again: a worker, but MasterReady and PreFork run first */
    RELEASED, /* it runs on, and has shown nothing yet */
    IS_WORKER,
    IS_DAEMON,
    IS_NOTHING, /* it executed another program, or ended before it showed anything */
};

/* Shared by a candidate and its child in doubt. Threads and signal handlers read the pointer once
 * and go on with that. */
static struct doubt {
    _Atomic uint32_t verdict; /* a futex */
    _Atomic pid_t child;
    pid_t parent;
} * doubt;

enum fork_kind { MAKES_NOTHING, MAKES_WORKER, MAKES_DAEMON, MAKES_DOUBT };

/* Set by prepare, read in the child. */
static _Thread_local enum fork_kind forking __attribute__((tls_model("initial-exec")));

struct fks_here fks_here;
bool fks_attention;
_Thread_local bool fks_waiting;
_Thread_local sigset_t fks_blocked;

/* The thread that decides what this process is; 0: none. */
static _Atomic pid_t decider;

/* False: a handler of the same thread, or another thread has not come to an end in that time. */
static bool begin_deciding(int milliseconds)
{
    const struct timespec millisecond = {.tv_nsec = 1000000};
    const pid_t self = gettid();
    pid_t other = 0;
    while (!atomic_compare_exchange_strong(&decider, &other, self)) {
        if (other == self || milliseconds-- <= 0)
            return false;
        other = 0;
        nanosleep(&millisecond, NULL);
    }
    return true;
}

static void end_deciding(void)
{
    atomic_store(&decider, 0);
}

bool fks_is_here(void)
{
    return fks_here.pid == getpid();
}

void fks_lineage_set_attention(void)
{
    fks_attention = doubt || fks_end_is_noted();
}

/* --- the master --- */

static void become(enum fks_standing standing)
{
    fks_here.standing = standing;
    fks_here.pid = getpid();
    if (standing == FKS_CANDIDATE)
        fks_environment_mark();
}

/* Where there are other threads, one of them may be looking at the page: it stays then, and there
 * will be no other. */
static void end_doubt(void)
{
    struct doubt *was = doubt;
    doubt = NULL;
    if (was && __libc_single_threaded)
        munmap(was, sizeof *was);
    fks_lineage_set_attention();
}

static bool open_once(void)
{
    if (!fks_here.opened)
        fks_here.opened = fks_preload_open();
    if (!fks_here.opened)
        become(FKS_OUTSIDER); /* and whatever it forks */
    return fks_here.opened;
}

static void become_master(void)
{
    if (!open_once())
        return;
    become(FKS_MASTER);
    fks_preload_emit(FORKSAFE_MASTER_READY, (struct forksafe_occasion){0});
}

static void wake(struct doubt *about)
{
    syscall(SYS_futex, &about->verdict, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

static bool change(struct doubt *about, uint32_t from, uint32_t to)
{
    return atomic_compare_exchange_strong(&about->verdict, &from, to);
}

/* The child is a worker: there is a master now, and the fork that made it is told, if late. */
static void settle(void)
{
    become_master();
    if (fks_here.standing == FKS_MASTER)
        fks_preload_emit(FORKSAFE_PRE_FORK, (struct forksafe_occasion){0});
    atomic_store(&doubt->verdict, IS_WORKER);
    wake(doubt);
    end_doubt();
}

static void look(void)
{
    if (!doubt || fks_here.standing != FKS_CANDIDATE)
        return;
    uint32_t verdict = atomic_load(&doubt->verdict);
    if (verdict == IS_WORKER || verdict == SETTLING)
        settle();
    else if (verdict == IS_DAEMON || verdict == IS_NOTHING)
        end_doubt();
}

void fks_lineage_look(void)
{
    if (!doubt || !begin_deciding(0))
        return;
    look();
    end_deciding();
}

void fks_lineage_release(void)
{
    struct doubt *about = doubt;
    if (about && fks_here.standing == FKS_CANDIDATE && change(about, HELD, RELEASED))
        wake(about);
}

void fks_lineage_leave(void)
{
    struct doubt *about = doubt;
    if (!about || fks_here.standing != FKS_CANDIDATE)
        return;
    if (change(about, HELD, IS_DAEMON) || change(about, RELEASED, IS_DAEMON))
        wake(about);
}

void fks_lineage_forget(pid_t child)
{
    struct doubt *about = doubt;
    if (about && atomic_load(&about->child) == child)
        (void)(change(about, HELD, IS_NOTHING) || change(about, RELEASED, IS_NOTHING));
}

/* --- the child in doubt --- */

static bool parent_lives(void)
{
    return getppid() == doubt->parent;
}

/* Acts on the verdict. */
static void follow(void)
{
    switch (atomic_load(&doubt->verdict)) {
    case SETTLING:
    case IS_WORKER:
        become(FKS_WORKER);
        end_doubt();
        fks_preload_emit(FORKSAFE_POST_FORK, (struct forksafe_occasion){0});
        return;
    case IS_DAEMON:
        become(FKS_CANDIDATE);
        fks_here.opened = false; /* by another process, for itself */
        end_doubt();
        return;
    default:
        return;
    }
}

/* Whether the calling thread may say what this process is; ended by end_deciding(). */
static bool begin_showing(void)
{
    if (fks_here.standing != FKS_DOUBTED || !fks_is_here() || !begin_deciding(0))
        return false;
    if (fks_here.standing == FKS_DOUBTED)
        return true;
    end_deciding(); /* another thread has */
    return false;
}

void fks_lineage_show_work(void)
{
    if (!begin_showing())
        return;
    (void)change(doubt, RELEASED, parent_lives() ? IS_WORKER : IS_DAEMON);
    follow();
    end_deciding();
}

void fks_lineage_show_session(void)
{
    if (!begin_showing())
        return;
    (void)change(doubt, RELEASED, IS_DAEMON);
    follow();
    end_deciding();
}

void fks_lineage_execute(void)
{
    if (begin_showing()) {
        if (change(doubt, RELEASED, IS_NOTHING))
            fks_environment_mark();
        else
            follow();
        end_deciding();
    }
    if (fks_here.standing == FKS_WORKER && fks_is_here())
        fks_preload_role(FORKSAFE_ROLE_HELPER);
}

void fks_lineage_execute_failed(void)
{
    if (begin_showing()) {
        (void)change(doubt, IS_NOTHING, RELEASED);
        end_deciding();
    }
    if (fks_here.standing == FKS_WORKER && fks_is_here())
        fks_preload_role(FORKSAFE_ROLE_WORKER);
}

static long milliseconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Waits while the verdict is that, the parent lives, and for so long at most. */
static void wait_while(uint32_t verdict, long limit)
{
    const struct timespec step = {.tv_nsec = 5000000}; /* a parent that was killed wakes nobody */
    long until = milliseconds() + limit;
    while (atomic_load(&doubt->verdict) == verdict && parent_lives() && milliseconds() < until)
        syscall(SYS_futex, &doubt->verdict, FUTEX_WAIT, verdict, &step, NULL, 0);
}

static void hold(void)
{
    int saved = errno;
    become(FKS_DOUBTED);
    fks_attention = true;
    atomic_store(&doubt->child, fks_here.pid);
    wait_while(HELD, HOLD);
    wait_while(SETTLING, SETTLE);
    (void)change(doubt, HELD, parent_lives() ? RELEASED : IS_DAEMON);
    follow();
    errno = saved;
}

/* --- the fork handlers --- */

/* Opens forksafe for the child's sake, silently: this process may turn out to be none of ours. */
static enum fork_kind begin_doubt(void)
{
    if (!open_once())
        return MAKES_NOTHING;
    void *map =
        mmap(NULL, sizeof *doubt, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (map == MAP_FAILED)
        return MAKES_NOTHING;
    doubt = map;
    doubt->parent = fks_here.pid;
    fks_attention = true;
    return MAKES_DOUBT;
}

static bool has_daemonised(void)
{
    return fks_here.listened || !__libc_single_threaded;
}

static enum fork_kind decide(void)
{
    if (doubt && (change(doubt, HELD, SETTLING) || change(doubt, RELEASED, IS_WORKER)))
        settle();
    look();
    if (fks_here.standing == FKS_CANDIDATE && has_daemonised())
        become_master();
    if (fks_here.standing != FKS_CANDIDATE)
        return fks_here.standing == FKS_MASTER ? MAKES_WORKER : MAKES_NOTHING;
    return begin_doubt();
}

/* Threads that fork at the same time wait for the one that decides, as long as a child does. */
static enum fork_kind of_candidate(void)
{
    if (!begin_deciding(SETTLE))
        return MAKES_NOTHING;
    enum fork_kind kind = decide();
    end_deciding();
    return kind;
}

static void begin_fork(void)
{
    int saved = errno;
    forking = MAKES_NOTHING;
    if (!fks_is_here())
        return;
    fks_lineage_show_work();
    bool concerned = fks_here.standing == FKS_CANDIDATE || fks_here.standing == FKS_MASTER;
    if (concerned && fks_here.in_daemon_call)
        forking = MAKES_DAEMON;
    else if (fks_here.standing == FKS_CANDIDATE)
        forking = of_candidate();
    else if (concerned)
        forking = MAKES_WORKER;
    if (forking == MAKES_WORKER) {
        if (__libc_single_threaded) /* else an event of another thread may be in the way */
            fks_end_tell();
        fks_preload_emit(FORKSAFE_PRE_FORK, (struct forksafe_occasion){0});
    }
    errno = saved;
}

static void begin_child(void)
{
    if (fks_here.standing == FKS_OUTSIDER)
        return;
    end_deciding(); /* another thread of the parent's was */
    fks_end_forget();
    fks_attention = false;
    fks_waiting = false;
    pthread_sigmask(SIG_BLOCK, NULL, &fks_blocked);
    switch (forking) {
    case MAKES_WORKER:
        become(FKS_WORKER);
        fks_preload_emit(FORKSAFE_POST_FORK, (struct forksafe_occasion){0});
        return;
    case MAKES_DAEMON:
        end_doubt(); /* about another child */
        become(FKS_CANDIDATE);
        fks_here.opened = false;
        return;
    case MAKES_DOUBT:
        hold();
        return;
    default:
        become(FKS_OUTSIDER);
        return;
    }
}

static void prepare(void)
{
    fks_preload_in_handler(true);
    begin_fork();
    if (forking == MAKES_WORKER || forking == MAKES_DOUBT)
        fks_preload_forks();
    fks_preload_in_handler(false);
}

static void child(void)
{
    fks_preload_in_handler(true);
    begin_child();
    fks_preload_in_handler(false);
}

__attribute__((constructor)) static void begin(void)
{
    fks_here.pid = getpid();
    if (getauxval(AT_SECURE) || !fks_environment_begins())
        return;
    fks_here.standing = FKS_CANDIDATE;
    pthread_sigmask(SIG_BLOCK, NULL, &fks_blocked);
    if (pthread_atfork(prepare, NULL, child) || atexit(fks_end_at_exit))
        fks_here.standing = FKS_OUTSIDER;
}
