/* SPDX-License-Identifier: MIT
 *
 * The Apache adapter: a module that tells libforksafe where httpd is in its life, with any of the
 * Unix MPMs. httpd unloads its modules and loads them again between the two passes over its
 * configuration and at each restart: this one is linked -z nodelete, so that its variables and its
 * fork handler stay. Runs in httpd's master and in its children; in `httpd -t` it only checks.
 */
#include <httpd.h>

#include <ap_mpm.h>
#include <apr_strings.h>
#include <http_config.h>
#include <http_core.h>
#include <http_log.h>
#include <http_main.h>
#include <mpm_common.h>
#include <scoreboard.h>
#include <unixd.h>

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "forksafe/forksafe.h"

#define BEGUN (-1) /* the child has come to child_init */

/* Numbers a child that httpd may have: it starts children in the places of those that only finish
 * their requests. */
#define NUMBERS 4

FORKSAFE_API extern module AP_MODULE_DECLARE_DATA forksafe_module;
APLOG_USE_MODULE(forksafe);

/* Hook names are those of httpd's hooks; where it has none, of its functions. */
static const struct forksafe_fork_point points[] = {
    {FORKSAFE_MASTER_READY, 0, "pre_mpm"},       {FORKSAFE_PRE_FORK, 0, "make_child"},
    {FORKSAFE_POST_FORK, 0, "child_init"},       {FORKSAFE_POST_WORKER_INIT, 0, "child_init"},
    {FORKSAFE_WORKER_EXIT, 0, "child_stopping"}, {FORKSAFE_CHILD_EXIT, 0, "child_status"},
    {FORKSAFE_RELOAD, 0, "post_config"},         {FORKSAFE_SHUTDOWN, 0, "pool_cleanup"},
};

/* The directive. */
struct config {
    const char *ini; /* NULL: not given */
    const ap_directive_t *where;
};

/* Shared by all: what the master keeps of its children, by their numbers, and what they leave
 * behind for it. Entry 0 is of all that found no number. */
struct shared {
    volatile int stop; /* a subscriber asked for the end of the server */
    struct {
        pid_t pid;          /* the worker of this number; 0: none. The master's */
        volatile int ended; /* BEGUN, then 1 + what it handed to exit(). The worker's */
    } workers[];
};

static struct shared *shared;
static int capacity;     /* the highest number */
static pid_t master;     /* who opened forksafe; 0: nobody yet */
static bool serving;     /* it has an ini, and httpd uses this module: events are fired */
static bool single;      /* httpd -X: the master does the work */
static int number;       /* of this worker; in the master of the one it forked last */
static pid_t worker;     /* this process, if it is one; 0: it is not */
static bool leaving;     /* this worker was told to end */
static pid_t crashed;    /* the child that httpd's log said ended by a signal, and ... */
static int crash_signal; /* ... which; the master's */

static void write_log(void *data, enum forksafe_log_level level, const char *line)
{
    static const int levels[] = {APLOG_DEBUG, APLOG_NOTICE, APLOG_WARNING, APLOG_ERR};
    (void)data;
    ap_log_error(APLOG_MARK, levels[level], 0, ap_server_conf, "%s", line);
}

static bool is_threaded(void)
{
    int answer = AP_MPMQ_NOT_SUPPORTED;
    return ap_mpm_query(AP_MPMQ_IS_THREADED, &answer) == APR_SUCCESS &&
           answer != AP_MPMQ_NOT_SUPPORTED;
}

/* With a threaded MPM the first thread of a child sleeps until httpd wakes it with TERM, and misses
 * that where it comes before it sleeps. So it comes again; that thread alone gets it. */
static void wake_until_gone(void)
{
    const struct itimerspec tenth = {.it_value.tv_nsec = 100000000,
                                     .it_interval.tv_nsec = 100000000};
    struct sigevent wake = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGTERM};
    timer_t timer;
    if (!timer_create(CLOCK_MONOTONIC, &wake, &timer))
        timer_settime(timer, 0, &tenth, NULL);
}

/* Ends this child when its requests are done, by what httpd has for that: a MaxConnectionsPerChild
 * that is used up, or with prefork, which looks at that after a connection only, the signal of a
 * graceful restart. In child_init, where signals are blocked. */
static void leave(void)
{
    if (leaving || single)
        return;
    leaving = true;
    if (is_threaded()) {
        ap_max_requests_per_child = -1;
        wake_until_gone();
    } else {
        kill(getpid(), AP_SIG_GRACEFUL);
    }
}

static void obey(int verdict, enum forksafe_event event)
{
    if (verdict == FORKSAFE_OK || event == FORKSAFE_SHUTDOWN)
        return;
    if (verdict == FORKSAFE_STOP) {
        ap_log_error(APLOG_MARK, APLOG_ERR, 0, ap_server_conf,
                     "forksafe: the server stops, as a subscriber asked for");
        shared->stop = 1; /* the master looks at it */
        if (single)
            kill(getpid(), SIGTERM);
    }
    if (worker && event != FORKSAFE_WORKER_EXIT)
        leave();
}

/* The one way from httpd to the subscribers. */
static void emit(enum forksafe_event event, struct forksafe_occasion occasion)
{
    if (!serving)
        return;
    occasion.size = sizeof(occasion);
    occasion.role = single   ? FORKSAFE_ROLE_SINGLE
                    : worker ? FORKSAFE_ROLE_WORKER
                             : FORKSAFE_ROLE_MASTER;
    occasion.forked = worker && !single;
    occasion.app_loaded = 1; /* httpd has read its configuration */
    obey(forksafe_emit(event, &occasion), event);
}

/* The directive's, else FORKSAFE_INI, as httpd finds other files; NULL: none. */
static const char *find_ini(apr_pool_t *pool, server_rec *server)
{
    const struct config *config =
        (const struct config *)ap_get_module_config(server->module_config, &forksafe_module);
    const char *ini = config->ini ? config->ini : secure_getenv("FORKSAFE_INI");
    return ini && *ini ? ap_server_root_relative(pool, ini) : NULL;
}

static struct forksafe_host describe_host(apr_pool_t *pool, server_rec *server)
{
    bool root = geteuid() == 0; /* else httpd does not change its user */
    ap_version_t version;
    ap_get_server_revision(&version);
    return (struct forksafe_host){
        .size = sizeof(struct forksafe_host),
        .container = "apache",
        .environment = "Apache",
        .version = apr_psprintf(pool, "%d.%d.%d", version.major, version.minor, version.patch),
        .ini = find_ini(pool, server),
        .points = points,
        .point_count = sizeof(points) / sizeof(points[0]),
        .worker_uid = root ? ap_unixd_config.user_id : (uid_t)-1,
        .worker_gid = root ? ap_unixd_config.group_id : (gid_t)-1,
        .log = write_log,
        .cannot = single ? FORKSAFE_CANNOT_RETIRE : 0,
    };
}

/* The smallest that is free; 0: none is. */
static int free_number(void)
{
    for (int i = 1; i <= capacity; i++)
        if (!shared->workers[i].pid)
            return i;
    return 0;
}

/* In whichever process forks. The number of the next worker, which inherits it, is chosen here. */
static void before_fork(void)
{
    if (!serving || single || getpid() != master ||
        ap_state_query(AP_SQ_MAIN_STATE) != AP_SQ_MS_RUN_MPM)
        return;
    number = free_number();
    shared->workers[number].ended = 0;
    emit(FORKSAFE_PRE_FORK, (struct forksafe_occasion){.worker = number, .at_fork = 1});
}

/* Before the master's end, while its log is still open. Also called at the end of the others. */
static apr_status_t end_master(void *data)
{
    (void)data;
    if (getpid() == master)
        emit(FORKSAFE_SHUTDOWN, (struct forksafe_occasion){0});
    return APR_SUCCESS;
}

/* At the end of this configuration: the next one may be without this module. */
static apr_status_t end_configuration(void *data)
{
    (void)data;
    serving = false;
    return APR_SUCCESS;
}

/* Once, in the master. Returns whether there is room for what it keeps. */
static bool become_master(server_rec *server)
{
    int limit = 0;
    master = getpid();
    if (ap_mpm_query(AP_MPMQ_HARD_LIMIT_DAEMONS, &limit) != APR_SUCCESS || limit < 1)
        limit = 1;
    limit *= NUMBERS;
    void *map = mmap(NULL, sizeof(*shared) + (size_t)(limit + 1) * sizeof(shared->workers[0]),
                     PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (map == MAP_FAILED || pthread_atfork(before_fork, NULL, NULL))
        return false;
    shared = (struct shared *)map;
    capacity = limit;
    apr_pool_pre_cleanup_register(server->process->pool, NULL, end_master);
    return true;
}

/* Once, before the first fork. */
static void tell_ready(void)
{
    static bool told;
    if (serving && !told)
        emit(FORKSAFE_MASTER_READY, (struct forksafe_occasion){0});
    told |= serving;
}

/* Opens forksafe: at the start after daemonising, and again at each restart. */
static int post_config(apr_pool_t *pool, apr_pool_t *log, apr_pool_t *temporary, server_rec *server)
{
    bool reload = master == getpid();
    (void)log;
    if (ap_state_query(AP_SQ_MAIN_STATE) != AP_SQ_MS_CREATE_CONFIG)
        return OK; /* the first pass: all of it comes again */
    single = ap_exists_config_define("DEBUG") || ap_exists_config_define("ONE_PROCESS");
    struct forksafe_host host = describe_host(temporary, server);
    if (!host.ini || !(reload || become_master(server)) || !shared) {
        ap_log_error(APLOG_MARK, APLOG_NOTICE, 0, server, "forksafe: no hooks: %s",
                     host.ini ? "out of memory" : "no \"Forksafe INI\", and no FORKSAFE_INI");
        return OK;
    }
    if (forksafe_open(&host) == FORKSAFE_EREQUIRED && !reload)
        return HTTP_INTERNAL_SERVER_ERROR;
    serving = true;
    apr_pool_cleanup_register(pool, NULL, end_configuration, apr_pool_cleanup_null);
    if (reload)
        emit(FORKSAFE_RELOAD, (struct forksafe_occasion){0});
    else if (ap_state_query(AP_SQ_CONFIG_GEN) > 1) /* a restart: it may be without pre_mpm */
        tell_ready();
    return OK;
}

/* Called again at a restart that is not graceful. */
static int pre_mpm(apr_pool_t *pool, ap_scoreboard_e type)
{
    (void)pool;
    (void)type;
    tell_ready();
    return OK;
}

/* httpd tells its modules that a child has ended, and not how: this much the child tells itself. */
static void note_exit(int status, void *data)
{
    (void)data;
    if (getpid() == worker) /* not a child that it forked */
        shared->workers[number].ended = 1 + (status & 0xff);
}

/* The first thing in a child, as the user that it stays. */
static void begin_child(apr_pool_t *pool, server_rec *server)
{
    (void)pool;
    (void)server;
    if (!serving)
        return;
    worker = getpid();
    if (single)
        number = 1;
    else if (!on_exit(note_exit, NULL))
        shared->workers[number].ended = BEGUN;
    emit(FORKSAFE_POST_FORK, (struct forksafe_occasion){.worker = number});
}

/* All modules have begun. */
static void finish_child_init(apr_pool_t *pool, server_rec *server)
{
    (void)pool;
    (void)server;
    if (worker && !leaving)
        emit(FORKSAFE_POST_WORKER_INIT, (struct forksafe_occasion){.worker = number});
}

/* A child that is told to end at once runs its end inside the handler of that signal: TERM, and
 * with prefork HUP. Only the first thread of a child has a handler. */
static bool in_signal_handler(void)
{
    sigset_t blocked;
    if (single || gettid() != getpid())
        return false;
    pthread_sigmask(SIG_BLOCK, NULL, &blocked);
    return sigismember(&blocked, SIGTERM) || (!is_threaded() && sigismember(&blocked, SIGHUP));
}

/* Called again where a graceful end becomes another one. */
static void child_stopping(apr_pool_t *pool, int graceful)
{
    static int told;
    (void)pool;
    (void)graceful;
    if (!worker || in_signal_handler() || __atomic_exchange_n(&told, 1, __ATOMIC_RELAXED))
        return;
    emit(FORKSAFE_WORKER_EXIT, (struct forksafe_occasion){.worker = number});
}

/* Called for each line of the error log, in any thread: that of httpd's master about a child that
 * ended by a signal is all that a module can learn of it. */
static void read_log(const ap_errorlog_info *info, const char *line)
{
    if (!serving || info->level != APLOG_NOTICE || getpid() != master)
        return;
    const char *found = strstr(line, "child pid ");
    int pid, signal;
    if (!found || sscanf(found, "child pid %d exit signal %*[^(](%d)", &pid, &signal) != 2)
        return;
    crashed = pid;
    crash_signal = signal;
}

/* What is known of a worker's end. One that had begun, did not call exit() and is not in the log
 * was killed: httpd is silent about SIGKILL alone of the signals that its children can die of; and
 * about all of them where it logs to syslog. */
static void tell_end(int ended)
{
    struct forksafe_occasion end = {.worker = ended, .child_pid = shared->workers[ended].pid};
    int left = shared->workers[ended].ended;
    shared->workers[ended].pid = 0;
    if (end.child_pid == crashed)
        end.child_signal = crash_signal;
    else if (left == BEGUN && ap_server_conf->error_log)
        end.child_signal = SIGKILL;
    end.child_exit = end.child_signal || left == BEGUN ? -1 : left - 1;
    crashed = 0; /* its number may come again */
    emit(FORKSAFE_CHILD_EXIT, end);
}

/* In the master: other users than it cannot signal it. */
static void stop_if_asked(void)
{
    int state = AP_MPMQ_STOPPING;
    ap_mpm_query(AP_MPMQ_MPM_STATE, &state);
    if (!shared->stop || state == AP_MPMQ_STOPPING)
        return;
    shared->stop = 0;
    kill(getpid(), AP_SIG_GRACEFUL_STOP);
}

/* In the master, when it has forked a child, and when it has reaped one. */
static void child_status(server_rec *server, pid_t pid, ap_generation_t generation, int slot,
                         mpm_child_status status)
{
    (void)server;
    (void)generation;
    (void)slot;
    if (!serving || single)
        return;
    if (status == MPM_CHILD_STARTED)
        shared->workers[number].pid = pid;
    for (int i = 1; status == MPM_CHILD_EXITED && i <= capacity; i++)
        if (shared->workers[i].pid == pid)
            tell_end(i);
    stop_if_asked();
}

/* `httpd -t`: says in one line what is wrong with the ini. */
static int check_config(apr_pool_t *pool, apr_pool_t *log, apr_pool_t *temporary,
                        server_rec *server)
{
    (void)pool;
    (void)log;
    if (ap_state_query(AP_SQ_RUN_MODE) != AP_SQ_RM_CONFIG_TEST)
        return OK;
    struct forksafe_host host = describe_host(temporary, server);
    return host.ini && forksafe_check(&host) == FORKSAFE_EREQUIRED ? HTTP_INTERNAL_SERVER_ERROR
                                                                   : OK;
}

static void *create_config(apr_pool_t *pool, server_rec *server)
{
    (void)server;
    return apr_pcalloc(pool, sizeof(struct config));
}

static const char *set_ini(cmd_parms *command, void *unused, const char *ini)
{
    struct config *config =
        (struct config *)ap_get_module_config(command->server->module_config, &forksafe_module);
    const char *wrong = ap_check_cmd_context(command, GLOBAL_ONLY);
    (void)unused;
    if (wrong)
        return wrong;
    if (config->ini)
        return apr_psprintf(command->pool,
                            "a server has one Forksafe directive, and this one has it at %s:%d",
                            config->where->filename, config->where->line_num);
    config->ini = ini;
    config->where = command->directive;
    return NULL;
}

static void register_hooks(apr_pool_t *pool)
{
    (void)pool;
    ap_hook_check_config(check_config, NULL, NULL, APR_HOOK_LAST);
    ap_hook_post_config(post_config, NULL, NULL, APR_HOOK_REALLY_LAST);
    ap_hook_pre_mpm(pre_mpm, NULL, NULL, APR_HOOK_REALLY_LAST);
    ap_hook_child_init(begin_child, NULL, NULL, APR_HOOK_REALLY_FIRST);
    ap_hook_child_init(finish_child_init, NULL, NULL, APR_HOOK_REALLY_LAST);
    ap_hook_child_stopping(child_stopping, NULL, NULL, APR_HOOK_REALLY_FIRST);
    ap_hook_child_status(child_status, NULL, NULL, APR_HOOK_MIDDLE);
    ap_hook_error_log(read_log, NULL, NULL, APR_HOOK_MIDDLE);
}

/* `Forksafe INI[#APP]` */
static const command_rec commands[] = {
    AP_INIT_TAKE1("Forksafe", set_ini, NULL, RSRC_CONF,
                  "the ini (INI[#APP]) whose fork hooks run in this server"),
    {NULL},
};

module AP_MODULE_DECLARE_DATA forksafe_module = {
    STANDARD20_MODULE_STUFF,
    .create_server_config = create_config,
    .cmds = commands,
    .register_hooks = register_hooks,
};
