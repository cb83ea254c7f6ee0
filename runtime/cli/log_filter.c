/* SPDX-License-Identifier: MIT
 *
 * From the words of `forksafe log`'s options to the records that they mean (log_filter.h).
 */
#include "log_filter.h"

#include <ctype.h>
#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "core/names.h"

#define NS INT64_C(1000000000)

/* Everything that is not as it should be. */
#define FAILED                                                          \
    (1u << FORKSAFE_OUTCOME_ERROR | 1u << FORKSAFE_OUTCOME_TIMEOUT |    \
     1u << FORKSAFE_OUTCOME_MEMORY | 1u << FORKSAFE_OUTCOME_ABANDONED | \
     1u << FORKSAFE_OUTCOME_REFUSED | FKS_LOG_UNFINISHED)

/* --- words --- */

/* "ApplicationPostFork", "PostFork" or "postfork". */
int fks_log_filter_event(struct fks_log_filter *filter, const char *word)
{
    static const char prefix[] = "Application";
    for (uint32_t i = 0; i < FORKSAFE_EVENT_COUNT; i++)
        if (!strcasecmp(word, fks_event_names[i]) ||
            !strcasecmp(word, fks_event_names[i] + sizeof prefix - 1)) {
            filter->events |= 1u << i;
            return 0;
        }
    return -1;
}

int fks_log_filter_outcome(struct fks_log_filter *filter, const char *word)
{
    uint32_t outcomes = 0;
    if (!strcmp(word, "failed"))
        outcomes = FAILED;
    if (!strcmp(word, "unfinished"))
        outcomes = FKS_LOG_UNFINISHED;
    for (uint32_t i = 0; i < FORKSAFE_OUTCOME_COUNT; i++)
        if (!strcmp(word, fks_outcome_names[i]))
            outcomes = 1u << i;
    filter->outcomes |= outcomes;
    return outcomes ? 0 : -1;
}

int fks_log_filter_pid(struct fks_log_filter *filter, const char *word)
{
    size_t length = strspn(word, "0123456789");
    long pid = strtol(word, NULL, 10);
    if (!length || length > 10 || word[length] || pid <= 0 || pid > INT32_MAX)
        return -1;
    pid_t *more = realloc(filter->pids, (filter->pid_count + 1) * sizeof *more);
    if (!more)
        return -1;
    filter->pids = more;
    more[filter->pid_count++] = (pid_t)pid;
    return 0;
}

int fks_log_filter_subscriber(struct fks_log_filter *filter, const char *word)
{
    const char **more = realloc(filter->subscribers, (filter->subscriber_count + 1) * sizeof *more);
    if (!more)
        return -1;
    filter->subscribers = more;
    more[filter->subscriber_count++] = word;
    return 0;
}

int fks_log_filter_since(struct fks_log_filter *filter, const char *word)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return fks_log_time_parse(word, now.tv_sec * NS + now.tv_nsec, &filter->since);
}

void fks_log_filter_finish(struct fks_log_filter *filter)
{
    free(filter->subscribers);
    free(filter->pids);
}

/* --- times --- */

/* "90s": how long ago. */
static int parse_age(const char *word, int64_t now, int64_t *ns)
{
    static const struct {
        const char *unit;
        double seconds;
    } units[] = {{"ms", 0.001}, {"s", 1}, {"m", 60}, {"h", 3600}, {"d", 86400}, {"w", 604800}};
    char *end;
    double number = isdigit((unsigned char)*word) ? strtod(word, &end) : -1;
    for (size_t i = 0; number >= 0 && number < 1e9 && i < sizeof units / sizeof *units; i++)
        if (!strcmp(end, units[i].unit) && number * units[i].seconds < 1e9) {
            *ns = now - (int64_t)(number * units[i].seconds * 1e9);
            return 0;
        }
    return -1;
}

/* ".25" after the seconds. Returns where it ends. */
static const char *parse_fraction(const char *at, int64_t *ns)
{
    int64_t unit = NS / 10;
    *ns = 0;
    if (at[0] != '.' || !isdigit((unsigned char)at[1]))
        return at;
    for (at++; isdigit((unsigned char)*at); at++, unit /= 10)
        *ns += (*at - '0') * unit;
    return at;
}

/* "14:05", "14:05:30.5", with a zone where `zone`. */
static int parse_clock(const char *at, bool zone, struct tm *tm, int64_t *ns)
{
    int64_t fraction = 0;
    const char *end = strptime(at, "%H:%M", tm);
    if (end && *end == ':' && (end = strptime(end, ":%S", tm)))
        end = parse_fraction(end, &fraction);
    if (end && *end && zone) {
        end = strptime(end, "%z", tm);
        if (!end || *end)
            return -1;
        long east = tm->tm_gmtoff;
        *ns = (timegm(tm) - east) * NS + fraction;
        return 0;
    }
    if (!end || *end)
        return -1;
    tm->tm_isdst = -1;
    *ns = mktime(tm) * NS + fraction;
    return 0;
}

/* "2026-11-22", "2026-11-22 14:05", "2026-11-22T14:05:30.5Z". */
static int parse_date(const char *word, int64_t *ns)
{
    struct tm tm = {.tm_isdst = -1};
    const char *end = strptime(word, "%Y-%m-%d", &tm);
    if (!end || tm.tm_year < 0 || tm.tm_year > 300)
        return -1;
    if (*end == ' ' || *end == 'T')
        return parse_clock(end + 1, true, &tm, ns);
    if (*end)
        return -1;
    *ns = mktime(&tm) * NS;
    return 0;
}

/* "@1700000000". */
static int parse_epoch(const char *word, int64_t *ns)
{
    char *end;
    int64_t fraction;
    long long seconds = isdigit((unsigned char)word[1]) ? strtoll(word + 1, &end, 10) : -1;
    if (*word != '@' || seconds < 0 || seconds > INT64_MAX / NS - 1)
        return -1;
    if (*parse_fraction(end, &fraction))
        return -1;
    *ns = seconds * NS + fraction;
    return 0;
}

int fks_log_time_parse(const char *word, int64_t now, int64_t *ns)
{
    time_t seconds = (time_t)(now / NS);
    struct tm today;
    localtime_r(&seconds, &today);
    today.tm_sec = 0;
    if (!parse_age(word, now, ns) || !parse_epoch(word, ns) || !parse_date(word, ns))
        return 0;
    return parse_clock(word, false, &today, ns);
}

/* --- records --- */

static bool takes_pid(const struct fks_log_filter *filter, const struct forksafe_record *record)
{
    for (size_t i = 0; i < filter->pid_count; i++)
        if (record->pid == filter->pids[i] ||
            (record->event == FORKSAFE_CHILD_EXIT && record->child_pid == filter->pids[i]))
            return true;
    return !filter->pid_count;
}

static bool takes_subscriber(const struct fks_log_filter *filter, const struct fks_reader *reader,
                             const struct forksafe_record *record)
{
    if (!filter->subscriber_count)
        return true;
    const struct forksafe_subscriber *entry = fks_reader_subscriber(reader, record->subscriber);
    size_t length = 0;
    const char *text = entry ? fks_reader_string(reader, entry->name, &length) : "";
    char *name = length ? strndup(text, length) : NULL;
    bool takes = false;
    for (size_t i = 0; name && i < filter->subscriber_count && !takes; i++)
        takes = !strcmp(name, filter->subscribers[i]) || !fnmatch(filter->subscribers[i], name, 0);
    free(name);
    return takes;
}

static bool takes_outcome(const struct fks_log_filter *filter, const struct forksafe_record *record,
                          bool live)
{
    uint32_t outcome = 1u << (record->ended & 0xff);
    if (!record->ended)
        outcome = live ? 1u << FORKSAFE_OUTCOME_RUNNING : FKS_LOG_UNFINISHED;
    return !filter->outcomes || filter->outcomes & outcome;
}

bool fks_log_filter_takes(const struct fks_log_filter *filter, const struct fks_reader *reader,
                          const struct forksafe_record *record, bool live, int64_t difference)
{
    if (filter->events && !(filter->events & 1u << record->event))
        return false;
    if (filter->since && (int64_t)(record->begun + (uint64_t)difference) < filter->since)
        return false;
    return takes_outcome(filter, record, live) && takes_pid(filter, record) &&
           takes_subscriber(filter, reader, record);
}
