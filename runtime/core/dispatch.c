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

/* The one lock. Its owner is known, so that an emit from within an emit (a signal handler of the
 * host, a bridge that forks) and a child whose forking thread was not the owner are told apart. */
static _Atomic(pthread_t) owner;
static pid_t owner_pid;

/* Events that arrived while one ran. Handlers interrupt the thread that is inside and only add at
 * the tail; only that thread takes from the head. Both only rise. */
static struct queued {
    enum forksafe_event event;
    struct forksafe_occasion occasion;
} queue[QUEUE];
static _Atomic unsigned queue_head, queue_tail;

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

/* The thread that was inside did not come along through the fork: its VM is in an unknown state,
 * and a new one is made from the texts in memory. */
static void rebuild_vm(void)
{
    struct fks_setup *setup = in_use.setup;
    struct fks_error error;
    struct fks_vm *fresh, *old = setup->vm;
    size_t failed, old_count, count;
    struct fks_subscriber *old_list = fks_vm_subscribers(old, &old_count);
    if (fks_vm_create(&fresh, &setup->spec, &failed, &error)) {
        fks_log(FORKSAFE_LOG_ERROR, "no subscriber runs in process %d: %s", (int)getpid(),
                error.text);
        memset(in_use.count, 0, sizeof in_use.count);
        return;
    }
    struct fks_subscriber *list = fks_vm_subscribers(fresh, &count);
    for (size_t i = 0; i < count; i++)
        for (size_t j = 0; j < old_count; j++)
            if (list[i].event == old_list[j].event && !strcmp(list[i].name, old_list[j].name))
                list[i].id = old_list[j].id, list[i].failed_before = old_list[j].failed_before;
    setup->vm = fresh;
    fks_vm_destroy(old);
    index_subscribers();
}

static enum entry enter(bool may_wait)
{
    pthread_t self = pthread_self(), expected = 0;
    const struct timespec millisecond = {.tv_nsec = 1000000};
    for (int tries = 0; !atomic_compare_exchange_strong(&owner, &expected, self); tries++) {
        if (expected == self)
            return NESTED;
        if (owner_pid != getpid()) {
            atomic_store(&owner, self);
            owner_pid = getpid();
            rebuild_vm();
            return ENTERED;
        }
        if (!may_wait || tries == WAIT_TRIES)
            return BUSY;
        nanosleep(&millisecond, NULL);
        expected = 0;
    }
    owner_pid = getpid();
    return ENTERED;
}

static void leave(void)
{
    atomic_store(&owner, 0);
}

/* Puts an event aside until the outer one ends. Reached from signal handlers: no allocation, no
 * lock. */
static bool put_aside(enum forksafe_event event, const struct forksafe_occasion *occasion)
{
    if (atomic_load(&queue_tail) - atomic_load(&queue_head) >= QUEUE)
        return false;
    queue[atomic_fetch_add(&queue_tail, 1) % QUEUE] = (struct queued){event, *occasion};
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

uint64_t fks_dispatch_failures(const struct fks_journal *journal, uint32_t subscriber)
{
    const struct forksafe_journal_header *header = fks_journal_header(journal);
    const struct forksafe_cell *cells =
        (const struct forksafe_cell *)((const char *)header + header->cells_offset);
    uint64_t sum = 0;
    for (int outcome = FORKSAFE_OUTCOME_ERROR; outcome < FORKSAFE_OUTCOME_QUEUED; outcome++)
        sum += __atomic_load_n(&cells[subscriber].outcomes[outcome], __ATOMIC_RELAXED);
    return sum;
}

/* How often this subscriber has failed since the scripts were loaded, in all processes. */
static uint64_t failures_of(const struct fks_subscriber *subscriber)
{
    if (subscriber->id == FORKSAFE_NO_SUBSCRIBER)
        return 1;
    return fks_dispatch_failures(in_use.journal, subscriber->id) - subscriber->failed_before;
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

static int run_subscriber(const struct fks_subscriber *subscriber, enum forksafe_event event,
                          const struct forksafe_occasion *occasion)
{
    struct fks_run run = {.hook = in_use.hooks[event],
                          .subscriber = subscriber->id,
                          .event = event,
                          .occasion = occasion};
    const char *text;
    fks_journal_begin(in_use.journal, &run);
    enum forksafe_outcome outcome =
        fks_vm_call(in_use.setup->vm, subscriber, event, run.begun, &text);
    if (outcome == FORKSAFE_OUTCOME_OK) {
        fks_journal_end(in_use.journal, &run, outcome);
        return FORKSAFE_OK;
    }
    fks_journal_error(in_use.journal, &run, text, strlen(text));
    fks_journal_end(in_use.journal, &run, outcome);
    report(subscriber, fks_event_names[event], text);
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

static int fire(enum forksafe_event event, const struct forksafe_occasion *occasion)
{
    int verdict = FORKSAFE_OK;
    note_arrival(event, occasion);
    if (!in_use.count[event]) {
        record_alone(event, occasion, FORKSAFE_OUTCOME_OK);
    } else {
        struct fks_vm_event firing = {.event = event,
                                      .occasion = occasion,
                                      .pid = getpid(),
                                      .ppid = getppid(),
                                      .generation = in_use.generation};
        if (fks_vm_prepare(in_use.setup->vm, &firing)) {
            record_alone(event, occasion, FORKSAFE_OUTCOME_REFUSED);
            fks_log(FORKSAFE_LOG_ERROR,
                    "the subscribers of event %d did not run: no memory in the Lua VM; raise "
                    "forksafe.memory_limit",
                    (int)event);
            return FORKSAFE_OK;
        }
        for (size_t i = 0; i < in_use.count[event]; i++) {
            int one = run_subscriber(&in_use.first[event][i], event, occasion);
            if (one > verdict)
                verdict = one;
        }
    }
    if (event == FORKSAFE_POST_WORKER_INIT)
        fks_journal_state(in_use.journal, FORKSAFE_STATE_READY);
    return verdict;
}

static int fire_queued(int verdict)
{
    while (atomic_load(&queue_head) != atomic_load(&queue_tail)) {
        struct queued next = queue[atomic_load(&queue_head) % QUEUE];
        atomic_fetch_add(&queue_head, 1);
        int one = fire(next.event, &next.occasion);
        if (one > verdict)
            verdict = one;
    }
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
    int verdict = fire_queued(fire(event, occasion));
    leave();
    return verdict;
}

int fks_dispatch_use(struct fks_setup *setup, struct fks_journal *journal,
                     const uint32_t hooks[FORKSAFE_EVENT_COUNT], uint32_t generation,
                     struct fks_setup **before)
{
    if (enter(true) != ENTERED)
        return FORKSAFE_EUSAGE;
    *before = in_use.setup;
    in_use.setup = setup;
    if (!setup) {
        leave();
        return 0;
    }
    in_use.journal = journal;
    in_use.generation = generation;
    memcpy(in_use.hooks, hooks, sizeof in_use.hooks);
    index_subscribers();
    leave();
    return 0;
}
