/* SPDX-License-Identifier: MIT
 *
 * forksafe prefork [--workers N] [--once] INI [-- COMMAND ...]: the options of forksafe's own
 * container, and what it reads from the ini by itself. Runs in the process that becomes the master.
 */
#include "command.h"
#include "prefork.h"

#include <argp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/config.h"
#include "core/settings.h"

#define DEFAULT_WORKERS 2
#define DEFAULT_GRACE   30
#define MAX_GRACE       86400

enum { KEY_WORKERS = 'w', KEY_ONCE = 0x100, KEY_GRACE };

static const struct argp_option options[] = {
    {"workers", KEY_WORKERS, "N", 0, "Number of workers, 1 to 1024; 2 if not told", 0},
    {"once", KEY_ONCE, NULL, 0,
     "Workers run their events (PostFork, PostWorkerInit, WorkerExit), do no work and end; then "
     "the master ends: 0, or 1 if "
     "a worker failed",
     0},
    {"graceful-timeout", KEY_GRACE, "SECONDS", 0,
     "How long a worker may take to end after TERM before it gets KILL; 30 if not told", 0},
    {0},
};

static const char usage[] = "INI [-- COMMAND ...]";

static const char help[] =
    "Forks workers, runs the hooks of INI in them, and keeps them running.\v"
    "INI is INI or INI#APP; without it FORKSAFE_INI of the environment is taken. After its hooks a "
    "worker becomes "
    "COMMAND (with its number, from 1, in FORKSAFE_WORKER), or runs the Lua script that the ini "
    "names as "
    "forksafe.worker_script, or waits to be stopped.\n\n"
    "Signals of the master:\n"
    "  TERM        graceful stop: TERM to the workers, KILL after the timeout\n"
    "  INT, QUIT   quick stop: INT to the workers, KILL after 2 s; again: KILL\n"
    "  HUP         reload: ini and scripts again, then one worker after another\n"
    "  TTIN, TTOU  one worker more, one fewer\n"
    "  USR1, USR2  a line in the log, nothing else\n\n"
    "Exit status: 0 stopped in an orderly way; 1 stopped by a hook (on_error = stop_server), or "
    "not "
    "started (forksafe.required); 2 wrong arguments.";

static int parse_number(struct argp_state *state, const char *text, const char *what, int most)
{
    char *end;
    long number = strtol(text, &end, 10);
    if (end == text || *end || number < 1 || number > most)
        argp_error(state, "%s is '%s', and must be a number from 1 to %d", what, text, most);
    return (int)number;
}

static error_t parse_option(int key, char *argument, struct argp_state *state)
{
    struct fks_prefork_plan *plan = state->input;
    switch (key) {
    case KEY_WORKERS:
        plan->workers = parse_number(state, argument, "--workers", FKS_PREFORK_MAX_WORKERS);
        return 0;
    case KEY_GRACE:
        plan->grace = parse_number(state, argument, "--graceful-timeout", MAX_GRACE);
        return 0;
    case KEY_ONCE:
        plan->once = true;
        return 0;
    case ARGP_KEY_ARG:
        if (state->arg_num > 0)
            argp_error(state, "'%s': a command follows after --", argument);
        plan->ini = argument;
        return 0;
    }
    return ARGP_ERR_UNKNOWN;
}

static const struct argp parser = {
    .options = options, .parser = parse_option, .args_doc = usage, .doc = help};

static int run(int argc, char **argv)
{
    struct fks_prefork_plan plan = {.workers = DEFAULT_WORKERS, .grace = DEFAULT_GRACE};
    argc = fks_command_split(argc, argv, &plan.command);
    argp_err_exit_status = FKS_EXIT_USAGE;
    argp_parse(&parser, argc, argv, 0, NULL, &plan);

    if (plan.command && !plan.command[0]) {
        fprintf(stderr, "%s: no COMMAND after --; leave -- out for workers without one\n", argv[0]);
        return FKS_EXIT_USAGE;
    }
    if (!plan.ini)
        plan.ini = getenv("FORKSAFE_INI");
    if (!plan.ini || !*plan.ini) {
        fprintf(stderr,
                "%s: no INI, and FORKSAFE_INI is not set; usage: %s [--workers N] [--once] %s\n",
                argv[0], argv[0], usage);
        return FKS_EXIT_USAGE;
    }
    return fks_prefork_master_run(&plan);
}

const struct fks_command fks_command_prefork = {
    .name = "prefork",
    .synopsis = "[--workers N] [--once] INI [-- COMMAND ...]",
    .summary = "a pre-forking server of our own: hooks, then COMMAND or a Lua worker_script in "
               "each worker",
    .run = run,
};

int fks_prefork_script_read(const char *ini, char **script)
{
    struct fks_settings *settings;
    struct fks_config config = {0};
    int result = fks_settings_load(&settings, ini, NULL, NULL, 0, NULL);
    if (result < 0)
        return result;
    result = fks_config_init(&config, settings, NULL);
    fks_settings_destroy(settings);
    if (result < 0)
        return result;
    bool set = config.worker_script && *config.worker_script;
    char *path = set ? strdup(config.worker_script) : NULL;
    fks_config_finish(&config);
    if (set && !path)
        return FORKSAFE_ENOMEM;
    *script = path;
    return 0;
}
