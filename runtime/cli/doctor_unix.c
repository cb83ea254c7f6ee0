/* SPDX-License-Identifier: MIT
 *
 * The unix sockets of a network namespace with their peers (doctor.h), which only the kernel's
 * sock_diag(7) tells, and only to who is in the namespace: the command enters it and comes back. In
 * the command only.
 */
#include "doctor.h"

#include <fcntl.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <linux/unix_diag.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* A netlink socket of the namespace; -1: not permitted. */
static int open_diag(int ns)
{
    int kind = SOCK_RAW | SOCK_CLOEXEC;
    if (ns < 0)
        return socket(AF_NETLINK, kind, NETLINK_SOCK_DIAG);
    int own = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    if (own < 0)
        return -1;
    int fd = -1;
    if (!setns(ns, CLONE_NEWNET)) {
        fd = socket(AF_NETLINK, kind, NETLINK_SOCK_DIAG);
        if (setns(own, CLONE_NEWNET)) { /* cannot be: we came from there */
            close(fd);
            fd = -1;
        }
    }
    close(own);
    return fd;
}

static bool ask(int fd)
{
    struct {
        struct nlmsghdr header;
        struct unix_diag_req request;
    } message = {
        .header = {.nlmsg_len = sizeof message,
                   .nlmsg_type = SOCK_DIAG_BY_FAMILY,
                   .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP},
        .request = {.sdiag_family = AF_UNIX,
                    .udiag_states = ~0u,
                    .udiag_show = UDIAG_SHOW_NAME | UDIAG_SHOW_PEER},
    };
    return send(fd, &message, sizeof message, 0) == (ssize_t)sizeof message;
}

/* A name as ss(8) shows it: an abstract one begins with "@" instead of a NUL. */
static char *name_of(const char *data, size_t length)
{
    char *name = strndup("", 0);
    if (!length)
        return name;
    free(name);
    name = calloc(1, length + 1);
    if (!name)
        return NULL;
    memcpy(name, data, length);
    for (size_t i = 0; i < length && !*data; i++)
        if (!name[i])
            name[i] = '@';
    return name;
}

static bool take(struct fks_doctor_net *net, const struct nlmsghdr *header)
{
    const struct unix_diag_msg *message = NLMSG_DATA(header);
    struct fks_doctor_socket *socket = fks_doctor_socket_add(net);
    if (!socket)
        return false;
    socket->inode = message->udiag_ino;
    socket->family = AF_UNIX;
    socket->type = message->udiag_type;
    socket->state = message->udiag_state;
    int64_t left = (int64_t)(header->nlmsg_len - NLMSG_LENGTH(sizeof *message));
    const struct rtattr *attribute = (const void *)(message + 1);
    for (; RTA_OK(attribute, left); attribute = RTA_NEXT(attribute, left)) {
        if (attribute->rta_type == UNIX_DIAG_PEER && RTA_PAYLOAD(attribute) >= sizeof(uint32_t)) {
            uint32_t peer;
            memcpy(&peer, RTA_DATA(attribute), sizeof peer);
            socket->peer_inode = peer;
        }
        if (attribute->rta_type == UNIX_DIAG_NAME && !socket->name)
            socket->name = name_of(RTA_DATA(attribute), RTA_PAYLOAD(attribute));
    }
    if (!socket->name)
        socket->name = name_of("", 0);
    return socket->name != NULL;
}

bool fks_doctor_unix(struct fks_doctor_net *net, int ns)
{
    _Alignas(struct nlmsghdr) char buffer[32768];
    int fd = open_diag(ns);
    if (fd < 0)
        return false;
    bool is_whole = false;
    ssize_t got = ask(fd) ? 1 : 0;
    while (got > 0 && !is_whole && (got = recv(fd, buffer, sizeof buffer, 0)) > 0) {
        size_t left = (size_t)got;
        const struct nlmsghdr *header = (const void *)buffer;
        for (; NLMSG_OK(header, left) && !is_whole && got > 0; header = NLMSG_NEXT(header, left)) {
            if (header->nlmsg_type == NLMSG_DONE)
                is_whole = true;
            else if (header->nlmsg_type != SOCK_DIAG_BY_FAMILY || !take(net, header))
                got = -1; /* the kernel has no such table, or memory is short */
        }
    }
    close(fd);
    return is_whole;
}
