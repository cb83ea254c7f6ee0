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

static bool has_bit(const uint8_t *bits, uint16_t port)
{
    return bits[port / 8] & 1 << port % 8;
}

static void add_connection(struct fks_doctor *doctor, const struct fks_doctor_fd *fds, size_t count,
                           const char *subject, const char *object)
{
    struct fks_doctor_thing thing = {
        .kind = FKS_FINDING_CONNECTION,
        .subject = subject,
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
    char local[FKS_ADDRESS_TEXT], peer[FKS_ADDRESS_TEXT], subject[FKS_ADDRESS_TEXT + 8],
        object[2 * FKS_ADDRESS_TEXT + 8];
    fks_address_text(local, socket->family, socket->local, socket->local_port);
    fks_address_text(peer, socket->family, socket->peer, socket->peer_port);
    snprintf(object, sizeof object, "%s -> %s", local, peer);
    snprintf(subject, sizeof subject, "%s%s", peer, is_tcp ? "" : "/udp");
    add_connection(doctor, fds, count, subject, object);
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
    return fks_is_harmless_peer(peer->name) ? NULL : peer->name;
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
    char name[FKS_ADDRESS_TEXT];
    fks_address_text(name, socket->family, socket->local, socket->local_port);
    const char *subject = socket->family == AF_UNIX ? socket->name : name;
    bool is_checked = false;
    for (size_t i = 0; i < count; i++) {
        const struct fks_doctor_process *process = &doctor->processes[fds[i].process];
        if (!is_program(doctor, &fds[i]) || is_upgrade(doctor, process))
            continue;
        if (!is_checked && !is_left_open(doctor, fds, count))
            return;
        is_checked = true;
        struct fks_doctor_thing thing = {.kind = FKS_FINDING_LISTENER,
                                         .subject = subject,
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
    add_connection(doctor, fds, count, peer, peer);
}
