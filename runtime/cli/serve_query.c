/* SPDX-License-Identifier: MIT
 *
 * Reading a request's parameters (serve_query.h).
 */
#include "serve_query.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/debug_json.h"

/* A number of so many digits, forward; false where there is another character. */
static bool take_digits(const char **at, int digits, int *out)
{
    *out = 0;
    for (int i = 0; i < digits; i++, (*at)++) {
        if (!isdigit((unsigned char)**at))
            return false;
        *out = *out * 10 + (**at - '0');
    }
    return true;
}

static bool take(const char **at, char wanted)
{
    return *(*at) == wanted && (*at)++;
}

/* ".123456", if it is there; beyond nanoseconds digits are let be. */
static bool take_fraction(const char **at, int64_t *ns)
{
    *ns = 0;
    if (!take(at, '.'))
        return true;
    int64_t unit = 100000000;
    const char *first = *at;
    for (; isdigit((unsigned char)**at); (*at)++, unit /= 10)
        *ns += (**at - '0') * unit;
    return *at > first;
}

/* "Z" or "+02:00"; a space is a plus that was not encoded. */
static bool take_offset(const char **at, int64_t *seconds)
{
    int hours = 0, minutes = 0;
    *seconds = 0;
    if (take(at, 'Z') || take(at, 'z'))
        return true;
    bool west = take(at, '-');
    if (!west && !take(at, '+') && !take(at, ' '))
        return false;
    if (!take_digits(at, 2, &hours) || !take(at, ':') || !take_digits(at, 2, &minutes) ||
        hours > 23 || minutes > 59)
        return false;
    *seconds = (west ? -1 : 1) * (hours * 3600 + minutes * 60);
    return true;
}

/* RFC 3339 into CLOCK_BOOTTIME; before the boot is 0. */
static bool parse_time(const char *text, uint64_t *out)
{
    struct tm tm = {0};
    int64_t fraction, offset;
    const char *at = text;
    if (!take_digits(&at, 4, &tm.tm_year) || !take(&at, '-') || !take_digits(&at, 2, &tm.tm_mon) ||
        !take(&at, '-') || !take_digits(&at, 2, &tm.tm_mday) ||
        !(take(&at, 'T') || take(&at, 't') || take(&at, ' ')) ||
        !take_digits(&at, 2, &tm.tm_hour) || !take(&at, ':') || !take_digits(&at, 2, &tm.tm_min) ||
        !take(&at, ':') || !take_digits(&at, 2, &tm.tm_sec) || !take_fraction(&at, &fraction) ||
        !take_offset(&at, &offset) || *at)
        return false;
    if (tm.tm_mon < 1 || tm.tm_mon > 12 || tm.tm_mday < 1 || tm.tm_mday > 31 || tm.tm_hour > 23 ||
        tm.tm_min > 59 || tm.tm_sec > 60 || tm.tm_year < 1970 || tm.tm_year > 2200)
        return false;
    tm.tm_year -= 1900;
    tm.tm_mon--;
    int64_t ns = ((int64_t)timegm(&tm) - offset) * 1000000000 + fraction;
    ns -= fks_json_clock_difference();
    *out = ns > 0 ? (uint64_t)ns : 0;
    return true;
}

static bool parse_count(const char *text, size_t *out)
{
    size_t length = strlen(text);
    *out = strtoul(text, NULL, 10);
    return length && length < 10 && strspn(text, "0123456789") == length;
}

/* "17,18,19". */
static bool parse_pids(const char *text, struct fks_query *out)
{
    size_t count = 0;
    do {
        char *end;
        long pid = strtol(text, &end, 10);
        if (!isdigit((unsigned char)*text) || pid < 1 || pid > INT32_MAX || count == FKS_QUERY_PIDS)
            return false;
        out->pids[count++] = (int32_t)pid;
        text = end;
    } while (take(&text, ','));
    out->view.pids = out->pids;
    out->view.pid_count = count;
    out->view.subscribers = false;
    return !*text;
}

static const char *parameter(struct MHD_Connection *connection, const char *name)
{
    return MHD_lookup_connection_value(connection, MHD_GET_ARGUMENT_KIND, name);
}

int fks_query_read(struct fks_query *out, struct MHD_Connection *connection,
                   struct fks_error *error)
{
    const char *records = parameter(connection, "records");
    const char *from = parameter(connection, "records_from");
    const char *to = parameter(connection, "records_to");
    const char *keys = parameter(connection, "keys");
    const char *pids = parameter(connection, "pids");
    *out = (struct fks_query){parameter(connection, "instance"), fks_debug_whole, {0}};
    if (records && !parse_count(records, &out->view.newest_records))
        return fks_fail(error, FORKSAFE_EUSAGE, "records takes a number, as in ?records=100");
    if (from && !parse_time(from, &out->view.records_from))
        return fks_fail(error, FORKSAFE_EUSAGE,
                        "records_from takes a time of RFC 3339, as in 2026-01-31T13:00:00Z");
    if (to && !parse_time(to, &out->view.records_to))
        return fks_fail(error, FORKSAFE_EUSAGE,
                        "records_to takes a time of RFC 3339, as in 2026-01-31T13:00:00Z");
    if (keys && strcmp(keys, "0") && strcmp(keys, "1"))
        return fks_fail(error, FORKSAFE_EUSAGE, "keys takes 0 or 1");
    if (pids && !parse_pids(pids, out))
        return fks_fail(error, FORKSAFE_EUSAGE, "pids takes up to %d numbers, as in pids=17,18",
                        FKS_QUERY_PIDS);
    if (to && out->view.records_to)
        out->view.records_to += 999; /* times are shown cut to microseconds */
    out->view.keys = keys && *keys == '1';
    return 0;
}
