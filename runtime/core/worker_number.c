/* SPDX-License-Identifier: MIT
 *
 * Workers' numbers that the library keeps: taken in the child, since no handler in the master knows
 * the pid of the child that it is about to fork, and found by pid in the master when it has reaped
 * the child.
 */
#include "worker_number.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <unistd.h>

#include "journal_private.h"

/* A number. */
struct place {
    _Atomic int32_t owner;  /* pid of whose it is; 0: nobody's */
    _Atomic int32_t former; /* who was dead, and its end not told yet, when the owner took it */
};

/* Number N is places[N - 1]. Shared with all processes of the server. */
static struct {
    struct place *places;
    int32_t count;
} table;

/* This process's own, valid where `pid` is the calling process. */
static struct {
    pid_t pid;
    int32_t number;
} kept;

static bool is_gone(pid_t pid)
{
    int saved = errno;
    bool gone = kill(pid, 0) == -1 && errno == ESRCH;
    errno = saved;
    return gone;
}

/* The workers that a master left running when it executed itself anew. */
static void restore(const struct fks_journal *journal)
{
    for (uint32_t i = 0; i < journal->slot_count; i++) {
        uint64_t claim = FKS_LOAD(journal->claims[i]);
        if (!claim || claim & FORKSAFE_CLAIM_RELEASED)
            continue;
        const struct forksafe_slot *slot = fks_slot_at(journal, i);
        if (FKS_LOAD(slot->owner) == FORKSAFE_CLAIM_OWNER(claim) && slot->worker > 0 &&
            slot->worker <= table.count)
            atomic_store(&table.places[slot->worker - 1].owner, FORKSAFE_CLAIM_PID(claim));
    }
}

void fks_worker_numbers_open(const struct fks_journal *journal)
{
    if (table.places)
        return;
    void *map = mmap(NULL, journal->slot_count * sizeof *table.places, PROT_READ | PROT_WRITE,
                     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (map == MAP_FAILED)
        return;
    table.places = map;
    table.count = (int32_t)journal->slot_count;
    restore(journal);
}

/* Puts the calling process in the place of an owner that is none any more. */
static bool take(struct place *place, pid_t self)
{
    int32_t owner = atomic_load(&place->owner);
    while (!owner || owner == self || is_gone(owner)) {
        if (owner && owner != self)
            atomic_store(&place->former, owner);
        if (atomic_compare_exchange_strong(&place->owner, &owner, self))
            return true;
    }
    return false;
}

static int32_t own_number(void)
{
    pid_t self = getpid();
    if (kept.pid == self)
        return kept.number;
    kept.pid = self;
    kept.number = 0;
    for (int32_t i = 0; i < table.count && !kept.number; i++)
        if (take(&table.places[i], self))
            kept.number = i + 1;
    return kept.number;
}

static bool clear(_Atomic int32_t *of, pid_t pid)
{
    int32_t expected = pid;
    return atomic_compare_exchange_strong(of, &expected, 0);
}

/* The number of a worker that has ended, whether another one has it by now or not. 0: none. */
static int32_t give_back(pid_t pid)
{
    for (int32_t i = 0; i < table.count; i++)
        if (clear(&table.places[i].owner, pid) || clear(&table.places[i].former, pid))
            return i + 1;
    return 0;
}

bool fks_worker_number_resolve(enum forksafe_event event, struct forksafe_occasion *occasion)
{
    if (occasion->worker != FORKSAFE_WORKER_KEPT)
        return true;
    if (event == FORKSAFE_CHILD_EXIT) {
        occasion->worker = give_back(occasion->child_pid);
        return occasion->worker != 0;
    }
    bool has_one = occasion->role != FORKSAFE_ROLE_MASTER && occasion->role != FORKSAFE_ROLE_HELPER;
    occasion->worker = has_one ? own_number() : 0;
    return true;
}
