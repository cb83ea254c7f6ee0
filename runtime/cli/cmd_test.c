/* SPDX-License-Identifier: MIT
 *
 * `forksafe test [--event NAME] INI`: loads the scripts and fires the events with no server at all,
 * in this process and on a journal of its own, so that a script can be tried where it is written.
 * Exit 1 where a script cannot be loaded or a subscriber fails.
 */
#include "command.h"

#include <argp.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/instance.h"
#include "core/names.h"

/* In the order of a server's life; all of them happen in this one process. */
static const struct {
    enum forksafe_event event;
    enum forksafe_role role;
} life[] = {
    {FORKSAFE_MASTER_READY, FORKSAFE_ROLE_MASTER},
    {FORKSAFE_PRE_FORK, FORKSAFE_ROLE_MASTER},
    {FORKSAFE_POST_FORK, FORKSAFE_ROLE_WORKER},
    {FORKSAFE_POST_WORKER_INIT, FORKSAFE_ROLE_WORKER},
    {FORKSAFE_WORKER_EXIT, FORKSAFE_ROLE_WORKER},
    {FORKSAFE_CHILD_EXIT, FORKSAFE_ROLE_MASTER},
    {FORKSAFE_RELOAD, FORKSAFE_ROLE_MASTER},
    {FORKSAFE_SHUTDOWN, FORKSAFE_ROLE_MASTER},
};

static const struct forksafe_fork_point points[] = {
    {FORKSAFE_MASTER_READY, 0, "master_ready"},
    {FORKSAFE_PRE_FORK, 0, "pre_fork"},
    {FORKSAFE_POST_FORK, 0, "post_fork"},
    {FORKSAFE_POST_WORKER_INIT, 0, "post_worker_init"},
    {FORKSAFE_WORKER_EXIT, 0, "worker_exit"},
    {FORKSAFE_CHILD_EXIT, 0, "child_exit"},
    {FORKSAFE_RELOAD, 0, "reload"},
    {FORKSAFE_SHUTDOWN, 0, "shutdown"},
};

static struct {
    const char *ini;
    int event; /* -1: all */
    bool debug;
    bool refused; /* an event came back with a verdict: its subscribers failed, or could not run */
} options = {.event = -1};

static const struct argp_option arguments[] = {
    {"event", 'e', "NAME", 0, "Fire only this event (ApplicationPostFork, or postfork)", 0},
    {"debug", 'd', NULL, 0, "Print the debug object as JSON instead of the table", 0},
    {0},
};

#define X(id, name, file, process, meaning) " " name
#define EVENT_NAMES                         FORKSAFE_EVENTS(X)

static int find_event(const char *name)
{
    for (int event = 0; event < FORKSAFE_EVENT_COUNT; event++)
        if (!strcmp(name, fks_event_names[event]) || !strcmp(name, fks_event_files[event]))
            return event;
    return -1;
}

static error_t parse(int key, char *argument, struct argp_state *state)
{
    switch (key) {
    case 'e':
        options.event = find_event(argument);
        if (options.event < 0)
            argp_error(state, "unknown event '%s'; the events are" EVENT_NAMES, argument);
        return 0;
    case 'd':
        options.debug = true;
        return 0;
    case ARGP_KEY_ARG:
        if (options.ini)
            argp_error(state, "one ini only");
        options.ini = argument;
        return 0;
    case ARGP_KEY_NO_ARGS:
        argp_error(state, "which ini?");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static void log_line(void *data, enum forksafe_log_level level, const char *line)
{
    (void)data;
    (void)level;
    fprintf(stderr, "%s\n", line);
}

static void fire_events(void)
{
    for (size_t i = 0; i < sizeof life / sizeof *life; i++) {
        if (options.event >= 0 && options.event != (int)life[i].event)
            continue;
        struct forksafe_occasion occasion = {
            .size = sizeof occasion, .role = (int32_t)life[i].role, .worker = 1, .app_loaded = 1};
        if (life[i].event == FORKSAFE_CHILD_EXIT)
            occasion.child_pid = getpid();
        options.refused |= forksafe_emit(life[i].event, &occasion) != FORKSAFE_OK;
    }
}

/* A row a run of a subscriber. */
static void print_records(const json_t *records)
{
    size_t index;
    json_t *record;
    json_array_foreach(records, index, record)
    {
        const char *subscriber = json_string_value(json_object_get(record, "subscriber"));
        if (subscriber)
            printf("%-26s %-24s %-9s %8.3f ms\n",
                   json_string_value(json_object_get(record, "event")), subscriber,
                   json_string_value(json_object_get(record, "outcome")),
                   json_number_value(json_object_get(record, "duration")) * 1e3);
    }
}

/* From the counters, which lose nothing. */
static bool all_ended_well(const json_t *subscribers)
{
    size_t index;
    json_t *one;
    json_array_foreach(subscribers, index, one)
    {
        const json_t *outcomes = json_object_get(one, "outcomes");
        if (json_integer_value(json_object_get(one, "begun")) !=
            json_integer_value(json_object_get(outcomes, "ok")))
            return false;
    }
    return true;
}

static int report(void)
{
    char *text = forksafe_debug_json();
    json_t *object = text ? json_loads(text, 0, NULL) : NULL;
    forksafe_free(text);
    if (!object) {
        fprintf(stderr, "forksafe test: no debug object: out of memory?\n");
        return FKS_EXIT_FAILED;
    }
    const json_t *master = json_array_get(json_object_get(object, "masters"), 0);
    json_int_t lost = json_integer_value(json_object_get(master, "records_overwritten"));
    if (options.debug) {
        json_dumpf(object, stdout, JSON_INDENT(2));
        putchar('\n');
    } else {
        if (lost)
            printf("(the first %" JSON_INTEGER_FORMAT " are not shown; raise forksafe.records)\n",
                   lost);
        print_records(json_object_get(object, "records"));
    }
    bool well = all_ended_well(json_object_get(object, "subscribers"));
    json_decref(object);
    return well && !fks_instance_failed() && !options.refused ? FKS_EXIT_OK : FKS_EXIT_FAILED;
}

static int test_scripts(void)
{
    const struct forksafe_host host = {
        .size = sizeof host,
        .container = "test",
        .environment = "",
        .ini = options.ini,
        .points = points,
        .point_count = sizeof points / sizeof *points,
        .worker_uid = (uid_t)-1,
        .worker_gid = (gid_t)-1,
        .log = log_line,
    };
    int opened = forksafe_open(&host);
    if (opened) {
        if (opened == FORKSAFE_EUSAGE)
            fprintf(stderr, "forksafe test: %s\n", fks_error_text(opened));
        return FKS_EXIT_FAILED;
    }
    fire_events();
    return report();
}

static int run(int argc, char **argv)
{
    static const struct argp argp = {
        arguments,
        parse,
        "INI[#APP]",
        "Load the scripts that the ini names and fire events with no server at all.\v"
        "Exit status: 0 all subscribers ended well, 1 a script cannot be loaded or a subscriber "
        "failed, "
        "2 usage.",
        NULL,
        NULL,
        NULL};
    char directory[] = "/tmp/forksafe-test-XXXXXX", journal[sizeof directory + 16];
    if (argp_parse(&argp, argc, argv, 0, NULL, NULL))
        return FKS_EXIT_USAGE;
    if (!mkdtemp(directory)) {
        perror("forksafe test: no temporary directory");
        return FKS_EXIT_FAILED;
    }
    snprintf(journal, sizeof journal, "%s/journal", directory);
    fks_instance_journal(journal);
    int status = test_scripts();
    unlink(journal);
    rmdir(directory);
    return status;
}

const struct fks_command fks_command_test = {
    .name = "test",
    .synopsis = "[--event NAME] [--debug] INI",
    .summary = "load the scripts and fire events with no server at all",
    .run = run,
};
