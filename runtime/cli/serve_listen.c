/* SPDX-License-Identifier: MIT
 *
 * Opening the listening socket (serve_listen.h).
 */
#include "serve_listen.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static int fail_errno(const char *where, struct fks_error *error)
{
    const char *advice = errno == EADDRINUSE      ? "; choose another --listen"
                         : errno == EADDRNOTAVAIL ? "; name an address of this machine"
                                                  : "";
    return fks_fail(error, errno == EACCES || errno == EPERM ? FORKSAFE_EACCESS : FORKSAFE_EOFF,
                    "cannot listen on %s: %s%s", where, strerror(errno), advice);
}

/* --- UNIX sockets --- */

/* Whether the socket at the address was left behind by somebody who has ended. */
static bool is_left_behind(const struct sockaddr_un *address)
{
    struct stat st;
    if (lstat(address->sun_path, &st) || !S_ISSOCK(st.st_mode))
        return false;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    bool refused = fd >= 0 && connect(fd, (const struct sockaddr *)address, sizeof *address) < 0 &&
                   errno == ECONNREFUSED;
    if (fd >= 0)
        close(fd);
    return refused;
}

static int bind_unix(int fd, const struct sockaddr_un *address)
{
    if (is_left_behind(address))
        (void)unlink(address->sun_path);
    mode_t mask = umask(0117);
    int rc = bind(fd, (const struct sockaddr *)address, sizeof *address);
    int problem = errno;
    umask(mask);
    errno = problem;
    return rc;
}

static int open_unix(struct fks_listen *out, const char *path, struct fks_error *error)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct stat st;
    if (!*path || strlen(path) >= sizeof address.sun_path)
        return fks_fail(error, FORKSAFE_EUSAGE, "--listen unix:PATH takes a path of 1 to %zu bytes",
                        sizeof address.sun_path - 1);
    memcpy(address.sun_path, path, strlen(path));
    out->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (out->fd < 0 || bind_unix(out->fd, &address))
        return fail_errno(path, error);
    if (lstat(path, &st) == 0) {
        out->device = st.st_dev;
        out->inode = st.st_ino;
    }
    snprintf(out->path, sizeof out->path, "%s", path);
    snprintf(out->url, sizeof out->url, "unix:%s", path);
    return listen(out->fd, SOMAXCONN) ? fail_errno(path, error) : 0;
}

/* --- TCP --- */

/* "host:port" or "[host]:port" into its two parts; false where it is neither. */
static bool split(const char *where, char *host, size_t size, const char **port)
{
    const char *colon = strrchr(where, ':');
    size_t length = colon ? (size_t)(colon - where) : 0;
    if (!length || length >= size || !colon[1] ||
        strspn(colon + 1, "0123456789") != strlen(colon + 1))
        return false;
    if (strtoul(colon + 1, NULL, 10) > 65535)
        return false;
    bool bracketed = where[0] == '[' && where[length - 1] == ']';
    if (!bracketed && memchr(where, ':', length))
        return false;
    snprintf(host, size, "%.*s", (int)(bracketed ? length - 2 : length), where + bracketed);
    *port = colon + 1;
    return *host != '\0';
}

static int bind_first(const struct addrinfo *found)
{
    int fd = -1, yes = 1;
    for (; found && fd < 0; found = found->ai_next) {
        fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0)
            continue;
        (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
        if (bind(fd, found->ai_addr, found->ai_addrlen) == 0 && listen(fd, SOMAXCONN) == 0)
            return fd;
        int problem = errno;
        close(fd);
        errno = problem;
        fd = -1;
    }
    return fd;
}

static void write_url(struct fks_listen *out)
{
    struct sockaddr_storage address;
    socklen_t length = sizeof address;
    char host[NI_MAXHOST] = "", port[NI_MAXSERV] = "";
    if (getsockname(out->fd, (struct sockaddr *)&address, &length) == 0)
        (void)getnameinfo((struct sockaddr *)&address, length, host, sizeof host, port, sizeof port,
                          NI_NUMERICHOST | NI_NUMERICSERV);
    snprintf(out->url, sizeof out->url,
             strchr(host, ':') ? "http://[%.200s]:%s/" : "http://%.200s:%s/", host, port);
}

static int open_tcp(struct fks_listen *out, const char *where, struct fks_error *error)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    struct addrinfo *found;
    char host[256];
    const char *port;
    if (!split(where, host, sizeof host, &port))
        return fks_fail(error, FORKSAFE_EUSAGE,
                        "--listen takes ADDRESS:PORT, [ADDRESS]:PORT or unix:PATH, not '%.200s'",
                        where);
    int rc = getaddrinfo(host, port, &hints, &found);
    if (rc)
        return fks_fail(error, FORKSAFE_EUSAGE, "cannot listen on %.200s: %s", where,
                        gai_strerror(rc));
    out->fd = bind_first(found);
    if (out->fd < 0)
        rc = fail_errno(where, error);
    else
        write_url(out);
    freeaddrinfo(found);
    return rc;
}

/* --- both --- */

int fks_listen_open(struct fks_listen *out, const char *where, struct fks_error *error)
{
    *out = (struct fks_listen){.fd = -1};
    int rc =
        strncmp(where, "unix:", 5) ? open_tcp(out, where, error) : open_unix(out, where + 5, error);
    if (rc)
        fks_listen_close(out, true);
    return rc;
}

void fks_listen_close(struct fks_listen *listen, bool close_fd)
{
    struct stat st;
    if (*listen->path && lstat(listen->path, &st) == 0 && st.st_dev == listen->device &&
        st.st_ino == listen->inode)
        (void)unlink(listen->path);
    if (close_fd && listen->fd >= 0)
        close(listen->fd);
    *listen = (struct fks_listen){.fd = -1};
}
