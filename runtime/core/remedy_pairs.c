/* SPDX-License-Identifier: MIT
 *
 * The socketpairs by which event loops wake themselves, made anew in a child (remedy.h): both ends
 * are in the process, and an inherited epoll set watches one. Pairs of which one end is elsewhere,
 * or that no such set watches, are channels of the server. Child only.
 */
#include "remedy.h"

#include <fcntl.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <linux/unix_diag.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

struct request {
    struct nlmsghdr header;
    struct unix_diag_req question;
};

/* The inode of the other end in the answer; 0: it has none. */
static uint32_t peer_in(struct nlmsghdr *answer)
{
    if (answer->nlmsg_type != SOCK_DIAG_BY_FAMILY ||
        answer->nlmsg_len < NLMSG_LENGTH(sizeof(struct unix_diag_msg)))
        return 0;
    struct unix_diag_msg *told = NLMSG_DATA(answer);
    int64_t left = (int64_t)(answer->nlmsg_len - NLMSG_LENGTH(sizeof *told));
    for (struct rtattr *part = (struct rtattr *)(told + 1); RTA_OK(part, left);
         part = RTA_NEXT(part, left))
        if (part->rta_type == UNIX_DIAG_PEER && RTA_PAYLOAD(part) >= sizeof(uint32_t))
            return *(uint32_t *)RTA_DATA(part);
    return 0;
}

static uint32_t ask_peer(int diag, uint64_t inode)
{
    _Alignas(struct nlmsghdr) char answer[1024];
    struct request request = {
        .header = {.nlmsg_len = sizeof request,
                   .nlmsg_type = SOCK_DIAG_BY_FAMILY,
                   .nlmsg_flags = NLM_F_REQUEST},
        .question = {.sdiag_family = AF_UNIX,
                     .udiag_states = UINT32_MAX,
                     .udiag_ino = (uint32_t)inode,
                     .udiag_show = UDIAG_SHOW_PEER,
                     .udiag_cookie = {UINT32_MAX, UINT32_MAX}},
    };
    if (send(diag, &request, sizeof request, 0) < 0)
        return 0;
    ssize_t got = recv(diag, answer, sizeof answer, 0);
    struct nlmsghdr *header = (struct nlmsghdr *)answer;
    return got > 0 && NLMSG_OK(header, (size_t)got) ? peer_in(header) : 0;
}

static struct fks_audit_entry *find_inode(const struct fks_audit *audit, uint32_t inode)
{
    for (size_t i = 0; inode && i < audit->count; i++) {
        struct fks_audit_entry *entry = &audit->entries[i];
        if (entry->kind == FKS_ENTRY_PAIR && (uint32_t)entry->inode == inode)
            return entry;
    }
    return NULL;
}

static int remake(struct fks_audit_entry *one, struct fks_audit_entry *other)
{
    int ends[2], type = SOCK_STREAM;
    socklen_t length = sizeof type;
    (void)getsockopt(one->number, SOL_SOCKET, SO_TYPE, &type, &length);
    if (socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, ends))
        return -1;
    if (fks_replace(ends[0], one->number)) {
        close(ends[1]);
        return -1;
    }
    (void)fks_replace(ends[1], other->number);
    fks_audit_repaired(one);
    fks_audit_repaired(other);
    return 0;
}

int fks_unshare_pairs(struct fks_audit *audit)
{
    int count = 0;
    int diag = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
    if (diag < 0)
        return 0;
    const struct timeval patience = {.tv_sec = 1};
    (void)setsockopt(diag, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    for (size_t i = 0; i < audit->count; i++) {
        struct fks_audit_entry *one = &audit->entries[i];
        if (one->kind != FKS_ENTRY_PAIR || !one->watched || !fks_entry_is_inherited(one) ||
            audit->entries[one->watcher].safe)
            continue;
        struct fks_audit_entry *other = find_inode(audit, ask_peer(diag, one->inode));
        if (other && !other->replaced && fks_entry_is_there(other) && !remake(one, other))
            count += 2;
    }
    close(diag);
    return count;
}
