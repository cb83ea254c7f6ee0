/* SPDX-License-Identifier: MIT
 *
 * When the audit looks, what it logs, and what a child adds (audit.h). Master and children.
 */
#include "audit.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fdinfo.h"
#include "log.h"

/* So many descriptors are compared one by one when nothing seems to have changed; of more, the
 * connections alone. */
#define COMPARED 64
#define LOGGED   16 /* findings of one generation that the log has; the journal has more */

static struct fks_audit audit;

void fks_audit_use(struct fks_journal *journal, const struct fks_marks *marks,
                   const char *container, uint32_t generation)
{
    audit.journal = journal;
    audit.marks = marks;
    audit.container = container;
    audit.generation = generation;
    if (!marks || audit.entries)
        return;
    void *map = mmap(NULL, FKS_AUDIT_LARGEST * sizeof *audit.entries, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    audit.entries = map == MAP_FAILED ? NULL : map;
}

/* --- has anything changed? --- */

static uint64_t task_links(void)
{
    struct stat st;
    return stat("/proc/self/task", &st) ? 0 : (uint64_t)st.st_nlink;
}

/* How many descriptors are open; 0 where the kernel does not tell. */
static uint64_t open_descriptors(void)
{
    struct stat st;
    return stat("/proc/self/fd", &st) ? 0 : (uint64_t)st.st_size;
}

bool fks_entry_is_there(const struct fks_audit_entry *entry)
{
    struct stat st;
    return !fstat(entry->number, &st) && st.st_ino == entry->inode;
}

/* What is opened takes the first free number, so that one tells of all that were. A descriptor that
 * took the place of another shows in its inode. */
static bool has_changed(void)
{
    if (audit.master != getpid() || audit.looked_generation != audit.generation ||
        audit.task_links != task_links() || audit.open_descriptors != open_descriptors() ||
        fcntl(audit.first_free, F_GETFD) >= 0)
        return true;
    for (size_t i = 0; i < audit.count; i++) {
        bool is_compared = i < COMPARED || audit.entries[i].kind == FKS_FINDING_CONNECTION;
        if (is_compared && !fks_entry_is_there(&audit.entries[i]))
            return true;
    }
    return false;
}

/* --- the look --- */

static void tell(const struct forksafe_finding *finding)
{
    char id[FORKSAFE_FINDING_SUBJECT + 64], what[640], fix[1024], many[32] = "";
    enum fks_severity severity = fks_finding_severity(finding->kind, finding->subject);
    fks_finding_id(id, sizeof id, finding->kind, finding->subject);
    fks_finding_what(what, sizeof what, finding->kind, finding->subject,
                     finding->kind == FKS_FINDING_THREAD ? "its workers"
                                                         : "the master and its workers");
    fks_finding_fix(fix, sizeof fix, finding->kind, finding->subject, audit.container);
    if (finding->count > 1)
        snprintf(many, sizeof many, ", %u of them", finding->count);
    fks_log(severity == FKS_SEVERITY_LOW ? FORKSAFE_LOG_INFO : FORKSAFE_LOG_WARNING,
            "not safe to fork: %s (%s, %s%s); in postfork.lua: %s", what, id,
            fks_severities[severity], many, fix);
}

void fks_audit_add(struct fks_audit *to, struct fks_audit_entry *entry,
                   const struct fks_found_object *object)
{
    char id[4400];
    bool is_new;
    fks_finding_id(id, sizeof id, object->kind, object->subject);
    if (fks_marks_have(to->marks, id)) {
        if (entry)
            entry->safe = true;
        return;
    }
    int index = fks_findings_add(to->journal, object, &is_new);
    if (index < 0)
        return;
    snprintf(to->subjects[index], sizeof to->subjects[index], "%s", object->subject);
    if (entry)
        entry->finding = (int16_t)index;
}

void fks_audit_add_like(struct fks_audit *to, struct fks_audit_entry *entry,
                        const struct fks_audit_entry *like)
{
    entry->safe = like->safe;
    entry->finding = like->finding;
    if (like->finding >= 0)
        fks_findings_again(to->journal, like->finding,
                           fks_kinds[entry->kind].link || entry->watched);
}

static void add_thread(const char *name, pid_t id, void *data)
{
    char subject[FKS_THREAD_NAME], object[64];
    (void)data;
    if (fks_is_harmless_thread(name))
        return;
    fks_thread_name(subject, name);
    snprintf(object, sizeof object, "%s (%d)", name, (int)id);
    const struct fks_found_object found = {FKS_FINDING_THREAD, subject, object, -1, false};
    fks_audit_add(&audit, NULL, &found);
}

/* Those of the first look that showed them; what is pending is told by the first child. */
static void tell_new(uint64_t since)
{
    const struct forksafe_finding *finding;
    for (int i = 0; (finding = fks_finding_at(audit.journal, audit.generation, i)); i++) {
        if (finding->first_seen < since || finding->is_pending)
            continue;
        if (i == LOGGED)
            fks_log(FORKSAFE_LOG_WARNING,
                    "not safe to fork: there is more; `forksafe debug` has the list");
        if (i < LOGGED)
            tell(finding);
    }
}

/* The list in the journal has one writer: a worker that forks others is not looked at. */
static bool is_master(void)
{
    return audit.marks && audit.entries &&
           fks_journal_header(audit.journal)->master_pid == getpid();
}

void fks_audit_look(void)
{
    int errno_before = errno;
    if (!is_master() || !has_changed()) {
        errno = errno_before;
        return;
    }
    struct fks_look look = {.begun = fks_now()};
    audit.master = getpid();
    audit.looked_generation = audit.generation;
    audit.task_links = task_links();
    audit.open_descriptors = open_descriptors();
    audit.arrived = 0;
    memset(audit.repaired, 0, sizeof audit.repaired);
    fks_findings_begin(audit.journal, audit.generation);
    fks_audit_descriptors(&audit, &look);
    if (audit.task_links != 3) { /* ".", ".." and the thread that forks */
        int threads = fks_threads_each(add_thread, NULL);
        look.threads = threads > 0 ? (uint32_t)threads : 0;
    }
    fks_findings_end(audit.journal, &look);
    tell_new(look.begun);
    errno = errno_before;
}

/* --- the child --- */

bool fks_entry_is_inherited(const struct fks_audit_entry *entry)
{
    if (entry->replaced || fcntl(entry->number, F_GETFD) < 0)
        return false;
    bool is_nameless = entry->kind < FKS_FINDING_KIND_COUNT && fks_kinds[entry->kind].link;
    if (is_nameless ? !fks_fd_is_shared_with(getppid(), entry->number) : !fks_entry_is_there(entry))
        return false;
    const struct fks_audit_entry *watcher = &audit.entries[entry->watcher];
    return !entry->watched || watcher->replaced || fks_entry_is_inherited(watcher);
}

struct fks_audit *fks_audit_inherited(void)
{
    return audit.marks && audit.master && audit.master != getpid() ? &audit : NULL;
}

struct fks_audit_entry *fks_audit_entry(const struct fks_audit *from, int number)
{
    size_t low = 0, high = from->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (from->entries[middle].number < number)
            low = middle + 1;
        else
            high = middle;
    }
    return low < from->count && from->entries[low].number == number ? &from->entries[low] : NULL;
}

/* Only of a pending finding it matters how many of its objects are here. */
static bool is_known(int index, uint32_t objects)
{
    const struct forksafe_finding *finding =
        objects ? fks_finding_at(audit.journal, audit.generation, index) : NULL;
    return finding && !finding->is_pending;
}

/* Apart, since a child without the audit would copy a page of its stack for the array. */
static __attribute__((noinline)) void tell_inherited(void)
{
    struct {
        uint32_t objects;
        int descriptor; /* of the first */
    } has[FORKSAFE_FINDINGS] = {{0}};
    for (size_t i = 0; i < audit.count; i++) {
        const struct fks_audit_entry *entry = &audit.entries[i];
        if (entry->finding < 0 || is_known(entry->finding, has[entry->finding].objects) ||
            !fks_entry_is_inherited(entry))
            continue;
        if (!has[entry->finding].objects++)
            has[entry->finding].descriptor = entry->number;
    }
    const struct forksafe_finding *finding;
    for (int i = 0; (finding = fks_finding_at(audit.journal, audit.generation, i)); i++) {
        bool is_thread = finding->kind == FKS_FINDING_THREAD;
        if (!has[i].objects && !is_thread)
            continue;
        uint32_t workers = fks_finding_arrive(audit.journal, audit.generation, i, has[i].objects,
                                              has[i].descriptor);
        if (workers == 1 && finding->is_pending && i < LOGGED)
            tell(finding);
    }
}

void fks_audit_arrive(void)
{
    if (!fks_audit_inherited() || audit.arrived == getpid())
        return;
    int errno_before = errno;
    audit.arrived = getpid();
    tell_inherited();
    errno = errno_before;
}

void fks_audit_repaired(struct fks_audit_entry *entry)
{
    int index = entry->finding;
    entry->replaced = true;
    if (index < 0)
        return;
    fks_finding_repair(audit.journal, audit.generation, index, 1, !audit.repaired[index]);
    audit.repaired[index] = true;
}
