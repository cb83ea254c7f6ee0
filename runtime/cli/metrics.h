/* SPDX-License-Identifier: MIT
 *
 * The metrics of journals as text, for Prometheus: `forksafe debug --metrics` and /metrics of
 * `forksafe serve` print the same. In the commands only.
 */
#ifndef FKS_METRICS_H
#define FKS_METRICS_H

#include <stdbool.h>
#include <stddef.h>

#include "core/debug.h"
#include "core/reader.h"

/* The Content-Type of each form. */
#define FKS_METRICS_TYPE      "text/plain; version=0.0.4; charset=utf-8"
#define FKS_METRICS_TYPE_OPEN "application/openmetrics-text; version=1.0.0; charset=utf-8"

/* Writes all metrics of these journals as Prometheus text 0.0.4, or as OpenMetrics 1.0. The readers
 * (borrowed; may be none, may be of several instances, in any order) are told apart by the label
 * forksafe_instance; masters of one instance and server are added up. Counters are as of the
 * readers' last refresh, processes as of now. Returns 0, or FORKSAFE_ENOMEM where it did not get to
 * its end: no memory, or the sink said stop. */
int fks_metrics_write(struct fks_reader *const *readers, size_t count, bool open_metrics,
                      fks_debug_sink sink, void *data);

#endif
