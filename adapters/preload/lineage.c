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

/* Pid of the process in whose environment it stands: what is executed with another pid is of no
 * concern. Of one width, to be changed in its place. */
#define VARIABLE "FORKSAFE_PRELOAD"
#define VALUE    "%010ld"

/* What is known of a child in doubt. */
enum verdict {
    HELD,
    SETTLING, /* its parent forks again: a worker, but MasterReady and PreFork run first */
    RELEASED, /* it runs on, and has shown nothing yet */
    IS_WORKER,
    IS_DAEMON,
    IS_NOTHING, /* it executed another program, or ended before it showed anything */
};

/* Shared by a candidate and its child in doubt. */
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

bool fks_is_here(void)
{
    return fks_here.pid == getpid();
}

void fks_lineage_set_attention(void)
{
    fks_attention = doubt || fks_end_is_noted();
}

/* --- what is passed on to a program that is executed --- */

/* Async-signal-safe: the value is changed where it stands. */
static void mark_environment(void)
{
    static const char name[] = VARIABLE "=";
    char value[32];
    int length = snprintf(value, sizeof value, VALUE, (long)fks_here.pid);
    for (char **entry = environ; entry && *entry; entry++)
        if (!strncmp(*entry, name, sizeof name - 1) &&
            strlen(*entry) == sizeof name - 1 + (size_t)length)
            memcpy(*entry + sizeof name - 1, value, (size_t)length);
}

/* A shell forks to run programs, and each of them may be the server. */
static const char *const shells[] = {"sh", "dash", "bash", "ash", "ksh", "mksh", "zsh", "busybox"};

/* `forksafe prefork` has the library built in, and its adapter. */
static const char *const served[] = {"forksafe"};

/* Whether this process is one of these programs. */
static bool is_one_of(const char *const *names, size_t count)
{
    char path[PATH_MAX];
    ssize_t length = readlink("/proc/self/exe", path, sizeof path - 1);
    if (length < 0)
        return false;
    path[length] = '\0';
    const char *slash = strrchr(path, '/');
    for (size_t i = 0; i < count; i++)
        if (!strcmp(slash ? slash + 1 : path, names[i]))
            return true;
    return false;
}

/* --- the master --- */

static void become(enum fks_standing standing)
{
    fks_here.standing = standing;
    fks_here.pid = getpid();
    if (standing == FKS_CANDIDATE)
        mark_environment();
}

static void end_doubt(void)
{
    if (doubt)
        munmap(doubt, sizeof *doubt);
    doubt = NULL;
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

static void wake(void)
{
    syscall(SYS_futex, &doubt->verdict, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

static bool change(uint32_t from, uint32_t to)
{
    return atomic_compare_exchange_strong(&doubt->verdict, &from, to);
}

/* The child is a worker: there is a master now, and the fork that made it is told, if late. */
static void settle(void)
{
    become_master();
    if (fks_here.standing == FKS_MASTER)
        fks_preload_emit(FORKSAFE_PRE_FORK, (struct forksafe_occasion){0});
    atomic_store(&doubt->verdict, IS_WORKER);
    wake();
    end_doubt();
}

void fks_lineage_look(void)
{
    if (!doubt || fks_here.standing != FKS_CANDIDATE)
        return;
    uint32_t verdict = atomic_load(&doubt->verdict);
    if (verdict == IS_WORKER || verdict == SETTLING)
        settle();
    else if (verdict == IS_DAEMON || verdict == IS_NOTHING)
        end_doubt();
}

void fks_lineage_release(void)
{
    if (doubt && fks_here.standing == FKS_CANDIDATE && change(HELD, RELEASED))
        wake();
}

void fks_lineage_leave(void)
{
    if (!doubt || fks_here.standing != FKS_CANDIDATE)
        return;
    if (change(HELD, IS_DAEMON) || change(RELEASED, IS_DAEMON))
        wake();
}

void fks_lineage_forget(pid_t child)
{
    if (doubt && atomic_load(&doubt->child) == child)
        (void)(change(HELD, IS_NOTHING) || change(RELEASED, IS_NOTHING));
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

void fks_lineage_show_work(void)
{
    if (fks_here.standing != FKS_DOUBTED || !fks_is_here())
        return;
    (void)change(RELEASED, parent_lives() ? IS_WORKER : IS_DAEMON);
    follow();
}

void fks_lineage_show_session(void)
{
    if (fks_here.standing != FKS_DOUBTED || !fks_is_here())
        return;
    (void)change(RELEASED, IS_DAEMON);
    follow();
}

void fks_lineage_execute(void)
{
    if (!fks_is_here())
        return;
    if (fks_here.standing == FKS_DOUBTED && !change(RELEASED, IS_NOTHING))
        follow();
    if (fks_here.standing == FKS_DOUBTED)
        mark_environment();
    if (fks_here.standing == FKS_WORKER)
        fks_preload_role(FORKSAFE_ROLE_HELPER);
}

void fks_lineage_execute_failed(void)
{
    if (!fks_is_here())
        return;
    if (fks_here.standing == FKS_DOUBTED)
        (void)change(IS_NOTHING, RELEASED);
    if (fks_here.standing == FKS_WORKER)
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
    (void)change(HELD, parent_lives() ? RELEASED : IS_DAEMON);
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

static enum fork_kind of_candidate(void)
{
    if (fks_here.in_daemon_call)
        return MAKES_DAEMON;
    if (doubt && (change(HELD, SETTLING) || change(RELEASED, IS_WORKER)))
        settle();
    fks_lineage_look();
    if (fks_here.standing == FKS_CANDIDATE && has_daemonised())
        become_master();
    if (fks_here.standing != FKS_CANDIDATE)
        return fks_here.standing == FKS_MASTER ? MAKES_WORKER : MAKES_NOTHING;
    return begin_doubt();
}

static void begin_fork(void)
{
    int saved = errno;
    forking = MAKES_NOTHING;
    if (!fks_is_here())
        return;
    fks_lineage_show_work();
    if (fks_here.standing == FKS_CANDIDATE)
        forking = of_candidate();
    else if (fks_here.standing == FKS_MASTER && !fks_here.in_daemon_call)
        forking = MAKES_WORKER;
    if (forking == MAKES_WORKER) {
        fks_end_tell();
        fks_preload_emit(FORKSAFE_PRE_FORK, (struct forksafe_occasion){0});
    }
    errno = saved;
}

static void begin_child(void)
{
    if (fks_here.standing == FKS_OUTSIDER)
        return;
    fks_end_forget();
    fks_attention = false;
    fks_waiting = false;
    pthread_sigmask(SIG_BLOCK, NULL, &fks_here.blocked);
    switch (forking) {
    case MAKES_WORKER:
        become(FKS_WORKER);
        fks_preload_emit(FORKSAFE_POST_FORK, (struct forksafe_occasion){0});
        return;
    case MAKES_DAEMON:
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
    if (getauxval(AT_SECURE))
        return;
    const char *value = getenv(VARIABLE);
    char fresh[32];
    fks_here.pid = getpid();
    if (value && strtol(value, NULL, 10) != fks_here.pid)
        return; /* started by a process of the lineage, and not in its place */
    if (is_one_of(shells, sizeof shells / sizeof *shells)) {
        unsetenv(VARIABLE);
        return;
    }
    if (is_one_of(served, sizeof served / sizeof *served)) {
        setenv(VARIABLE, "0", 1); /* and what its workers execute is of no concern */
        return;
    }
    fks_here.standing = FKS_CANDIDATE;
    snprintf(fresh, sizeof fresh, VALUE, (long)fks_here.pid);
    pthread_sigmask(SIG_BLOCK, NULL, &fks_here.blocked);
    if (setenv(VARIABLE, fresh, 1) || pthread_atfork(prepare, NULL, child) ||
        atexit(fks_end_at_exit))
        fks_here.standing = FKS_OUTSIDER;
}
