/* SPDX-License-Identifier: MIT
 *
 * forksafe ps: the processes of every instance, or of one, as a table or as JSON. Reads journals,
 * the scripts' files and /proc; asks nothing of the server.
 */
#include "command.h"

#include <argp.h>
#include <libsmartcols/libsmartcols.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/debug_object.h"
#include "core/journal.h"
#include "core/names.h"
#include "ps_rows.h"
#include "ps_scripts.h"
#include "target.h"
#include "target_option.h"
#include "terminal.h"

#define SCHEMA "forksafe.ps/1"

struct options {
    struct fks_target_option where;
    bool all, json, no_headings;
    enum fks_color_when color;
};

enum { KEY_COLOR = 256, KEY_NO_HEADINGS };

static const struct argp_option option_list[] = {
    {"all", 'a', NULL, 0, "also the processes that have ended, as far as the journal has them", 0},
    {"json", 'j', NULL, 0, "one JSON object (schema " SCHEMA ")", 0},
    {"no-headings", KEY_NO_HEADINGS, NULL, 0, "no line of headings", 0},
    {"color", KEY_COLOR, "WHEN", OPTION_ARG_OPTIONAL,
     "always, never, or auto: on a terminal, unless NO_COLOR is set. Without WHEN: always", 0},
    {0},
};

static error_t parse_option(int key, char *argument, struct argp_state *state)
{
    struct options *options = state->input;
    switch (key) {
    case 'a':
        options->all = true;
        return 0;
    case 'j':
        options->json = true;
        return 0;
    case KEY_NO_HEADINGS:
        options->no_headings = true;
        return 0;
    case KEY_COLOR:
        if (fks_color_parse(&options->color, argument))
            argp_error(state, "--color: '%s' is none of auto, always, never", argument);
        return 0;
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &options->where;
        return 0;
    }
    return ARGP_ERR_UNKNOWN;
}

static const struct argp parser = {
    .options = option_list,
    .parser = parse_option,
    .children = fks_target_previous_child,
    .doc =
        "The processes of every server with forksafe, as pg_stat_activity shows a database's. "
        "TARGET "
        "is an ini, an instance, a journal or the pid of any of its processes; none means all that "
        "can "
        "be found.\v"
        "Shown are the processes that live; with --all also those that have ended and whose place "
        "in "
        "the journal nobody has taken since. Of a master that has ended (--previous, or TARGET is "
        "its "
        "journal) all of them.\n\n"
        "INSTANCE and MASTER where there are several. SLOT is the worker's stable number, GEN the "
        "generation: one more at each reload. STATE is starting, ready or exiting as the process "
        "said "
        "last, and of one that has ended: exited (reaped by its master; with its status or "
        "signal), "
        "gone (its master found it dead) or dead (nobody has noticed yet). SINCE is how long it "
        "has been in "
        "that state. HOOKS counts the runs of subscribers in the process, FAILED those of them "
        "that "
        "were not ok, SLOWEST is the longest. SCRIPTS is the version of the scripts: the same for "
        "the "
        "same texts; with \"stale\" where a file is another one by now, or the process is of an "
        "older "
        "generation than its master's scripts.\n\n"
        "With --json the members of a process are those that `forksafe debug` gives it, and "
        "\"instance\" and \"scripts\": {\"version\": text or null, \"stale\": true, false or null "
        "where "
        "it cannot be told}.\n\n"
        "Exit codes: 0 fine, also where nothing lives, 1 it could not be done, 2 usage, 3 no such "
        "instance, 4 permission, 5 a journal of another version.",
};

/* What is shown, with what belongs to all rows of one master. */
struct view {
    const struct options *options;
    const struct fks_target *targets;
    size_t count;
    struct fks_ps_rows rows;
    struct fks_ps_scripts **scripts; /* of each target, of each of its readers */
    uint64_t now;
};

static struct fks_ps_scripts scripts_of(const struct view *view, const struct fks_ps_row *row)
{
    return fks_ps_scripts_of(&view->scripts[row->target - view->targets][row->reader],
                             row->slot.slot.generation);
}

/* --- as JSON --- */

static int print(const char *text, size_t length, void *data)
{
    return fwrite(text, 1, length, data) == length ? 0 : -1;
}

/* NULL: no memory. */
static json_t *process_of(const struct fks_debug_writing *writing, const struct view *view,
                          const struct fks_ps_row *row, const struct fks_reader_slot *slot)
{
    const struct fks_target *target = row->target;
    struct fks_ps_scripts scripts = scripts_of(view, row);
    json_t *process = fks_debug_process(writing, target->readers[row->reader], slot);
    json_t *object =
        json_pack("{so}", "instance", fks_json_text(target->instance, strlen(target->instance)));
    json_object_update(object, process);
    json_decref(process);
    json_object_set_new(object, "scripts",
                        json_pack("{ss?, so}", "version", *scripts.version ? scripts.version : NULL,
                                  "stale",
                                  scripts.stale < 0 ? json_null() : json_boolean(scripts.stale)));
    return object;
}

static int print_json(const struct view *view, struct fks_error *error)
{
    struct fks_debug_writing writing = {0};
    struct fks_json_stream *stream = &writing.stream;
    fks_json_begin(stream, print, stdout, 2);
    fks_json_member(stream, "schema", json_string(SCHEMA));
    fks_json_member(stream, "generated_at", fks_json_time(stream, view->now, 3));
    fks_json_list(stream, "processes");
    for (size_t i = 0; i < view->rows.count && !stream->failed; i++) {
        const struct fks_ps_row *row = &view->rows.items[i];
        struct fks_reader_slot slot;
        if (fks_reader_slot_read(row->target->readers[row->reader], row->slot.index, &slot, NULL) >
            0)
            fks_json_item(stream, process_of(&writing, view, row, &slot));
    }
    fks_json_list_end(stream);
    int rc = fks_json_finish(stream);
    putchar('\n');
    return rc && !ferror(stdout) ? fks_fail(error, FORKSAFE_ENOMEM, "no memory for the processes")
                                 : 0;
}

/* --- as a table --- */

enum column {
    INSTANCE,
    MASTER,
    ROLE,
    SLOT,
    PID,
    GEN,
    STATE,
    SINCE,
    HOOKS,
    FAILED,
    SLOWEST,
    SCRIPTS
};

static const struct {
    const char *heading;
    int flags;
} columns[] = {
    [INSTANCE] = {"INSTANCE", 0},
    [MASTER] = {"MASTER", SCOLS_FL_RIGHT},
    [ROLE] = {"ROLE", 0},
    [SLOT] = {"SLOT", SCOLS_FL_RIGHT},
    [PID] = {"PID", SCOLS_FL_RIGHT},
    [GEN] = {"GEN", SCOLS_FL_RIGHT},
    [STATE] = {"STATE", 0},
    [SINCE] = {"SINCE", SCOLS_FL_RIGHT},
    [HOOKS] = {"HOOKS", SCOLS_FL_RIGHT},
    [FAILED] = {"FAILED", SCOLS_FL_RIGHT},
    [SLOWEST] = {"SLOWEST", SCOLS_FL_RIGHT},
    [SCRIPTS] = {"SCRIPTS", 0},
};

#define COLUMNS (sizeof columns / sizeof *columns)

struct table {
    struct libscols_table *table;
    struct libscols_line *line;
    int place[COLUMNS]; /* of the column in the table; -1: not shown */
    bool failed;        /* no memory */
};

static void set(struct table *table, enum column column, const char *text)
{
    if (table->place[column] >= 0 &&
        scols_line_set_data(table->line, (size_t)table->place[column], text))
        table->failed = true;
}

static void set_number(struct table *table, enum column column, long long number)
{
    char text[24];
    snprintf(text, sizeof text, "%lld", number);
    set(table, column, text);
}

static void set_tone(struct table *table, enum column column, enum fks_tone tone)
{
    struct libscols_cell *cell = scols_line_get_cell(table->line, (size_t)table->place[column]);
    if (cell && tone != FKS_TONE_PLAIN && scols_cell_set_color(cell, fks_tone_sequence(tone)))
        table->failed = true;
}

/* "exited 1", "exited SIGKILL": with how it ended. */
static void set_state(struct table *table, const struct fks_reader_slot *slot)
{
    const char *state = fks_debug_state(slot);
    const char *name = sigabbrev_np(slot->slot.exit_signal);
    enum fks_tone tone = fks_tone_of(state);
    char text[64];
    snprintf(text, sizeof text, "%s", state);
    if (slot->slot.state == FORKSAFE_STATE_EXITED && slot->slot.exit_signal && name)
        snprintf(text, sizeof text, "%s SIG%s", state, name);
    else if (slot->slot.state == FORKSAFE_STATE_EXITED && slot->slot.exit_signal)
        snprintf(text, sizeof text, "%s signal %d", state, (int)slot->slot.exit_signal);
    else if (slot->slot.state == FORKSAFE_STATE_EXITED)
        snprintf(text, sizeof text, "%s %d", state, (int)slot->slot.exit_status);
    if (slot->slot.state == FORKSAFE_STATE_EXITED &&
        (slot->slot.exit_signal || slot->slot.exit_status))
        tone = FKS_TONE_BAD;
    set(table, STATE, text);
    set_tone(table, STATE, tone);
}

static void set_scripts(struct table *table, const struct fks_ps_scripts *scripts)
{
    char text[32];
    snprintf(text, sizeof text, "%s%s", *scripts->version ? scripts->version : "-",
             scripts->stale > 0 ? " stale" : "");
    set(table, SCRIPTS, text);
    set_tone(table, SCRIPTS, scripts->stale > 0 ? FKS_TONE_BUSY : FKS_TONE_PLAIN);
}

/* Of one whose end nobody has noticed yet it is not known when that was. */
static void set_age(struct table *table, const struct fks_reader_slot *slot, uint64_t now)
{
    uint64_t since = slot->slot.ended ? slot->slot.ended : slot->alive ? slot->slot.state_since : 0;
    char age[FKS_SHORT];
    if (since)
        fks_age_text(age, now > since ? now - since : 0);
    set(table, SINCE, since ? age : "-");
}

static void set_cells(struct table *table, const struct view *view, const struct fks_ps_row *row)
{
    const struct forksafe_slot *slot = &row->slot.slot;
    const struct fks_target *target = row->target;
    struct fks_ps_scripts scripts = scripts_of(view, row);
    char slowest[FKS_SHORT];
    char *instance = fks_terminal_text(target->instance, strlen(target->instance));
    table->failed = table->failed || !instance;
    set(table, INSTANCE, instance);
    free(instance);
    set_number(table, MASTER, fks_reader_header(target->readers[row->reader])->master_pid);
    set(table, ROLE,
        !row->slot.settled                 ? "-"
        : slot->role < FORKSAFE_ROLE_COUNT ? fks_role_names[slot->role]
                                           : "unknown");
    set(table, SLOT, "-");
    if (slot->worker > 0)
        set_number(table, SLOT, slot->worker);
    set_number(table, PID, row->slot.pid);
    set_number(table, GEN, slot->generation);
    set_state(table, &row->slot);
    set_age(table, &row->slot, view->now);
    set_number(table, HOOKS, slot->runs);
    set_number(table, FAILED, slot->failed);
    set_tone(table, FAILED, slot->failed ? FKS_TONE_BAD : FKS_TONE_PLAIN);
    set(table, SLOWEST, slot->runs ? fks_duration_text(slowest, slot->slowest_ns) : "-");
    set_scripts(table, &scripts);
}

static bool has_several_masters(const struct view *view)
{
    for (size_t i = 0; i < view->count; i++)
        if (view->targets[i].reader_count > 1)
            return true;
    return false;
}

static void add_columns(struct table *table, const struct view *view)
{
    int place = 0;
    for (size_t i = 0; i < COLUMNS; i++) {
        bool is_shown = i == INSTANCE ? view->count > 1 : i != MASTER || has_several_masters(view);
        table->place[i] = is_shown ? place++ : -1;
        if (is_shown &&
            !scols_table_new_column(table->table, columns[i].heading, 0, columns[i].flags))
            table->failed = true;
    }
}

static int print_table(const struct view *view, struct fks_error *error)
{
    struct table table = {.table = scols_new_table()};
    if (!table.table)
        return fks_fail(error, FORKSAFE_ENOMEM, "no memory for the table");
    scols_table_enable_colors(table.table, fks_color_wanted(view->options->color, stdout));
    scols_table_enable_noheadings(table.table, view->options->no_headings);
    scols_table_enable_noencoding(table.table, 1); /* the texts are harmless already */
    add_columns(&table, view);
    for (size_t i = 0; i < view->rows.count && !table.failed; i++) {
        table.line = scols_table_new_line(table.table, NULL);
        table.failed = !table.line;
        if (table.line)
            set_cells(&table, view, &view->rows.items[i]);
    }
    if (!table.failed && view->rows.count)
        scols_print_table(table.table);
    scols_unref_table(table.table);
    return table.failed ? fks_fail(error, FORKSAFE_ENOMEM, "no memory for the table") : 0;
}

/* --- the whole --- */

static void note(const char *line)
{
    fprintf(stderr, "forksafe ps: left out: %s\n", line);
}

/* Processes that found no place in the journal are missing here. */
static void tell_refused(const struct fks_target *target)
{
    for (size_t i = 0; i < target->reader_count; i++) {
        const struct forksafe_journal_header *header = fks_reader_header(target->readers[i]);
        if (header->slots_refused)
            fprintf(
                stderr,
                "forksafe ps: master %d: %llu processes found the journal full and are not shown; "
                "raise forksafe.max_workers (%u)\n",
                (int)header->master_pid, (unsigned long long)header->slots_refused,
                header->slot_count);
    }
}

static int gather(struct view *view, struct fks_error *error)
{
    bool all = view->options->all || view->options->where.previous;
    int rc = 0;
    view->now = fks_now();
    view->scripts = calloc(view->count, sizeof *view->scripts);
    for (size_t i = 0; !rc && i < view->count; i++) {
        const struct fks_target *target = &view->targets[i];
        if (view->scripts)
            view->scripts[i] = calloc(target->reader_count, sizeof **view->scripts);
        if (!view->scripts || !view->scripts[i])
            return fks_fail(error, FORKSAFE_ENOMEM, "no memory for the processes");
        for (size_t j = 0; j < target->reader_count; j++)
            fks_ps_scripts_init(&view->scripts[i][j], target->readers[j]);
        rc = fks_ps_rows_add(&view->rows, target, all, error);
        tell_refused(target);
    }
    fks_ps_rows_sort(&view->rows);
    return rc;
}

static int show(struct view *view, struct fks_error *error)
{
    int rc = gather(view, error);
    if (!rc && !view->rows.count)
        fprintf(stderr, "forksafe ps: no process has recorded anything; `forksafe debug` tells the "
                        "status\n");
    if (!rc)
        rc = view->options->json ? print_json(view, error) : print_table(view, error);
    if (!rc && (fflush(stdout) || ferror(stdout)))
        rc = fks_fail(error, FORKSAFE_EJOURNAL, "standard output cannot be written to");
    for (size_t i = 0; view->scripts && i < view->count; i++)
        free(view->scripts[i]);
    free(view->scripts);
    fks_ps_rows_finish(&view->rows);
    return rc;
}

static int run(int argc, char **argv)
{
    struct options options = {0};
    fks_terminal_init();
    if (argp_parse(&parser, argc, argv, 0, NULL, &options))
        return FKS_EXIT_USAGE;
    struct fks_target *targets;
    size_t count;
    struct fks_error error;
    int rc = fks_target_open_all(&targets, &count, options.where.target, options.where.previous,
                                 note, &error);
    if (!rc) {
        struct view view = {.options = &options, .targets = targets, .count = count};
        rc = show(&view, &error);
    }
    fks_target_close_all(targets, count);
    return rc ? fks_command_fail("ps", &error) : FKS_EXIT_OK;
}

const struct fks_command fks_command_ps = {
    .name = "ps",
    .synopsis = "[--all] [--previous] [--json] [TARGET]",
    .summary = "every process of every server: state, hooks run, failed, slowest",
    .run = run,
};
