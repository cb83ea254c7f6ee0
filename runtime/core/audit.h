/* SPDX-License-Identifier: MIT
 *
 * The audit: at a fork the master looks at what it has open and which threads it runs, and says
 * what its children will have a part in; a child says what it got. Between looks a few system calls
 * tell that nothing has changed. Runs inside the emit's lock, also in an atfork handler while other
 * threads hold any lock: no allocation after fks_audit_use, nothing blocks, nothing stays open.
 */
#ifndef FKS_AUDIT_H
#define FKS_AUDIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "finding.h"
#include "finding_marks.h"

/* Master, holding the lock: from now on forks are looked at, for this journal and generation.
 * Borrows all. `marks` NULL: they are not. */
void fks_audit_use(struct fks_journal *journal, const struct fks_marks *marks,
                   const char *container, uint32_t generation);

/* Master, right before a fork. */
void fks_audit_look(void);

/* Child, before its first subscriber. */
void fks_audit_arrive(void);

/* --- for remedies --- */

/* Kinds of descriptors that are no findings. */
enum {
    FKS_ENTRY_PAIR = FKS_FINDING_KIND_COUNT, /* an end of a socketpair(2), or the like */
    FKS_ENTRY_OTHER,
};

/* The other end of a connection; family 0: it has no port. */
struct fks_peer {
    uint16_t family, port;
    uint8_t address[16];
};

/* A descriptor that the master had when it forked. */
struct fks_audit_entry {
    int number;
    uint8_t kind;     /* enum fks_finding_kind, or one of the above */
    bool safe;        /* marked */
    bool watched;     /* an epoll set of the master has it */
    bool replaced;    /* by a remedy, in this process */
    int16_t finding;  /* index in the journal's list; -1: none */
    uint32_t watcher; /* entry of that epoll set */
    uint64_t inode;
    struct fks_peer peer; /* of a connection of TCP or UDP */
};

#define FKS_AUDIT_LARGEST 65536 /* descriptors with higher numbers are not looked at */

struct fks_audit {
    struct fks_journal *journal;
    const struct fks_marks *marks; /* NULL: nobody looks */
    const char *container;
    uint32_t generation;
    pid_t master;                    /* who looked last; 0: nobody yet */
    pid_t arrived;                   /* the child that has said so */
    struct fks_audit_entry *entries; /* by number */
    size_t count;
    char subjects[FORKSAFE_FINDINGS][FORKSAFE_FINDING_SUBJECT]; /* of findings */
    bool repaired[FORKSAFE_FINDINGS];                           /* in this process */

    /* What would be another if something had changed. */
    uint32_t looked_generation;
    uint64_t task_links, open_descriptors;
    int first_free;
};

/* The last look, as this process inherited it from its master; NULL in the master itself, and where
 * nobody has looked. */
struct fks_audit *fks_audit_inherited(void);

/* The entry of that number; NULL: the master had none. */
struct fks_audit_entry *fks_audit_entry(const struct fks_audit *audit, int number);

/* Child: whether this process has the same open file as its parent, in use. What servers make for
 * themselves and close in their workers is nobody's business, nor is what only the closed one would
 * have watched. */
bool fks_entry_is_inherited(const struct fks_audit_entry *entry);

/* Whether the descriptor is still what the master had under this number, as far as its inode tells.
 */
bool fks_entry_is_there(const struct fks_audit_entry *entry);

/* Child: says in the journal that a remedy has replaced an entry. */
void fks_audit_repaired(struct fks_audit_entry *entry);

/* --- the parts of a look (audit_fds.c) --- */

/* Fills entries, and adds findings to the journal's open list. */
void fks_audit_descriptors(struct fks_audit *audit, struct fks_look *look);

/* Adds one object; sets the entry's finding where there is an entry. */
void fks_audit_add(struct fks_audit *audit, struct fks_audit_entry *entry,
                   const struct fks_found_object *object);

/* Adds one that has the name of `like`, which was added before. */
void fks_audit_add_like(struct fks_audit *audit, struct fks_audit_entry *entry,
                        const struct fks_audit_entry *like);

/* The subject of a connection out of this process: its peer. Returns false where it has none. */
bool fks_connection_peer(int number, char *out, size_t size);

#endif
