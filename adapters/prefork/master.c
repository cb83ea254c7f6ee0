/* SPDX-License-Identifier: MIT
 *
 * The master of forksafe prefork: opens libforksafe, turns signals into what the crew has to do,
 * and sleeps in libuv's loop in between. Runs in the master. uv_spawn is not used: it would take
 * SIGCHLD over, and knows no hooks.
 */
#include "crew.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <uv.h>

struct master {
    uv_loop_t loop;
    uv_timer_t timer;
    uv_signal_t signals[FKS_PREFORK_SIGNAL_COUNT];
    char *script; /* owned; NULL: none */
    struct fks_crew crew;
};

/* All fork points are ours to fire: atfork = 0. */
static const struct forksafe_fork_point points[] = {
    {.event = FORKSAFE_MASTER_READY, .hook = "master_ready"},
    {.event = FORKSAFE_PRE_FORK, .hook = "pre_fork"},
    {.event = FORKSAFE_POST_FORK, .hook = "post_fork"},
    {.event = FORKSAFE_POST_WORKER_INIT, .hook = "post_worker_init"},
    {.event = FORKSAFE_WORKER_EXIT, .hook = "worker_exit"},
    {.event = FORKSAFE_CHILD_EXIT, .hook = "child_exit"},
    {.event = FORKSAFE_RELOAD, .hook = "reload"},
    {.event = FORKSAFE_SHUTDOWN, .hook = "shutdown"},
};

/* At the start and at each reload. */
static int open_library(struct master *master)
{
    const struct forksafe_host host = {
        .size = sizeof host,
        .container = "prefork",
        .environment = "forksafe prefork",
        .version = forksafe_version(),
        .ini = master->crew.birth.plan->ini,
        .points = points,
        .point_count = sizeof points / sizeof *points,
        .worker_uid = (uid_t)-1,
        .worker_gid = (gid_t)-1,
        .log = fks_prefork_library_log,
    };
    return forksafe_open(&host);
}

static void read_script(struct master *master)
{
    char *script;
    if (fks_prefork_script_read(master->crew.birth.plan->ini, &script) < 0)
        return; /* at a reload the old one stays */
    free(master->script);
    master->script = script;
    master->crew.birth.script = script;
}

static void emit(struct master *master, enum forksafe_event event)
{
    fks_crew_emit(&master->crew, event, (struct forksafe_occasion){0});
}

/* After everything that happened: what is due now, and when to look again. */
static void attend(struct master *master);

static void on_timer(uv_timer_t *timer)
{
    attend(timer->data);
}

static void attend(struct master *master)
{
    int64_t due = fks_crew_attend(&master->crew);
    uv_timer_stop(&master->timer);
    if (fks_crew_over(&master->crew)) {
        uv_stop(&master->loop);
        return;
    }
    uv_update_time(&master->loop); /* hooks ran since the loop last looked */
    if (due >= 0)
        uv_timer_start(&master->timer, on_timer, (uint64_t)due, 0);
}

/* ---- signals ---- */

static void on_child(struct master *master, int number)
{
    fks_crew_reap(&master->crew);
}

static void on_stop(struct master *master, int number)
{
    fks_prefork_log("%s: stopping", sigabbrev_np(number));
    fks_crew_stop(&master->crew, false);
}

static void on_quick_stop(struct master *master, int number)
{
    fks_prefork_log("%s: stopping quickly", sigabbrev_np(number));
    fks_crew_stop(&master->crew, true);
}

static void on_reload(struct master *master, int number)
{
    if (master->crew.stopping)
        return;
    fks_prefork_log("%s: reloading", sigabbrev_np(number));
    read_script(master);
    open_library(master); /* what it could not do it has said; the hooks of before go on then */
    fks_crew_reload(&master->crew);
    emit(master, FORKSAFE_RELOAD);
}

static void on_more(struct master *master, int number)
{
    fks_crew_resize(&master->crew, 1);
}

static void on_fewer(struct master *master, int number)
{
    fks_crew_resize(&master->crew, -1);
}

static void on_unused(struct master *master, int number)
{
    fks_prefork_log("%s: not used here, ignored", sigabbrev_np(number));
}

static const struct {
    int number;
    void (*act)(struct master *master, int number); /* NULL: ignored */
} actions[FKS_PREFORK_SIGNAL_COUNT] = {
#define X(signal, action) {signal, action},
    FKS_PREFORK_SIGNALS(X)
#undef X
};

static void on_signal(uv_signal_t *handle, int number)
{
    struct master *master = handle->data;
    for (size_t i = 0; i < FKS_PREFORK_SIGNAL_COUNT; i++)
        if (actions[i].number == number)
            actions[i].act(master, number);
    attend(master);
}

static int take_signal(struct master *master, int i)
{
    uv_signal_init(&master->loop, &master->signals[i]);
    master->signals[i].data = master;
    sigaction(actions[i].number, NULL, &master->crew.birth.actions[i]);
    if (actions[i].act)
        return uv_signal_start(&master->signals[i], on_signal, actions[i].number);
    struct sigaction ignored = {.sa_handler = SIG_IGN};
    return sigaction(actions[i].number, &ignored, NULL);
}

/* The inherited mask and dispositions are kept for the workers. */
static int take_signals(struct master *master)
{
    sigset_t ours;
    sigemptyset(&ours);
    for (int i = 0; i < FKS_PREFORK_SIGNAL_COUNT; i++) {
        if (take_signal(master, i) < 0)
            return -1;
        sigaddset(&ours, actions[i].number);
    }
    return sigprocmask(SIG_UNBLOCK, &ours, &master->crew.birth.mask);
}

/* ---- life ---- */

static void close_handle(uv_handle_t *handle, void *data)
{
    uv_close(handle, NULL);
}

static void close_loop(struct master *master)
{
    uv_walk(&master->loop, close_handle, NULL);
    uv_run(&master->loop, UV_RUN_DEFAULT);
    uv_loop_close(&master->loop);
}

static void do_nothing(uv_timer_t *timer)
{
    (void)timer;
}

/* Puts what the loop has into its epoll set before the first fork: by that the audit tells the
 * loop's own descriptors from those of scripts. */
static void turn_once(struct master *master)
{
    uv_timer_start(&master->timer, do_nothing, 0, 0);
    uv_run(&master->loop, UV_RUN_NOWAIT);
}

static int open_loop(struct master *master)
{
    if (uv_loop_init(&master->loop) < 0)
        return -1;
    master->crew.birth.loop_fd = uv_backend_fd(&master->loop);
    uv_timer_init(&master->loop, &master->timer);
    master->timer.data = master;
    turn_once(master);
    if (take_signals(master) == 0)
        return 0;
    close_loop(master);
    return -1;
}

static void serve(struct master *master)
{
    const struct fks_prefork_plan *plan = master->crew.birth.plan;
    fks_prefork_log("%d worker%s, %s", plan->workers, plan->workers == 1 ? "" : "s", plan->ini);
    emit(master, FORKSAFE_MASTER_READY);
    attend(master);
    uv_run(&master->loop, UV_RUN_DEFAULT);
    emit(master, FORKSAFE_SHUTDOWN);
    fks_prefork_log("stopped");
}

static struct master *create(const struct fks_prefork_plan *plan)
{
    struct master *master = calloc(1, sizeof *master);
    if (!master)
        return NULL;
    void *told = mmap(NULL, sizeof(struct fks_prefork_told), PROT_READ | PROT_WRITE,
                      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (told == MAP_FAILED) {
        free(master);
        return NULL;
    }
    master->crew.birth.plan = plan;
    master->crew.birth.told = told;
    master->crew.birth.master = getpid();
    master->crew.size = plan->workers;
    return master;
}

static void destroy(struct master *master)
{
    munmap(master->crew.birth.told, sizeof(struct fks_prefork_told));
    free(master->script);
    free(master);
}

int fks_prefork_master_run(const struct fks_prefork_plan *plan)
{
    int status = 1;
    struct master *master = create(plan);
    if (!master) {
        fks_prefork_log("not started: out of memory");
        return status;
    }
    read_script(master);
    /* Any other failure has been told in the log: the workers then run without hooks. */
    if (open_library(master) == FORKSAFE_EREQUIRED) {
        fks_prefork_log("not started: forksafe.required is set");
        goto destroy;
    }
    if (open_loop(master) < 0) {
        fks_prefork_log("not started: no event loop");
        goto destroy;
    }
    serve(master);
    status = master->crew.failed;
    close_loop(master);
destroy:
    destroy(master);
    return status;
}
