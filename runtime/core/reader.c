/* SPDX-License-Identifier: MIT
 *
 * The reading side of a journal: opening, checking the header, copying the tables. reader_slot.c
 * reads processes and records. Runs in the commands, and in a host over its own map.
 */
#include "reader_private.h"

#include "guards.h"
#include "runtime_dir.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define TRIES 100 /* for what is being written just now */

bool fks_reader_fetch(const struct fks_reader *reader, uint64_t offset, void *to, size_t size)
{
    if (reader->mapped) {
        if (offset > reader->mapped_size || size > reader->mapped_size - offset)
            return false;
        __atomic_thread_fence(__ATOMIC_SEQ_CST);
        memcpy(to, reader->mapped + offset, size);
        __atomic_thread_fence(__ATOMIC_SEQ_CST);
        return true;
    }
    for (char *at = to; size;) {
        ssize_t got = pread(reader->fd, at, size, (off_t)offset);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return false;
        at += got;
        offset += (uint64_t)got;
        size -= (size_t)got;
    }
    return true;
}

static const char *name_of(const struct fks_reader *reader)
{
    return reader->path ? reader->path : "this process's journal";
}

int fks_reader_damaged(const struct fks_reader *reader, const char *what, struct fks_error *error)
{
    return fks_fail(error, FORKSAFE_EJOURNAL,
                    "%s: is damaged (%s); remove it, or look at another journal", name_of(reader),
                    what);
}

/* --- checking the header --- */

static bool area_fits(const struct forksafe_journal_header *header, uint64_t offset, uint64_t count,
                      uint64_t size)
{
    uint64_t bytes;
    return offset >= sizeof *header && offset <= header->file_size && offset % 8 == 0 &&
           !__builtin_mul_overflow(count, size, &bytes) && bytes <= header->file_size - offset;
}

/* What is wrong with the header's sizes; NULL: nothing. */
static const char *find_fault(const struct forksafe_journal_header *header, uint64_t actual_size)
{
    if (!fks_guard(FKS_GUARD_JOURNAL))
        return NULL;
    if (header->header_size != sizeof *header || header->file_size > actual_size)
        return "it is shorter than it says";
    if (!header->slot_count || header->slot_count > FORKSAFE_MAX_SLOTS ||
        !header->records_per_slot || header->records_per_slot > FORKSAFE_MAX_RECORDS ||
        (uint64_t)header->slot_count * header->records_per_slot > FORKSAFE_MAX_RECORDS_ALL)
        return "impossible number of slots or records";
    uint64_t used =
        sizeof(struct forksafe_slot) + header->records_per_slot * sizeof(struct forksafe_record);
    if (header->slot_stride < used || header->slot_stride > used + FORKSAFE_MAX_ERROR ||
        header->slot_stride % 8)
        return "impossible size of a slot";
    if (header->hook_capacity > FORKSAFE_MAX_HOOKS || header->hook_count > header->hook_capacity ||
        header->subscriber_capacity > FORKSAFE_MAX_SUBSCRIBERS ||
        header->subscriber_count > header->subscriber_capacity ||
        header->strings_size > FORKSAFE_MAX_STRINGS || header->strings_used > header->strings_size)
        return "impossible size of a table";
    if (!area_fits(header, header->hooks_offset, header->hook_capacity,
                   sizeof(struct forksafe_hook)) ||
        !area_fits(header, header->cells_offset, header->subscriber_capacity,
                   sizeof(struct forksafe_cell)) ||
        !area_fits(header, header->claims_offset, header->slot_count, sizeof(uint64_t)) ||
        !area_fits(header, header->status_offset, 1, sizeof(struct forksafe_status_area)) ||
        !area_fits(header, header->subscribers_offset, header->subscriber_capacity,
                   sizeof(struct forksafe_subscriber)) ||
        !area_fits(header, header->strings_offset, header->strings_size, 1) ||
        !area_fits(header, header->leaders_offset, FORKSAFE_MAX_LEADERS,
                   sizeof(struct forksafe_leader)) ||
        (header->findings_offset &&
         !area_fits(header, header->findings_offset, 1, sizeof(struct forksafe_finding_area))) ||
        !area_fits(header, header->slots_offset, header->slot_count, header->slot_stride))
        return "a part of it lies outside";
    return NULL;
}

static int check_magic(const struct fks_reader *reader,
                       const struct forksafe_journal_header *header, struct fks_error *error)
{
    if (memcmp(header->magic, FORKSAFE_JOURNAL_MAGIC, sizeof header->magic))
        return fks_fail(error, FORKSAFE_EJOURNAL, "%s: is no forksafe journal", name_of(reader));
    if (header->version != FORKSAFE_JOURNAL_VERSION)
        return fks_fail(
            error, FORKSAFE_EVERSION,
            "%s: is a journal of version %u and this forksafe reads version %u; use the "
            "forksafe that wrote it",
            name_of(reader), header->version, FORKSAFE_JOURNAL_VERSION);
    return 0;
}

static int read_header(const struct fks_reader *reader, struct forksafe_journal_header *header,
                       struct fks_error *error)
{
    struct stat st = {0};
    if (!reader->mapped && fstat(reader->fd, &st))
        return fks_fail(error, FORKSAFE_EJOURNAL, "%s: %s", name_of(reader), strerror(errno));
    memset(header, 0, sizeof *header);
    bool whole = fks_reader_fetch(reader, 0, header, sizeof *header);
    int rc = check_magic(reader, header, error);
    if (rc)
        return rc;
    if (!whole)
        return fks_reader_damaged(reader, "it is shorter than it says", error);
    const char *fault =
        find_fault(header, reader->mapped ? reader->mapped_size : (uint64_t)st.st_size);
    return fault ? fks_reader_damaged(reader, fault, error) : 0;
}

/* --- tables --- */

static void free_tables(struct fks_tables *tables)
{
    free(tables->hooks);
    free(tables->subscribers);
    free(tables->cells);
    free(tables->strings);
    free(tables->slots);
    free(tables->records);
    free(tables->error);
}

static bool allocate_tables(struct fks_tables *tables, const struct forksafe_journal_header *header)
{
    size_t stride = header->slot_stride;
    tables->hooks = calloc(header->hook_count + 1, sizeof *tables->hooks);
    tables->subscribers = calloc(header->subscriber_count + 1, sizeof *tables->subscribers);
    tables->cells = calloc(header->subscriber_count + 1, sizeof *tables->cells);
    tables->strings = calloc(header->strings_used + 1, 1);
    tables->slots = malloc(3 * stride);
    tables->records = malloc(header->records_per_slot * sizeof *tables->records);
    tables->error = malloc(stride);
    return tables->hooks && tables->subscribers && tables->cells && tables->strings &&
           tables->slots && tables->records && tables->error;
}

/* Copies an area that begins with its sequence, between two looks at an even one; a writer that
 * died in the middle leaves it odd for good. */
static bool fetch_area(const struct fks_reader *reader, uint64_t offset, void *out, size_t size)
{
    for (int i = 0; i < TRIES; i++) {
        uint32_t before, after;
        if (!fks_reader_fetch(reader, offset, &before, sizeof before) ||
            !fks_reader_fetch(reader, offset, out, size) ||
            !fks_reader_fetch(reader, offset, &after, sizeof after))
            return false;
        if (before == after && !(before & 1))
            break;
    }
    return true;
}

static bool fetch_status(const struct fks_reader *reader,
                         const struct forksafe_journal_header *header,
                         struct forksafe_status_area *out)
{
    if (!fetch_area(reader, header->status_offset, out, sizeof *out))
        return false;
    out->status[FORKSAFE_STATUS_TEXT - 1] = '\0';
    out->environment[FORKSAFE_STATUS_TEXT - 1] = '\0';
    for (int i = 0; i < FORKSAFE_LOG_LINES; i++)
        out->lines[i][FORKSAFE_STATUS_TEXT - 1] = '\0';
    return true;
}

static bool fetch_findings(const struct fks_reader *reader,
                           const struct forksafe_journal_header *header,
                           struct forksafe_finding_area *out)
{
    if (!header->findings_offset)
        return true;
    if (!fetch_area(reader, header->findings_offset, out, sizeof *out))
        return false;
    if (out->count > FORKSAFE_FINDINGS)
        out->count = FORKSAFE_FINDINGS;
    for (uint32_t i = 0; i < out->count; i++) {
        out->findings[i].subject[FORKSAFE_FINDING_SUBJECT - 1] = '\0';
        out->findings[i].object[FORKSAFE_FINDING_OBJECT - 1] = '\0';
    }
    return true;
}

/* Subscribers that a reload is writing just now are read again. */
static bool fetch_subscribers(const struct fks_reader *reader,
                              const struct forksafe_journal_header *header,
                              struct forksafe_subscriber *out)
{
    for (uint32_t i = 0; i < header->subscriber_count; i++) {
        uint64_t at = header->subscribers_offset + (uint64_t)i * sizeof *out;
        for (int tries = 0; tries < 3; tries++) {
            struct forksafe_subscriber before;
            if (!fks_reader_fetch(reader, at, &before, sizeof before) ||
                !fks_reader_fetch(reader, at, &out[i], sizeof *out))
                return false;
            if (before.generation && !memcmp(&before, &out[i], sizeof before))
                break;
        }
    }
    return true;
}

/* Leaders that change just now are read again. */
static bool fetch_leaders(const struct fks_reader *reader,
                          const struct forksafe_journal_header *header, struct forksafe_leader *out)
{
    struct forksafe_leader before[FORKSAFE_MAX_LEADERS];
    for (int tries = 0; tries < 3; tries++) {
        if (!fks_reader_fetch(reader, header->leaders_offset, before, sizeof before) ||
            !fks_reader_fetch(reader, header->leaders_offset, out, sizeof before))
            return false;
        if (!memcmp(before, out, sizeof before))
            break;
    }
    return true;
}

static bool fetch_tables(const struct fks_reader *reader,
                         const struct forksafe_journal_header *header, struct fks_tables *tables)
{
    return fks_reader_fetch(reader, header->strings_offset, tables->strings,
                            header->strings_used) &&
           fks_reader_fetch(reader, header->hooks_offset, tables->hooks,
                            header->hook_count * sizeof *tables->hooks) &&
           fks_reader_fetch(reader, header->cells_offset, tables->cells,
                            header->subscriber_count * sizeof *tables->cells) &&
           fetch_subscribers(reader, header, tables->subscribers) &&
           fetch_leaders(reader, header, tables->leaders) &&
           fetch_status(reader, header, &tables->status) &&
           fetch_findings(reader, header, &tables->findings);
}

int fks_reader_refresh(struct fks_reader *reader, struct fks_error *error)
{
    struct forksafe_journal_header header;
    struct fks_tables tables = {0};
    int rc = read_header(reader, &header, error);
    if (rc)
        return rc;
    if (!allocate_tables(&tables, &header)) {
        free_tables(&tables);
        return fks_fail(error, FORKSAFE_ENOMEM, "%s: no memory to read it", name_of(reader));
    }
    if (!fetch_tables(reader, &header, &tables)) {
        free_tables(&tables);
        return fks_reader_damaged(reader, "it became shorter", error);
    }
    free_tables(&reader->tables);
    reader->tables = tables;
    reader->header = header;
    return 0;
}

/* --- opening --- */

static int start(struct fks_reader **out, struct fks_reader *reader, const char *path,
                 struct fks_error *error)
{
    *out = NULL;
    if (path && !(reader->path = strdup(path))) {
        fks_reader_close(reader);
        return fks_fail(error, FORKSAFE_ENOMEM, "%s: no memory to read it", path);
    }
    int rc = fks_reader_refresh(reader, error);
    if (rc)
        fks_reader_close(reader);
    else
        *out = reader;
    return rc;
}

static int open_error(const char *path, struct fks_error *error)
{
    switch (errno) {
    case ENOENT:
    case ENOTDIR:
        return fks_fail(error, FORKSAFE_ENOENT, "%s: there is no such journal", path);
    case EACCES:
    case EPERM:
        return fks_fail(error, FORKSAFE_EACCESS,
                        "%s: permission denied; be the server's user, root, or in "
                        "forksafe.journal_group",
                        path);
    default:
        return fks_fail(error, FORKSAFE_EJOURNAL, "%s: %s", path, strerror(errno));
    }
}

int fks_reader_open(struct fks_reader **out, const char *path, struct fks_error *error)
{
    struct stat st;
    *out = NULL;
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd < 0)
        return open_error(path, error);
    if (fstat(fd, &st) || !S_ISREG(st.st_mode)) {
        close(fd);
        return fks_fail(error, FORKSAFE_EJOURNAL, "%s: is no plain file, so no journal", path);
    }
    struct fks_reader *reader = calloc(1, sizeof *reader);
    if (!reader) {
        close(fd);
        return fks_fail(error, FORKSAFE_ENOMEM, "%s: no memory to read it", path);
    }
    reader->fd = fd;
    fks_boot_id(reader->boot_id);
    return start(out, reader, path, error);
}

int fks_reader_over(struct fks_reader **out, const struct forksafe_journal_header *mapped,
                    size_t size, const char *path, struct fks_error *error)
{
    struct fks_reader *reader = calloc(1, sizeof *reader);
    *out = NULL;
    if (!reader)
        return fks_fail(error, FORKSAFE_ENOMEM, "no memory to read the journal");
    reader->fd = -1;
    reader->mapped = (const char *)mapped;
    reader->mapped_size = size;
    return start(out, reader, path, error);
}

void fks_reader_close(struct fks_reader *reader)
{
    if (!reader)
        return;
    if (reader->fd >= 0)
        close(reader->fd);
    free_tables(&reader->tables);
    free(reader->path);
    free(reader);
}

/* --- what was read --- */

const struct forksafe_journal_header *fks_reader_header(const struct fks_reader *reader)
{
    return &reader->header;
}

const char *fks_reader_path(const struct fks_reader *reader)
{
    return reader->path;
}

bool fks_reader_is_mapped(const struct fks_reader *reader)
{
    return reader->mapped != NULL;
}

const struct forksafe_status_area *fks_reader_status(const struct fks_reader *reader)
{
    return &reader->tables.status;
}

const struct forksafe_finding_area *fks_reader_findings(const struct fks_reader *reader)
{
    return &reader->tables.findings;
}

const struct forksafe_hook *fks_reader_hook(const struct fks_reader *reader, uint32_t index)
{
    return index < reader->header.hook_count ? &reader->tables.hooks[index] : NULL;
}

const struct forksafe_subscriber *fks_reader_subscriber(const struct fks_reader *reader,
                                                        uint32_t index)
{
    return index < reader->header.subscriber_count ? &reader->tables.subscribers[index] : NULL;
}

const struct forksafe_leader *fks_reader_leader(const struct fks_reader *reader, uint32_t index)
{
    return index < FORKSAFE_MAX_LEADERS && reader->tables.leaders[index].generation
               ? &reader->tables.leaders[index]
               : NULL;
}

const struct forksafe_cell *fks_reader_cell(const struct fks_reader *reader, uint32_t index)
{
    return index < reader->header.subscriber_count ? &reader->tables.cells[index] : NULL;
}

const char *fks_reader_string(const struct fks_reader *reader, struct forksafe_string string,
                              size_t *length)
{
    uint32_t used = reader->header.strings_used;
    *length = 0;
    if (string.offset >= used)
        return "";
    *length = string.length < used - string.offset ? string.length : used - string.offset;
    return reader->tables.strings + string.offset;
}

bool fks_reader_process_alive(const struct fks_reader *reader, pid_t pid, uint64_t claimed)
{
    if (pid <= 0)
        return false;
    if (reader->mapped)
        return kill(pid, 0) == 0 || errno != ESRCH;
    if (memcmp(reader->boot_id, reader->header.boot_id, sizeof reader->boot_id))
        return false;
    uint64_t tick = 1000000000u / (uint64_t)sysconf(_SC_CLK_TCK);
    uint64_t start = fks_process_start(pid);
    return start && (!claimed || start <= claimed / tick + 1);
}

bool fks_reader_master_alive(const struct fks_reader *reader)
{
    const struct forksafe_journal_header *header = &reader->header;
    if (header->closed || header->master_pid <= 0)
        return false;
    if (reader->mapped)
        return fks_reader_process_alive(reader, header->master_pid, 0);
    return !memcmp(reader->boot_id, header->boot_id, sizeof reader->boot_id) &&
           header->master_start_ticks &&
           fks_process_start(header->master_pid) == header->master_start_ticks;
}
