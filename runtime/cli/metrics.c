/* SPDX-License-Identifier: MIT
 *
 * Prints metrics: one list of families, each with the function that writes its samples. Both forms
 * have the same series, so that a scraper may change from one to the other. In the commands.
 */
#include "metrics.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/debug_json.h"
#include "core/names.h"
#include "metrics_gather.h"

struct printing {
    fks_debug_sink sink;
    void *data;
    bool open;   /* OpenMetrics */
    bool failed; /* the sink said stop, or memory is short; nothing is printed after that */
    const struct fks_metrics *metrics;
    char *line; /* what is being printed */
    size_t room;
};

__attribute__((format(printf, 2, 3))) static void print(struct printing *to, const char *format,
                                                        ...)
{
    va_list arguments;
    if (to->failed)
        return;
    va_start(arguments, format);
    int length = vsnprintf(to->line, to->room, format, arguments);
    va_end(arguments);
    if (length >= (int)to->room) {
        free(to->line);
        to->room = (size_t)length * 2;
        to->line = malloc(to->room);
        va_start(arguments, format);
        length = to->line ? vsnprintf(to->line, to->room, format, arguments) : -1;
        va_end(arguments);
    }
    if (length < 0 || to->sink(to->line, (size_t)length, to->data))
        to->failed = true;
}

#define EACH_GROUP(group, printing)                                           \
    for (const struct fks_metrics_group *group = (printing)->metrics->groups; \
         group < (printing)->metrics->groups + (printing)->metrics->group_count; group++)
#define EACH_SERIES(one, printing)                                           \
    for (const struct fks_metrics_series *one = (printing)->metrics->series; \
         one < (printing)->metrics->series + (printing)->metrics->series_count; one++)

/* --- samples of each family; `name` is that of its samples --- */

static void print_build(struct printing *to, const char *name)
{
    print(to, "%s{version=\"%s\"} 1\n", name, FORKSAFE_VERSION);
}

static void print_masters(struct printing *to, const char *name)
{
    EACH_GROUP(group, to)
    print(to, "%s{%s} %" PRIu64 "\n", name, group->labels, group->alive);
}

static void print_forks(struct printing *to, const char *name)
{
    EACH_GROUP(group, to)
    for (int role = 0; role < FORKSAFE_ROLE_COUNT; role++)
        print(to, "%s{%s,kind=\"%s\"} %" PRIu64 "\n", name, group->labels, fks_role_names[role],
              group->forks[role]);
}

static void print_last_fork(struct printing *to, const char *name)
{
    int64_t difference = fks_json_clock_difference(), ns;
    EACH_GROUP(group, to)
    {
        if (!group->last_fork || group->last_fork > INT64_MAX ||
            __builtin_add_overflow((int64_t)group->last_fork, difference, &ns) || ns < 0)
            continue;
        print(to, "%s{%s} %" PRId64 ".%06" PRId64 "\n", name, group->labels, ns / 1000000000,
              ns % 1000000000 / 1000);
    }
}

static void print_workers(struct printing *to, const char *name)
{
    static const char *const states[] = {
#define X(id, text) text,
        FKS_WORKER_STATES(X)
#undef X
    };
    EACH_GROUP(group, to)
    for (int state = 0; state < FKS_WORKER_STATE_COUNT; state++)
        print(to, "%s{%s,state=\"%s\"} %" PRIu64 "\n", name, group->labels, states[state],
              group->workers[state]);
}

static void print_exits(struct printing *to, const char *name)
{
    EACH_GROUP(group, to)
    {
        print(to, "%s{%s,reason=\"clean\"} %" PRIu64 "\n", name, group->labels, group->exits_clean);
        print(to, "%s{%s,reason=\"failed\"} %" PRIu64 "\n", name, group->labels,
              group->exits_failed);
        print(to, "%s{%s,reason=\"signal\"} %" PRIu64 "\n", name, group->labels,
              group->exits_signal);
    }
}

static void print_events(struct printing *to, const char *name)
{
    EACH_GROUP(group, to)
    for (int event = 0; event < FORKSAFE_EVENT_COUNT; event++)
        if (group->serves[event])
            print(to, "%s{%s,event=\"%s\"} %" PRIu64 "\n", name, group->labels,
                  fks_event_names[event], group->events[event]);
}

static void print_series(struct printing *to, const char *name,
                         const struct fks_metrics_series *one)
{
    print(to, "%s{%s,event=\"%s\",subscriber=\"%s\"", name, to->metrics->groups[one->group].labels,
          fks_event_names[one->event], one->subscriber);
}

static void print_runs(struct printing *to, const char *name)
{
    EACH_SERIES(one, to)
    for (int outcome = FORKSAFE_OUTCOME_OK; outcome < FORKSAFE_OUTCOME_COUNT; outcome++) {
        print_series(to, name, one);
        print(to, ",outcome=\"%s\"} %" PRIu64 "\n", fks_outcome_names[outcome],
              one->cell.outcomes[outcome]);
    }
}

static void print_unfinished(struct printing *to, const char *name)
{
    EACH_SERIES(one, to)
    {
        uint64_t ended = 0;
        for (int outcome = FORKSAFE_OUTCOME_OK; outcome < FORKSAFE_OUTCOME_COUNT; outcome++)
            ended += one->cell.outcomes[outcome];
        print_series(to, name, one);
        print(to, "} %" PRIu64 "\n", one->cell.begun > ended ? one->cell.begun - ended : 0);
    }
}

/* "1e-05", "0.25", "1.0": as OpenMetrics wants it, which is fine for the other form too. */
static void print_bound(char *to, size_t size, uint64_t ns)
{
    snprintf(to, size, ns % 1000000000 ? "%g" : "%.1f", (double)ns / 1e9);
}

static void print_histogram(struct printing *to, const char *name,
                            const struct fks_metrics_series *one)
{
    static const uint64_t bounds[FORKSAFE_BUCKETS - 1] = FORKSAFE_BUCKET_BOUNDS;
    char family[128], bound[32] = "+Inf";
    uint64_t runs = 0;
    snprintf(family, sizeof family, "%s_bucket", name);
    for (int i = 0; i < FORKSAFE_BUCKETS; i++) {
        runs += one->cell.buckets[i];
        if (i < FORKSAFE_BUCKETS - 1)
            print_bound(bound, sizeof bound, bounds[i]);
        print_series(to, family, one);
        print(to, ",le=\"%s\"} %" PRIu64 "\n", i < FORKSAFE_BUCKETS - 1 ? bound : "+Inf", runs);
    }
    snprintf(family, sizeof family, "%s_sum", name);
    print_series(to, family, one);
    print(to, "} %" PRIu64 ".%09" PRIu64 "\n", one->cell.total_ns / 1000000000,
          one->cell.total_ns % 1000000000);
    snprintf(family, sizeof family, "%s_count", name);
    print_series(to, family, one);
    print(to, "} %" PRIu64 "\n", runs);
}

static void print_durations(struct printing *to, const char *name)
{
    EACH_SERIES(one, to)
    print_histogram(to, name, one);
}

static void print_findings(struct printing *to, const char *name)
{
    EACH_GROUP(group, to)
    for (int kind = 0; kind < FKS_FINDING_KIND_COUNT; kind++)
        for (int severity = 0; severity < FKS_SEVERITIES; severity++)
            if (group->findings[kind][severity])
                print(to, "%s{%s,kind=\"%s\",severity=\"%s\"} %" PRIu32 "\n", name, group->labels,
                      fks_kinds[kind].name, fks_severities[severity],
                      group->findings[kind][severity]);
}

static void print_dropped(struct printing *to, const char *name)
{
    EACH_GROUP(group, to)
    print(to, "%s{%s} %" PRIu64 "\n", name, group->labels, group->overwritten);
}

static void print_slots_refused(struct printing *to, const char *name)
{
    EACH_GROUP(group, to)
    print(to, "%s{%s} %" PRIu64 "\n", name, group->labels, group->slots_refused);
}

static void print_subscribers_refused(struct printing *to, const char *name)
{
    EACH_GROUP(group, to)
    print(to, "%s{%s} %" PRIu64 "\n", name, group->labels, group->subscribers_refused);
}

/* --- the list of families --- */

enum kind { INFO, COUNTER, GAUGE, HISTOGRAM };

static const struct {
    const char *type, *open_type, *suffix; /* of the samples' names */
} kinds[] = {
    [INFO] = {"gauge", "info", "_info"},
    [COUNTER] = {"counter", "counter", "_total"},
    [GAUGE] = {"gauge", "gauge", ""},
    [HISTOGRAM] = {"histogram", "histogram", ""},
};

static const struct family {
    const char *name, *unit; /* the unit ends the name; NULL: a number of things */
    enum kind kind;
    void (*print)(struct printing *to, const char *name);
    const char *help;
} families[] = {
    {"forksafe_build", NULL, INFO, print_build, "The forksafe that printed these metrics."},
    {"forksafe_masters", NULL, GAUGE, print_masters, "Masters that live."},
    {"forksafe_forks", NULL, COUNTER, print_forks, "Processes forked, by what they became."},
    {"forksafe_last_fork_timestamp_seconds", "seconds", GAUGE, print_last_fork,
     "When the last process was forked, since 1970."},
    {"forksafe_workers", NULL, GAUGE, print_workers,
     "Workers, by what they do; dead is one that nobody has reaped."},
    {"forksafe_worker_exits", NULL, COUNTER, print_exits,
     "Workers reaped by their master: with status 0 (clean), with another (failed), after a "
     "signal."},
    {"forksafe_events", NULL, COUNTER, print_events, "Times a fork point fired its event."},
    {"forksafe_hook_runs", NULL, COUNTER, print_runs,
     "Runs of subscribers that ended, by outcome."},
    {"forksafe_hook_runs_unfinished", NULL, GAUGE, print_unfinished,
     "Runs of subscribers begun and not ended: running now, or killed in the middle."},
    {"forksafe_hook_duration_seconds", "seconds", HISTOGRAM, print_durations,
     "How long runs of subscribers took that ended."},
    {"forksafe_findings", NULL, GAUGE, print_findings,
     "What was found not safe to fork and is not repaired in every process; none: no sample."},
    {"forksafe_records_dropped", NULL, COUNTER, print_dropped,
     "Records of single runs overwritten by newer ones; counters and histograms lose nothing."},
    {"forksafe_slots_refused", NULL, COUNTER, print_slots_refused,
     "Processes that found no free slot: their runs are counted, and not recorded one by one."},
    {"forksafe_subscribers_refused", NULL, COUNTER, print_subscribers_refused,
     "Subscribers that found the table full: their runs are not counted here."},
};

static void print_family(struct printing *to, const struct family *family)
{
    const char *suffix = kinds[family->kind].suffix;
    char samples[128];
    snprintf(samples, sizeof samples, "%s%s", family->name, suffix);
    const char *name = to->open ? family->name : samples;
    print(to, "# HELP %s %s\n# TYPE %s %s\n", name, family->help, name,
          to->open ? kinds[family->kind].open_type : kinds[family->kind].type);
    if (to->open && family->unit)
        print(to, "# UNIT %s %s\n", name, family->unit);
    family->print(to, samples);
}

int fks_metrics_write(struct fks_reader *const *readers, size_t count, bool open_metrics,
                      fks_debug_sink sink, void *data)
{
    struct fks_metrics metrics;
    struct printing to = {.sink = sink, .data = data, .open = open_metrics, .metrics = &metrics};
    to.failed = fks_metrics_init(&metrics, readers, count) != 0;
    for (size_t i = 0; i < sizeof families / sizeof *families; i++)
        print_family(&to, &families[i]);
    if (open_metrics)
        print(&to, "# EOF\n");
    free(to.line);
    fks_metrics_finish(&metrics);
    return to.failed ? FORKSAFE_ENOMEM : 0;
}
