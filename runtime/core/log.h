/* SPDX-License-Identifier: MIT
 *
 * Lines for the container's own log, through the adapter's log(). Any process; never blocks beyond
 * what the host's log does.
 */
#ifndef FKS_LOG_H
#define FKS_LOG_H

#include "forksafe/forksafe.h"

#define FKS_INSTANCE 65 /* bytes of an instance's name, with its NUL */

/* Where lines go and from which level on. `instance` is copied. Master. */
void fks_log_init(const struct forksafe_host *host, const char *instance,
                  enum forksafe_log_level level);

/* The lowest level that is logged from now on. */
void fks_log_level(enum forksafe_log_level level, const char *instance);

/* "forksafe[instance]: text", one line; control characters are replaced. A text of several lines
 * becomes several. */
__attribute__((format(printf, 2, 3))) void fks_log(enum forksafe_log_level level,
                                                   const char *format, ...);

/* The same for a text that is no format. */
void fks_log_text(enum forksafe_log_level level, const char *text);

#endif
