/* SPDX-License-Identifier: MIT
 *
 * The nginx adapter: a dynamic core module that tells libforksafe where nginx is in its life. nginx
 * calls modules in its workers, but in its master only at a reload and at the end: what lies
 * between is seen from a fork handler, when the master is about to fork. Runs in nginx's master and
 * in everything that it forks; in `nginx -t` and `nginx -s` it only reads its directive.
 */
#include <ngx_event.h>

#include <pthread.h>
#include <sys/mman.h>

#include "forksafe/forksafe.h"

extern ngx_module_t ngx_forksafe_module;

/* Hook names are those of nginx's callbacks; in the master of its functions, as it has none. */
static const struct forksafe_fork_point points[] = {
    {FORKSAFE_MASTER_READY, 0, "master_process_cycle"},
    {FORKSAFE_PRE_FORK, 0, "spawn_process"},
    {FORKSAFE_POST_FORK, 0, "init_process"},
    {FORKSAFE_POST_WORKER_INIT, 0, "posted_next_events"},
    {FORKSAFE_WORKER_EXIT, 0, "exit_process"},
    {FORKSAFE_CHILD_EXIT, 0, "reap_children"},
    {FORKSAFE_RELOAD, 0, "init_module"},
    {FORKSAFE_SHUTDOWN, 0, "exit_master"},
};

static bool begun;         /* this is a server: a master at its first fork, or a single process */
static bool serving;       /* and it has an ini: events are fired */
static ngx_int_t numbered; /* workers that the master has forked since it read its configuration */

/* Of a slot of ngx_processes. */
struct worker {
    pid_t pid; /* 0: none whose end is still to be told */
    int number;
};

/* Shared by all: written by workers, read in the master. */
static struct {
    struct worker workers[NGX_MAX_PROCESSES];
} * shared;

/* Master: for which slots it has forked a worker, and who was there before. */
static struct {
    int number; /* 0: for none */
    pid_t before;
} expected[NGX_MAX_PROCESSES];

static void write_log(void *data, enum forksafe_log_level level, const char *line)
{
    static const ngx_uint_t levels[] = {NGX_LOG_DEBUG, NGX_LOG_NOTICE, NGX_LOG_WARN, NGX_LOG_ERR};
    ngx_log_error(levels[level], ngx_cycle->log, 0, "%s", line);
}

static enum forksafe_role role(void)
{
    static const enum forksafe_role roles[] = {
        [NGX_PROCESS_SINGLE] = FORKSAFE_ROLE_SINGLE,
        [NGX_PROCESS_MASTER] = FORKSAFE_ROLE_MASTER,
        [NGX_PROCESS_WORKER] = FORKSAFE_ROLE_WORKER,
        [NGX_PROCESS_HELPER] = FORKSAFE_ROLE_HELPER, /* the cache manager, the cache loader */
    };
    return roles[ngx_process];
}

static bool is_forked(void)
{
    return ngx_process == NGX_PROCESS_WORKER || ngx_process == NGX_PROCESS_HELPER;
}

/* A retired worker ends when its requests are done; the master forks the next one at once, as it
 * does after any status but 2. */
static void obey(int verdict, enum forksafe_event event)
{
    if (verdict == FORKSAFE_RETIRE)
        ngx_quit = 1;
    if (verdict != FORKSAFE_STOP || event == FORKSAFE_SHUTDOWN ||
        (is_forked() && getppid() != ngx_parent))
        return;
    ngx_log_error(NGX_LOG_ERR, ngx_cycle->log, 0,
                  "forksafe: the server stops, as a subscriber asked for");
    kill(is_forked() ? ngx_parent : ngx_pid, SIGQUIT);
}

/* The one way from nginx to the subscribers. */
static void emit(enum forksafe_event event, struct forksafe_occasion occasion)
{
    if (!serving)
        return;
    occasion.size = sizeof(occasion);
    occasion.role = role();
    occasion.forked = is_forked();
    occasion.app_loaded = 1; /* nginx has read its configuration */
    obey(forksafe_emit(event, &occasion), event);
}

/* All that nginx keeps for this module is the directive's argument. */
static void *create_conf(ngx_cycle_t *cycle)
{
    return ngx_pcalloc(cycle->pool, sizeof(ngx_str_t));
}

/* The directive's, as nginx finds other files, else FORKSAFE_INI; NULL: none. */
static const char *find_ini(ngx_cycle_t *cycle)
{
    ngx_str_t *given = (ngx_str_t *)ngx_get_conf(cycle->conf_ctx, ngx_forksafe_module);
    const char *ini = secure_getenv("FORKSAFE_INI");
    if (given->len && ngx_conf_full_name(cycle, given, 1) == NGX_OK)
        ini = (const char *)given->data;
    return ini && *ini ? ini : NULL;
}

/* In the master, or in the process that is all of nginx. At the start, and again at a reload. */
static void open_forksafe(ngx_cycle_t *cycle)
{
    const ngx_core_conf_t *core =
        (const ngx_core_conf_t *)ngx_get_conf(cycle->conf_ctx, ngx_core_module);
    bool reload = begun;
    const struct forksafe_host host = {
        .size = sizeof(host),
        .container = "nginx",
        .environment = "nginx",
        .version = NGINX_VERSION,
        .ini = find_ini(cycle),
        .points = points,
        .point_count = sizeof(points) / sizeof(points[0]),
        .worker_uid = core->user, /* -1 where nginx does not change it */
        .worker_gid = core->group,
        .log = write_log,
        .cannot = ngx_process == NGX_PROCESS_SINGLE ? FORKSAFE_CANNOT_RETIRE : 0,
    };
    begun = true;
    serving = host.ini && shared;
    if (!serving) {
        ngx_log_error(NGX_LOG_NOTICE, cycle->log, 0, "forksafe: no hooks: %s",
                      shared ? "no \"forksafe INI;\", and no FORKSAFE_INI" : "out of memory");
        return;
    }
    if (forksafe_open(&host) == FORKSAFE_EREQUIRED && !reload) {
        ngx_delete_pidfile(cycle);
        exit(1);
    }
    emit(reload ? FORKSAFE_RELOAD : FORKSAFE_MASTER_READY, (struct forksafe_occasion){0});
}

/* Who works in a slot: what the worker has told of itself or, where it ended before it could, the
 * process that was forked there for one. */
static struct worker worker_in(ngx_int_t slot)
{
    pid_t forked = ngx_processes[slot].pid;
    if (shared->workers[slot].pid || !expected[slot].number || forked == expected[slot].before)
        return shared->workers[slot];
    return (struct worker){.pid = forked, .number = expected[slot].number};
}

/* Tells the ends of workers that the master has reaped since it was here last: it keeps their
 * status until their slot is used again. */
static void look_for_ends(void)
{
    for (ngx_int_t slot = 0; serving && slot < NGX_MAX_PROCESSES; slot++) {
        const ngx_process_t *process = &ngx_processes[slot];
        const struct worker worker = worker_in(slot);
        if (worker.pid <= 0 || (process->pid == worker.pid && !process->exited))
            continue;
        shared->workers[slot].pid = 0;
        expected[slot].number = 0;
        int status = process->status;
        struct forksafe_occasion end = {.worker = worker.number, .child_pid = worker.pid};
        end.child_exit = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
        end.child_signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
        emit(FORKSAFE_CHILD_EXIT, end);
    }
}

/* The number of the worker that the master is about to fork; 0: it forks something else. nginx has
 * chosen a slot by now: one that is taken gets what was there again; the others get the workers
 * first, then the cache's processes, and perhaps a new binary. */
static int next_worker(ngx_int_t count)
{
    const ngx_process_t *slot = &ngx_processes[ngx_process_slot];
    bool taken = ngx_process_slot < ngx_last_process && slot->pid != -1;
    if (taken && !slot->exited)
        return 0; /* a child of some other module */
    if (taken)
        return ngx_strcmp(slot->name, "worker process") ? 0 : (int)(intptr_t)slot->data + 1;
    return numbered < count ? (int)++numbered : 0;
}

/* Whether nginx still uses this module: after a reload without it, its code is still there. */
static bool is_loaded(void)
{
    ngx_uint_t i = 0;
    while (i < ngx_cycle->modules_n && ngx_cycle->modules[i] != &ngx_forksafe_module)
        i++;
    return i < ngx_cycle->modules_n;
}

/* In whichever process forks. Of the master's forks, the first may be the one that makes it a
 * daemon. */
static void before_fork(void)
{
    if (ngx_process != NGX_PROCESS_MASTER || ngx_pid != getpid() || !is_loaded())
        return;
    const ngx_core_conf_t *core =
        (const ngx_core_conf_t *)ngx_get_conf(ngx_cycle->conf_ctx, ngx_core_module);
    if (core->daemon && !ngx_daemonized)
        return;
    if (!begun)
        open_forksafe((ngx_cycle_t *)ngx_cycle);
    look_for_ends();
    int worker = next_worker(core->worker_processes);
    expected[ngx_process_slot].number = worker;
    expected[ngx_process_slot].before = ngx_processes[ngx_process_slot].pid;
    if (worker)
        emit(FORKSAFE_PRE_FORK, (struct forksafe_occasion){.worker = worker});
}

/* At the start it is not yet known who the master will be. */
static ngx_int_t init_module(ngx_cycle_t *cycle)
{
    if (begun) {
        look_for_ends();
        numbered = 0;
        open_forksafe(cycle);
    } else if (!shared) { /* once: the module is linked -z nodelete for its fork handler's sake */
        void *map =
            mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        if (map != MAP_FAILED && !pthread_atfork(before_fork, NULL, NULL))
            shared = map;
        else
            ngx_log_error(NGX_LOG_NOTICE, cycle->log, 0, "forksafe: no hooks: out of memory");
    }
    return NGX_OK;
}

/* In the first turn of the worker's loop. */
static void tell_ready(ngx_event_t *event)
{
    if (ngx_quit || ngx_terminate)
        return;
    emit(FORKSAFE_POST_WORKER_INIT, (struct forksafe_occasion){.worker = (int)ngx_worker + 1});
}

static ngx_int_t init_process(ngx_cycle_t *cycle)
{
    static ngx_event_t ready = {.handler = tell_ready};
    if (ngx_process == NGX_PROCESS_SINGLE)
        open_forksafe(cycle);
    if (!serving)
        return NGX_OK;
    bool helper = ngx_process == NGX_PROCESS_HELPER;
    int number = helper ? 0 : (int)ngx_worker + 1;
    if (ngx_process == NGX_PROCESS_WORKER) {
        shared->workers[ngx_process_slot].number = number;
        shared->workers[ngx_process_slot].pid = ngx_pid;
    }
    emit(FORKSAFE_POST_FORK, (struct forksafe_occasion){.worker = number});
    if (helper)
        return NGX_OK;
    ready.log = cycle->log;
    ngx_post_event(&ready, &ngx_posted_next_events);
    return NGX_OK;
}

static void exit_process(ngx_cycle_t *cycle)
{
    emit(FORKSAFE_WORKER_EXIT, (struct forksafe_occasion){.worker = (int)ngx_worker + 1});
}

static void exit_master(ngx_cycle_t *cycle)
{
    look_for_ends();
    emit(FORKSAFE_SHUTDOWN, (struct forksafe_occasion){0});
}

/* `forksafe INI[#APP];` */
static ngx_command_t commands[] = {
    {ngx_string("forksafe"), NGX_MAIN_CONF | NGX_DIRECT_CONF | NGX_CONF_TAKE1,
     ngx_conf_set_str_slot, 0, 0, NULL},
    ngx_null_command,
};
static ngx_core_module_t context = {ngx_string("forksafe"), create_conf, NULL};

FORKSAFE_API ngx_module_t ngx_forksafe_module = {
    NGX_MODULE_V1,
    .ctx = &context,
    .commands = commands,
    .type = NGX_CORE_MODULE,
    .init_module = init_module,
    .init_process = init_process,
    .exit_process = exit_process,
    .exit_master = exit_master,
};

/* What nginx looks for in a dynamic module. */
FORKSAFE_API ngx_module_t *ngx_modules[] = {&ngx_forksafe_module, NULL};
FORKSAFE_API char *ngx_module_names[] = {"ngx_forksafe_module", NULL};
FORKSAFE_API char *ngx_module_order[] = {NULL};
