/* SPDX-License-Identifier: MIT
 *
 * What is known about single objects, whoever looks at them: which peers, threads and files are
 * harmless, how an address is written, which service it belongs to. The audit in the master and
 * `forksafe doctor` judge by these. No allocation, no system call; any process.
 */
#ifndef FKS_FINDING_RULES_H
#define FKS_FINDING_RULES_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* --- sockets --- */

enum { FKS_ADDRESS_TEXT = INET6_ADDRSTRLEN + 16, FKS_THREAD_NAME = 64, FKS_MAGIC_ROOM = 32 };

/* "10.0.0.5:5432", "[::1]:5432"; an IPv4 address in an IPv6 socket as IPv4. `address` is 4 bytes of
 * AF_INET or 16 of AF_INET6, in network order. */
void fks_address_text(char out[FKS_ADDRESS_TEXT], int family, const uint8_t *address,
                      uint16_t port);

/* The port of a peer so written; 0: it is a path, or of UDP. */
uint16_t fks_peer_port(const char *peer);

/* Whether many may write through one connection to this path and nobody reads an answer, or libc
 * sees to forks. */
bool fks_is_harmless_peer(const char *path);

/* Services by port or path. What makes its client connect anew, in Python, Ruby and others (NULL:
 * none is known). */
enum fks_language { FKS_PYTHON, FKS_RUBY, FKS_OTHER_LANGUAGE, FKS_LANGUAGES };

/* "PostgreSQL", or NULL: nothing known. */
const char *fks_service_name(const char *peer, uint16_t port);
const char *fks_service_fix(const char *peer, uint16_t port, enum fks_language language);

/* --- threads --- */

/* The name with each run of digits as "*": rdk:broker12 is rdk:broker*. */
void fks_thread_name(char out[FKS_THREAD_NAME], const char *name);

/* Not the program's own: the kernel's workers of an io_uring, and threads whose owners start them
 * again after a fork by themselves. */
bool fks_is_harmless_thread(const char *name);

/* --- files --- */

/* Whether a fork could spoil what stands behind this link of /proc/PID/fd: false for devices and
 * the kernel's own files. */
bool fks_is_kept_path(const char *link);

/* Whether the file belongs to a database that is a finding itself. */
bool fks_is_companion(const char *path);

/* The subject of a finding about this path: of files without a name any more it names the
 * directory, with a star for the name, since their former names are another after each start. */
void fks_file_subject(char *out, size_t size, const char *path);

/* "SQLite", or NULL: by its first bytes no database we know. */
const char *fks_database_of(const char *bytes, size_t length);

#endif
