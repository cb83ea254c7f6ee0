/* SPDX-License-Identifier: MIT
 *
 * One journal file on the writing side (journal_file.h). Master only, before the first fork.
 */
#include "journal_file.h"

#include "guards.h"
#include "runtime_dir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define PAGE_SIZE   4096u
#define WINDOW      65536u /* the kernel maps this much around a fault, where it is aligned so */
#define HOOKS       64u
#define ERROR_ROOM  1024u /* the least that a slot has for an error text */
#define FIRST_SLOTS 64u   /* whose blocks are there from the beginning */

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

/* The header's beginning, which is the same in every version. */
#define COMMON_SIZE offsetof(struct forksafe_journal_header, opened)

static uint64_t round_up(uint64_t value, uint64_t to)
{
    return (value + to - 1) / to * to;
}

int fks_geometry_init(struct fks_geometry *geometry, uint32_t slots, uint32_t records,
                      uint32_t subscribers)
{
    uint64_t room = subscribers < 128 ? 256 : (uint64_t)subscribers * 2;
    memset(geometry, 0, sizeof *geometry);
    if (!slots || slots > FORKSAFE_MAX_SLOTS || !records || records > FORKSAFE_MAX_RECORDS ||
        (uint64_t)slots * records > FORKSAFE_MAX_RECORDS_ALL)
        return -1;
    geometry->slots = slots;
    geometry->records = records;
    geometry->stride = (uint32_t)round_up(sizeof(struct forksafe_slot) +
                                              records * sizeof(struct forksafe_record) + ERROR_ROOM,
                                          PAGE_SIZE);
    geometry->hooks = HOOKS;
    geometry->subscribers =
        room < FORKSAFE_MAX_SUBSCRIBERS ? (uint32_t)room : FORKSAFE_MAX_SUBSCRIBERS;
    geometry->strings = 16384 + geometry->subscribers * 256;
    return 0;
}

void fks_identity_init(struct fks_file_identity *identity, pid_t master)
{
    fks_boot_id(identity->boot_id);
    identity->master_pid = master;
    identity->master_start_ticks = fks_process_start(master);
}

/* --- the map --- */

bool fks_map_populate(void *at, size_t size)
{
    return !madvise(at, size, MADV_POPULATE_WRITE);
}

/* How many slots have their blocks from the beginning: all, where none can be put there later. */
static uint32_t slots_there(const struct forksafe_journal_header *header)
{
    return header->slot_count > FIRST_SLOTS && fks_map_populate(NULL, 0) ? FIRST_SLOTS
                                                                         : header->slot_count;
}

/* Maps so that the front of the journal, where every child's first writes go, lies in one window.
 */
static void *map_aligned(int fd, size_t size)
{
    size_t room = size + WINDOW;
    char *reserved =
        mmap(NULL, room, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (reserved == MAP_FAILED)
        return NULL;
    char *at = (char *)round_up((uintptr_t)reserved, WINDOW);
    int flags = MAP_SHARED | MAP_FIXED | (fd < 0 ? MAP_ANONYMOUS | MAP_NORESERVE : 0);
    if (mmap(at, size, PROT_READ | PROT_WRITE, flags, fd, 0) == MAP_FAILED) {
        munmap(reserved, room);
        return NULL;
    }
    if (at > reserved)
        munmap(reserved, (size_t)(at - reserved));
    char *end = (char *)round_up((uintptr_t)(at + size), PAGE_SIZE);
    if (end < reserved + room)
        munmap(end, (size_t)(reserved + room - end));
    return at;
}

/* Fills the header of a new journal, all but the strings. */
static void lay_out(struct forksafe_journal_header *header, const struct fks_geometry *geometry,
                    const struct fks_file_identity *identity)
{
    memcpy(header->magic, FORKSAFE_JOURNAL_MAGIC, sizeof header->magic);
    header->version = FORKSAFE_JOURNAL_VERSION;
    header->header_size = sizeof *header;
    memcpy(header->boot_id, identity->boot_id, sizeof header->boot_id);
    header->master_pid = identity->master_pid;
    header->master_start_ticks = identity->master_start_ticks;
    header->created = fks_now();
    header->slot_count = geometry->slots;
    header->slot_stride = geometry->stride;
    header->records_per_slot = geometry->records;
    header->hook_capacity = geometry->hooks;
    header->subscriber_capacity = geometry->subscribers;
    header->strings_size = geometry->strings;

    uint64_t at = sizeof *header;
    header->hooks_offset = at;
    at += geometry->hooks * sizeof(struct forksafe_hook);
    header->claims_offset = at;
    at += geometry->slots * sizeof(uint64_t);
    header->cells_offset = at;
    at += geometry->subscribers * sizeof(struct forksafe_cell);
    header->status_offset = at;
    at += sizeof(struct forksafe_status_area);
    header->subscribers_offset = at;
    at += geometry->subscribers * sizeof(struct forksafe_subscriber);
    header->strings_offset = at;
    at += geometry->strings;
    header->leaders_offset = at;
    at += FORKSAFE_MAX_LEADERS * sizeof(struct forksafe_leader);
    header->findings_offset = (uint32_t)at;
    at += sizeof(struct forksafe_finding_area);
    header->slots_offset = round_up(at, PAGE_SIZE);
    header->file_size = header->slots_offset + (uint64_t)geometry->slots * geometry->stride;
}

static void attach(struct fks_journal *journal, void *map,
                   const struct forksafe_journal_header *header)
{
    char *base = map;
    journal->header = map;
    journal->size = header->file_size;
    journal->hooks = (struct forksafe_hook *)(base + header->hooks_offset);
    journal->cells = (struct forksafe_cell *)(base + header->cells_offset);
    journal->claims = (uint64_t *)(base + header->claims_offset);
    journal->status = (struct forksafe_status_area *)(base + header->status_offset);
    journal->subscribers = (struct forksafe_subscriber *)(base + header->subscribers_offset);
    journal->strings = base + header->strings_offset;
    journal->findings = (struct forksafe_finding_area *)(base + header->findings_offset);
    journal->leaders = (struct forksafe_leader *)(base + header->leaders_offset);
    journal->slots = base + header->slots_offset;
    journal->slot_count = header->slot_count;
    journal->slots_there = slots_there(header);
    journal->slot_stride = header->slot_stride;
    journal->records = header->records_per_slot;
    journal->hook_capacity = header->hook_capacity;
    journal->subscriber_capacity = header->subscriber_capacity;
    journal->strings_size = header->strings_size;
    journal->error_size = header->slot_stride - sizeof(struct forksafe_slot) -
                          header->records_per_slot * sizeof(struct forksafe_record);
}

/* Puts the front and the first slots there. Beyond the limit on file sizes the kernel would send a
 * signal that ends the host. */
static int allocate(int fd, const struct forksafe_journal_header *header)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY &&
        header->file_size > limit.rlim_cur)
        return EFBIG;
    off_t end = (off_t)(header->slots_offset + (uint64_t)slots_there(header) * header->slot_stride);
    off_t from = fks_guard(FKS_GUARD_SIGBUS) ? 0 : end - PAGE_SIZE;
    int rc;
    for (int tries = 0; (rc = posix_fallocate(fd, from, end - from)) == EINTR && tries < 100;
         tries++)
        ;
    return !rc && ftruncate(fd, (off_t)header->file_size) ? errno : rc;
}

int fks_file_fill(struct fks_journal *journal, int fd, const struct fks_geometry *geometry,
                  const struct fks_file_identity *identity)
{
    struct forksafe_journal_header header = {0};
    lay_out(&header, geometry, identity);
    int rc = fd < 0 ? 0 : allocate(fd, &header);
    if (rc) {
        errno = rc;
        return -1;
    }
    void *map = map_aligned(fd, header.file_size);
    if (!map)
        return -1;
    if (!fks_map_populate(map, header.slots_offset)) /* no child shall be the first to touch it */
        memset(map, 0, header.slots_offset);
    memcpy(map, &header, sizeof header);
    attach(journal, map, &header);
    if (fd < 0)
        journal->slots_there = journal->slot_count;
    return 0;
}

int fks_file_adopt(struct fks_journal *journal, int fd, const struct fks_geometry *geometry)
{
    struct forksafe_journal_header found, fresh = {0};
    struct stat st;
    struct fks_geometry same = *geometry;
    if (pread(fd, &found, sizeof found, 0) != sizeof found || fstat(fd, &st) ||
        found.version != FORKSAFE_JOURNAL_VERSION || found.header_size != sizeof found ||
        found.hook_capacity != geometry->hooks ||
        found.subscriber_capacity < geometry->subscribers ||
        found.subscriber_capacity > FORKSAFE_MAX_SUBSCRIBERS)
        return -1;
    same.subscribers = found.subscriber_capacity;
    same.strings = 16384 + same.subscribers * 256;
    lay_out(&fresh, &same, &(struct fks_file_identity){.master_pid = 1});
    if (memcmp(&found.hooks_offset, &fresh.hooks_offset,
               offsetof(struct forksafe_journal_header, instance) -
                   offsetof(struct forksafe_journal_header, hooks_offset)) ||
        found.slot_count != fresh.slot_count || found.slot_stride != fresh.slot_stride ||
        found.records_per_slot != fresh.records_per_slot ||
        found.strings_size != fresh.strings_size ||
        found.findings_offset != fresh.findings_offset || found.file_size != fresh.file_size ||
        (uint64_t)st.st_size != found.file_size || allocate(fd, &found))
        return -1;
    void *map = map_aligned(fd, found.file_size);
    if (!map)
        return -1;
    attach(journal, map, &fresh);
    return 0;
}

void fks_file_unmap(struct fks_journal *journal)
{
    if (journal->header)
        munmap(journal->header, journal->size);
    journal->header = NULL;
}

/* --- files that are there already --- */

static bool read_common(int fd, struct forksafe_journal_header *header)
{
    memset(header, 0, sizeof *header);
    return pread(fd, header, COMMON_SIZE, 0) == (ssize_t)COMMON_SIZE &&
           !memcmp(header->magic, FORKSAFE_JOURNAL_MAGIC, sizeof header->magic);
}

static bool master_lives(const struct forksafe_journal_header *header)
{
    uint8_t boot_id[16];
    if (header->closed || header->master_pid <= 0 || !header->master_start_ticks ||
        fks_process_start(header->master_pid) != header->master_start_ticks)
        return false;
    fks_boot_id(boot_id);
    return !memcmp(header->boot_id, boot_id, sizeof boot_id);
}

static const char *distrust(const struct stat *st, uid_t uid)
{
    if (!fks_guard(FKS_GUARD_STATE_FILES))
        return NULL;
    if (!S_ISREG(st->st_mode))
        return "is not a plain file";
    if (st->st_nlink != 1)
        return "has more than one name";
    if (st->st_uid != 0 && st->st_uid != geteuid() && st->st_uid != uid)
        return "belongs to another user";
    if (st->st_mode & 022)
        return "can be written by others";
    return NULL;
}

const char *fks_file_find(struct fks_found *found, int directory, const char *name,
                          const struct fks_file_identity *identity, uid_t uid)
{
    *found = (struct fks_found){.fd = -1};
    int fd = openat(directory, name, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd < 0)
        return errno == ELOOP                      ? "is a symbolic link"
               : errno == EISDIR || errno == ENXIO ? "is not a plain file"
                                                   : NULL;
    struct stat st;
    const char *why = fstat(fd, &st) ? "cannot be looked at" : distrust(&st, uid);
    if (why) {
        close(fd);
        return why;
    }
    struct forksafe_journal_header header;
    found->fd = fd;
    found->is_journal = read_common(fd, &header);
    if (!found->is_journal)
        return NULL;
    found->master_pid = header.master_pid;
    found->is_ours = !header.closed && header.master_pid == identity->master_pid &&
                     identity->master_start_ticks &&
                     header.master_start_ticks == identity->master_start_ticks &&
                     !memcmp(header.boot_id, identity->boot_id, sizeof header.boot_id);
    found->is_alive = master_lives(&header);
    return NULL;
}

void fks_file_mark_closed(int fd)
{
    uint64_t now = fks_now();
    (void)!pwrite(fd, &now, sizeof now, offsetof(struct forksafe_journal_header, closed));
}

/* --- pruning --- */

struct dead_file {
    char name[NAME_MAX + 1];
    struct timespec modified;
};

/* "<pid>-<start>[-<when>].journal", or ".<that>.<pid>.tmp": what we make and nothing else. */
static bool is_ours_to_prune(const char *name, long *pid, unsigned long long *start,
                             bool *temporary)
{
    int length = 0;
    *temporary = *name == '.';
    name += *temporary;
    if (sscanf(name, "%ld-%llu%n", pid, start, &length) != 2)
        return false;
    name += length;
    if (*name == '-')
        name += 1 + strspn(name + 1, "0123456789");
    if (!*temporary)
        return !strcmp(name, ".journal");
    if (strncmp(name, ".journal.", 9))
        return false;
    char *end;
    *pid = strtol(name + 9, &end, 10);
    return !strcmp(end, ".tmp");
}

/* Whether a journal's master is dead; one that cannot be read goes by its name. */
static bool is_dead(int directory, const char *name, pid_t pid, unsigned long long start)
{
    struct forksafe_journal_header header;
    int fd = openat(directory, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd < 0)
        return false;
    bool readable = read_common(fd, &header);
    close(fd);
    return readable ? !master_lives(&header) : fks_process_start(pid) != start;
}

static int newest_first(const void *a, const void *b)
{
    const struct timespec *one = &((const struct dead_file *)a)->modified;
    const struct timespec *other = &((const struct dead_file *)b)->modified;
    if (one->tv_sec != other->tv_sec)
        return one->tv_sec < other->tv_sec ? 1 : -1;
    return (one->tv_nsec < other->tv_nsec) - (one->tv_nsec > other->tv_nsec);
}

/* Adds the file to the dead ones where it is one; a half-made one of a dead process goes at once.
 */
static void consider(int directory, const char *name, struct dead_file **dead, size_t *count)
{
    long pid;
    unsigned long long start;
    bool temporary;
    struct stat st;
    if (!is_ours_to_prune(name, &pid, &start, &temporary) ||
        fstatat(directory, name, &st, AT_SYMLINK_NOFOLLOW) || !S_ISREG(st.st_mode))
        return;
    if (temporary) {
        if (!fks_process_start((pid_t)pid))
            (void)unlinkat(directory, name, 0);
        return;
    }
    if (!is_dead(directory, name, (pid_t)pid, start))
        return;
    struct dead_file *more = realloc(*dead, (*count + 1) * sizeof *more);
    if (!more)
        return;
    *dead = more;
    snprintf(more[*count].name, sizeof more[*count].name, "%s", name);
    more[(*count)++].modified = st.st_mtim;
}

void fks_file_prune(int directory, const char *own, uint32_t keep)
{
    struct dead_file *dead = NULL;
    size_t count = 0;
    int fd = openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    if (!dir) {
        if (fd >= 0)
            close(fd);
        return;
    }
    for (struct dirent *entry; (entry = readdir(dir));)
        if (strcmp(entry->d_name, own))
            consider(directory, entry->d_name, &dead, &count);
    closedir(dir);
    if (count)
        qsort(dead, count, sizeof *dead, newest_first);
    for (size_t i = keep; i < count; i++)
        (void)unlinkat(directory, dead[i].name, 0);
    free(dead);
}
