/* SPDX-License-Identifier: MIT
 *
 * How `forksafe log` shows a record: as a line for people, or as JSON. In the command only.
 */
#ifndef FKS_LOG_PRINT_H
#define FKS_LOG_PRINT_H

#include "core/debug_object.h"
#include "log_look.h"

struct fks_log_printer {
    bool json, color;
    bool errors;                      /* whole error texts */
    bool instances;                   /* each line begins with its instance */
    struct fks_debug_writing writing; /* clock and JSON buffer; writing.stream.clock_difference is
                                         set by the caller */
    size_t instance_width, subscriber_width; /* the widest so far */
};

/* Writes the batch to stdout and flushes. Returns 0, or negative with a line where stdout takes
 * nothing or memory is short. */
int fks_log_print(struct fks_log_printer *printer, const struct fks_log_batch *batch,
                  struct fks_error *error);

void fks_log_printer_finish(struct fks_log_printer *printer);

#endif
