/* SPDX-License-Identifier: MIT
 *
 * The workers of forksafe prefork: forked into stable slots, replaced when they die (with a
 * back-off when they die quickly), replaced one by one at a reload, ended at a stop. Runs in the
 * master.
 */
#include "crew.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <uv.h>

#define QUICK_DEATH    10000 /* ms: who lived for less died quickly */
#define BACKOFF_FIRST  100   /* ms; doubles with each quick death in a row */
#define BACKOFF_MOST   5000
#define BREAKER_DEATHS 10    /* quick deaths in a row after which the slot rests */
#define BREAKER_REST   30000 /* ms */
#define SETTLED        1000  /* ms that a new worker has to live before the old one goes */
#define QUICK_GRACE    2000  /* ms from INT to KILL at a quick stop */

static uint64_t now_ms(void)
{
    return uv_hrtime() / 1000000;
}

int fks_crew_emit(struct fks_crew *crew, enum forksafe_event event,
                  struct forksafe_occasion occasion)
{
    occasion.size = sizeof occasion;
    occasion.role = FORKSAFE_ROLE_MASTER;
    int verdict = forksafe_emit(event, &occasion);
    if (verdict != FORKSAFE_STOP)
        return verdict;
    crew->failed = true;
    if (!crew->stopping) {
        fks_prefork_log("a hook with on_error = stop_server failed: stopping");
        fks_crew_stop(crew, false);
    }
    return verdict;
}

static void ask_to_end(struct fks_crew_worker *worker, int number, uint64_t patience)
{
    uint64_t kill_at = now_ms() + patience;
    if (kill_at < worker->kill_at)
        worker->kill_at = kill_at;
    worker->asked = true;
    kill(worker->pid, number);
}

static uint64_t grace(const struct fks_crew *crew)
{
    return (uint64_t)crew->birth.plan->grace * 1000;
}

void fks_crew_stop(struct fks_crew *crew, bool quick)
{
    const bool at_once = crew->quick && quick;
    crew->stopping = true;
    crew->quick |= quick;
    for (struct fks_crew_worker *worker = crew->workers; worker; worker = worker->next) {
        if (quick)
            ask_to_end(worker, SIGINT, at_once ? 0 : QUICK_GRACE);
        else
            ask_to_end(worker, SIGTERM, grace(crew));
    }
}

bool fks_crew_over(const struct fks_crew *crew)
{
    if (crew->workers)
        return false;
    if (crew->stopping)
        return true;
    bool done = crew->birth.plan->once;
    for (int i = 0; i < crew->size; i++)
        done = done && crew->slots[i].done;
    return done;
}

/* How long the slot stays empty after one more quick death. */
static uint64_t back_off(struct fks_crew_slot *slot, int number)
{
    slot->quick_deaths++;
    if (slot->quick_deaths >= BREAKER_DEATHS) {
        fks_prefork_log("worker %d: died quickly %u times in a row; it rests for %d s", number,
                        slot->quick_deaths, BREAKER_REST / 1000);
        return BREAKER_REST;
    }
    uint64_t pause = (uint64_t)BACKOFF_FIRST << (slot->quick_deaths - 1);
    return pause < BACKOFF_MOST ? pause : BACKOFF_MOST;
}

/* ---- start ---- */

/* The child never returns from here. All signals are blocked across the fork: see worker.c. */
static pid_t fork_worker(struct fks_crew *crew, int number)
{
    sigset_t all, mask;
    crew->birth.worker = number;
    fflush(NULL); /* or the child writes it once more */
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &mask);
    pid_t pid = fork();
    if (pid == 0)
        fks_prefork_worker_run(&crew->birth);
    int error = errno;
    sigprocmask(SIG_SETMASK, &mask, NULL);
    errno = error;
    return pid;
}

static pid_t start(struct fks_crew *crew, int number)
{
    struct fks_crew_worker *worker = calloc(1, sizeof *worker);
    if (!worker) {
        fks_prefork_log("worker %d: cannot start: out of memory", number);
        return -1;
    }
    if (fks_crew_emit(crew, FORKSAFE_PRE_FORK, (struct forksafe_occasion){.worker = number}) !=
        FORKSAFE_OK) {
        free(worker);
        return -1;
    }
    worker->pid = fork_worker(crew, number);
    if (worker->pid < 0) {
        fks_prefork_log("worker %d: cannot fork: %s", number, strerror(errno));
        free(worker);
        return -1;
    }
    worker->slot = number;
    worker->round = crew->round;
    worker->started = now_ms();
    worker->kill_at = UINT64_MAX;
    worker->next = crew->workers;
    crew->workers = worker;
    crew->slots[number - 1].current = worker;
    fks_prefork_log("worker %d: started, pid %d", number, (int)worker->pid);
    return worker->pid;
}

static void start_if_due(struct fks_crew *crew, int number)
{
    struct fks_crew_slot *slot = &crew->slots[number - 1];
    if (slot->current || slot->done || now_ms() < slot->start_at)
        return;
    slot->done = crew->birth.plan->once;
    if (start(crew, number) > 0)
        return;
    slot->start_at = now_ms() + back_off(slot, number);
    crew->failed |= crew->birth.plan->once;
}

/* ---- reload ---- */

/* Starts the new worker beside the old one, in the same slot, and asks the old one to end when the
 * new one has settled: a generation that cannot live takes nobody's place. Returns whether the slot
 * needs no more of this. */
static bool replace(struct fks_crew *crew, struct fks_crew_slot *slot)
{
    if (slot->old) {
        if (!slot->current || now_ms() < slot->current->started + SETTLED)
            return false;
        ask_to_end(slot->old, SIGTERM, grace(crew));
        slot->old = NULL;
    }
    if (!slot->current || slot->current->round == crew->round)
        return true;
    slot->old = slot->current;
    slot->current = NULL;
    slot->start_at = 0;
    return false;
}

static void replace_next(struct fks_crew *crew)
{
    for (int i = 0; i < crew->size; i++)
        if (!replace(crew, &crew->slots[i]))
            return;
}

void fks_crew_reload(struct fks_crew *crew)
{
    crew->round++;
    for (int i = 0; i < crew->size; i++) {
        crew->slots[i].quick_deaths = 0;
        crew->slots[i].start_at = 0;
    }
}

void fks_crew_resize(struct fks_crew *crew, int change)
{
    int size = crew->size + change;
    if (crew->stopping || size < 1 || size > FKS_PREFORK_MAX_WORKERS)
        return;
    if (change < 0) {
        struct fks_crew_slot *slot = &crew->slots[size];
        if (slot->current)
            ask_to_end(slot->current, SIGTERM, grace(crew));
        if (slot->old)
            ask_to_end(slot->old, SIGTERM, grace(crew));
        *slot = (struct fks_crew_slot){0};
    }
    crew->size = size;
    fks_prefork_log("now %d worker%s", size, size == 1 ? "" : "s");
}

/* ---- end ---- */

static void say_how_it_ended(const struct fks_crew_worker *worker, int status)
{
    if (WIFSIGNALED(status))
        fks_prefork_log("worker %d: pid %d was ended by signal %d, %s", worker->slot,
                        (int)worker->pid, WTERMSIG(status), sigabbrev_np(WTERMSIG(status)));
    else
        fks_prefork_log("worker %d: pid %d exited with %d", worker->slot, (int)worker->pid,
                        WEXITSTATUS(status));
}

/* A worker that its hooks retired has waited by itself: the library bounds such loops. Ours is for
 * those that die by themselves. */
static bool was_retired(const struct fks_crew *crew, const struct fks_crew_worker *worker)
{
    return crew->birth.told->retired[worker->slot - 1] == worker->pid;
}

/* Its slot is free for the next one: now, or after a back-off. */
static void vacate(const struct fks_crew *crew, struct fks_crew_worker *worker,
                   struct fks_crew_slot *slot)
{
    if (slot->old == worker)
        slot->old = NULL;
    if (slot->current != worker)
        return;
    slot->current = NULL;
    slot->start_at = 0;
    if (worker->asked || slot->done || was_retired(crew, worker))
        return;
    if (now_ms() < worker->started + QUICK_DEATH)
        slot->start_at = now_ms() + back_off(slot, worker->slot);
    else
        slot->quick_deaths = 0;
}

static void bury(struct fks_crew *crew, struct fks_crew_worker *worker, int status)
{
    const bool by_signal = WIFSIGNALED(status);
    say_how_it_ended(worker, status);
    vacate(crew, worker, &crew->slots[worker->slot - 1]);
    if (crew->birth.plan->once && status != 0)
        crew->failed = true;
    fks_crew_emit(crew, FORKSAFE_CHILD_EXIT,
                  (struct forksafe_occasion){
                      .worker = worker->slot,
                      .child_pid = worker->pid,
                      .child_exit = by_signal ? -1 : WEXITSTATUS(status),
                      .child_signal = by_signal ? WTERMSIG(status) : 0,
                  });
    if (!crew->birth.told->stop)
        return;
    crew->failed = true;
    if (crew->stopping)
        return;
    fks_prefork_log("worker %d: a hook with on_error = stop_server failed: stopping", worker->slot);
    fks_crew_stop(crew, false);
}

/* Only the pids that we know: a child of somebody else's in this process is not ours to reap. */
void fks_crew_reap(struct fks_crew *crew)
{
    struct fks_crew_worker **link = &crew->workers;
    while (*link) {
        struct fks_crew_worker *worker = *link;
        int status;
        if (waitpid(worker->pid, &status, WNOHANG) != worker->pid) {
            link = &worker->next;
            continue;
        }
        *link = worker->next;
        bury(crew, worker, status);
        free(worker);
    }
}

/* ---- what is due ---- */

static void kill_overdue(struct fks_crew *crew)
{
    for (struct fks_crew_worker *worker = crew->workers; worker; worker = worker->next) {
        if (now_ms() < worker->kill_at)
            continue;
        fks_prefork_log("worker %d: pid %d did not end in time: KILL", worker->slot,
                        (int)worker->pid);
        worker->kill_at = UINT64_MAX;
        kill(worker->pid, SIGKILL);
    }
}

static void sooner(uint64_t *next, uint64_t time)
{
    if (time < *next)
        *next = time;
}

static int64_t next_due(const struct fks_crew *crew)
{
    uint64_t next = UINT64_MAX, now = now_ms();
    for (const struct fks_crew_worker *worker = crew->workers; worker; worker = worker->next)
        sooner(&next, worker->kill_at);
    for (int i = 0; i < crew->size && !crew->stopping; i++) {
        const struct fks_crew_slot *slot = &crew->slots[i];
        if (!slot->current && !slot->done)
            sooner(&next, slot->start_at);
        if (slot->current && slot->old)
            sooner(&next, slot->current->started + SETTLED);
    }
    if (next == UINT64_MAX)
        return -1;
    return next > now ? (int64_t)(next - now) : 0;
}

int64_t fks_crew_attend(struct fks_crew *crew)
{
    kill_overdue(crew);
    if (!crew->stopping)
        replace_next(crew);
    for (int number = 1; number <= crew->size && !crew->stopping; number++)
        start_if_due(crew, number);
    return next_due(crew);
}
