/* SPDX-License-Identifier: MIT
 *
 * What is judged of sockets that several processes have open (doctor.h): connections out of the
 * server are findings, those that came in and the server's own channels are not. In the command
 * only.
 */
#include "doctor.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>

#define COUNT(list) (sizeof(list) / sizeof *(list))

enum { ADDRESS_TEXT = INET6_ADDRSTRLEN + 16 };

/* Where many may write through one connection and nobody reads an answer, or libc sees to forks. */
static const char *const harmless_peers[] = {
    "/run/systemd/", "/dev/log",       "/run/rsyslog",
    "/run/nscd/",    "/var/run/nscd/", "/var/lib/sss/pipes/",
};

/* "10.0.0.5:5432", "[::1]:5432"; an IPv4 address in an IPv6 socket as IPv4. */
static void address_text(char out[ADDRESS_TEXT], int family, const uint8_t *address, uint16_t port)
{
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    char text[INET6_ADDRSTRLEN] = "?";
    bool is_mapped = family == AF_INET6 && !memcmp(address, mapped, sizeof mapped);
    bool is_v6 = family == AF_INET6 && !is_mapped;
    inet_ntop(is_v6 ? AF_INET6 : AF_INET, address + (is_mapped ? 12 : 0), text, sizeof text);
    snprintf(out, ADDRESS_TEXT, is_v6 ? "[%s]:%u" : "%s:%u", text, port);
}

static bool has_bit(const uint8_t *bits, uint16_t port)
{
    return bits[port / 8] & 1 << port % 8;
}

/* `subject` is the peer's name; `port` 0: it has none. */
static void add_connection(struct fks_doctor *doctor, const struct fks_doctor_fd *fds, size_t count,
                           enum fks_doctor_severity severity, const char *subject,
                           const char *object, const char *how, uint16_t port)
{
    char what[512], fix[512];
    const char *service = fks_doctor_service(subject, port);
    snprintf(what, sizeof what, "%s to %.200s%s%s%s is open in", how, subject, service ? " (" : "",
             service ? service : "", service ? ")" : "");
    fks_doctor_fix_connection(doctor, fix, sizeof fix, subject, port);
    struct fks_doctor_thing thing = {
        .kind = "shared-connection",
        .severity = severity,
        .of = "peer",
        .subject = subject,
        .what = what,
        .fix = fix,
        .object = object,
        .number = fds[0].number,
    };
    fks_doctor_add_holders(doctor, &thing, fds, count);
}

static void judge_inet(struct fks_doctor *doctor, const struct fks_doctor_net *net,
                       const struct fks_doctor_socket *socket, const struct fks_doctor_fd *fds,
                       size_t count)
{
    bool is_tcp = socket->type == SOCK_STREAM;
    if (!socket->peer_port || socket->state == TCP_CLOSE)
        return;
    if (has_bit(is_tcp ? net->tcp_listens : net->udp_listens, socket->local_port))
        return; /* accepted */
    char local[ADDRESS_TEXT], peer[ADDRESS_TEXT], subject[ADDRESS_TEXT + 8],
        object[2 * ADDRESS_TEXT + 8];
    address_text(local, socket->family, socket->local, socket->local_port);
    address_text(peer, socket->family, socket->peer, socket->peer_port);
    snprintf(object, sizeof object, "%s -> %s", local, peer);
    snprintf(subject, sizeof subject, "%s%s", peer, is_tcp ? "" : "/udp");
    add_connection(doctor, fds, count, is_tcp ? FKS_DOCTOR_HIGH : FKS_DOCTOR_LOW, subject, object,
                   is_tcp ? "a TCP connection" : "a connected UDP socket",
                   is_tcp ? socket->peer_port : 0);
}

static bool is_listened(const struct fks_doctor_net *net, const char *name)
{
    for (size_t i = 0; i < net->count; i++)
        if (net->sockets[i].family == AF_UNIX && net->sockets[i].state == TCP_LISTEN &&
            !strcmp(net->sockets[i].name, name))
            return true;
    return false;
}

/* The name of the peer that is outside, or NULL: not a connection out of the server. */
static const char *unix_peer(const struct fks_doctor *doctor, const struct fks_doctor_net *net,
                             const struct fks_doctor_socket *socket)
{
    if (socket->type == SOCK_DGRAM || socket->state != TCP_ESTABLISHED || !socket->peer_inode)
        return NULL;
    if (fks_doctor_has_socket(doctor, socket->peer_inode))
        return NULL; /* between the server's own processes */
    if (*socket->name && is_listened(net, socket->name))
        return NULL; /* accepted */
    const struct fks_doctor_socket *peer = fks_doctor_socket_find(net, socket->peer_inode);
    if (!peer)
        return "a unix socket of another network namespace";
    if (!*peer->name)
        return NULL; /* a socketpair(2): somebody's channel to the server */
    for (size_t i = 0; i < COUNT(harmless_peers); i++)
        if (!strncmp(peer->name, harmless_peers[i], strlen(harmless_peers[i])))
            return NULL;
    return peer->name;
}

static bool is_program(const struct fks_doctor *doctor, const struct fks_doctor_fd *fd)
{
    return doctor->processes[fd->process].role == FKS_DOCTOR_PROGRAM;
}

/* Whether it is the server started again in place, which takes the sockets over on purpose. */
static bool is_upgrade(const struct fks_doctor *doctor, const struct fks_doctor_process *program)
{
    const struct fks_doctor_process *master = &doctor->processes[0];
    char ours[4096], theirs[4096];
    return !strcmp(program->comm, master->comm) &&
           fks_doctor_link(doctor, ours, sizeof ours, "%d/exe", (int)master->pid) > 0 &&
           fks_doctor_link(doctor, theirs, sizeof theirs, "%d/exe", (int)program->pid) > 0 &&
           !strcmp(ours, theirs);
}

/* A server's worker has it too (else handing sockets to programs is what the server is for), and it
 * was not close-on-exec there (else handing it over was somebody's decision). */
static bool is_left_open(const struct fks_doctor *doctor, const struct fks_doctor_fd *fds,
                         size_t count)
{
    bool in_worker = false, left_open = false;
    for (size_t i = 0; i < count; i++) {
        unsigned flags;
        unsigned long long position;
        if (is_program(doctor, &fds[i]))
            continue;
        in_worker = in_worker || doctor->processes[fds[i].process].role == FKS_DOCTOR_WORKER;
        if (!left_open)
            left_open =
                !fks_doctor_fdinfo(doctor, &fds[i], &flags, &position) || !(flags & O_CLOEXEC);
        if (in_worker && left_open)
            return true;
    }
    return false;
}

static void judge_listener(struct fks_doctor *doctor, const struct fks_doctor_socket *socket,
                           const struct fks_doctor_fd *fds, size_t count)
{
    char name[ADDRESS_TEXT], what[512], fix[512];
    address_text(name, socket->family, socket->local, socket->local_port);
    const char *subject = socket->family == AF_UNIX ? socket->name : name;
    bool is_checked = false;
    for (size_t i = 0; i < count; i++) {
        const struct fks_doctor_process *process = &doctor->processes[fds[i].process];
        if (!is_program(doctor, &fds[i]) || is_upgrade(doctor, process))
            continue;
        if (!is_checked && !is_left_open(doctor, fds, count))
            return;
        is_checked = true;
        snprintf(what, sizeof what,
                 "the listening socket %.200s was left open (without "
                 "close-on-exec) for programs that the server started, in",
                 subject);
        fks_doctor_fix_kind(doctor, fix, sizeof fix, "leaked-listener", subject);
        struct fks_doctor_thing thing = {.kind = "leaked-listener",
                                         .severity = FKS_DOCTOR_MEDIUM,
                                         .of = "address",
                                         .subject = subject,
                                         .what = what,
                                         .fix = fix,
                                         .object = process->comm,
                                         .number = fds[i].number};
        fks_doctor_add_holders(doctor, &thing, &fds[i], 1);
    }
}

void fks_doctor_judge_socket(struct fks_doctor *doctor, struct fks_doctor_fd *fds, size_t count)
{
    if (!fks_doctor_is_shared(fds, count))
        return;
    const struct fks_doctor_net *net = fks_doctor_net_of(doctor, fds[0].process);
    const struct fks_doctor_socket *socket = net ? fks_doctor_socket_find(net, fds[0].key) : NULL;
    if (net && !socket && (net = fks_doctor_net_own(doctor)))
        socket = fks_doctor_socket_find(net, fds[0].key); /* from before its process moved */
    if (!socket)
        return; /* netlink and the like */
    if (socket->state == TCP_LISTEN) {
        judge_listener(doctor, socket, fds, count);
        return;
    }
    if (socket->family != AF_UNIX) {
        judge_inet(doctor, net, socket, fds, count);
        return;
    }
    const char *peer = unix_peer(doctor, net, socket);
    if (!peer)
        return;
    add_connection(doctor, fds, count, FKS_DOCTOR_HIGH, peer, peer, "a unix connection", 0);
}
