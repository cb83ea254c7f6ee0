/* SPDX-License-Identifier: MIT
 *
 * The elements of the debug object's lists, each as one JSON value: schema forksafe.debug/1 is
 * here, and the order of its members in debug.c. Used where the debug object is built: in the
 * commands, and in hosts.
 */
#ifndef FKS_DEBUG_OBJECT_H
#define FKS_DEBUG_OBJECT_H

#include "debug_gather.h"
#include "debug_json.h"

/* Texts that stand in one record after the other, made once: the last of each kind, and what it is
 * the text of. */
struct fks_debug_words {
    struct fks_debug_word {
        const void *of;
        json_t *text;
    } role, hook, event, subscriber, outcome;
    json_t *record;                 /* the last one: its members are set again for the next */
    json_t *values[FKS_JSON_ALIKE]; /* of `record`, whose they are */
};
void fks_debug_words_finish(struct fks_debug_words *words);

/* One debug object on its way out. */
struct fks_debug_writing {
    struct fks_json_stream stream;
    struct fks_gathered gathered;
    struct fks_debug_words *words; /* for records; NULL: nothing is kept. No refresh meanwhile */
};

/* Each returns a new value, NULL where memory is short. */
json_t *fks_debug_hook_pair(const struct fks_hook_sum *sum);
json_t *fks_debug_hook(const struct fks_debug_writing *writing, const struct fks_hook_sum *sum);
json_t *fks_debug_master(const struct fks_debug_writing *writing, size_t index);
json_t *fks_debug_leader(const struct fks_debug_writing *writing, const struct fks_reader *reader,
                         const struct forksafe_leader *leader);
json_t *fks_debug_process(const struct fks_debug_writing *writing, const struct fks_reader *reader,
                          const struct fks_reader_slot *read);
json_t *fks_debug_record(const struct fks_debug_writing *writing, const struct fks_reader *reader,
                         const struct forksafe_record *record, bool live);

/* debug_finding.c */
json_t *fks_debug_finding(const struct fks_debug_writing *writing, const struct fks_reader *reader,
                          const struct forksafe_finding *finding);

/* The words for what a process is doing and how a record ended; static storage. `live`: the record
 * is of a process that lives, so that one that has not ended is running. */
const char *fks_debug_state(const struct fks_reader_slot *slot);
const char *fks_debug_outcome(const struct forksafe_record *record, bool live);

/* What a process and a record are known by, in streams and to pages; the same each time. */
json_t *fks_debug_process_key(const struct fks_reader_slot *read);
json_t *fks_debug_record_key(const struct fks_reader *reader, uint32_t slot, uint64_t number);

/* Whether the subscriber's script is not what was loaded, as its file is now: 1 or 0; -1 where
 * there is no telling: in a host, which opens no files for this, without a file, and where it may
 * not be read. */
int fks_debug_stale(const struct fks_reader *reader, const struct forksafe_subscriber *subscriber);

/* Reads the script's file to say whether it is stale: null where there is no telling. */
json_t *fks_debug_subscriber(const struct fks_debug_writing *writing,
                             const struct fks_subscriber_sum *sum);

#endif
