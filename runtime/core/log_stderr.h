/* SPDX-License-Identifier: MIT
 *
 * The log of a host without one: standard error.
 */
#ifndef FKS_LOG_STDERR_H
#define FKS_LOG_STDERR_H

/* Writes the line and a newline, where descriptor 2 is something for lines (a terminal, a pipe, a
 * file that is only written). Any process, also in a handler: waits 0.1 s at most for a reader, and
 * a reader that has gone or a file that is full does not end the program. */
void fks_log_stderr(const char *line);

#endif
