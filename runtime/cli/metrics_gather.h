/* SPDX-License-Identifier: MIT
 *
 * What the metrics of some journals are, before they are printed: added up by instance, server and
 * subscriber, with label values that are ready to print. In the commands only.
 */
#ifndef FKS_METRICS_GATHER_H
#define FKS_METRICS_GATHER_H

#include "core/finding_kinds.h"
#include "core/reader.h"

/* What a worker is doing, or that it ended and nobody has reaped it. */
#define FKS_WORKER_STATES(X) \
    X(STARTING, "starting")  \
    X(READY, "ready")        \
    X(EXITING, "exiting")    \
    X(DEAD, "dead")

enum fks_worker_state {
#define X(id, name) FKS_WORKER_##id,
    FKS_WORKER_STATES(X)
#undef X
        FKS_WORKER_STATE_COUNT
};

/* All masters of one instance under one server. */
struct fks_metrics_group {
    char *labels;   /* forksafe_instance="shop",server="uwsgi" */
    uint64_t alive; /* masters that live */
    uint64_t forks[FORKSAFE_ROLE_COUNT];
    uint64_t exits_clean, exits_failed, exits_signal;
    bool serves[FORKSAFE_EVENT_COUNT]; /* whether the server has a fork point for it */
    uint64_t events[FORKSAFE_EVENT_COUNT];
    uint64_t workers[FKS_WORKER_STATE_COUNT];
    uint64_t last_fork; /* CLOCK_BOOTTIME; 0: none */
    uint64_t overwritten, slots_refused, subscribers_refused;
    uint32_t findings[FKS_FINDING_KIND_COUNT][FKS_SEVERITIES]; /* that are not repaired */
};

/* One subscriber of a group. */
struct fks_metrics_series {
    size_t group;
    uint32_t event;
    char *subscriber; /* the label's value, escaped */
    struct forksafe_cell cell;
};

struct fks_metrics {
    struct fks_metrics_group *groups; /* in the order of the readers */
    size_t group_count;
    struct fks_metrics_series *series; /* by group, event and name */
    size_t series_count;
};

/* Reads what the readers (borrowed) have, and their slots. Returns 0, or FORKSAFE_ENOMEM; *out is
 * for finish either way. */
int fks_metrics_init(struct fks_metrics *out, struct fks_reader *const *readers, size_t count);

void fks_metrics_finish(struct fks_metrics *metrics);

#endif
