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

/* Whose number N is stands in owners[N - 1]; 0: nobody's. Shared with all processes of the server.
 */
static struct {
    _Atomic int32_t *owners;
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
            atomic_store(&table.owners[slot->worker - 1], FORKSAFE_CLAIM_PID(claim));
    }
}

void fks_worker_numbers_open(const struct fks_journal *journal)
{
    if (table.owners)
        return;
    void *map = mmap(NULL, journal->slot_count * sizeof *table.owners, PROT_READ | PROT_WRITE,
                     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (map == MAP_FAILED)
        return;
    table.owners = map;
    table.count = (int32_t)journal->slot_count;
    restore(journal);
}

/* Puts the calling process in the place of an owner that is none any more. */
static bool take(_Atomic int32_t *place, pid_t self)
{
    int32_t owner = atomic_load(place);
    while (!owner || owner == self || is_gone(owner))
        if (atomic_compare_exchange_strong(place, &owner, self))
            return true;
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
        if (take(&table.owners[i], self))
            kept.number = i + 1;
    return kept.number;
}

static int32_t give_back(pid_t pid)
{
    for (int32_t i = 0; i < table.count; i++) {
        int32_t owner = pid;
        if (atomic_compare_exchange_strong(&table.owners[i], &owner, 0))
            return i + 1;
    }
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
