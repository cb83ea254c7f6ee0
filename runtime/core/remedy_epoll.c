/* SPDX-License-Identifier: MIT
 *
 * Epoll sets in a child (remedy.h): private copies of inherited ones, and what is in those that are
 * private. A set that is still shared is never changed: what is taken out of it here, the master
 * would lose. Child only.
 */
#include "remedy.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fdinfo.h"

#define NESTED 5 /* the kernel's own limit of epoll sets in epoll sets */

bool fks_watch_parse(struct fks_watch *out, const char *line)
{
    out->inode = 0;
    return sscanf(line, "tfd: %d events: %x data: %llx pos:%*d ino:%llx", &out->number,
                  &out->events, &out->data, &out->inode) >= 3;
}

/* --- private copies --- */

struct copying {
    const struct fks_audit *audit;
    int made;
    bool is_early; /* it has a set in it that is to be copied first */
};

static bool is_still(const struct fks_watch *watch)
{
    struct stat st;
    return !fstat(watch->number, &st) && (!watch->inode || st.st_ino == watch->inode);
}

static bool copy_watch(const char *line, void *data)
{
    struct copying *copying = data;
    struct fks_watch watch;
    if (!fks_watch_parse(&watch, line))
        return true;
    const struct fks_audit_entry *entry = fks_audit_entry(copying->audit, watch.number);
    if (entry && entry->kind == FKS_FINDING_EPOLL && !entry->safe && !entry->replaced) {
        copying->is_early = true;
        return false;
    }
    struct epoll_event event = {.events = watch.events, .data.u64 = watch.data};
    bool is_ours = (entry && entry->replaced) || is_still(&watch);
    if (is_ours)
        (void)epoll_ctl(copying->made, EPOLL_CTL_ADD, watch.number, &event);
    return true;
}

/* Returns 1 when it is done, 0 where another has to be first, -1 where it cannot be. */
static int copy_epoll(const struct fks_audit *audit, struct fks_audit_entry *entry)
{
    struct copying copying = {.audit = audit, .made = epoll_create1(EPOLL_CLOEXEC)};
    if (copying.made < 0)
        return -1;
    if (!fks_fdinfo_lines(entry->number, copy_watch, &copying) || copying.is_early) {
        close(copying.made);
        return copying.is_early ? 0 : -1;
    }
    if (fks_replace(copying.made, entry->number))
        return -1;
    fks_audit_repaired(entry);
    return 1;
}

int fks_unshare_epolls(struct fks_audit *audit)
{
    int count = 0;
    for (int pass = 0; pass < NESTED; pass++)
        for (size_t i = 0; i < audit->count; i++) {
            struct fks_audit_entry *entry = &audit->entries[i];
            if (entry->kind == FKS_FINDING_EPOLL && !entry->safe && fks_entry_is_inherited(entry))
                count += copy_epoll(audit, entry) > 0;
        }
    return count;
}

/* --- what private sets watch --- */

struct taking {
    const struct fks_audit *audit;
    bool (*is_chosen)(const struct fks_audit_entry *entry, const void *data);
    const void *data;
    struct fks_watch *watches;
    size_t count;
    int epoll;
};

static bool take_watch(const char *line, void *data)
{
    struct taking *taking = data;
    struct fks_watch watch = {.epoll = taking->epoll};
    if (taking->count == FKS_WATCHES)
        return false;
    if (!fks_watch_parse(&watch, line))
        return true;
    watch.epoll = taking->epoll;
    const struct fks_audit_entry *entry = fks_audit_entry(taking->audit, watch.number);
    if (entry && taking->is_chosen(entry, taking->data) && fks_entry_is_there(entry))
        taking->watches[taking->count++] = watch;
    return true;
}

/* Whether it is this process's alone: made since the fork, or copied. */
static bool is_private_epoll(const struct fks_audit *audit, int directory, int number)
{
    struct stat st;
    char link[64];
    if (fstat(number, &st) || (st.st_mode & S_IFMT))
        return false;
    const struct fks_audit_entry *entry = fks_audit_entry(audit, number);
    if (entry && entry->kind == FKS_FINDING_EPOLL && !entry->replaced &&
        fks_fd_is_shared_with(getppid(), number))
        return false;
    fks_fd_link(directory, number, link, sizeof link);
    return fks_kind_of_link(link) == FKS_FINDING_EPOLL;
}

size_t fks_watches_take(const struct fks_audit *audit,
                        bool (*is_chosen)(const struct fks_audit_entry *entry, const void *data),
                        const void *data, struct fks_watch watches[FKS_WATCHES])
{
    struct taking taking = {audit, is_chosen, data, watches, 0, -1};
    int size = fks_fd_table_size(), directory = fks_fd_directory();
    for (int number = 0; number < size && number < FKS_AUDIT_LARGEST; number++) {
        if (!is_private_epoll(audit, directory, number))
            continue;
        taking.epoll = number;
        (void)fks_fdinfo_lines(number, take_watch, &taking);
    }
    if (directory >= 0)
        close(directory);
    for (size_t i = 0; i < taking.count; i++)
        (void)epoll_ctl(watches[i].epoll, EPOLL_CTL_DEL, watches[i].number, NULL);
    return taking.count;
}

void fks_watches_put(const struct fks_watch *watches, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct epoll_event event = {.events = watches[i].events, .data.u64 = watches[i].data};
        (void)epoll_ctl(watches[i].epoll, EPOLL_CTL_ADD, watches[i].number, &event);
    }
}
