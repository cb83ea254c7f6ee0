/* SPDX-License-Identifier: MIT
 *
 * forksafe doctor: what was not safe to fork in a running server, looked at from outside through
 * /proc. Nothing is loaded into the server or asked of it. Also the whole of `forksafe-doctor`, one
 * static file.
 */
#include "command.h"

#include <argp.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "doctor.h"
#include "terminal.h"

struct options {
    pid_t pid;
    bool json;
    enum fks_color_when color;
};

enum { KEY_COLOR = 256 };

static const struct argp_option option_list[] = {
    {"json", 'j', NULL, 0, "one JSON object (schema " FKS_DOCTOR_SCHEMA ")", 0},
    {"color", KEY_COLOR, "WHEN", OPTION_ARG_OPTIONAL,
     "always, never, or auto: on a terminal, unless NO_COLOR is set. Without WHEN: always", 0},
    {0},
};

static error_t parse_pid(struct options *options, const char *text, struct argp_state *state)
{
    char *end;
    errno = 0;
    long pid = strtol(text, &end, 10);
    if (options->pid)
        argp_error(state, "one PID; '%s' is another", text);
    if (errno || end == text || *end || pid < 1 || pid > 0x7fffffff)
        argp_error(state, "'%s' is no PID", text);
    options->pid = (pid_t)pid;
    return 0;
}

static error_t parse_option(int key, char *argument, struct argp_state *state)
{
    struct options *options = state->input;
    switch (key) {
    case 'j':
        options->json = true;
        return 0;
    case KEY_COLOR:
        if (fks_color_parse(&options->color, argument))
            argp_error(state, "--color: '%s' is none of auto, always, never", argument);
        return 0;
    case ARGP_KEY_ARG:
        return parse_pid(options, argument, state);
    case ARGP_KEY_NO_ARGS:
        argp_error(state, "which PID? That of any process of the server");
        return 0;
    }
    return ARGP_ERR_UNKNOWN;
}

static const struct argp parser = {
    .options = option_list,
    .parser = parse_option,
    .args_doc = "PID",
    .doc =
        "What was not safe to fork in a running server, with or without forksafe in it. PID is any "
        "of "
        "its processes: the processes above it that it was forked from (without an exec) and all "
        "below the topmost of them are looked at, through /proc.\v"
        "Findings: connections out of the server that several processes have open "
        "(shared-connection), "
        "event loops and the like that are shared (shared-epoll, shared-eventfd, shared-timerfd, "
        "shared-inotify, shared-io_uring, shared-signalfd), databases and files opened for writing "
        "before the fork (shared-database, shared-file), threads of the master that its workers "
        "lost "
        "(lost-thread), listening sockets left open for other programs (leaked-listener), GPUs "
        "(inherited-device). Not findings: standard streams, pipes and channels between the "
        "server's "
        "processes, listening sockets, accepted connections, logs that are appended to, journald "
        "and "
        "syslog.\n\n"
        "One's own processes need no privilege, others' need root. Which could not be read is "
        "said.\n\n"
        "Exit codes: 0 nothing found, 1 findings, 2 usage, 3 no such process, 4 permission: "
        "nothing "
        "could be read.",
};

static bool is_readable(const struct fks_doctor *doctor)
{
    for (size_t i = 0; i < doctor->process_count; i++)
        if (doctor->processes[i].readable)
            return true;
    return false;
}

int fks_doctor_collect(struct fks_doctor *doctor, pid_t pid, struct fks_error *error)
{
    *doctor = (struct fks_doctor){.asked = pid, .proc = opendir("/proc")};
    if (!doctor->proc)
        return fks_fail(error, FORKSAFE_EACCESS, "/proc cannot be read (%s): mount it",
                        strerror(errno));
    int rc = fks_doctor_tree(doctor, pid, error);
    if (rc)
        return rc;
    fks_doctor_fds(doctor);
    if (doctor->processes[0].gone)
        return fks_fail(error, FORKSAFE_ENOENT, "process %d ended while it was looked at",
                        (int)doctor->processes[0].pid);
    if (!is_readable(doctor))
        return fks_fail(error, FORKSAFE_EACCESS,
                        "process %d and those below it are another user's: run it as root",
                        (int)doctor->processes[0].pid);
    return 0;
}

static int exit_code(int error)
{
    return error == FORKSAFE_ENOENT    ? FKS_EXIT_NO_TARGET
           : error == FORKSAFE_EACCESS ? FKS_EXIT_DENIED
                                       : FKS_EXIT_FAILED;
}

static int run(int argc, char **argv)
{
    struct options options = {0};
    fks_terminal_init();
    if (argp_parse(&parser, argc, argv, 0, NULL, &options))
        return FKS_EXIT_USAGE;
    struct fks_doctor doctor;
    struct fks_error error;
    int rc = fks_doctor_collect(&doctor, options.pid, &error);
    if (!rc)
        rc = fks_doctor_judge(&doctor, &error);
    if (!rc && !options.json)
        fks_doctor_print_text(&doctor, stdout, fks_color_wanted(options.color, stdout));
    if (!rc && options.json && fks_doctor_print_json(&doctor, stdout))
        rc = fks_fail(&error, FORKSAFE_ENOMEM, "what was found could not be printed");
    if (!rc && (fflush(stdout) || ferror(stdout)))
        rc = fks_fail(&error, FORKSAFE_ENOMEM, "standard output cannot be written to");
    bool is_found = doctor.finding_count > 0;
    fks_doctor_finish(&doctor);
    if (!rc)
        return is_found ? FKS_EXIT_FAILED : FKS_EXIT_OK;
    fprintf(stderr, "forksafe doctor: %s\n", error.text);
    return exit_code(rc);
}

#ifdef FORKSAFE_DOCTOR_ALONE
int main(int argc, char **argv)
{
    argp_err_exit_status = FKS_EXIT_USAGE;
    argp_program_version = "forksafe-doctor " FORKSAFE_VERSION;
    return run(argc, argv);
}
#else
const struct fks_command fks_command_doctor = {
    .name = "doctor",
    .synopsis = "[--json] PID",
    .summary = "what was not safe to fork in any running server, from outside",
    .run = run,
};
#endif
