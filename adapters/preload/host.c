/* SPDX-License-Identifier: MIT
 *
 * The preload adapter's way to libforksafe, which is opened when a candidate forks for the first
 * time and not before: a program that never forks has neither it nor what it needs. Opened for this
 * object alone, so that no name of it comes before one of the program's.
 */
#include "core/log_stderr.h"
#include "preload.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#define LIBRARY "libforksafe.so.0"
#define NAME    "preload"

/* Hooks are named after what of libc or POSIX each is seen at. */
static const struct forksafe_fork_point points[] = {
    {FORKSAFE_MASTER_READY, 0, "first_fork"}, {FORKSAFE_PRE_FORK, 0, "atfork_prepare"},
    {FORKSAFE_POST_FORK, 0, "atfork_child"},  {FORKSAFE_POST_WORKER_INIT, 0, "forksafe_ready"},
    {FORKSAFE_WORKER_EXIT, 0, "exit"},        {FORKSAFE_CHILD_EXIT, 0, "wait"},
    {FORKSAFE_SHUTDOWN, 0, "exit"},
};

/* What the audit finds in programs, and their children never use: by the beginning of their names.
 */
static const struct {
    const char *program, *known;
} programs[] = {
    {"php-fpm", "shared-epoll"},
};

static struct {
    int (*open)(const struct forksafe_host *);
    int (*emit)(enum forksafe_event, const struct forksafe_occasion *);
    int (*role)(enum forksafe_role);
    int (*defer)(void (*fire)(void));
    const char *(*container)(void);
} library;

/* Of the thread that forks. `deferred`: a Python is in os.fork(), and calls us in the child when it
 * has repaired itself there; `owed`: the PostFork that waits for that. */
static _Thread_local bool in_handler __attribute__((tls_model("initial-exec")));
static _Thread_local bool deferred __attribute__((tls_model("initial-exec")));
static _Thread_local bool owed __attribute__((tls_model("initial-exec")));

/* How deep the thread is in the library. It is not cancelled there: it holds a lock. */
static _Thread_local int inside __attribute__((tls_model("initial-exec")));

static int go_inside(void)
{
    int state = PTHREAD_CANCEL_ENABLE;
    inside++;
    (void)pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &state);
    return state;
}

static void come_out(int state)
{
    (void)pthread_setcancelstate(state, NULL);
    inside--;
}

bool fks_preload_is_inside(void)
{
    return inside > 0;
}

/* The name is in the code itself, as so few bytes are: strcmp() and a constant are two pages that a
 * fresh child would touch for nothing else. */
static bool is_own(const char *container)
{
    const char name[] = NAME;
    size_t i = 0;
    while (i < sizeof name && container[i] == name[i])
        i++;
    return i == sizeof name;
}

/* The server has an adapter of its own: it brought the library here before we did, or has opened it
 * since. Then that one tells everything, and we nothing. */
static bool is_served(void)
{
    if (library.container) {
        const char *container = library.container();
        return container && !is_own(container);
    }
    void *handle = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL | RTLD_NOLOAD);
    if (handle)
        dlclose(handle);
    return handle != NULL;
}

/* By the path that was built into this object. */
static bool load(void)
{
    if (library.open)
        return true;
    void *handle = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
    if (handle) {
        library.emit = dlsym(handle, "forksafe_emit");
        library.role = dlsym(handle, "forksafe_role");
        library.defer = dlsym(handle, "forksafe_defer");
        library.container = dlsym(handle, "forksafe_container");
        library.open = dlsym(handle, "forksafe_open");
    }
    if (library.open && library.emit && library.role && library.defer && library.container)
        return true;
    char line[512];
    snprintf(line, sizeof line, "forksafe: no hooks: %s; install forksafe as a whole",
             handle ? LIBRARY " is of another version" : dlerror());
    fks_log_stderr(line);
    library.open = NULL;
    return false;
}

/* The kernel has the name still where a title was written over the arguments. */
static const char *known(void)
{
    char name[16] = "";
    (void)prctl(PR_GET_NAME, name);
    for (size_t i = 0; i < sizeof programs / sizeof *programs; i++) {
        size_t length = strlen(programs[i].program);
        if (!strncmp(name, programs[i].program, length))
            return programs[i].known;
    }
    return NULL;
}

bool fks_preload_open(void)
{
    const struct forksafe_host host = {
        .size = sizeof host,
        .container = NAME,
        .environment = "preload",
        .points = points,
        .point_count = sizeof points / sizeof *points,
        .master = getpid(),
        .worker_uid = (uid_t)-1,
        .worker_gid = (gid_t)-1,
        .cannot = FORKSAFE_CANNOT_RETIRE | FORKSAFE_CANNOT_STOP,
        .known = known(),
    };
    int state = go_inside();
    bool opened = !is_served() && load() && library.open(&host) == 0;
    come_out(state);
    return opened;
}

void fks_preload_emit(enum forksafe_event event, struct forksafe_occasion occasion)
{
    if (!library.emit || is_served())
        return;
    if (event == FORKSAFE_POST_FORK && in_handler && deferred) {
        owed = true;
        return;
    }
    bool in_master = fks_here.standing == FKS_MASTER;
    occasion.size = sizeof occasion;
    occasion.role = in_master ? FORKSAFE_ROLE_MASTER : FORKSAFE_ROLE_WORKER;
    occasion.worker = FORKSAFE_WORKER_KEPT;
    occasion.forked = !in_master;
    occasion.app_loaded = fks_here.app_loaded;
    occasion.at_fork = in_handler;
    int state = go_inside();
    (void)library.emit(event, &occasion); /* nothing here can retire or stop */
    come_out(state);
}

/* Called by Python in the child. */
static void pay_owed(void)
{
    deferred = false;
    if (!owed)
        return;
    owed = false;
    fks_preload_emit(FORKSAFE_POST_FORK, (struct forksafe_occasion){0});
}

void fks_preload_in_handler(bool in)
{
    in_handler = in;
}

void fks_preload_forks(void)
{
    owed = false;
    deferred = library.defer && library.defer(pay_owed);
}

void fks_preload_role(enum forksafe_role role)
{
    if (library.role && !is_served())
        (void)library.role(role);
}

/* For programs: this worker has loaded what it needs, PostWorkerInit. Does nothing in any other
 * process. Returns 0. Not for signal handlers. */
FORKSAFE_API int forksafe_ready(void);

int forksafe_ready(void)
{
    fks_lineage_show_work();
    if (fks_here.standing != FKS_WORKER || !fks_is_here())
        return 0;
    fks_here.app_loaded = true;
    fks_preload_emit(FORKSAFE_POST_WORKER_INIT, (struct forksafe_occasion){0});
    return 0;
}
