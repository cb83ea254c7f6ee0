/* SPDX-License-Identifier: MIT
 *
 * forksafe log: the records of what ran, a line each, and with -f as they come. Reads journals and
 * /proc; asks nothing of the server.
 */
#include "command.h"

#include <argp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/journal.h"
#include "core/names.h"
#include "log_journals.h"
#include "log_print.h"
#include "terminal.h"
#include "target_option.h"

#define LOOK_NS    100000000u /* between two looks */
#define LOOK_SHARE 10         /* of the time is spent looking at most: one in so many */
#define FOLLOWED   10         /* records that -f begins with */

struct options {
    struct fks_target_option where;
    bool follow, json, errors, has_newest;
    enum fks_color_when color;
    size_t newest;
    struct fks_log_filter filter;
};

enum { KEY_COLOR = 256, KEY_EVENT, KEY_SUBSCRIBER, KEY_PID, KEY_OUTCOME, KEY_SINCE, KEY_ERRORS };

static const struct argp_option option_list[] = {
    {"follow", 'f', NULL, 0, "go on and show records as they come, until Ctrl-C", 0},
    {"lines", 'n', "N", 0, "only the newest N, or \"all\"; with -f and without --since: 10", 0},
    {NULL, 0, NULL, 0, "Which records; all but --since can be given several times:", 1},
    {"event", KEY_EVENT, "NAME", 0, "of this event: ApplicationPostFork, or PostFork", 1},
    {"subscriber", KEY_SUBSCRIBER, "NAME", 0,
     "of the subscriber of this name; a pattern as in a shell will do", 1},
    {"pid", KEY_PID, "PID", 0, "of this process, and how its master saw it end", 1},
    {"outcome", KEY_OUTCOME, "NAME", 0,
     "that ended so: ok, error, timeout, memory, abandoned, queued, refused; running; unfinished "
     "(begun by a process that died in it); or failed: all that are not as they should be",
     1},
    {"since", KEY_SINCE, "WHEN", 0,
     "begun at WHEN or later: 90s (ms, m, h, d, w) ago, 14:05 today, 2026-11-22 14:05:30, with Z "
     "or "
     "+01:00, @1700000000",
     1},
    {NULL, 0, NULL, 0, "How they are shown:", 2},
    {"errors", KEY_ERRORS, NULL, 0,
     "whole error texts with their tracebacks, not just the first line; with --json as \"error\"",
     2},
    {"json", 'j', NULL, 0, "one JSON object a line", 2},
    {"color", KEY_COLOR, "WHEN", OPTION_ARG_OPTIONAL,
     "always, never, or auto: on a terminal, unless NO_COLOR is set. Without WHEN: always", 2},
    {0},
};

static void parse_newest(struct options *options, const char *word, struct argp_state *state)
{
    size_t digits = strspn(word, "0123456789");
    options->has_newest = true;
    options->newest = SIZE_MAX;
    if (!strcmp(word, "all"))
        return;
    if (!digits || digits > 9 || word[digits])
        argp_error(state, "-n: '%s' is neither a number nor \"all\"", word);
    options->newest = strtoul(word, NULL, 10);
}

static const struct {
    int key;
    int (*add)(struct fks_log_filter *filter, const char *word);
    const char *complaint; /* with the word */
} filters[] = {
    {KEY_EVENT, fks_log_filter_event,
     "--event: there is no event '%s'; there are MasterReady, PreFork, PostFork, PostWorkerInit, "
     "WorkerExit, ChildExit, Reload and Shutdown"},
    {KEY_SUBSCRIBER, fks_log_filter_subscriber, "--subscriber: no memory for '%s'"},
    {KEY_PID, fks_log_filter_pid, "--pid: '%s' is no process id"},
    {KEY_OUTCOME, fks_log_filter_outcome,
     "--outcome: there is no outcome '%s'; there are ok, error, timeout, memory, abandoned, "
     "queued, "
     "refused, running, unfinished, and failed for all that are not as they should be"},
    {KEY_SINCE, fks_log_filter_since,
     "--since: '%s' is no time; 90s, 10m, 2h or 3d ago, 14:05, 2026-11-22 or \"2026-11-22 "
     "14:05:30\" "
     "are"},
};

static error_t parse_filter(struct options *options, int key, const char *word,
                            struct argp_state *state)
{
    for (size_t i = 0; i < sizeof filters / sizeof *filters; i++) {
        if (filters[i].key != key)
            continue;
        if (filters[i].add(&options->filter, word))
            argp_error(state, filters[i].complaint, word);
        return 0;
    }
    return ARGP_ERR_UNKNOWN;
}

static error_t parse_option(int key, char *argument, struct argp_state *state)
{
    struct options *options = state->input;
    switch (key) {
    case 'f':
        options->follow = true;
        return 0;
    case 'n':
        parse_newest(options, argument, state);
        return 0;
    case 'j':
        options->json = true;
        return 0;
    case KEY_ERRORS:
        options->errors = true;
        return 0;
    case KEY_COLOR:
        if (fks_color_parse(&options->color, argument))
            argp_error(state, "--color: '%s' is none of auto, always, never", argument);
        return 0;
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &options->where;
        return 0;
    case ARGP_KEY_END:
        if (options->follow && options->where.previous)
            argp_error(state,
                       "--previous and --follow exclude each other: nothing comes after an end");
        return 0;
    }
    return argument ? parse_filter(options, key, argument, state) : ARGP_ERR_UNKNOWN;
}

static const struct argp parser = {
    .options = option_list,
    .parser = parse_option,
    .children = fks_target_previous_child,
    .doc = "What ran in every worker, oldest first, a line for each run: when it began (local "
           "time), pid, role "
           "and slot, event, subscriber (\"-\": a hook that has none), outcome, how long it took, "
           "and the first "
           "line of its error. TARGET is an ini, an instance, a journal or the pid of any of its "
           "processes; none means "
           "all that can be found.\v"
           "Each process keeps its newest runs (forksafe.records) and its newest error text. "
           "--previous shows "
           "what the last master that ended has left.\n\n"
           "With -f a run that lasts is shown as running, and again when it has ended (or is "
           "unfinished: its process "
           "died in it); the journal is looked at ten times a second. When the master ends, that "
           "is said "
           "on stderr, and the next one of the same TARGET is followed as soon as it is there; -f "
           "also waits for the first master "
           "of an ini. What was overwritten between two looks is counted on stderr. Output into a "
           "pipe is flushed "
           "at each look, and the end of the reader ends it.\n\n"
           "With --json the members of a record are those that `forksafe debug` gives it, and "
           "\"instance\". A run that "
           "was shown as running has the same \"pid\" and \"at\" when it is shown again.\n\n"
           "Exit codes: 0 fine, also where no record matches, 1 it could not be done, 2 usage, 3 "
           "no such instance, 4 "
           "permission, 5 a journal of another version.",
};

/* One run of the command. */
struct log {
    const struct options *options;
    struct fks_log_journals journals;
    struct fks_log_batch batch;
    struct fks_log_printer printer;
};

static int print_batch(struct log *log, struct fks_error *error)
{
    log->printer.instances = log->journals.instances;
    int rc = fks_log_print(&log->printer, &log->batch, error);
    fks_log_batch_clear(&log->batch);
    return rc;
}

/* --- following --- */

static volatile sig_atomic_t interrupted; /* the signal */

static void on_signal(int signo)
{
    interrupted = signo;
}

/* Without SA_RESTART: the pause ends at once. A line that is being written is finished first. */
static void catch_signals(void)
{
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

/* The time of a run that is shown twice must not move by what the clock is being adjusted by: only
 * a real step counts. */
static void adjust_clock(struct log *log)
{
    int64_t *difference = &log->printer.writing.stream.clock_difference;
    int64_t now = fks_json_clock_difference();
    if (llabs(now - *difference) > 1000000)
        *difference = now;
    log->batch.difference = *difference;
}

/* Returns false where nobody reads any more. */
static bool wait_for_more(uint64_t ns)
{
    struct pollfd reader = {.fd = STDOUT_FILENO};
    return poll(&reader, 1, (int)(ns / 1000000)) <= 0;
}

static void tell_losses(struct log *log)
{
    if (log->batch.overwritten)
        fprintf(stderr,
                "forksafe log: %llu records were overwritten before they could be shown; "
                "forksafe.records says how many a process keeps\n",
                (unsigned long long)log->batch.overwritten);
}

static int follow(struct log *log, struct fks_error *error)
{
    int rc = 0;
    uint64_t pause = LOOK_NS;
    while (!rc && !interrupted && wait_for_more(pause)) {
        uint64_t begun = fks_now();
        adjust_clock(log);
        fks_log_journals_follow(&log->journals, &log->batch);
        tell_losses(log);
        uint64_t took = fks_now() - begun;
        pause = took * LOOK_SHARE > LOOK_NS ? took * LOOK_SHARE : LOOK_NS;
        rc = print_batch(log, error);
    }
    return interrupted ? 0 : rc;
}

/* --- the whole --- */

static int show(struct log *log, struct fks_error *error)
{
    const struct options *options = log->options;
    int rc = fks_log_journals_open(&log->journals, options->where.target, options->where.previous,
                                   options->follow, error);
    if (rc)
        return rc;
    log->batch.first = true;
    if (options->has_newest)
        log->batch.newest = options->newest;
    else if (options->follow && !options->filter.since)
        log->batch.newest = FOLLOWED;
    rc = fks_log_journals_look(&log->journals, &log->batch, error);
    if (!rc)
        rc = print_batch(log, error);
    log->batch.first = false;
    log->batch.newest = SIZE_MAX;
    return rc || !options->follow ? rc : follow(log, error);
}

static int show_all(const struct options *options, struct fks_error *error)
{
    struct log log = {
        .options = options,
        .batch = {.filter = &options->filter, .newest = SIZE_MAX},
        .printer = {.json = options->json,
                    .errors = options->errors,
                    .color = fks_color_wanted(options->color, stdout)},
    };
    log.batch.difference = log.printer.writing.stream.clock_difference =
        fks_json_clock_difference();
    static char buffer[1 << 16]; /* glibc takes a size only with a buffer; flushed at each look */
    setvbuf(stdout, buffer, _IOFBF, sizeof buffer);
    int rc = show(&log, error);
    fks_log_batch_clear(&log.batch);
    fks_log_journals_finish(&log.journals);
    fks_log_printer_finish(&log.printer);
    return rc;
}

static int run(int argc, char **argv)
{
    struct options options = {0};
    struct fks_error error;
    fks_terminal_init();
    if (argp_parse(&parser, argc, argv, 0, NULL, &options))
        return FKS_EXIT_USAGE;
    if (options.follow)
        catch_signals();
    int rc = show_all(&options, &error);
    fks_log_filter_finish(&options.filter);
    if (interrupted) {
        signal(interrupted, SIG_DFL);
        raise(interrupted);
    }
    return rc ? fks_command_fail("log", &error) : FKS_EXIT_OK;
}

const struct fks_command fks_command_log = {
    .name = "log",
    .synopsis =
        "[-f] [--event NAME] [--pid PID] [--outcome NAME] [--since WHEN] [-n N] [--json] [TARGET]",
    .summary = "the records of what ran, oldest first; -f: as they come",
    .run = run,
};
