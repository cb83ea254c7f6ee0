/* SPDX-License-Identifier: MIT
 *
 * The findings area of a journal (finding.h). Master at its fork point, children right after.
 */
#include "finding.h"

#include <stdio.h>
#include <string.h>

#include "journal_private.h"

static uint32_t count_of(const struct forksafe_finding_area *area)
{
    return area->count < FORKSAFE_FINDINGS ? area->count : FORKSAFE_FINDINGS;
}

void fks_findings_begin(struct fks_journal *journal, uint32_t generation)
{
    struct forksafe_finding_area *area = journal->findings;
    FKS_STORE(area->sequence, area->sequence | 1); /* odd already if a writer died */
    __atomic_thread_fence(__ATOMIC_RELEASE);
    if (area->generation != generation)
        area->count = area->dropped = 0;
    area->generation = generation;
    for (uint32_t i = 0; i < count_of(area); i++) {
        area->findings[i].former = area->findings[i].count;
        area->findings[i].count = 0;
    }
}

/* A text that is too long ends in "...". */
static void set_text(char *out, size_t size, const char *text)
{
    size_t length = strlen(text);
    memset(out, 0, size);
    if (length < size) {
        memcpy(out, text, length);
        return;
    }
    length = fks_whole_characters(text, size - 4);
    memcpy(out, text, length);
    memcpy(out + length, "...", 3);
}

void fks_findings_again(struct fks_journal *journal, int index, bool is_pending)
{
    struct forksafe_finding *finding = &journal->findings->findings[index];
    finding->count++;
    finding->is_pending &= is_pending;
}

int fks_findings_add(struct fks_journal *journal, const struct fks_found_object *object,
                     bool *is_new)
{
    struct forksafe_finding_area *area = journal->findings;
    char subject[FORKSAFE_FINDING_SUBJECT];
    uint32_t index = 0;
    set_text(subject, sizeof subject, object->subject);
    while (index < count_of(area) && (area->findings[index].kind != object->kind ||
                                      strcmp(area->findings[index].subject, subject) != 0))
        index++;
    *is_new = index == count_of(area);
    if (index == FORKSAFE_FINDINGS) {
        area->dropped++;
        return -1;
    }
    struct forksafe_finding *finding = &area->findings[index];
    if (*is_new) {
        *finding = (struct forksafe_finding){
            .kind = (uint8_t)object->kind,
            .is_pending = object->is_pending,
            .descriptor = object->descriptor,
            .first_seen = fks_now(),
        };
        memcpy(finding->subject, subject, sizeof subject);
        set_text(finding->object, sizeof finding->object, object->object);
        area->count = index + 1;
    }
    fks_findings_again(journal, (int)index, object->is_pending);
    return (int)index;
}

void fks_findings_end(struct fks_journal *journal, const struct fks_look *look)
{
    struct forksafe_finding_area *area = journal->findings;
    for (uint32_t i = 0; i < count_of(area); i++)
        if (!area->findings[i].count) /* the master has it no more; its workers do */
            area->findings[i].count = area->findings[i].former;
    area->looks++;
    area->descriptors = look->descriptors;
    area->threads = look->threads;
    area->unseen = look->unseen;
    area->looked = look->begun;
    area->duration = fks_now() - look->begun;
    FKS_STORE(area->sequence, area->sequence + 1);
}

static struct forksafe_finding *find(const struct fks_journal *journal, uint32_t generation,
                                     int index)
{
    struct forksafe_finding_area *area = journal->findings;
    if (index < 0 || FKS_LOAD(area->generation) != generation || (uint32_t)index >= count_of(area))
        return NULL;
    return &area->findings[index];
}

uint32_t fks_finding_arrive(struct fks_journal *journal, uint32_t generation, int index,
                            uint32_t objects, int descriptor)
{
    struct forksafe_finding *finding = find(journal, generation, index);
    if (!finding)
        return 0;
    if (finding->is_pending) {
        FKS_STORE(finding->count, objects);
        FKS_STORE(finding->descriptor, descriptor);
    }
    return FKS_ADD(finding->workers, 1);
}

void fks_finding_repair(struct fks_journal *journal, uint32_t generation, int index,
                        uint32_t objects, bool is_first)
{
    struct forksafe_finding *finding = find(journal, generation, index);
    if (!finding)
        return;
    FKS_ADD(finding->repairs, objects);
    if (is_first)
        FKS_ADD(finding->repaired, 1);
}

const struct forksafe_finding *fks_finding_at(const struct fks_journal *journal,
                                              uint32_t generation, int index)
{
    return find(journal, generation, index);
}

bool fks_finding_is_told(const struct forksafe_finding *finding)
{
    return finding->kind < FKS_FINDING_KIND_COUNT && finding->first_seen &&
           (!finding->is_pending || finding->workers);
}

bool fks_finding_is_repaired(const struct forksafe_finding *finding)
{
    return finding->repaired && finding->repaired >= finding->workers;
}
