/* SPDX-License-Identifier: MIT
 *
 * The sockets of the network namespaces that a server's processes are in (doctor.h): each
 * namespace's tables are read once, when a socket of it is first asked about. In the command only.
 */
#include "doctor.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

struct fks_doctor_nets {
    struct fks_doctor_net **items;
    size_t count;
};

static const struct {
    const char *name; /* below /proc/PID/net */
    int family, type;
} tables[] = {
    {"tcp", AF_INET, SOCK_STREAM},
    {"tcp6", AF_INET6, SOCK_STREAM},
    {"udp", AF_INET, SOCK_DGRAM},
    {"udp6", AF_INET6, SOCK_DGRAM},
};

struct fks_doctor_socket *fks_doctor_socket_add(struct fks_doctor_net *net)
{
    if (net->count == net->room) {
        size_t room = net->room ? 2 * net->room : 256;
        void *grown = reallocarray(net->sockets, room, sizeof *net->sockets);
        if (!grown)
            return NULL;
        net->sockets = grown;
        net->room = room;
    }
    struct fks_doctor_socket *socket = &net->sockets[net->count++];
    *socket = (struct fks_doctor_socket){.family = AF_UNSPEC};
    return socket;
}

/* "0100007F": words of 32 bits as this machine has them, which hold network order. */
static void parse_address(uint8_t out[16], const char *text)
{
    size_t words = strlen(text) / 8;
    for (size_t i = 0; i < words && i < 4; i++) {
        char digits[9] = {0};
        memcpy(digits, text + 8 * i, 8);
        uint32_t word = (uint32_t)strtoul(digits, NULL, 16);
        memcpy(out + 4 * i, &word, sizeof word);
    }
}

static void parse_line(struct fks_doctor *doctor, struct fks_doctor_net *net, const char *line,
                       int family, int type)
{
    char local[33], peer[33];
    unsigned local_port, peer_port, state;
    unsigned long long inode;
    if (sscanf(line, " %*[^:]: %32[0-9A-Fa-f]:%x %32[0-9A-Fa-f]:%x %x %*s %*s %*s %*s %*s %llu",
               local, &local_port, peer, &peer_port, &state, &inode) != 6)
        return;
    if (type == SOCK_STREAM && state == TCP_LISTEN)
        net->tcp_listens[(local_port & 0xffff) / 8] |= (uint8_t)(1 << local_port % 8);
    if (type == SOCK_DGRAM && !peer_port)
        net->udp_listens[(local_port & 0xffff) / 8] |= (uint8_t)(1 << local_port % 8);
    struct fks_doctor_socket *socket = inode ? fks_doctor_socket_add(net) : NULL;
    if (!socket) {
        doctor->failed = doctor->failed || inode;
        return;
    }
    *socket = (struct fks_doctor_socket){.inode = inode,
                                         .family = family,
                                         .type = type,
                                         .state = (int)state,
                                         .local_port = (uint16_t)local_port,
                                         .peer_port = (uint16_t)peer_port};
    parse_address(socket->local, local);
    parse_address(socket->peer, peer);
}

static void read_table(struct fks_doctor *doctor, struct fks_doctor_net *net, pid_t pid,
                       size_t table)
{
    char path[64], line[512];
    snprintf(path, sizeof path, "%d/net/%s", (int)pid, tables[table].name);
    int fd = openat(dirfd(doctor->proc), path, O_RDONLY | O_CLOEXEC);
    FILE *file = fd < 0 ? NULL : fdopen(fd, "r");
    if (!file && fd >= 0)
        close(fd);
    if (!file) { /* without IPv6 there is no tcp6 */
        if (errno != ENOENT)
            fks_doctor_note(doctor, "the sockets of a network namespace could not be read");
        return;
    }
    while (fgets(line, sizeof line, file))
        parse_line(doctor, net, line, tables[table].family, tables[table].type);
    fclose(file);
}

static int by_inode(const void *left, const void *right)
{
    const struct fks_doctor_socket *a = left, *b = right;
    return (a->inode > b->inode) - (a->inode < b->inode);
}

static uint64_t own_namespace(void)
{
    struct stat status;
    return stat("/proc/self/ns/net", &status) ? 0 : status.st_ino;
}

static uint64_t namespace_of(const struct fks_doctor *doctor, pid_t pid)
{
    char path[64];
    struct stat status;
    snprintf(path, sizeof path, "%d/ns/net", (int)pid);
    return fstatat(dirfd(doctor->proc), path, &status, 0) ? 0 : status.st_ino;
}

static struct fks_doctor_net *read_net(struct fks_doctor *doctor, pid_t pid, uint64_t id)
{
    struct fks_doctor_net *net = calloc(1, sizeof *net);
    if (!net) {
        doctor->failed = true;
        return NULL;
    }
    net->id = id;
    for (size_t i = 0; i < sizeof tables / sizeof *tables; i++)
        read_table(doctor, net, pid, i);
    int ns = -1;
    if (id != own_namespace()) {
        char path[64];
        snprintf(path, sizeof path, "%d/ns/net", (int)pid);
        ns = openat(dirfd(doctor->proc), path, O_RDONLY | O_CLOEXEC);
    }
    net->has_unix = (id == own_namespace() || ns >= 0) && fks_doctor_unix(net, ns);
    if (ns >= 0)
        close(ns);
    if (!net->has_unix)
        fks_doctor_note(doctor,
                        "the peers of unix sockets of a network namespace could not be read: "
                        "connections over them are not judged");
    if (net->count)
        qsort(net->sockets, net->count, sizeof *net->sockets, by_inode);
    return net;
}

static const struct fks_doctor_net *net_of(struct fks_doctor *doctor, pid_t pid, uint64_t id)
{
    if (!doctor->nets && !(doctor->nets = calloc(1, sizeof *doctor->nets)))
        return NULL;
    struct fks_doctor_nets *nets = doctor->nets;
    for (size_t i = 0; i < nets->count; i++)
        if (nets->items[i]->id == id)
            return nets->items[i];
    void *grown = reallocarray(nets->items, nets->count + 1, sizeof *nets->items);
    if (!grown)
        return NULL;
    nets->items = grown;
    struct fks_doctor_net *net = read_net(doctor, pid, id);
    if (net)
        nets->items[nets->count++] = net;
    return net;
}

const struct fks_doctor_net *fks_doctor_net_of(struct fks_doctor *doctor, size_t process)
{
    pid_t pid = doctor->processes[process].pid;
    return net_of(doctor, pid, namespace_of(doctor, pid));
}

const struct fks_doctor_net *fks_doctor_net_own(struct fks_doctor *doctor)
{
    return net_of(doctor, getpid(), own_namespace());
}

const struct fks_doctor_socket *fks_doctor_socket_find(const struct fks_doctor_net *net,
                                                       uint64_t inode)
{
    struct fks_doctor_socket wanted = {.inode = inode};
    return net->count ? bsearch(&wanted, net->sockets, net->count, sizeof wanted, by_inode) : NULL;
}

void fks_doctor_nets_free(struct fks_doctor_nets *nets)
{
    for (size_t i = 0; nets && i < nets->count; i++) {
        for (size_t j = 0; j < nets->items[i]->count; j++)
            free(nets->items[i]->sockets[j].name);
        free(nets->items[i]->sockets);
        free(nets->items[i]);
    }
    if (nets)
        free(nets->items);
    free(nets);
}
