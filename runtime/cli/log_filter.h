/* SPDX-License-Identifier: MIT
 *
 * Which records `forksafe log` shows: what its options name, and which record that means. In the
 * command only.
 */
#ifndef FKS_LOG_FILTER_H
#define FKS_LOG_FILTER_H

#include "core/reader.h"

/* Zeros let everything pass. A list that is empty lets everything pass. */
struct fks_log_filter {
    uint32_t events;   /* bits by enum forksafe_event */
    uint32_t outcomes; /* bits by enum forksafe_outcome, and FKS_LOG_UNFINISHED */
    const char **subscribers;
    size_t subscriber_count;
    pid_t *pids;
    size_t pid_count;
    int64_t since; /* ns since 1970 */
};

#define FKS_LOG_UNFINISHED (1u << FORKSAFE_OUTCOME_COUNT) /* begun by a process that died in it */

/* What an option says, added to the filter. Each returns 0, or -1 where the word means nothing;
 * `word` is borrowed as long as the filter is used. */
int fks_log_filter_event(struct fks_log_filter *filter, const char *word);   /* any of its names */
int fks_log_filter_outcome(struct fks_log_filter *filter, const char *word); /* or "failed" */
int fks_log_filter_pid(struct fks_log_filter *filter, const char *word);
int fks_log_filter_subscriber(struct fks_log_filter *filter, const char *word); /* or a pattern */
int fks_log_filter_since(struct fks_log_filter *filter, const char *word);

void fks_log_filter_finish(struct fks_log_filter *filter);

/* A time as people write it: "90s" ago (also ms, m, h, d, w), "14:05[:30]" today, "2026-11-22[
 * 14:05[:30[.5]]]" with "Z" or "+01:00" or in local time, "@1700000000". `now` and *ns: since 1970.
 * Returns 0, -1: none. */
int fks_log_time_parse(const char *word, int64_t now, int64_t *ns);

/* Whether the record is to be shown. `live` as fks_debug_outcome; `difference` added to
 * CLOCK_BOOTTIME gives the time of day. */
bool fks_log_filter_takes(const struct fks_log_filter *filter, const struct fks_reader *reader,
                          const struct forksafe_record *record, bool live, int64_t difference);

#endif
