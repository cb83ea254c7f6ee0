/* SPDX-License-Identifier: MIT
 *
 * forksafe debug: the debug object as JSON, or metrics. Reads journals and nothing else: works when
 * a worker is stuck, and after all of them have ended.
 */
#include "command.h"

#include <argp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/debug.h"
#include "metrics.h"
#include "target.h"
#include "target_option.h"

enum form { FORM_JSON, FORM_PROMETHEUS, FORM_OPENMETRICS };

struct options {
    struct fks_target_option where;
    bool compact;
    enum form form;
};

static const struct argp_option option_list[] = {
    {"compact", 'c', NULL, 0, "all on one line", 0},
    {"metrics", 'm', "FORM", OPTION_ARG_OPTIONAL,
     "metrics instead, of all instances in one text: prometheus (text 0.0.4) or openmetrics (1.0)",
     0},
    {0},
};

static enum form form_of(const char *name, struct argp_state *state)
{
    if (!name || !strcmp(name, "prometheus"))
        return FORM_PROMETHEUS;
    if (strcmp(name, "openmetrics"))
        argp_error(state, "--metrics is prometheus or openmetrics, not '%s'", name);
    return FORM_OPENMETRICS;
}

static error_t parse_option(int key, char *argument, struct argp_state *state)
{
    struct options *options = state->input;
    switch (key) {
    case 'c':
        options->compact = true;
        return 0;
    case 'm':
        options->form = form_of(argument, state);
        return 0;
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &options->where;
        return 0;
    case ARGP_KEY_END:
        if (options->form != FORM_JSON && options->compact)
            argp_error(state, "--compact is for JSON, leave it out with --metrics");
        return 0;
    }
    return ARGP_ERR_UNKNOWN;
}

static const struct argp parser = {
    .options = option_list,
    .parser = parse_option,
    .children = fks_target_previous_child,
    .doc =
        "What ran in every worker, as one JSON object (schema forksafe.debug/1). TARGET is an ini, "
        "an "
        "instance, a journal or the pid of any of its processes; none means all that can be "
        "found.\v"
        "An instance with several living masters (two servers of one ini, or an upgrade) is one "
        "object. Where no TARGET is given and there are several instances, each is one object on a "
        "line of its own.\n\n"
        "With --metrics, for the node exporter's textfile collector, from cron or a timer (a "
        "temporary "
        "name and a rename, so that it never reads half a file):\n\n"
        "  f=/var/lib/prometheus/node-exporter/forksafe.prom\n"
        "  forksafe debug --metrics >$f.$$ && mv $f.$$ $f || rm -f $f.$$\n\n"
        "Where no server lives it fails with 3 and the file stays as it was: alert on "
        "node_textfile_mtime_seconds, and on forksafe_masters of `forksafe serve`. Masters of one "
        "instance are added up; when a master ends its counters end, which Prometheus takes as a "
        "reset. No counter of a living master ever falls.\n\n"
        "Exit codes: 0 fine, 1 it could not be done, 2 usage, 3 no such instance, 4 permission, 5 "
        "a "
        "journal of another version.",
};

static int print(const char *text, size_t length, void *data)
{
    return fwrite(text, 1, length, data) == length ? 0 : -1;
}

static void note(const char *line)
{
    fprintf(stderr, "forksafe debug: left out: %s\n", line);
}

static int print_objects(const struct fks_target *targets, size_t count,
                         const struct options *options, struct fks_error *error)
{
    int rc = 0;
    for (size_t i = 0; !rc && i < count; i++) {
        rc = fks_debug_write(targets[i].readers, targets[i].reader_count, targets[i].instance,
                             options->compact || count > 1 ? 0 : 2, print, stdout, error);
        putchar('\n');
    }
    return rc;
}

/* The journals of all instances at once: a metric's samples stand together. */
static int print_metrics(const struct fks_target *targets, size_t count, bool open_metrics,
                         struct fks_error *error)
{
    size_t readers = 0;
    for (size_t i = 0; i < count; i++)
        readers += targets[i].reader_count;
    struct fks_reader **all = calloc(readers + 1, sizeof *all);
    readers = 0;
    for (size_t i = 0; all && i < count; i++)
        for (size_t n = 0; n < targets[i].reader_count; n++)
            all[readers++] = targets[i].readers[n];
    int rc = all ? fks_metrics_write(all, readers, open_metrics, print, stdout) : FORKSAFE_ENOMEM;
    free(all);
    return rc ? fks_fail(error, rc, "the metrics could not be written") : 0;
}

static int print_all(const struct fks_target *targets, size_t count, const struct options *options,
                     struct fks_error *error)
{
    int rc = options->form == FORM_JSON
                 ? print_objects(targets, count, options, error)
                 : print_metrics(targets, count, options->form == FORM_OPENMETRICS, error);
    if (fflush(stdout) || ferror(stdout))
        rc = fks_fail(error, FORKSAFE_EJOURNAL, "standard output cannot be written to");
    return rc;
}

static int run(int argc, char **argv)
{
    struct options options = {0};
    if (argp_parse(&parser, argc, argv, 0, NULL, &options))
        return FKS_EXIT_USAGE;
    struct fks_target *targets;
    size_t count;
    struct fks_error error;
    static char buffer[1 << 16]; /* glibc takes a size only with a buffer */
    setvbuf(stdout, buffer, _IOFBF, sizeof buffer);
    int rc = fks_target_open_all(&targets, &count, options.where.target, options.where.previous,
                                 note, &error);
    if (!rc)
        rc = print_all(targets, count, &options, &error);
    fks_target_close_all(targets, count);
    return rc ? fks_command_fail("debug", &error) : FKS_EXIT_OK;
}

const struct fks_command fks_command_debug = {
    .name = "debug",
    .synopsis = "[--previous] [--compact | --metrics] [TARGET]",
    .summary = "the debug object as JSON: what ran in every worker; or metrics",
    .run = run,
};
