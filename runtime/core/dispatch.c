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
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "audit.h"
#include "guards.h"
#include "leader.h"
#include "log.h"
#include "names.h"
#include "verdict.h"

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
                to[i].leader_id = from[j].leader_id;
                memcpy(to[i].ended_before, from[j].ended_before, sizeof to[i].ended_before);
            }
}

/* A new VM from the texts in memory, where nobody knows the state of the old one, which `drop`
 * gives back. */
static void replace_vm(void (*drop)(struct fks_vm *vm))
{
    struct fks_setup *setup = in_use.setup;
    struct fks_error error;
    size_t failed;
    struct fks_vm *fresh, *old = setup->vm;
    if (fks_vm_create(&fresh, &setup->spec, &failed, &error))
        fks_log(FORKSAFE_LOG_ERROR, "no subscriber runs in process %d: %s", (int)getpid(),
                error.text);
    else
        keep_ids(old, fresh);
    setup->vm = fresh;
    drop(old);
    if (fresh)
        index_subscribers();
}

/* The thread that was inside did not come along through the fork. What was put aside is the
 * parent's. */
static void start_anew(void)
{
    atomic_store(&queue_head, atomic_load(&queue_tail));
    if (in_use.setup)
        replace_vm(fks_vm_abandon);
}

static uint64_t this_thread(void)
{
    /* No two stacks begin in one page. */
    return (uint64_t)getpid() << 32 | (uint32_t)((uintptr_t)__builtin_thread_pointer() >> 12);
}

/* The process that is inside: to ask the kernel once an emit is enough, where nothing forks. */
static pid_t process_inside(void)
{
    return (pid_t)(atomic_load(&owner) >> 32);
}

static enum entry enter(bool may_wait)
{
    const uint64_t self = this_thread();
    const struct timespec millisecond = {.tv_nsec = 1000000};
    uint64_t holder = 0;
    for (int tries = 0; !atomic_compare_exchange_strong(&owner, &holder, self); holder = 0) {
        if (holder == self)
            return NESTED;
        if (holder >> 32 != self >> 32 && /* inherited through a fork */
            fks_guard(FKS_GUARD_THREADS)) {
            bool forked_inside = (uint32_t)holder == (uint32_t)self;
            if (!atomic_compare_exchange_strong(&owner, &holder, self))
                continue;
            if (forked_inside)
                return NESTED;
            start_anew();
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
    uint64_t sum = 0;
    for (int outcome = FORKSAFE_OUTCOME_ERROR; outcome < FORKSAFE_OUTCOME_QUEUED; outcome++)
        sum += fks_journal_ended(in_use.journal, subscriber->id, (enum forksafe_outcome)outcome) -
               subscriber->ended_before[outcome];
    return sum;
}

/* The whole error the first time that it ends like this in a generation, a count afterwards: a
 * thousand workers must not fill the log. Of workers that fail at the same time one is the first:
 * `nth` is each number once. */
static void report(const struct fks_subscriber *subscriber, const char *event,
                   enum forksafe_outcome outcome, uint64_t nth, const char *text)
{
    uint64_t failures = failures_of(subscriber);
    if (!nth || nth == subscriber->ended_before[outcome] + 1)
        fks_log(FORKSAFE_LOG_ERROR, "%s: subscriber '%s' failed: %s", event, subscriber->name,
                text);
    else
        fks_log(FORKSAFE_LOG_ERROR,
                "%s: subscriber '%s' failed again (%llu times since the scripts were loaded)",
                event, subscriber->name, (unsigned long long)failures);
}

static int verdict_of(const struct fks_subscriber *subscriber)
{
    return (int)fks_verdict_of(subscriber->on_error, subscriber->event, in_use.setup->cannot);
}

/* How a firing goes. */
struct course {
    int verdict;
    bool ran;    /* a subscriber did */
    bool forked; /* by a subscriber: what is left of this firing is the parent's */
};

/* Where a subscriber forks, the child comes back here too: the run is its parent's to record. */
static enum forksafe_outcome run_subscriber(const struct fks_subscriber *subscriber,
                                            const struct fks_vm_event *firing,
                                            struct course *course)
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
    course->ran = true;
    course->forked = forked;
    if (outcome != FORKSAFE_OUTCOME_OK && !forked)
        fks_journal_error(in_use.journal, &run, text, strlen(text));
    uint64_t nth = forked ? 0 : fks_journal_end(in_use.journal, &run, outcome);
    if (outcome == FORKSAFE_OUTCOME_OK)
        return outcome;
    if (forked)
        fks_log(FORKSAFE_LOG_ERROR, "%s: subscriber '%s' failed in a process that it forked: %s",
                event, subscriber->name, text);
    else
        report(subscriber, event, outcome, nth, text);
    return outcome;
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

/* At its start a worker takes the lead if nobody has it; at its end it only asks. */
static enum fks_leading lead(const struct fks_subscriber *subscriber,
                             const struct fks_vm_event *firing)
{
    int role = firing->occasion->role;
    if (role == FORKSAFE_ROLE_MASTER || role == FORKSAFE_ROLE_HELPER)
        return FKS_LEADING_NOT;
    if (firing->event == FORKSAFE_WORKER_EXIT)
        return fks_leader_is(subscriber->leader_id) ? FKS_LEADING_STILL : FKS_LEADING_NOT;
    return fks_leader_take(in_use.journal, subscriber->leader_id, firing->occasion->worker);
}

/* Runs it, unless it is for a leader and that is another worker. Who took the lead for it and
 * failed cannot do the job: another worker may try. */
static void try_subscriber(const struct fks_subscriber *subscriber,
                           const struct fks_vm_event *firing, struct course *course)
{
    enum fks_leading leading = subscriber->leader ? lead(subscriber, firing) : FKS_LEADING_STILL;
    if (leading == FKS_LEADING_NOT ||
        run_subscriber(subscriber, firing, course) == FORKSAFE_OUTCOME_OK)
        return;
    if (leading == FKS_LEADING_TAKEN)
        fks_leader_give_up(in_use.journal, subscriber->leader_id);
    int one = verdict_of(subscriber);
    course->verdict = one > course->verdict ? one : course->verdict;
}

/* The subscriber at `*next - 1` had to be jumped out of: those after it run in a new VM. Returns
 * whether there is one; *next is where they stand in it, since a script may have failed now that
 * did not before. */
static bool go_on_in_new_vm(const struct fks_vm_event *firing, size_t *next, const char **text)
{
    enum forksafe_event event = firing->event;
    char *last = strdup(in_use.first[event][*next - 1].name);
    replace_vm(fks_vm_destroy);
    bool known = last && in_use.setup->vm;
    size_t at = 0;
    while (known && at < in_use.count[event] && strcmp(in_use.first[event][at].name, last) != 0)
        at++;
    free(last);
    *text = NULL;
    if (!known || fks_vm_prepare(in_use.setup->vm, firing, text))
        return false;
    if (at < in_use.count[event])
        *next = at + 1;
    return true;
}

static int run_subscribers(const struct fks_vm_event *firing)
{
    const char *text = NULL;
    struct course course = {.verdict = FORKSAFE_OK};
    if (!in_use.setup->vm || fks_vm_prepare(in_use.setup->vm, firing, &text))
        return refuse(firing, text);
    for (size_t next = 0; next < in_use.count[firing->event];) {
        try_subscriber(&in_use.first[firing->event][next++], firing, &course);
        if (course.forked)
            return FORKSAFE_OK;
        if (fks_vm_is_lost(in_use.setup->vm) && !go_on_in_new_vm(firing, &next, &text)) {
            int refused = refuse(firing, text);
            return refused > course.verdict ? refused : course.verdict;
        }
    }
    if (!course.ran)
        record_alone(firing->event, firing->occasion, FORKSAFE_OUTCOME_OK);
    return course.verdict;
}

static int fire(enum forksafe_event event, const struct forksafe_occasion *occasion)
{
    if (!in_use.setup || in_use.hooks[event] == FORKSAFE_NO_SUBSCRIBER)
        return FORKSAFE_OK; /* as of a reload meanwhile */
    const struct fks_vm_event firing = {.event = event,
                                        .occasion = occasion,
                                        .pid = process_inside(),
                                        .ppid = getppid(),
                                        .generation = in_use.generation};
    int verdict = FORKSAFE_OK;
    note_arrival(event, occasion);
    if (event == FORKSAFE_POST_FORK || event == FORKSAFE_POST_WORKER_INIT)
        fks_audit_arrive();
    if (in_use.count[event])
        verdict = run_subscribers(&firing);
    else
        record_alone(event, occasion, FORKSAFE_OUTCOME_OK);
    if (event == FORKSAFE_PRE_FORK && getpid() == firing.pid)
        fks_audit_look(); /* its subscribers may have closed something */
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

/* Of the thread: another one may fork meanwhile. With the initial-exec model, whose first use
 * allocates nothing. */
static _Thread_local enum fks_fork_handler fork_handler __attribute__((tls_model("initial-exec")));

enum fks_fork_handler fks_dispatch_in_fork_handler(void)
{
    return fork_handler;
}

static int emit(enum forksafe_event event, const struct forksafe_occasion *occasion, bool may_wait)
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

int fks_dispatch_emit(enum forksafe_event event, const struct forksafe_occasion *occasion,
                      bool may_wait)
{
    const enum fks_fork_handler outer = fork_handler; /* a subscriber that forks comes here again */
    const enum fks_fork_handler inner = may_wait                      ? FKS_FORK_NONE
                                        : event == FORKSAFE_POST_FORK ? FKS_FORK_CHILD
                                                                      : FKS_FORK_PREPARE;
    if (inner != outer) /* to write it would copy a page */
        fork_handler = inner;
    int verdict = emit(event, occasion, may_wait);
    if (inner != outer)
        fork_handler = outer;
    return verdict;
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
