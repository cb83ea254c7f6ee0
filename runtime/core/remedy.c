/* SPDX-License-Identifier: MIT
 *
 * Quarantine, and the remedies for objects without a name (remedy.h). Child only.
 */
#include "remedy.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "fdinfo.h"

struct fks_audit *fks_remedy_audit(struct fks_error *error)
{
    struct fks_audit *audit = fks_audit_inherited();
    if (!audit)
        fks_fail(
            error, FORKSAFE_EUSAGE,
            "works in a forked worker alone, and with forksafe.audit on: in the master there is "
            "nothing to repair");
    return audit;
}

int fks_replace(int from, int number)
{
    int flags = fcntl(number, F_GETFD), status = fcntl(number, F_GETFL);
    if (status >= 0 && (status & O_NONBLOCK))
        (void)fcntl(from, F_SETFL, fcntl(from, F_GETFL) | O_NONBLOCK);
    int result = dup3(from, number, flags > 0 && (flags & FD_CLOEXEC) ? O_CLOEXEC : 0);
    close(from);
    return result < 0 ? -1 : 0;
}

static int fail_errno(struct fks_error *error, const char *what)
{
    return fks_fail(error, FORKSAFE_EACCESS, "cannot make %s: %s", what, strerror(errno));
}

/* --- quarantine --- */

static bool peer_fits(const char *pattern, const char *peer)
{
    size_t length = strlen(peer), end = strlen(pattern);
    if (*pattern == ':') /* a port */
        return length > end && !strcmp(peer + length - end, pattern);
    return fks_pattern_fits(pattern, peer);
}

/* What the quarantine is asked for. */
struct choice {
    const struct fks_audit *audit;
    const char *peer; /* NULL: all */
};

static bool is_chosen(const struct fks_audit_entry *entry, const void *data)
{
    const struct choice *choice = data;
    char peer[FORKSAFE_FINDING_SUBJECT];
    if (entry->kind != FKS_FINDING_CONNECTION || entry->replaced)
        return false;
    if (entry->finding >= 0)
        snprintf(peer, sizeof peer, "%s", choice->audit->subjects[entry->finding]);
    else if (!fks_connection_peer(entry->number, peer, sizeof peer))
        return false;
    if (choice->peer)
        return peer_fits(choice->peer, peer);
    return !entry->safe && fks_entry_is_inherited(entry) &&
           (fks_peer_port(peer) || *peer == '/' || *peer == '@');
}

/* One end of a socketpair whose other end is closed: it reads as the end of the stream, and writing
 * says that the pipe is broken. Over /dev/null a client would see that it is no socket. */
static int make_dead(bool is_nonblocking)
{
    int ends[2];
    int type = SOCK_STREAM | SOCK_CLOEXEC | (is_nonblocking ? SOCK_NONBLOCK : 0);
    if (socketpair(AF_UNIX, type, 0, ends))
        return -1;
    close(ends[1]);
    return ends[0];
}

/* The dead sockets: blocking or not is a property of the open file, so there are two at most. */
static int bury(struct fks_audit_entry *entry, int dead[2])
{
    int flags = fcntl(entry->number, F_GETFD);
    bool is_nonblocking = fcntl(entry->number, F_GETFL) & O_NONBLOCK;
    if (dead[is_nonblocking] < 0)
        dead[is_nonblocking] = make_dead(is_nonblocking);
    if (dead[is_nonblocking] < 0 ||
        dup3(dead[is_nonblocking], entry->number, flags & FD_CLOEXEC ? O_CLOEXEC : 0) < 0)
        return -1;
    fks_audit_repaired(entry);
    return 0;
}

int fks_quarantine(const char *peer, struct fks_error *error)
{
    struct fks_watch watches[FKS_WATCHES];
    struct fks_audit *audit = fks_remedy_audit(error);
    const struct choice choice = {audit, peer};
    int dead[2] = {-1, -1}, count = 0, code = 0;
    if (!audit)
        return FORKSAFE_EUSAGE;
    size_t watched = fks_watches_take(audit, is_chosen, &choice, watches);
    for (size_t i = 0; !code && i < audit->count; i++) {
        struct fks_audit_entry *entry = &audit->entries[i];
        if (!is_chosen(entry, &choice) || !fks_entry_is_there(entry))
            continue;
        if (bury(entry, dead))
            code = fail_errno(error, "a socket for the quarantine");
        else
            count++;
    }
    fks_watches_put(watches, watched);
    for (int i = 0; i < 2; i++)
        if (dead[i] >= 0)
            close(dead[i]);
    return code ? code : count;
}

/* --- eventfds and timers --- */

struct event_state {
    unsigned long long count;
    int is_semaphore;
};

static bool read_event(const char *line, void *data)
{
    struct event_state *state = data;
    (void)(sscanf(line, "eventfd-count: %llx", &state->count) == 1 ||
           sscanf(line, "eventfd-semaphore: %d", &state->is_semaphore) == 1);
    return true;
}

static int copy_eventfd(int number)
{
    struct event_state state = {0};
    if (!fks_fdinfo_lines(number, read_event, &state))
        return -1;
    int made = eventfd(0, EFD_CLOEXEC | (state.is_semaphore ? EFD_SEMAPHORE : 0));
    const uint64_t value = state.count;
    if (made >= 0 && value && write(made, &value, sizeof value) < 0) {
        close(made);
        return -1;
    }
    return made;
}

struct timer_state {
    int clock;
    unsigned long long ticks;
    long long seconds, nanoseconds, interval_seconds, interval_nanoseconds;
};

static bool read_timer(const char *line, void *data)
{
    struct timer_state *state = data;
    (void)(sscanf(line, "clockid: %d", &state->clock) == 1 ||
           sscanf(line, "ticks: %llu", &state->ticks) == 1 ||
           sscanf(line, "it_value: (%lld, %lld)", &state->seconds, &state->nanoseconds) == 2 ||
           sscanf(line, "it_interval: (%lld, %lld)", &state->interval_seconds,
                  &state->interval_nanoseconds) == 2);
    return true;
}

static int copy_timerfd(int number)
{
    struct timer_state state = {0};
    if (!fks_fdinfo_lines(number, read_timer, &state))
        return -1;
    int made = timerfd_create(state.clock, TFD_CLOEXEC);
    struct itimerspec spec = {
        .it_value = {state.seconds, (long)state.nanoseconds},
        .it_interval = {state.interval_seconds, (long)state.interval_nanoseconds},
    };
    if (state.ticks) /* it has expired and nobody has read it: so has the copy */
        spec.it_value = (struct timespec){0, 1};
    if (made >= 0 && timerfd_settime(made, 0, &spec, NULL)) {
        close(made);
        return -1;
    }
    return made;
}

/* Copies all of one kind. Returns how many. */
static int copy_all(struct fks_audit *audit, enum fks_finding_kind kind, int (*copy)(int number))
{
    int count = 0;
    for (size_t i = 0; i < audit->count; i++) {
        struct fks_audit_entry *entry = &audit->entries[i];
        if (entry->kind != kind || entry->safe || !fks_entry_is_inherited(entry))
            continue;
        int made = copy(entry->number);
        if (made < 0 || fks_replace(made, entry->number))
            continue;
        fks_audit_repaired(entry);
        count++;
    }
    return count;
}

/* Epoll sets last: they are rebuilt from what stands under their numbers then. */
int fks_unshare(unsigned what, struct fks_error *error)
{
    struct fks_audit *audit = fks_remedy_audit(error);
    int count = 0;
    if (!audit)
        return FORKSAFE_EUSAGE;
    if (what & FKS_UNSHARE_SOCKETPAIR)
        count += fks_unshare_pairs(audit);
    if (what & FKS_UNSHARE_EVENTFD)
        count += copy_all(audit, FKS_FINDING_EVENTFD, copy_eventfd);
    if (what & FKS_UNSHARE_TIMERFD)
        count += copy_all(audit, FKS_FINDING_TIMERFD, copy_timerfd);
    if (what & FKS_UNSHARE_EPOLL)
        count += fks_unshare_epolls(audit);
    return count;
}
