/* SPDX-License-Identifier: MIT
 *
 * Findings in the journal, on the writing side: the master adds them while it looks, its children
 * count what they inherited and what they repaired. No locks, no allocation.
 */
#ifndef FKS_FINDING_H
#define FKS_FINDING_H

#include "finding_kinds.h"
#include "journal.h"

/* Master: opens the list for writing; at a new generation it is emptied. */
void fks_findings_begin(struct fks_journal *journal, uint32_t generation);

/* One object. */
struct fks_found_object {
    enum fks_finding_kind kind;
    const char *subject; /* "" where the kind has none */
    const char *object;  /* what it is, for the first of its name; "": its number says enough */
    int descriptor;      /* -1: none */
    /* Servers make such things for themselves and close them in their workers, or what watches
     * them: it is a finding once a child says that it has it. */
    bool is_pending;
};

/* Master, between begin and end: counts the object to the finding of its name, which is added at
 * the first. Returns its index, -1 where the list is full; *is_new says whether it was added. */
int fks_findings_add(struct fks_journal *journal, const struct fks_found_object *object,
                     bool *is_new);

/* Master, between begin and end: counts one more to a finding that was added. */
void fks_findings_again(struct fks_journal *journal, int index, bool is_pending);

/* What one look cost and saw. */
struct fks_look {
    uint64_t begun; /* CLOCK_BOOTTIME */
    uint32_t descriptors, threads;
    bool unseen; /* there was more than was looked at */
};

void fks_findings_end(struct fks_journal *journal, const struct fks_look *look);

/* Child: says that this process has so many of its objects, the first under that number. Of a
 * pending one that is what the finding says from then on: the rest was the server's own. Returns
 * how many processes have it by now; 0: the list is of another generation. */
uint32_t fks_finding_arrive(struct fks_journal *journal, uint32_t generation, int index,
                            uint32_t objects, int descriptor);

/* Child: says that so many of its objects were replaced here; `is_first`: none was before. */
void fks_finding_repair(struct fks_journal *journal, uint32_t generation, int index,
                        uint32_t objects, bool is_first);

/* The finding, for its texts; NULL: there is none, or the list is of another generation. */
const struct forksafe_finding *fks_finding_at(const struct fks_journal *journal,
                                              uint32_t generation, int index);

/* Whether readers show it: not while it is pending. */
bool fks_finding_is_told(const struct forksafe_finding *finding);

/* Whether every process that inherited it has repaired it for itself. */
bool fks_finding_is_repaired(const struct forksafe_finding *finding);

#endif
