/* SPDX-License-Identifier: MIT
 *
 * What every process of a server writes into its journal: its slot, its records, the counters. Runs
 * inside the host, in fresh children above all: no locks, no allocation, no files, and few pages
 * touched. journal_make.c makes the file, journal_table.c fills the master's tables.
 */
#include "journal_private.h"

#include "guards.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define SWEEP_SLOTS 64 /* looked at in one sweep */

static const uint64_t bucket_bounds[FORKSAFE_BUCKETS - 1] = FORKSAFE_BUCKET_BOUNDS;

uint64_t fks_now(void)
{
    struct timespec now;
    if (clock_gettime(CLOCK_BOOTTIME, &now))
        return 0;
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* Raises *place to at least `value`. */
static void raise_to(uint64_t *place, uint64_t value)
{
    uint64_t old = __atomic_load_n(place, __ATOMIC_RELAXED);
    while (old < value && !FKS_CAS(*place, old, value))
        ;
}

/* True only where no process has the pid; one that we may not signal lives. */
static bool is_gone(pid_t pid)
{
    int saved = errno;
    bool gone = kill(pid, 0) == -1 && errno == ESRCH;
    errno = saved;
    return gone;
}

/* --- claiming a slot --- */

/* Whether a claim leaves its slot free. `look`: ask the kernel about an owner of whom nobody has
 * said that it is dead. */
static bool is_claimable(uint64_t claim, bool look)
{
    if (!claim || claim & FORKSAFE_CLAIM_RELEASED)
        return true;
    return look && !(claim & FORKSAFE_CLAIM_MARKING) && is_gone(FORKSAFE_CLAIM_PID(claim));
}

/* Whether a slot can be written to. One that its file has no blocks for yet gets them here. */
static bool is_there(const struct fks_journal *journal, uint32_t index)
{
    return index < journal->slots_there || !fks_guard(FKS_GUARD_SIGBUS) ||
           fks_map_populate(fks_slot_at(journal, index), journal->slot_stride);
}

/* One round over all slots, from the hint on. Returns the claim that is ours now, with its slot's
 * index; 0: none free. */
static uint64_t claim_any(struct fks_journal *journal, pid_t pid, bool look, uint32_t *index)
{
    uint32_t at = FKS_LOAD(journal->header->next_slot);
    bool is_full = false; /* the file system */
    for (uint32_t tries = 0; tries < journal->slot_count; tries++, at++) {
        if (at >= journal->slot_count)
            at = 0;
        uint64_t old = FKS_LOAD(journal->claims[at]);
        if (!old && (is_full || (is_full = !is_there(journal, at))))
            continue;
        while (is_claimable(old, look)) {
            uint64_t mine = (uint64_t)(FORKSAFE_CLAIM_NUMBER(old) + 1) << 32 | (uint32_t)pid;
            if (!FKS_CAS(journal->claims[at], old, mine))
                continue; /* `old` is what stands there now */
            FKS_STORE(journal->header->next_slot, at + 1);
            *index = at;
            return mine;
        }
    }
    return 0;
}

static uint8_t flags_of(const struct forksafe_occasion *occasion)
{
    return (uint8_t)((occasion->forked ? FORKSAFE_FLAG_FORKED : 0) |
                     (occasion->app_loaded ? FORKSAFE_FLAG_APP_LOADED : 0));
}

/* What the process says of itself; may change while it lives. The worker of a later occasion can be
 * another one: the master's PreFork is about the child. */
static void describe(struct forksafe_slot *slot, const struct forksafe_occasion *occasion)
{
    if (!slot->worker && occasion->role != FORKSAFE_ROLE_MASTER)
        slot->worker = occasion->worker;
    slot->role = (uint8_t)occasion->role;
    slot->flags = flags_of(occasion);
}

/* Makes the slot this process's. The records of its former owner, and their numbers, stay. */
static void settle(struct fks_journal *journal, struct forksafe_slot *slot, uint64_t claim,
                   const struct forksafe_occasion *occasion)
{
    FKS_STORE(slot->owner, 0);
    if (!fks_guard(FKS_GUARD_COUNTS))
        slot->last_sequence = 0;
    slot->claimed = slot->state_since = fks_now();
    slot->ppid = getppid();
    slot->generation = journal->generation;
    slot->worker = 0;
    slot->state = FORKSAFE_STATE_STARTING;
    slot->runs = slot->failed = 0;
    slot->slowest_ns = slot->ended = 0;
    slot->exit_status = -1;
    slot->exit_signal = 0;
    slot->error_sequence =
        (slot->error_sequence + 1) & ~1u; /* odd if the former owner died writing */
    slot->error_length = 0;
    slot->error_record = slot->error_total = 0;
    describe(slot, occasion);
    FKS_STORE(slot->owner, claim);
}

static void count_fork(struct fks_journal *journal, const struct forksafe_occasion *occasion)
{
    uint32_t role = (uint32_t)occasion->role;
    if (!occasion->forked || role >= FORKSAFE_ROLE_COUNT)
        return;
    FKS_ADD(journal->header->forks[role], 1);
    raise_to(&journal->header->last_fork, fks_now());
}

void fks_journal_claim(struct fks_journal *journal, const struct forksafe_occasion *occasion)
{
    pid_t pid = getpid();
    if (journal->pid == pid) {
        if (journal->slot)
            describe(journal->slot, occasion);
        return;
    }
    uint32_t index = 0;
    uint64_t claim = claim_any(journal, pid, false, &index);
    if (!claim)
        claim = claim_any(journal, pid, true, &index);
    journal->slot = claim ? fks_slot_at(journal, index) : NULL;
    journal->pid = pid;
    if (claim)
        settle(journal, journal->slot, claim, occasion);
    else
        FKS_ADD(journal->header->slots_refused, 1);
    count_fork(journal, occasion);
}

/* This process's slot; NULL where it has none, or has not claimed one. */
static struct forksafe_slot *own_slot(const struct fks_journal *journal)
{
    return journal->pid == getpid() ? journal->slot : NULL;
}

bool fks_journal_role(struct fks_journal *journal, enum forksafe_role role)
{
    struct forksafe_slot *slot = own_slot(journal);
    if (slot)
        slot->role = (uint8_t)role;
    return slot != NULL;
}

/* The first claim of all is of the first slot. */
bool fks_journal_is_unused(const struct fks_journal *journal)
{
    return !FKS_LOAD(journal->claims[0]);
}

void fks_journal_state(struct fks_journal *journal, enum forksafe_state state)
{
    struct forksafe_slot *slot = own_slot(journal);
    if (!slot)
        return;
    slot->state = (uint8_t)state;
    slot->state_since = fks_now();
}

/* --- hooks and runs --- */

void fks_journal_fire(struct fks_journal *journal, uint32_t hook)
{
    if (hook >= journal->hook_capacity)
        return;
    struct forksafe_hook *fired = &journal->hooks[hook];
    uint64_t never = 0;
    if (!__atomic_load_n(&fired->first_run, __ATOMIC_RELAXED))
        (void)FKS_CAS(fired->first_run, never, fks_now());
    FKS_ADD(fired->runs, 1);
}

static struct forksafe_cell *cell_of(const struct fks_journal *journal, const struct fks_run *run)
{
    return run->subscriber < journal->subscriber_capacity ? &journal->cells[run->subscriber] : NULL;
}

/* The next place in the ring, marked as being written. Atomic, since a second thread or a signal
 * handler may want one too. */
static struct forksafe_record *next_record(const struct fks_journal *journal,
                                           struct forksafe_slot *slot, uint64_t *number)
{
    *number = FKS_ADD(slot->last_sequence, 1);
    struct forksafe_record *record = &fks_slot_records(slot)[(*number - 1) % journal->records];
    /* After what another thread has finished there a round ago; and the odd number is seen before
     * anything that follows. */
    (void)__atomic_exchange_n(&record->sequence, 2 * *number - 1, __ATOMIC_ACQ_REL);
    __atomic_thread_fence(__ATOMIC_RELEASE);
    return record;
}

static void fill_record(struct forksafe_record *record, const struct fks_journal *journal,
                        const struct fks_run *run, const struct forksafe_occasion *occasion)
{
    __atomic_store_n(&record->ended, 0, __ATOMIC_RELAXED);
    record->begun = run->begun;
    record->pid = journal->pid;
    record->generation = journal->generation;
    record->hook =
        (uint16_t)(run->hook < FORKSAFE_NO_SUBSCRIBER ? run->hook : FORKSAFE_NO_SUBSCRIBER);
    record->subscriber =
        (uint16_t)(cell_of(journal, run) ? run->subscriber : FORKSAFE_NO_SUBSCRIBER);
    record->event = (uint8_t)run->event;
    record->role = (uint8_t)occasion->role;
    record->flags = flags_of(occasion);
    record->worker = occasion->worker;
    record->child_pid = occasion->child_pid;
    record->child_exit = (int16_t)occasion->child_exit;
    record->child_signal = (uint16_t)occasion->child_signal;
}

void fks_journal_begin(struct fks_journal *journal, struct fks_run *run)
{
    static const struct forksafe_occasion nothing_special;
    const struct forksafe_occasion *occasion = run->occasion ? run->occasion : &nothing_special;
    if (journal->pid != getpid())
        fks_journal_claim(journal, occasion);
    run->begun = fks_now();
    run->record = NULL;
    run->number = 0;
    struct forksafe_cell *cell = cell_of(journal, run);
    if (cell)
        FKS_ADD(cell->begun, 1);
    struct forksafe_slot *slot = journal->slot;
    if (!slot)
        return;
    if (cell)
        FKS_ADD(slot->runs, 1);
    struct forksafe_record *record = next_record(journal, slot, &run->number);
    fill_record(record, journal, run, occasion);
    FKS_STORE(record->sequence, 2 * run->number);
    run->record = record;
}

static uint32_t bucket_of(uint64_t duration)
{
    uint32_t bucket = 0;
    while (bucket < FORKSAFE_BUCKETS - 1 && duration > bucket_bounds[bucket])
        bucket++;
    return bucket;
}

uint64_t fks_journal_end(struct fks_journal *journal, struct fks_run *run,
                         enum forksafe_outcome outcome)
{
    uint64_t nth = 0;
    if (journal->pid != getpid())
        return nth; /* a fork made inside the run: the run is its parent's */
    uint64_t now = fks_now();
    uint64_t duration = now > run->begun ? now - run->begun : 0;
    struct forksafe_cell *cell = cell_of(journal, run);
    if (cell) {
        nth = FKS_ADD(cell->outcomes[outcome], 1);
        FKS_ADD(cell->total_ns, duration);
        FKS_ADD(cell->buckets[bucket_of(duration)], 1);
        raise_to(&cell->max_ns, duration);
    }
    /* Another record stands there by now if emits from within this one went round the ring. */
    if (run->record && FKS_LOAD(run->record->sequence) == 2 * run->number)
        FKS_STORE(run->record->ended, duration << 8 | (uint64_t)outcome);
    struct forksafe_slot *slot = journal->slot;
    if (!slot || !cell)
        return nth;
    if (outcome != FORKSAFE_OUTCOME_OK && outcome != FORKSAFE_OUTCOME_QUEUED)
        FKS_ADD(slot->failed, 1);
    raise_to(&slot->slowest_ns, duration);
    return nth;
}

uint64_t fks_journal_ended(const struct fks_journal *journal, uint32_t subscriber,
                           enum forksafe_outcome outcome)
{
    return subscriber < journal->subscriber_capacity
               ? __atomic_load_n(&journal->cells[subscriber].outcomes[outcome], __ATOMIC_RELAXED)
               : 0;
}

/* Length of the longest beginning of at most `limit` bytes that cuts no UTF-8 sequence. */
size_t fks_whole_characters(const char *text, size_t limit)
{
    while (limit && ((unsigned char)text[limit] & 0xc0) == 0x80)
        limit--;
    return limit;
}

void fks_journal_error(struct fks_journal *journal, const struct fks_run *run, const char *text,
                       size_t length)
{
    struct forksafe_slot *slot = own_slot(journal);
    if (!slot || journal->error_size < 4)
        return;
    uint32_t sequence = FKS_LOAD(slot->error_sequence);
    if (sequence & 1 || !FKS_CAS(slot->error_sequence, sequence, sequence + 1))
        return; /* another thread of this process is writing one */
    char *area = (char *)(fks_slot_records(slot) + journal->records);
    if (length <= journal->error_size) {
        memcpy(area, text, length);
    } else {
        length = fks_whole_characters(text, journal->error_size - 3);
        memcpy(area, text, length);
        memcpy(area + length, "...", 3);
        length += 3;
    }
    slot->error_length = (uint32_t)length;
    slot->error_record = run ? run->number : 0;
    slot->error_total++;
    FKS_STORE(slot->error_sequence, sequence + 2);
}

/* --- the master's view of its children --- */

/* Writes how the owner of a slot ended, and frees the slot. The mark keeps everybody from claiming
 * it meanwhile. */
static void bury(struct fks_journal *journal, uint32_t index, uint64_t claim,
                 enum forksafe_state state, int exit_status, int signal)
{
    uint64_t owner = FORKSAFE_CLAIM_OWNER(claim);
    if (claim != (owner | FORKSAFE_CLAIM_MARKING) &&
        !FKS_CAS(journal->claims[index], claim, owner | FORKSAFE_CLAIM_MARKING))
        return; /* claimed by somebody else just now */
    struct forksafe_slot *slot = fks_slot_at(journal, index);
    if (FKS_LOAD(slot->owner) == owner) {
        slot->state = (uint8_t)state;
        slot->exit_status = exit_status;
        slot->exit_signal = signal;
        if (!slot->ended)
            slot->ended = fks_now();
    }
    FKS_STORE(journal->claims[index], owner | FORKSAFE_CLAIM_RELEASED);
}

/* Leaves the hint at a slot that can be claimed, and touches that slot: its page is made here and
 * not in the child. */
static void leave_hint(struct fks_journal *journal)
{
    uint32_t at = FKS_LOAD(journal->header->next_slot);
    for (uint32_t looked = 0; looked < SWEEP_SLOTS && looked < journal->slot_count;
         looked++, at++) {
        if (at >= journal->slot_count)
            at = 0;
        if (!is_claimable(FKS_LOAD(journal->claims[at]), false))
            continue;
        FKS_STORE(journal->header->next_slot, at);
        if (is_there(journal, at))
            (void)FKS_LOAD(fks_slot_at(journal, at)->owner);
        return;
    }
}

void fks_journal_sweep(struct fks_journal *journal)
{
    for (uint32_t looked = 0; looked < SWEEP_SLOTS && looked < journal->slot_count; looked++) {
        uint32_t index = journal->swept < journal->slot_count ? journal->swept : 0;
        journal->swept = index + 1;
        uint64_t claim = FKS_LOAD(journal->claims[index]);
        if (claim && !(claim & FORKSAFE_CLAIM_RELEASED) && is_gone(FORKSAFE_CLAIM_PID(claim)))
            bury(journal, index, claim, FORKSAFE_STATE_GONE, -1, 0);
    }
    leave_hint(journal);
}

/* The slot of a process that just ended: the one still claimed for its pid, else the one a sweep
 * found dead before it was reaped. When a pid came back, the newest. Returns its claim, with the
 * index; 0: there is none. */
static uint64_t claim_of_dead(const struct fks_journal *journal, pid_t pid, uint32_t *index)
{
    uint64_t best = 0, best_claimed = 0;
    bool best_open = false;
    for (uint32_t i = 0; i < journal->slot_count; i++) {
        uint64_t claim = FKS_LOAD(journal->claims[i]);
        if (!claim || FORKSAFE_CLAIM_PID(claim) != pid)
            continue;
        bool open = !(claim & FORKSAFE_CLAIM_RELEASED);
        const struct forksafe_slot *slot = fks_slot_at(journal, i);
        if (!open && slot->state != FORKSAFE_STATE_GONE)
            continue;
        if (open < best_open || (open == best_open && slot->claimed < best_claimed))
            continue;
        best = claim;
        *index = i;
        best_open = open;
        best_claimed = slot->claimed;
    }
    return best;
}

void fks_journal_child_exit(struct fks_journal *journal, pid_t pid, int exit_status, int signal)
{
    struct forksafe_journal_header *header = journal->header;
    FKS_ADD(*(signal        ? &header->exits_signal
              : exit_status ? &header->exits_failed
                            : &header->exits_clean),
            1);
    uint32_t index = 0;
    uint64_t claim = claim_of_dead(journal, pid, &index);
    if (claim)
        bury(journal, index, claim, FORKSAFE_STATE_EXITED, signal ? -1 : exit_status, signal);
}
