/* SPDX-License-Identifier: MIT
 *
 * What the master has open right before a fork (audit.h): one fstat a descriptor, and more only for
 * what may matter. Sockets are judged when all are known, since who listens tells which connections
 * came in. Master.
 */
#include "audit.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "fdinfo.h"

#define TIME_LIMIT 250000000u /* ns that a look at all descriptors may take */
#define LISTENERS  64 /* unix sockets that listen; of more, connections may be told wrongly */
#define PATH_ROOM  4096

/* One look. */
struct scan {
    struct fks_audit *audit;
    struct {
        dev_t device;
        ino_t inode;
    } streams[3];
    int stream_count;
    uint8_t tcp_listens[8192], udp_listens[8192]; /* a bit a port */
    int unix_listeners[LISTENERS];
    int unix_count;
    int directory; /* of descriptors; -1: not opened yet */
    const struct fks_audit_entry *last[FKS_FINDING_KIND_COUNT]; /* added of each kind */
};

/* --- sockets --- */

union address {
    struct sockaddr any;
    struct sockaddr_in inet;
    struct sockaddr_in6 inet6;
    struct sockaddr_un local;
    struct sockaddr_storage room;
};

static uint16_t port_of(const union address *address)
{
    return ntohs(address->any.sa_family == AF_INET    ? address->inet.sin_port
                 : address->any.sa_family == AF_INET6 ? address->inet6.sin6_port
                                                      : 0);
}

static const uint8_t *bytes_of(const union address *address)
{
    return address->any.sa_family == AF_INET ? (const uint8_t *)&address->inet.sin_addr
                                             : (const uint8_t *)&address->inet6.sin6_addr;
}

/* A unix socket's name, an abstract one with "@"; "" where it has none. */
static void name_of(char out[128], const union address *address, socklen_t length)
{
    size_t start = offsetof(struct sockaddr_un, sun_path);
    size_t size = length > start ? length - start : 0;
    const char *path = address->local.sun_path;
    bool is_abstract = size && !*path;
    if (!is_abstract)
        size = strnlen(path, size);
    if (size > 107)
        size = 107;
    memcpy(out, path, size);
    out[size] = '\0';
    for (size_t i = 0; is_abstract && i < size; i++)
        if (!out[i])
            out[i] = '@';
}

static bool get_name(int number, union address *address, socklen_t *length)
{
    *length = sizeof *address;
    return !getsockname(number, &address->any, length);
}

static bool get_peer(int number, union address *address, socklen_t *length)
{
    *length = sizeof *address;
    return !getpeername(number, &address->any, length);
}

static int option_of(int number, int option)
{
    int value = 0;
    socklen_t length = sizeof value;
    return getsockopt(number, SOL_SOCKET, option, &value, &length) ? -1 : value;
}

static bool has_bit(const uint8_t *bits, uint16_t port)
{
    return bits[port / 8] & 1 << port % 8;
}

/* A socket without a peer: what it listens on is remembered. */
static void note_listener(struct scan *scan, int number)
{
    union address own;
    socklen_t length;
    int type = option_of(number, SO_TYPE);
    bool listens = option_of(number, SO_ACCEPTCONN) == 1;
    if ((type != SOCK_DGRAM && !listens) || !get_name(number, &own, &length))
        return;
    uint16_t port = port_of(&own);
    uint8_t *bits = type == SOCK_DGRAM ? scan->udp_listens : scan->tcp_listens;
    if (port)
        bits[port / 8] |= (uint8_t)(1 << port % 8);
    else if (own.any.sa_family == AF_UNIX && listens && scan->unix_count < LISTENERS)
        scan->unix_listeners[scan->unix_count++] = number;
}

static bool is_listened(const struct scan *scan, const char *name)
{
    union address own;
    socklen_t length;
    char listened[128];
    for (int i = 0; *name && i < scan->unix_count; i++) {
        if (!get_name(scan->unix_listeners[i], &own, &length))
            continue;
        name_of(listened, &own, length);
        if (!strcmp(listened, name))
            return true;
    }
    return false;
}

/* The name of a connected unix socket's peer, or of TCP's and UDP's. Returns false where it has
 * none. */
static bool peer_text(int number, const union address *peer, socklen_t length, char *out,
                      size_t size)
{
    char text[FKS_ADDRESS_TEXT], name[128];
    if (port_of(peer)) {
        fks_address_text(text, peer->any.sa_family, bytes_of(peer), port_of(peer));
        snprintf(out, size, "%s%s", text, option_of(number, SO_TYPE) == SOCK_DGRAM ? "/udp" : "");
        return true;
    }
    if (peer->any.sa_family != AF_UNIX || option_of(number, SO_TYPE) == SOCK_DGRAM)
        return false;
    name_of(name, peer, length);
    snprintf(out, size, "%s", name);
    return *name != '\0';
}

bool fks_connection_peer(int number, char *out, size_t size)
{
    union address peer;
    socklen_t length;
    return get_peer(number, &peer, &length) && peer_text(number, &peer, length, out, size);
}

static bool is_udp(const char *peer)
{
    size_t length = strlen(peer);
    return length > 4 && !strcmp(peer + length - 4, "/udp");
}

/* Connections of TCP, of which there may be many: what can be told without a text comes first. */
static void judge_inet(struct scan *scan, struct fks_audit_entry *entry)
{
    union address own, peer;
    socklen_t length;
    char text[FKS_ADDRESS_TEXT + 8], local[FKS_ADDRESS_TEXT], object[2 * sizeof text + 8];
    const struct fks_audit_entry *last = scan->last[FKS_FINDING_CONNECTION];
    entry->kind = FKS_ENTRY_OTHER;
    if (!get_name(entry->number, &own, &length) || has_bit(scan->tcp_listens, port_of(&own)))
        return; /* it came in */
    entry->kind = FKS_FINDING_CONNECTION;
    if (last && !memcmp(&last->peer, &entry->peer, sizeof entry->peer) &&
        option_of(entry->number, SO_TYPE) == SOCK_STREAM) {
        fks_audit_add_like(scan->audit, entry, last);
        return;
    }
    if (!get_peer(entry->number, &peer, &length) ||
        !peer_text(entry->number, &peer, length, text, sizeof text) ||
        (is_udp(text) && has_bit(scan->udp_listens, port_of(&own)))) {
        entry->kind = FKS_ENTRY_OTHER;
        return;
    }
    fks_address_text(local, own.any.sa_family, bytes_of(&own), port_of(&own));
    snprintf(object, sizeof object, "%s -> %s", local, text);
    const struct fks_found_object found = {FKS_FINDING_CONNECTION, text, object, entry->number,
                                           entry->watched};
    fks_audit_add(scan->audit, entry, &found);
    if (!is_udp(text))
        scan->last[FKS_FINDING_CONNECTION] = entry;
}

static void judge_unix(struct scan *scan, struct fks_audit_entry *entry)
{
    union address own;
    socklen_t length;
    char peer[128], name[128] = "";
    if (get_name(entry->number, &own, &length) && own.any.sa_family == AF_UNIX)
        name_of(name, &own, length);
    else
        own.any.sa_family = AF_UNSPEC;
    if (own.any.sa_family != AF_UNIX || !fks_connection_peer(entry->number, peer, sizeof peer)) {
        entry->kind = own.any.sa_family == AF_UNIX ? FKS_ENTRY_PAIR : FKS_ENTRY_OTHER;
        return;
    }
    if (is_listened(scan, name) || is_listened(scan, peer) || fks_is_harmless_peer(peer)) {
        entry->kind = FKS_ENTRY_OTHER; /* it came in, or is between the server's own processes */
        return;
    }
    const struct fks_found_object found = {FKS_FINDING_CONNECTION, peer, peer, entry->number,
                                           entry->watched};
    fks_audit_add(scan->audit, entry, &found);
}

static void judge_socket(struct scan *scan, struct fks_audit_entry *entry)
{
    if (entry->peer.family)
        judge_inet(scan, entry);
    else
        judge_unix(scan, entry);
}

/* A socket with a peer: perhaps a connection out of the server. */
static void note_peer(struct fks_audit_entry *entry, const union address *peer)
{
    entry->kind = FKS_FINDING_CONNECTION;
    if (!port_of(peer))
        return;
    entry->peer.family = peer->any.sa_family;
    entry->peer.port = port_of(peer);
    memcpy(entry->peer.address, bytes_of(peer), peer->any.sa_family == AF_INET ? 4 : 16);
}

/* --- files, devices, kernel objects --- */

static void read_link(struct scan *scan, int number, char *out, size_t size)
{
    if (scan->directory < 0)
        scan->directory = fks_fd_directory();
    fks_fd_link(scan->directory, number, out, size);
}

static void judge_file(struct scan *scan, struct fks_audit_entry *entry)
{
    char path[PATH_ROOM], subject[PATH_ROOM], object[96], bytes[FKS_MAGIC_ROOM];
    int flags = fcntl(entry->number, F_GETFL);
    if (flags < 0 || (flags & O_PATH) || (flags & O_ACCMODE) == O_RDONLY)
        return;
    ssize_t got = pread(entry->number, bytes, sizeof bytes, 0);
    const char *database = got > 0 ? fks_database_of(bytes, (size_t)got) : NULL;
    off_t position = lseek(entry->number, 0, SEEK_CUR);
    if (!database && ((flags & O_APPEND) || position <= 0))
        return;
    read_link(scan, entry->number, path, sizeof path);
    if (!fks_is_kept_path(path) || fks_is_companion(path))
        return;
    fks_file_subject(subject, sizeof subject, path);
    snprintf(object, sizeof object, "%s%sdescriptor %d at offset %lld", database ? database : "",
             database ? ", " : "", entry->number, (long long)position);
    const struct fks_found_object found = {database ? FKS_FINDING_DATABASE : FKS_FINDING_FILE,
                                           subject, object, entry->number, false};
    entry->kind = (uint8_t)found.kind;
    fks_audit_add(scan->audit, entry, &found);
}

static void judge_device(struct scan *scan, struct fks_audit_entry *entry)
{
    char path[128];
    read_link(scan, entry->number, path, sizeof path);
    if (strncmp(path, "/dev/nvidia", 11) != 0)
        return;
    const struct fks_found_object found = {FKS_FINDING_DEVICE, path, path, entry->number, false};
    entry->kind = FKS_FINDING_DEVICE;
    fks_audit_add(scan->audit, entry, &found);
}

/* What it is; judged once it is known which sets watch it. */
static void note_nameless(struct scan *scan, struct fks_audit_entry *entry)
{
    char link[64];
    read_link(scan, entry->number, link, sizeof link);
    enum fks_finding_kind kind = fks_kind_of_link(link);
    if (kind != FKS_FINDING_KIND_COUNT)
        entry->kind = (uint8_t)kind;
}

static void judge_nameless(struct scan *scan, struct fks_audit_entry *entry)
{
    const enum fks_finding_kind kind = entry->kind;
    const struct fks_found_object found = {kind, "", "", entry->number, true};
    if (scan->last[kind])
        fks_audit_add_like(scan->audit, entry, scan->last[kind]);
    else
        fks_audit_add(scan->audit, entry, &found);
    scan->last[kind] = entry;
}

/* --- epoll sets --- */

struct watching {
    struct fks_audit *audit;
    uint32_t epoll; /* entry */
};

static bool mark_watched(const char *line, void *data)
{
    const struct watching *watching = data;
    struct fks_audit_entry *entry =
        strncmp(line, "tfd:", 4) ? NULL : fks_audit_entry(watching->audit, atoi(line + 4));
    if (entry && entry->kind != FKS_FINDING_EPOLL) {
        entry->watched = true;
        entry->watcher = watching->epoll;
    }
    return true;
}

/* --- all of them --- */

/* Standard streams and what they were duplicated to are a container's own, whatever they are. */
static bool is_stream(struct scan *scan, int number, const struct stat *st)
{
    bool has_inode = st->st_mode & S_IFMT;
    if (number <= 2) {
        scan->streams[scan->stream_count].device = st->st_dev;
        scan->streams[scan->stream_count++].inode = st->st_ino;
        return true;
    }
    for (int i = 0; has_inode && i < scan->stream_count; i++)
        if (scan->streams[i].device == st->st_dev && scan->streams[i].inode == st->st_ino)
            return true;
    return false;
}

static void look_at(struct scan *scan, int number, const struct stat *st)
{
    struct fks_audit_entry *entry = &scan->audit->entries[scan->audit->count++];
    *entry = (struct fks_audit_entry){
        .number = number, .kind = FKS_ENTRY_OTHER, .finding = -1, .inode = st->st_ino};
    if (is_stream(scan, number, st))
        return;
    union address peer;
    socklen_t length;
    switch (st->st_mode & S_IFMT) {
    case S_IFSOCK:
        if (get_peer(number, &peer, &length))
            note_peer(entry, &peer);
        else
            note_listener(scan, number);
        break;
    case S_IFREG:
        judge_file(scan, entry);
        break;
    case S_IFCHR:
        judge_device(scan, entry);
        break;
    case 0:
        note_nameless(scan, entry);
        break;
    default:
        break;
    }
}

/* Epoll sets first: what a safe one watches is as safe. */
static void judge_all(struct scan *scan)
{
    struct fks_audit *audit = scan->audit;
    for (size_t i = 0; i < audit->count; i++) {
        struct watching watching = {audit, (uint32_t)i};
        if (audit->entries[i].kind != FKS_FINDING_EPOLL)
            continue;
        judge_nameless(scan, &audit->entries[i]);
        (void)fks_fdinfo_lines(audit->entries[i].number, mark_watched, &watching);
    }
    for (size_t i = 0; i < audit->count; i++) {
        struct fks_audit_entry *entry = &audit->entries[i];
        bool is_nameless = entry->kind < FKS_FINDING_KIND_COUNT && fks_kinds[entry->kind].link;
        entry->safe |= entry->watched && audit->entries[entry->watcher].safe;
        if (entry->safe || entry->kind == FKS_FINDING_EPOLL)
            continue;
        if (entry->kind == FKS_FINDING_CONNECTION)
            judge_socket(scan, entry);
        else if (is_nameless)
            judge_nameless(scan, entry);
    }
}

void fks_audit_descriptors(struct fks_audit *audit, struct fks_look *look)
{
    struct scan scan = {.audit = audit, .directory = -1};
    struct stat st;
    int size = fks_fd_table_size(), number;
    audit->count = 0;
    audit->first_free = -1;
    for (number = 0; number < size && number < FKS_AUDIT_LARGEST; number++) {
        if (number != scan.directory && !fstat(number, &st))
            look_at(&scan, number, &st);
        else if (audit->first_free < 0)
            audit->first_free = number;
        if (audit->first_free >= 0 && audit->open_descriptors &&
            audit->count == audit->open_descriptors)
            break; /* there is nothing above */
        if (number % 256 == 255 && fks_now() - look->begun > TIME_LIMIT)
            break;
    }
    look->unseen =
        audit->open_descriptors ? audit->count < audit->open_descriptors : number < size - 1;
    look->descriptors = (uint32_t)audit->count;
    judge_all(&scan);
    if (scan.directory >= 0)
        close(scan.directory);
}
