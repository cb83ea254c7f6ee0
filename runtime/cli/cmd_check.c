/* SPDX-License-Identifier: MIT
 *
 * forksafe check: boots the real server under the audit, lets it fork, says what was not safe to
 * fork, and ends it; for CI. The server's own adapter is used where it has one, else it is
 * preloaded.
 */
#include "command.h"

#include <argp.h>
#include <errno.h>
#include <ftw.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "check.h"
#include "core/config.h"
#include "core/finding_marks.h"
#include "preload_environment.h"
#include "terminal.h"

enum {
    DEFAULT_WAIT = 30,
    LARGEST_WAIT = 3600,
    STEP = 100,          /* ms between two looks */
    QUIET = 500,         /* ms without a new worker, all of them ready, until the server is up */
    QUIET_UNTOLD = 1000, /* where workers do not say when they are ready */
};

struct plan {
    const char *name, *ini, *baseline, *written;
    unsigned wait;
    bool json;
    enum fks_color_when color;
    char **command;
    char directory[PATH_MAX]; /* ours, for journals and the ini; "": not made */
};

enum { KEY_BASELINE = 256, KEY_WRITE, KEY_WAIT, KEY_COLOR };

static const struct argp_option option_list[] = {
    {"baseline", KEY_BASELINE, "FILE", 0,
     "findings that are known and do not fail: an id a line, in which * is any text; # comments",
     0},
    {"write-baseline", KEY_WRITE, "FILE", 0,
     "write what is found as a baseline, and do not fail for it", 0},
    {"wait", KEY_WAIT, "SECONDS", 0, "how long the workers may take to be ready (30)", 0},
    {"json", 'j', NULL, 0, "one JSON object, with the findings of the debug object", 0},
    {"color", KEY_COLOR, "WHEN", OPTION_ARG_OPTIONAL,
     "always, never, or auto: on a terminal, unless NO_COLOR is set. Without WHEN: always", 0},
    {0},
};

static unsigned parse_wait(const char *text, struct argp_state *state)
{
    char *end;
    errno = 0;
    unsigned long seconds = strtoul(text, &end, 10);
    if (errno || end == text || *end || *text == '-' || seconds < 1 || seconds > LARGEST_WAIT)
        argp_error(state, "--wait: '%s' is not 1 to %d seconds", text, LARGEST_WAIT);
    return (unsigned)seconds;
}

static error_t parse_option(int key, char *argument, struct argp_state *state)
{
    struct plan *plan = state->input;
    switch (key) {
    case KEY_BASELINE:
        plan->baseline = argument;
        return 0;
    case KEY_WRITE:
        plan->written = argument;
        return 0;
    case KEY_WAIT:
        plan->wait = parse_wait(argument, state);
        return 0;
    case 'j':
        plan->json = true;
        return 0;
    case KEY_COLOR:
        if (fks_color_parse(&plan->color, argument))
            argp_error(state, "--color: '%s' is none of auto, always, never", argument);
        return 0;
    case ARGP_KEY_ARG:
        if (state->arg_num > 0)
            argp_error(state, "'%s': the command follows after --", argument);
        plan->ini = argument;
        return 0;
    case ARGP_KEY_END:
        if (!plan->command || !plan->command[0])
            argp_error(state, "no COMMAND after --");
        return 0;
    }
    return ARGP_ERR_UNKNOWN;
}

static const struct argp parser = {
    .options = option_list,
    .parser = parse_option,
    .args_doc = "[INI] -- COMMAND [ARGUMENT...]",
    .doc = "Starts COMMAND, a server that forks, waits until its workers are ready and no more are "
           "forked, "
           "prints what was not safe to fork, and ends it.\v"
           "COMMAND's own adapter tells, where it is configured to have one; else the one of "
           "`forksafe run` "
           "is preloaded. Where neither tells of a fork (a program that is linked statically, one "
           "that "
           "daemonises by itself), the processes are looked at from outside, as `forksafe doctor` "
           "does, and "
           "a note says so. Without INI that of the server, or of FORKSAFE_INI, is used; and where "
           "there is "
           "none the audit alone. What hooks have repaired in every worker is no failure.\n\n"
           "What COMMAND writes goes to standard error. It gets TERM, INT after 4 seconds and KILL "
           "after 8, "
           "and so does all that it has started and left behind. Journals are in a directory of "
           "their own that "
           "is removed (RUNTIME_DIRECTORY), unless COMMAND's ini says where.\n\n"
           "To begin in a project that has findings:\n\n"
           "  forksafe check --write-baseline forksafe.baseline -- gunicorn --preload app\n"
           "  forksafe check --baseline forksafe.baseline -- gunicorn --preload app\n\n"
           "Exit codes: 0 nothing found that is not known, 1 findings, or COMMAND did not start, "
           "ended "
           "early, forked no worker or had none ready in time, 2 usage. A signal that ends it ends "
           "COMMAND first.",
};

/* --- before --- */

static int check_ini(const char *ini, struct fks_error *error)
{
    struct fks_settings *settings;
    struct fks_config config = {0};
    int rc = fks_settings_load(&settings, ini, NULL, NULL, 0, error);
    if (rc)
        return rc;
    rc = fks_config_init(&config, settings, error);
    fks_settings_destroy(settings);
    if (!rc && !config.enabled)
        rc = fks_fail(error, FORKSAFE_EINI,
                      "%s: forksafe.enabled is false: nothing would be looked at; set it", ini);
    else if (!rc && !config.audit)
        rc = fks_fail(error, FORKSAFE_EINI,
                      "%s: forksafe.audit is off: nothing would be looked at; set it", ini);
    fks_config_finish(&config);
    return rc;
}

/* 0711 and what is in it open to all: servers give up their privileges at any time. */
static int make_directory(struct plan *plan, struct fks_error *error)
{
    const char *parent = getenv("TMPDIR");
    char runtime[PATH_MAX + 8];
    snprintf(plan->directory, sizeof plan->directory - 8, "%s/forksafe-check-XXXXXX",
             parent && *parent == '/' ? parent : "/tmp");
    if (!mkdtemp(plan->directory)) {
        int failed = errno;
        int rc = fks_fail(error, FORKSAFE_EACCESS, "%s cannot be made: %s; set TMPDIR",
                          plan->directory, strerror(failed));
        *plan->directory = '\0';
        return rc;
    }
    snprintf(runtime, sizeof runtime, "%s/run", plan->directory);
    if (chmod(plan->directory, 0711) || mkdir(runtime, 0700) || chmod(runtime, 01777) ||
        setenv("RUNTIME_DIRECTORY", runtime, 1))
        return fks_fail(error, FORKSAFE_EACCESS, "%s cannot be made: %s; set TMPDIR", runtime,
                        strerror(errno));
    return 0;
}

static int write_ini(char *path, size_t size, const struct plan *plan, struct fks_error *error)
{
    snprintf(path, size, "%s/check.ini", plan->directory);
    FILE *to = fopen(path, "we");
    bool done = to && fputs("[forksafe]\ninstance = check\n", to) >= 0;
    if ((to && fclose(to)) || !done || chmod(path, 0644))
        return fks_fail(error, FORKSAFE_EACCESS, "%s cannot be written: %s; set TMPDIR", path,
                        strerror(errno));
    return 0;
}

static int set_environment(const struct plan *plan, struct fks_error *error)
{
    char program[PATH_MAX], object[PATH_MAX], ini[PATH_MAX * 2];
    const char *named = plan->ini ? plan->ini : getenv("FORKSAFE_INI");
    int rc = 0;
    if (!fks_program_find(program, plan->command[0]))
        return fks_fail(error, FORKSAFE_ENOENT, "%s: there is no such program", plan->command[0]);
    if (!named || !*named)
        rc = write_ini(ini, sizeof ini, plan, error);
    else if (!fks_ini_absolute(ini, sizeof ini, named))
        rc = fks_fail(error, FORKSAFE_EINI, "%s: it has no absolute path", named);
    else
        rc = check_ini(ini, error);
    if (rc)
        return rc;
    const char *why = fks_preload_obstacle(program);
    if (!why)
        why = fks_preload_object(object);
    if (why)
        fprintf(stderr, "%s: %s: the preload adapter is left out: %s\n", plan->name,
                plan->command[0], why);
    if (!fks_preload_environment(why ? NULL : object, ini))
        return fks_fail(error, FORKSAFE_ENOMEM, "out of memory");
    return 0;
}

static int prepare(struct plan *plan, struct fks_error *error)
{
    struct fks_marks marks = {0};
    const char *off = getenv("FORKSAFE");
    if (off && !strcasecmp(off, "off"))
        return fks_fail(error, FORKSAFE_EOFF,
                        "FORKSAFE=off is in the environment: nothing would be looked at; unset it");
    int rc = plan->baseline ? fks_marks_read(&marks, plan->baseline, error) : 0;
    fks_marks_finish(&marks);
    if (!rc)
        rc = make_directory(plan, error);
    return rc ? rc : set_environment(plan, error);
}

static int remove_one(const char *path, const struct stat *info, int kind, struct FTW *where)
{
    (void)info;
    (void)kind;
    (void)where;
    (void)remove(path);
    return 0;
}

static void remove_directory(const struct plan *plan)
{
    if (*plan->directory)
        nftw(plan->directory, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* --- while it runs --- */

static unsigned long long milliseconds_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (unsigned long long)now.tv_sec * 1000 + (unsigned long long)now.tv_nsec / 1000000;
}

/* Why a server that has ended has not been checked; false: it has done all that it was there for.
 */
static bool ended_early(const struct fks_server *server, const struct fks_check_look *look,
                        struct fks_error *error)
{
    char how[128];
    if (look->told && server->status == 0)
        return false;
    fks_server_ending(server, how, sizeof how);
    fks_fail(error, FORKSAFE_ENOENT,
             "%s %s before its workers were ready; what it said stands above", server->command,
             how);
    return true;
}

/* Why a server was not up in time. Returns 0 where nothing is wrong with it but that it forks on.
 */
static int tell_lack(const struct plan *plan, const struct fks_server *server,
                     const struct fks_check_look *look, struct fks_error *error)
{
    if (look->failed)
        return fks_fail(
            error, FORKSAFE_ENOENT,
            "%u workers failed within %u s, and others came; what they said stands above",
            look->failed, plan->wait);
    if (!look->workers)
        return fks_fail(error, FORKSAFE_ENOENT,
                        "%s forked no worker within %u s; --wait gives it longer", server->command,
                        plan->wait);
    if (look->ready < look->workers)
        return fks_fail(error, FORKSAFE_ENOENT,
                        "%u of %u workers were not ready within %u s; --wait gives them longer",
                        look->workers - look->ready, look->workers, plan->wait);
    return 0;
}

/* Its workers are there, ready, and no others have come for a while: looks until then. Returns 0,
 * or negative with a line that says what it lacks. */
static int watch(const struct plan *plan, struct fks_server *server, struct fks_check_look *look,
                 struct fks_error *error)
{
    unsigned long long now = milliseconds_now(), until = now + plan->wait * 1000ull, since = now;
    uint64_t state = 0;
    for (; now < until; now = milliseconds_now()) {
        int rc = fks_server_wait(server, STEP, error);
        if (rc || server->interrupted)
            return rc;
        fks_check_look(look, server);
        if (server->alone)
            return ended_early(server, look, error) ? FORKSAFE_ENOENT : 0;
        now = milliseconds_now();
        if (look->state != state || look->ready < look->workers)
            since = now;
        state = look->state;
        if (look->workers && now - since >= (look->tells_ready ? QUIET : QUIET_UNTOLD))
            return 0;
    }
    return tell_lack(plan, server, look, error);
}

/* --- after --- */

static int print(const struct plan *plan, const struct fks_check_report *report,
                 struct fks_error *error)
{
    if (plan->json && fks_check_print_json(report, stdout))
        return fks_fail(error, FORKSAFE_ENOMEM, "what was found could not be printed");
    if (!plan->json)
        fks_check_print_text(report, stdout, fks_color_wanted(plan->color, stdout));
    if (fflush(stdout) || ferror(stdout))
        return fks_fail(error, FORKSAFE_ENOMEM, "standard output cannot be written to");
    return 0;
}

/* Prints what there is, and returns the exit code. */
static int report(const struct plan *plan, struct fks_check_report *all)
{
    struct fks_error error;
    int count = fks_check_compare(all, plan->baseline, &error);
    int rc = count < 0 ? count : print(plan, all, &error);
    if (!rc && plan->written && !all->problem)
        rc = fks_check_write_baseline(all, plan->written, &error);
    if (!rc)
        return all->problem || (count && !plan->written) ? FKS_EXIT_FAILED : FKS_EXIT_OK;
    fprintf(stderr, "forksafe check: %s\n", error.text);
    return FKS_EXIT_FAILED;
}

static void finish_report(struct fks_check_report *all)
{
    json_decref(all->findings);
    json_decref(all->unused);
    json_decref(all->notes);
    json_decref(all->containers);
}

/* Starts the server, looks and ends it. Returns 0, or negative with a line; *all may have findings
 * then too. */
static int examine(const struct plan *plan, struct fks_check_report *all, int *interrupted,
                   struct fks_error *error)
{
    struct fks_server server;
    struct fks_check_look look = {0};
    struct fks_error late;
    int rc = fks_server_start(&server, plan->command, error);
    if (!rc)
        rc = watch(plan, &server, &look, error);
    *interrupted = server.interrupted;
    if (look.forked && !server.interrupted) {
        all->findings = fks_check_findings(&look, &server, all->notes, rc ? &late : error);
        all->containers = fks_check_containers(&look, &server);
        all->seen_by = look.told ? "audit" : "doctor";
        all->workers = server.alone ? look.forked : look.workers;
        if (!rc && !all->findings)
            rc = error->code;
    }
    if (!fks_server_end(&server))
        fprintf(stderr, "forksafe check: %s did not end when asked (TERM, INT), and was killed\n",
                plan->command[0]);
    if (!server.alone)
        fprintf(stderr, "forksafe check: processes of %s still run: they are another user's\n",
                plan->command[0]);
    fks_check_look_finish(&look);
    return rc;
}

/* Returns an exit code; *interrupted is the signal that is to end this process too. */
static int check(const struct plan *plan, int *interrupted)
{
    struct fks_check_report all = {.unused = json_array(), .notes = json_array()};
    struct fks_error error;
    int rc = examine(plan, &all, interrupted, &error), code = FKS_EXIT_FAILED;
    all.problem = rc ? error.text : NULL;
    if (all.findings)
        code = report(plan, &all);
    if (rc)
        fprintf(stderr, "forksafe check: %s\n", error.text);
    finish_report(&all);
    return code;
}

static int run(int argc, char **argv)
{
    struct plan plan = {.name = argv[0], .wait = DEFAULT_WAIT};
    struct fks_error error;
    int interrupted = 0;
    fks_terminal_init();
    argc = fks_command_split(argc, argv, &plan.command);
    argp_parse(&parser, argc, argv, 0, NULL, &plan);
    int code = prepare(&plan, &error) ? FKS_EXIT_FAILED : FKS_EXIT_OK;
    if (code)
        fprintf(stderr, "forksafe check: %s\n", error.text);
    else
        code = check(&plan, &interrupted);
    remove_directory(&plan);
    if (!interrupted)
        return code;
    fprintf(stderr, "forksafe check: interrupted; %s has been ended\n", plan.command[0]);
    fks_server_pass_on(interrupted);
    return FKS_EXIT_FAILED;
}

const struct fks_command fks_command_check = {
    .name = "check",
    .synopsis = "[--baseline FILE] [--wait SECONDS] [--json] [INI] -- COMMAND [ARGUMENT...]",
    .summary = "boot a server, say what was not safe to fork, end it; for CI",
    .run = run,
};
