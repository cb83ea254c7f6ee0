/* SPDX-License-Identifier: MIT
 *
 * What /proc tells a process about itself: its descriptors' fdinfo, the text of their links, its
 * threads. System calls and fixed buffers alone: used where other threads may hold any lock. Opens
 * with close-on-exec and closes again. Any process.
 */
#ifndef FKS_FDINFO_H
#define FKS_FDINFO_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* Calls `each` for every line (NUL-terminated, cut to a few hundred bytes) of a file below
 * /proc/self, until it returns false. Returns whether the file could be read. */
bool fks_proc_lines(const char *name, bool (*each)(const char *line, void *data), void *data);

/* The same for /proc/self/fdinfo/N. */
bool fks_fdinfo_lines(int number, bool (*each)(const char *line, void *data), void *data);

/* The directory of this process's descriptors, for fks_fd_link and close; -1: it cannot be had. */
int fks_fd_directory(void);

/* The text of the link of descriptor N in that directory, cut to fit; "" where it cannot be read.
 */
void fks_fd_link(int directory, int number, char *out, size_t size);

/* The number below which all descriptors are. */
int fks_fd_table_size(void);

/* Calls `each` with the name of every other thread. At most 1,024 are looked at. Returns how many
 * there were, or -1. */
int fks_threads_each(void (*each)(const char *name, pid_t id, void *data), void *data);

/* Whether the descriptor is the same open file in that process as here; also where nobody may ask.
 */
bool fks_fd_is_shared_with(pid_t process, int number);

#endif
