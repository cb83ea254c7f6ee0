/* SPDX-License-Identifier: MIT
 *
 * Where `forksafe serve` listens: a TCP address or a UNIX socket. In the serve process only.
 */
#ifndef FKS_SERVE_LISTEN_H
#define FKS_SERVE_LISTEN_H

#include <stdbool.h>
#include <sys/types.h>

#include "core/error.h"

struct fks_listen {
    int fd;         /* not blocking, closed at exec; -1: none */
    char url[256];  /* as it is printed: "http://127.0.0.1:9180/" or "unix:/run/forksafe.sock" */
    char path[108]; /* of the UNIX socket; empty: TCP */
    dev_t device;   /* of the socket's file: which one is ours to remove */
    ino_t inode;
};

/* Opens `where`: "127.0.0.1:9180", "[::1]:9180", "localhost:0" (any free port), "unix:/path". A
 * UNIX socket is made with mode 0660; one that nobody listens on any more is replaced. Returns 0
 * with *out for fks_listen_close; FORKSAFE_EUSAGE (what it says makes no sense), FORKSAFE_EACCESS,
 * FORKSAFE_EOFF (anything else), with a line. */
int fks_listen_open(struct fks_listen *out, const char *where, struct fks_error *error);

/* Removes the UNIX socket, if it is still this one. The descriptor is closed by who took it, or by
 * this function with `close_fd`. */
void fks_listen_close(struct fks_listen *listen, bool close_fd);

#endif
