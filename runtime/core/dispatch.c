/* SPDX-License-Identifier: MIT
 *
 * The path of a fork: an adapter's emit comes in here, the subscribers run one after another, each
 * is recorded before and after, and the verdict goes back. Inside somebody else's server: bounded,
 * and silent unless something failed.
 */
#include "dispatch.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "log.h"
#include "names.h"

#define QUEUE      16
#define WAIT_TRIES 1000 /* times a millisecond, for another thread of this process to come out */

static struct {
    struct fks_setup *setup;
    struct fks_journal *journal;
    uint32_t hooks[FORKSAFE_EVENT_COUNT];
    uint32_t generation;
    struct fks_subscriber *first[FORKSAFE_EVENT_COUNT]; /* of each event, in the VM's sorted list */
    size_t count[FORKSAFE_EVENT_COUNT];
} in_use;

/* The one lock: pid and thread that are inside, in one word; 0: nobody. Its owner is known, so that
 * an emit from within an emit (a signal handler of the host, a bridge that forks) and a child whose
 * forking thread was not the owner are told apart. */
static _Atomic uint64_t owner;

/* Events that arrived while one ran. Handlers interrupt the thread that is inside and only add at
 * the tail; only that thread takes from the head. Both only rise. */
static struct queued {
    enum forksafe_event event;
    struct forksafe_occasion occasion;
    pid_t pid; /* whose event it is: a child forked meanwhile has a copy */
} queue[QUEUE];
static _Atomic unsigned queue_head, queue_tail;

/* Of events that ran when a reload gave the lock back, for the next emit: a reload has nobody to
 * tell. */
static _Atomic int owed;

enum entry { ENTERED, NESTED, BUSY };

/* The VM's list is sorted by event: where each event's part begins, and how long it is. */
static void index_subscribers(void)
{
    size_t count;
    struct fks_subscriber *list = fks_vm_subscribers(in_use.setup->vm, &count);
    memset(in_use.count, 0, sizeof in_use.count);
    for (size_t i = count; i-- > 0;) {
        in_use.first[list[i].event] = &list[i];
        in_use.count[list[i].event]++;
    }
}

/* What the journal knows of the subscribers of the old VM, they are in the new one too. */
static void keep_ids(struct fks_vm *old, struct fks_vm *fresh)
{
    size_t old_count, count;
    const struct fks_subscriber *from = fks_vm_subscribers(old, &old_count);
    struct fks_subscriber *to = fks_vm_subscribers(fresh, &count);
    for (size_t i = 0; i < count; i++)
        for (size_t j = 0; j < old_count; j++)
            if (to[i].event == from[j].event && !strcmp(to[i].name, from[j].name)) {
                to[i].id = from[j].id;
                to[i].failed_before = from[j].failed_before;
            }
}

/* The thread that was inside did not come along through the fork: its VM is in an unknown state,
 * and a new one is made from the texts in memory. What was put aside is the parent's. */
static void rebuild_vm(void)
{
    struct fks_setup *setup = in_use.setup;
    struct fks_error error;
    size_t failed;
    atomic_store(&queue_head, atomic_load(&queue_tail));
    if (!setup)
        return;
    struct fks_vm *fresh, *old = setup->vm;
    if (fks_vm_create(&fresh, &setup->spec, &failed, &error))
        fks_log(FORKSAFE_LOG_ERROR, "no subscriber runs in process %d: %s", (int)getpid(),
                error.text);
    else
        keep_ids(old, fresh);
    setup->vm = fresh;
    fks_vm_abandon(old);
    if (fresh)
        index_subscribers();
}

static uint64_t this_thread(void)
{
    /* No two stacks begin in one page. */
    return (uint64_t)getpid() << 32 | (uint32_t)((uintptr_t)pthread_self() >> 12);
}

static enum entry enter(bool may_wait)
{
    const uint64_t self = this_thread();
    const struct timespec millisecond = {.tv_nsec = 1000000};
    uint64_t holder = 0;
    for (int tries = 0; !atomic_compare_exchange_strong(&owner, &holder, self); holder = 0) {
        if (holder == self)
            return NESTED;
        if (holder >> 32 != self >> 32) { /* inherited through a fork */
            bool forked_inside = (uint32_t)holder == (uint32_t)self;
            if (!atomic_compare_exchange_strong(&owner, &holder, self))
                continue;
            if (forked_inside)
                return NESTED;
            rebuild_vm();
            return ENTERED;
        }
        if (!may_wait || tries++ == WAIT_TRIES)
            return BUSY;
        nanosleep(&millisecond, NULL);
    }
    return ENTERED;
}

/* Puts an event aside until the outer one ends. Reached from signal handlers: no allocation, no
 * lock. */
static bool put_aside(enum forksafe_event event, const struct forksafe_occasion *occasion)
{
    unsigned tail = atomic_load(&queue_tail);
    do {
        if (tail - atomic_load(&queue_head) >= QUEUE)
            return false;
    } while (!atomic_compare_exchange_strong(&queue_tail, &tail, tail + 1));
    queue[tail % QUEUE] = (struct queued){event, *occasion, getpid()};
    return true;
}

/* One record that no subscriber stands behind: a hook that has none, or an event that did not run.
 */
static void record_alone(enum forksafe_event event, const struct forksafe_occasion *occasion,
                         enum forksafe_outcome outcome)
{
    struct fks_run run = {
        .hook = in_use.hooks[event],
        .subscriber = FORKSAFE_NO_SUBSCRIBER,
        .event = event,
        .occasion = occasion,
    };
    fks_journal_begin(in_use.journal, &run);
    fks_journal_end(in_use.journal, &run, outcome);
}

/* How often this subscriber has failed since the scripts were loaded, in all processes. */
static uint64_t failures_of(const struct fks_subscriber *subscriber)
{
    if (subscriber->id == FORKSAFE_NO_SUBSCRIBER)
        return 1;
    return fks_journal_failures(in_use.journal, subscriber->id) - subscriber->failed_before;
}

/* The whole error the first time in a generation, a count afterwards: a thousand workers must not
 * fill the log. */
static void report(const struct fks_subscriber *subscriber, const char *event, const char *text)
{
    uint64_t failures = failures_of(subscriber);
    if (failures <= 1)
        fks_log(FORKSAFE_LOG_ERROR, "%s: subscriber '%s' failed: %s", event, subscriber->name,
                text);
    else
        fks_log(FORKSAFE_LOG_ERROR,
                "%s: subscriber '%s' failed again (%llu times since the scripts were loaded)",
                event, subscriber->name, (unsigned long long)failures);
}

static int verdict_of(const struct fks_subscriber *subscriber)
{
    switch (subscriber->on_error) {
    case FKS_ON_ERROR_RETIRE_WORKER:
        return FORKSAFE_RETIRE;
    case FKS_ON_ERROR_STOP_SERVER:
        return FORKSAFE_STOP;
    default:
        return FORKSAFE_OK;
    }
}

/* Where a subscriber forks, the child comes back here too: the run is its parent's to record. */
static int run_subscriber(const struct fks_subscriber *subscriber,
                          const struct fks_vm_event *firing)
{
    struct fks_run run = {.hook = in_use.hooks[firing->event],
                          .subscriber = subscriber->id,
                          .event = firing->event,
                          .occasion = firing->occasion};
    const char *text, *event = fks_event_names[firing->event];
    fks_journal_begin(in_use.journal, &run);
    enum forksafe_outcome outcome =
        fks_vm_call(in_use.setup->vm, subscriber, firing->event, run.begun, &text);
    bool forked = getpid() != firing->pid;
    if (outcome != FORKSAFE_OUTCOME_OK && !forked)
        fks_journal_error(in_use.journal, &run, text, strlen(text));
    if (!forked)
        fks_journal_end(in_use.journal, &run, outcome);
    if (outcome == FORKSAFE_OUTCOME_OK)
        return FORKSAFE_OK;
    if (forked)
        fks_log(FORKSAFE_LOG_ERROR, "%s: subscriber '%s' failed in a process that it forked: %s",
                event, subscriber->name, text);
    else
        report(subscriber, event, text);
    return verdict_of(subscriber);
}

/* What the journal has to know before the subscribers run. */
static void note_arrival(enum forksafe_event event, const struct forksafe_occasion *occasion)
{
    struct fks_journal *journal = in_use.journal;
    fks_journal_claim(journal, occasion);
    fks_journal_fire(journal, in_use.hooks[event]);
    switch (event) {
    case FORKSAFE_PRE_FORK:
        fks_journal_sweep(journal);
        break;
    case FORKSAFE_MASTER_READY:
    case FORKSAFE_RELOAD:
        fks_journal_state(journal, FORKSAFE_STATE_READY);
        break;
    case FORKSAFE_WORKER_EXIT:
    case FORKSAFE_SHUTDOWN:
        fks_journal_state(journal, FORKSAFE_STATE_EXITING);
        break;
    case FORKSAFE_CHILD_EXIT:
        fks_journal_child_exit(journal, occasion->child_pid, occasion->child_exit,
                               occasion->child_signal);
        break;
    default:
        break;
    }
}

/* The event could not be handed over: whoever asks for a verdict on failure gets it. */
static int refuse(const struct fks_vm_event *firing, const char *text)
{
    int verdict = FORKSAFE_OK;
    record_alone(firing->event, firing->occasion, FORKSAFE_OUTCOME_REFUSED);
    if (text)
        fks_log(FORKSAFE_LOG_ERROR,
                "%s: its subscribers did not run: %s; raise forksafe.memory_limit",
                fks_event_names[firing->event], text);
    for (size_t i = 0; i < in_use.count[firing->event]; i++) {
        int one = verdict_of(&in_use.first[firing->event][i]);
        verdict = one > verdict ? one : verdict;
    }
    return verdict;
}

static int run_subscribers(const struct fks_vm_event *firing)
{
    const char *text = NULL;
    int verdict = FORKSAFE_OK;
    if (!in_use.setup->vm || fks_vm_prepare(in_use.setup->vm, firing, &text))
        return refuse(firing, text);
    for (size_t i = 0; i < in_use.count[firing->event]; i++) {
        int one = run_subscriber(&in_use.first[firing->event][i], firing);
        if (getpid() != firing->pid)
            return FORKSAFE_OK; /* forked by it: the rest of this firing is the parent's */
        verdict = one > verdict ? one : verdict;
    }
    return verdict;
}

static int fire(enum forksafe_event event, const struct forksafe_occasion *occasion)
{
    if (!in_use.setup || in_use.hooks[event] == FORKSAFE_NO_SUBSCRIBER)
        return FORKSAFE_OK; /* as of a reload meanwhile */
    const struct fks_vm_event firing = {.event = event,
                                        .occasion = occasion,
                                        .pid = getpid(),
                                        .ppid = getppid(),
                                        .generation = in_use.generation};
    int verdict = FORKSAFE_OK;
    note_arrival(event, occasion);
    if (in_use.count[event])
        verdict = run_subscribers(&firing);
    else
        record_alone(event, occasion, FORKSAFE_OUTCOME_OK);
    if (event == FORKSAFE_POST_WORKER_INIT && getpid() == firing.pid)
        fks_journal_state(in_use.journal, FORKSAFE_STATE_READY);
    return verdict;
}

static bool has_queued(void)
{
    return atomic_load(&queue_head) != atomic_load(&queue_tail);
}

static int fire_queued(int verdict)
{
    while (has_queued()) {
        struct queued next = queue[atomic_load(&queue_head) % QUEUE];
        atomic_fetch_add(&queue_head, 1);
        int one = next.pid == getpid() ? fire(next.event, &next.occasion) : FORKSAFE_OK;
        verdict = one > verdict ? one : verdict;
    }
    return verdict;
}

/* Runs what was put aside, and gives the lock back; a handler may come in between the two, so it
 * looks again. Returns the verdict of all. */
static int leave(int verdict)
{
    do {
        verdict = fire_queued(verdict);
        atomic_store(&owner, 0);
    } while (has_queued() && enter(false) == ENTERED);
    return verdict;
}

int fks_dispatch_emit(enum forksafe_event event, const struct forksafe_occasion *occasion,
                      bool may_wait)
{
    if (!in_use.setup || in_use.hooks[event] == FORKSAFE_NO_SUBSCRIBER)
        return FORKSAFE_OK;
    switch (enter(may_wait)) {
    case NESTED:
        record_alone(event, occasion,
                     put_aside(event, occasion) ? FORKSAFE_OUTCOME_QUEUED
                                                : FORKSAFE_OUTCOME_REFUSED);
        return FORKSAFE_OK;
    case BUSY:
        record_alone(event, occasion, FORKSAFE_OUTCOME_REFUSED);
        return FORKSAFE_OK;
    case ENTERED:
        break;
    }
    int verdict = atomic_exchange(&owed, FORKSAFE_OK);
    int one = fire(event, occasion);
    return leave(one > verdict ? one : verdict);
}

int fks_dispatch_hold(struct fks_error *error)
{
    enum entry entry = enter(true);
    if (entry == ENTERED)
        return 0;
    return fks_fail(error, FORKSAFE_EUSAGE, "a subscriber runs in %s thread; reload again later",
                    entry == NESTED ? "this very" : "another");
}

void fks_dispatch_release(void)
{
    int verdict = leave(FORKSAFE_OK);
    if (verdict != FORKSAFE_OK)
        atomic_store(&owed, verdict);
}

struct fks_setup *fks_dispatch_use(struct fks_setup *setup, struct fks_journal *journal,
                                   const uint32_t hooks[FORKSAFE_EVENT_COUNT], uint32_t generation)
{
    struct fks_setup *before = in_use.setup;
    in_use.setup = setup;
    if (!setup)
        return before;
    in_use.journal = journal;
    in_use.generation = generation;
    memcpy(in_use.hooks, hooks, sizeof in_use.hooks);
    index_subscribers();
    return before;
}
