/* SPDX-License-Identifier: MIT
 *
 * The uWSGI adapter: a plugin that tells libforksafe where uWSGI is in its life. It is a request
 * plugin, though no request ever comes to it, since only those are called between the last
 * daemonising fork and the first worker, right before a worker is forked, and in mules and
 * spoolers. Runs in uWSGI's master and in everything that it forks.
 */
#include <uwsgi.h>

#include "forksafe/forksafe.h"

#define MODIFIER1 237 /* free in uWSGI's list of modifiers; `plugin = N:forksafe` takes another */

extern struct uwsgi_server uwsgi;
extern struct uwsgi_plugin forksafe_plugin;

/* Hook names are uWSGI's plugin callbacks, except that of the fork, which Python knows as
 * uwsgi.post_fork_hook. */
static const struct forksafe_fork_point points[] = {
    {FORKSAFE_RELOAD, 0, "master_fixup"},
    {FORKSAFE_MASTER_READY, 0, "master_fixup"},
    {FORKSAFE_PRE_FORK, 0, "pre_fork_hook"},
    {FORKSAFE_POST_FORK, 0, "post_fork_hook"},
    {FORKSAFE_POST_WORKER_INIT, 0, "hijack_worker"},
    {FORKSAFE_WORKER_EXIT, 0, "atexit"},
    {FORKSAFE_CHILD_EXIT, 0, "master_cycle"},
    {FORKSAFE_SHUTDOWN, 0, "master_cleanup"},
};

/* What the master remembers of a worker's slot, to see what became of it. */
struct slot {
    uint64_t respawns; /* uwsgi.workers[].respawn_count when it was last forked */
    pid_t running;     /* its end is still to be told; 0: none */
    pid_t told;        /* its end was told, and uWSGI has not reaped it yet */
};

static const char no_master[] = "you have to enable the uWSGI master process to use this module";

static char *ini_option; /* --forksafe */
static bool serving;     /* forksafe is open and this is a server with a master: events are fired */
static bool app_loaded;  /* in this process */
static struct slot *slots;    /* 1..uwsgi.numproc; the master's */
static volatile int *stopped; /* shared by all: a subscriber asked for the end of the server */

static void write_log(void *data, enum forksafe_log_level level, const char *line)
{
    uwsgi_log("%s\n", line);
}

static enum forksafe_role role(void)
{
    if (uwsgi.mywid > 0)
        return FORKSAFE_ROLE_WORKER;
    return getpid() == uwsgi.workers[0].pid ? FORKSAFE_ROLE_MASTER : FORKSAFE_ROLE_HELPER;
}

/* Ends this worker, mule or spooler as uWSGI ends one; the master forks it anew unless the server
 * is to stop. */
static void end_process(void)
{
    uwsgi_log("forksafe: process %d ends, as a subscriber asked for\n", (int)getpid());
    if (uwsgi.mywid > 0)
        uwsgi.workers[uwsgi.mywid].manage_next_request = 0; /* else the master reports a crash */
    end_me(0);
}

/* What a verdict means here. A stop is a word in shared memory that the master looks at in each of
 * its cycles: a signal would kill a master that is not in its loop yet, and leave the other workers
 * without one. */
static void obey(int verdict, enum forksafe_event event)
{
    if (verdict == FORKSAFE_STOP)
        *stopped = 1;
    if (role() == FORKSAFE_ROLE_MASTER || event == FORKSAFE_WORKER_EXIT)
        return;
    if (verdict == FORKSAFE_RETIRE || *stopped)
        end_process();
}

/* The one way from uWSGI to the subscribers. Silent in children that the application forked by
 * itself. */
static void emit(enum forksafe_event event, struct forksafe_occasion occasion)
{
    if (!serving || uwsgi.mypid != getpid())
        return;
    occasion.size = sizeof(occasion);
    occasion.role = role();
    occasion.forked = occasion.role != FORKSAFE_ROLE_MASTER;
    occasion.app_loaded = app_loaded;
    obey(forksafe_emit(event, &occasion), event);
}

/* --forksafe, else the ini that uWSGI's python plugin loads the application from, else
 * FORKSAFE_INI; absolute, since uWSGI may have changed its directory. NULL: none. */
static const char *find_ini(void)
{
    const char *ini = ini_option;
    const char *paste = uwsgi_get_exported_opt("paste");
    if (!ini)
        ini = uwsgi_get_exported_opt("ini-paste");
    if (!ini)
        ini = uwsgi_get_exported_opt("ini-paste-logged");
    if (!ini && paste && !strncmp(paste, "config:", 7))
        ini = paste + 7;
    if (!ini)
        ini = secure_getenv("FORKSAFE_INI");
    if (!ini || !*ini)
        return NULL;
    return *ini == '/' ? ini : uwsgi_concat3(uwsgi.cwd, "/", (char *)ini);
}

static struct forksafe_host describe_host(void)
{
    /* uWSGI looks names up when it drops privileges: with --master-as-root, not in the master. */
    /* cppcheck-suppress getpwnamCalled */
    struct passwd *user = uwsgi.uidname ? getpwnam(uwsgi.uidname) : NULL;
    /* cppcheck-suppress getgrnamCalled */
    struct group *group = uwsgi.gidname ? getgrnam(uwsgi.gidname) : NULL;
    uid_t uid = user ? user->pw_uid : uwsgi.uid;
    gid_t gid = group ? group->gr_gid : uwsgi.gid;
    return (struct forksafe_host){
        .size = sizeof(struct forksafe_host),
        .container = "uwsgi",
        .environment = "uWSGI",
        .version = UWSGI_VERSION,
        .ini = find_ini(),
        .points = points,
        .point_count = sizeof(points) / sizeof(points[0]),
        .worker_uid = getuid() == 0 && uid ? uid : (uid_t)-1, /* 0: uWSGI does not change it */
        .worker_gid = getuid() == 0 && gid ? gid : (gid_t)-1,
        .log = write_log,
        .problem = uwsgi.master_process ? NULL : no_master,
    };
}

/* Still root, and uid= or gid= come next: the last chance to make a directory for the journal. */
static void before_privileges_drop(void)
{
    struct forksafe_host host = describe_host();
    if (host.ini && uwsgi.uid && !serving)
        forksafe_prepare(&host);
}

/* Opens forksafe. Returns whether there is something to fire events for. */
static bool open_forksafe(void)
{
    struct forksafe_host host = describe_host();
    if (!host.ini) {
        uwsgi_log("forksafe: no ini and so no hooks; start uWSGI with --forksafe INI[#APP]\n");
        return false;
    }
    int error = forksafe_open(&host);
    if (error == FORKSAFE_EREQUIRED)
        exit(1);
    return error == 0;
}

/* step 0: in the process that will fork all others, daemonised by now. 1: in one of those. */
static void master_fixup(int step)
{
    if (step != 0 || !open_forksafe())
        return;
    slots = uwsgi_calloc(sizeof(*slots) * (size_t)(uwsgi.numproc + 1));
    stopped = uwsgi_calloc_shared(sizeof(*stopped));
    app_loaded = !uwsgi.lazy && !uwsgi.lazy_apps;
    serving = true;
    if (uwsgi.is_a_reload)
        emit(FORKSAFE_RELOAD, (struct forksafe_occasion){0});
    emit(FORKSAFE_MASTER_READY, (struct forksafe_occasion){0});
}

/* Only for workers. uWSGI does not say which one; it has counted its respawns up. */
static void pre_uwsgi_fork(void)
{
    if (!serving)
        return;
    int worker = uwsgi.numproc;
    while (worker > 0 && slots[worker].respawns == uwsgi.workers[worker].respawn_count)
        worker--;
    slots[worker].respawns = uwsgi.workers[worker].respawn_count;
    emit(FORKSAFE_PRE_FORK, (struct forksafe_occasion){.worker = worker});
}

static void post_fork(void)
{
    emit(FORKSAFE_POST_FORK, (struct forksafe_occasion){.worker = uwsgi.mywid});
}

/* The application is loaded, also with --lazy-apps, and no request was accepted yet. */
static void hijack_worker(void)
{
    app_loaded = true;
    emit(FORKSAFE_POST_WORKER_INIT, (struct forksafe_occasion){.worker = uwsgi.mywid});
}

/* uWSGI may be in a signal handler here. In the middle of a request that is no orderly end, and
 * uWSGI's own python plugin does nothing then either. */
static void at_exit(void)
{
    if (!serving || (uwsgi.mywid > 0 && uwsgi_worker_is_busy(uwsgi.mywid)))
        return;
    emit(FORKSAFE_WORKER_EXIT, (struct forksafe_occasion){.worker = uwsgi.mywid});
}

static void tell_end(int worker, pid_t pid, int status, int signal)
{
    slots[worker].running = 0;
    slots[worker].told = pid;
    emit(FORKSAFE_CHILD_EXIT,
         (struct forksafe_occasion){
             .worker = worker, .child_pid = pid, .child_exit = status, .child_signal = signal});
}

/* uWSGI tells plugins nothing of a child's end, but calls this right before it reaps the next one:
 * look at that, and leave it there. One that ends between the two is seen by its pid that has gone,
 * without its status. */
static void look_for_ends(void)
{
    siginfo_t end = {0};
    waitid(P_ALL, 0, &end, WEXITED | WNOHANG | WNOWAIT);
    for (int worker = 1; worker <= uwsgi.numproc; worker++) {
        struct slot *slot = &slots[worker];
        pid_t pid = uwsgi.workers[worker].pid;
        if (slot->running && slot->running != pid)
            tell_end(worker, slot->running, -1, 0);
        if (pid > 0 && pid != slot->told)
            slot->running = pid;
        if (!slot->running || slot->running != end.si_pid)
            continue;
        bool exited = end.si_code == CLD_EXITED;
        tell_end(worker, pid, exited ? end.si_status : -1, exited ? 0 : end.si_status);
    }
}

static void master_cycle(void)
{
    if (!serving)
        return;
    look_for_ends();
    if (!*stopped || uwsgi_instance_is_dying)
        return;
    uwsgi_log("forksafe: the server stops, as a subscriber asked for\n");
    uwsgi.status.dying_for_need_app = 1; /* it exits with 22, not with 0 */
    gracefully_kill_them_all(0);
}

/* Also called before the master executes itself anew. */
static void master_cleanup(void)
{
    if (!uwsgi_instance_is_reloading || uwsgi.exit_on_reload)
        emit(FORKSAFE_SHUTDOWN, (struct forksafe_occasion){0});
}

/* uWSGI has no check of its own, and its structures differ from version to version: ask by a
 * function. */
static bool built_for_this_uwsgi(void)
{
    char *flags = uwsgi_get_cflags();
    bool same = strstr(flags, "-DUWSGI_VERSION=\"\\\"" UWSGI_VERSION "\\\"\"") != NULL;
    free(flags);
    return same;
}

/* Only generic plugins are called before uWSGI gives up root: a second one, for that alone. */
static void on_load(void)
{
    static struct uwsgi_plugin as_root = {
        .name = "forksafe_as_root",
        .before_privileges_drop = before_privileges_drop,
    };
    struct uwsgi_plugin *plugin = &as_root;
    if (!built_for_this_uwsgi()) {
        uwsgi_log("forksafe: no hooks: forksafe_plugin.so was built for uWSGI %s, and this is "
                  "another; build it again with this uwsgi\n",
                  UWSGI_VERSION);
        forksafe_plugin.master_fixup = NULL; /* nothing else opens forksafe */
        return;
    }
    fill_plugin_table(0, plugin);
}

static struct uwsgi_option options[] = {
    {"forksafe", required_argument, 0, "run the fork hooks of this ini (INI[#APP])",
     uwsgi_opt_set_str, &ini_option, 0},
    {0},
};

FORKSAFE_API struct uwsgi_plugin forksafe_plugin = {
    .name = "forksafe",
    .modifier1 = MODIFIER1,
    .request = unconfigured_hook, /* answers as if no plugin were here */
    .options = options,
    .on_load = on_load,
    .master_fixup = master_fixup,
    .pre_uwsgi_fork = pre_uwsgi_fork,
    .post_fork = post_fork,
    .hijack_worker = hijack_worker,
    .atexit = at_exit,
    .master_cycle = master_cycle,
    .master_cleanup = master_cleanup,
};
