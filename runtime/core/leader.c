/* SPDX-License-Identifier: MIT
 *
 * Leaders (leader.h): robust, process-shared mutexes in the journal, initialised by the master and
 * only ever tried by the workers. Who the owner is, readers see from the fields beside the lock.
 */
#include "leader.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include "journal_private.h"
#include "log.h"

_Static_assert(sizeof(pthread_mutex_t) <= sizeof(((struct forksafe_leader *)0)->lock),
               "a mutex of this libc fits into a journal");
_Static_assert(FORKSAFE_MAX_LEADERS <= 32, "one bit each");

/* What this process leads; of a forked child, what its parent did. */
static struct {
    pid_t pid;
    uint32_t ids; /* bits */
} leading;

static pthread_mutex_t *lock_of(struct fks_journal *journal, uint32_t id)
{
    return (pthread_mutex_t *)journal->leaders[id].lock;
}

bool fks_leader_is(uint32_t id)
{
    return id < FORKSAFE_MAX_LEADERS && leading.pid == getpid() && leading.ids >> id & 1;
}

/* --- in the master --- */

/* Whether the workers have the same memory: a file has, and what the master mapped before it
 * forked. */
static bool is_shared(const struct fks_journal *journal)
{
    return journal->path || journal->header->master_pid == getpid();
}

static bool init_lock(pthread_mutex_t *lock)
{
    pthread_mutexattr_t attributes;
    if (pthread_mutexattr_init(&attributes))
        return false;
    bool done = !pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED) &&
                !pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST) &&
                !pthread_mutex_init(lock, &attributes);
    pthread_mutexattr_destroy(&attributes);
    return done;
}

/* Whether nobody leads under a name that no script has any more. */
static bool is_abandoned(struct fks_journal *journal, uint32_t id)
{
    pthread_mutex_t *lock = lock_of(journal, id);
    int rc = pthread_mutex_trylock(lock);
    if (rc == EOWNERDEAD)
        rc = pthread_mutex_consistent(lock);
    if (rc)
        return false;
    pthread_mutex_unlock(lock);
    return true;
}

static uint32_t find_leader(const struct fks_journal *journal, const char *name)
{
    size_t length = strlen(name);
    uint32_t id = 0;
    while (id < FORKSAFE_MAX_LEADERS &&
           !(journal->leaders[id].generation &&
             fks_journal_string_is(journal, journal->leaders[id].name, name, length)))
        id++;
    return id;
}

static uint32_t find_room(struct fks_journal *journal)
{
    uint32_t id = 0;
    while (id < FORKSAFE_MAX_LEADERS && journal->leaders[id].generation &&
           (journal->leaders[id].generation == journal->generation || !is_abandoned(journal, id)))
        id++;
    return id;
}

static uint32_t new_leader(struct fks_journal *journal, const char *name)
{
    uint32_t id = find_room(journal);
    if (id == FORKSAFE_MAX_LEADERS)
        return FKS_NO_LEADER;
    struct forksafe_leader fresh = {.name = fks_journal_intern(journal, name)};
    if (!fresh.name.length || !init_lock((pthread_mutex_t *)fresh.lock))
        return FKS_NO_LEADER;
    journal->leaders[id] = fresh;
    return id;
}

uint32_t fks_leader_add(struct fks_journal *journal, const char *name, struct fks_error *error)
{
    if (!is_shared(journal)) {
        fks_fail(error, FORKSAFE_EJOURNAL, "the workers share no journal");
        return FKS_NO_LEADER;
    }
    fks_journal_tables_enter(journal);
    uint32_t id = find_leader(journal, name);
    if (id == FORKSAFE_MAX_LEADERS)
        id = new_leader(journal, name);
    if (id == FKS_NO_LEADER)
        fks_fail(error, FORKSAFE_EJOURNAL, "the journal has no room for it");
    else
        FKS_STORE(journal->leaders[id].generation, journal->generation);
    fks_journal_tables_leave(journal);
    return id;
}

/* --- in the workers --- */

/* Readers believe the pid last. */
static void describe(struct forksafe_leader *leader, int32_t worker)
{
    FKS_STORE(leader->pid, 0);
    leader->worker = worker;
    leader->taken++;
    leader->since = fks_now();
    FKS_STORE(leader->pid, getpid());
}

static void remember(uint32_t id)
{
    pid_t self = getpid();
    leading.ids = (leading.pid == self ? leading.ids : 0) | 1u << id;
    leading.pid = self;
}

static bool may_take(void)
{
    static bool told;
    if (gettid() == getpid())
        return true;
    if (!told)
        fks_log(FORKSAFE_LOG_WARNING,
                "a leader is not taken here: this fork point is in another thread than the "
                "process's first, and the kernel gives up what a thread has when it ends");
    told = true;
    return false;
}

enum fks_leading fks_leader_take(struct fks_journal *journal, uint32_t id, int32_t worker)
{
    if (fks_leader_is(id))
        return FKS_LEADING_STILL;
    if (id >= FORKSAFE_MAX_LEADERS || !may_take())
        return FKS_LEADING_NOT;
    pthread_mutex_t *lock = lock_of(journal, id);
    int rc = pthread_mutex_trylock(lock);
    if (rc == EOWNERDEAD) /* died with it: what it did is over */
        rc = pthread_mutex_consistent(lock);
    if (rc)
        return FKS_LEADING_NOT;
    remember(id);
    describe(&journal->leaders[id], worker);
    return FKS_LEADING_TAKEN;
}

void fks_leader_give_up(struct fks_journal *journal, uint32_t id)
{
    if (!fks_leader_is(id))
        return;
    leading.ids &= ~(1u << id);
    FKS_STORE(journal->leaders[id].pid, 0);
    pthread_mutex_unlock(lock_of(journal, id));
}
