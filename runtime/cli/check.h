/* SPDX-License-Identifier: MIT
 *
 * What the files of `forksafe check` share. check_server.c starts the server and ends it,
 * check_look.c reads what its journals say and who is ready, check_report.c compares with the
 * baseline and prints. All of it in the command's own process; nothing of the server is touched but
 * by signals.
 */
#ifndef FKS_CHECK_H
#define FKS_CHECK_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include "core/error.h"
#include "core/reader.h"
#include "doctor.h"

/* --- the server (check_server.c) --- */

struct fks_server {
    const char *command; /* its name, for messages; borrowed */
    pid_t pid;           /* of COMMAND itself: it may have daemonised since */
    bool ended;          /* that process has ended, as `status` of waitpid(2) tells */
    int status;
    bool alone;           /* nothing that COMMAND has started lives any more */
    int interrupted;      /* the signal that asks us to end; 0: none */
    struct fks_doctor at; /* all processes below this one, at the last fks_server_wait */
};

/* Becomes the parent of all that COMMAND leaves behind, and executes it with the environment of
 * this process; its standard output is our standard error. Returns 0, or negative with a line.
 * *server is for fks_server_end either way. */
int fks_server_start(struct fks_server *server, char **command, struct fks_error *error);

/* Waits for so long, or until something happens, and looks who is there. Reaps. Returns 0, or
 * FORKSAFE_ENOMEM with a line. */
int fks_server_wait(struct fks_server *server, unsigned milliseconds, struct fks_error *error);

/* Whether this process of `at` is a fork of its parent there, and whether it has such forks. */
bool fks_server_is_fork(const struct fks_server *server, size_t process);
bool fks_server_forks(const struct fks_server *server, size_t process);

/* Asks all that COMMAND has left to end, harder after some seconds, until nothing lives. Blocks no
 * longer than some 15 seconds. Returns whether it ended before it had to be killed. */
bool fks_server_end(struct fks_server *server);

/* Ends this process by the signal that interrupted it, as whoever sent it expects. */
void fks_server_pass_on(int signal);

/* "exited with status 3", "was ended by signal 9 (Killed)". */
void fks_server_ending(const struct fks_server *server, char *out, size_t size);

/* --- what is seen (check_look.c) --- */

struct fks_check_look {
    struct fks_reader **readers; /* journals that processes of the server have mapped */
    size_t count;
    bool told;        /* an audit looked when workers were forked */
    bool tells_ready; /* and a worker says itself when it is ready */
    unsigned workers; /* that live; without an audit the forks that do */
    unsigned forked;  /* in all */
    unsigned ready;   /* of those that live */
    unsigned failed;  /* that have ended with a failure */
    uint64_t state;   /* another number when a worker has come or gone */
};

/* Takes another look; zeros are the first. */
void fks_check_look(struct fks_check_look *look, const struct fks_server *server);

/* The findings, in a new list: as the debug object has them, or as the doctor, where no audit
 * looked. Adds sentences to `notes`. NULL with a line on failure. */
json_t *fks_check_findings(const struct fks_check_look *look, const struct fks_server *server,
                           json_t *notes, struct fks_error *error);

/* Whose adapters told, by name: a new list, without an audit an empty one. NULL: no memory. */
json_t *fks_check_containers(const struct fks_check_look *look, const struct fks_server *server);

void fks_check_look_finish(struct fks_check_look *look);

/* --- what is said (check_report.c) --- */

struct fks_check_report {
    json_t *findings; /* each gets a member "known" */
    json_t *unused;   /* patterns of the baseline that fit none */
    json_t *notes;
    json_t *containers;  /* whose adapters told */
    const char *seen_by; /* "audit" or "doctor" */
    unsigned workers;
    const char *problem; /* why the check could not be made as asked; NULL: it was */
};

/* Marks what the baseline (a path; NULL: none) has. Returns how many findings are left that nobody
 * knows and nothing repairs, or negative with a line. */
int fks_check_compare(struct fks_check_report *report, const char *baseline,
                      struct fks_error *error);

int fks_check_print_json(const struct fks_check_report *report, FILE *to);
void fks_check_print_text(const struct fks_check_report *report, FILE *to, bool color);

/* Writes all findings as a baseline. Returns 0, or negative with a line. */
int fks_check_write_baseline(const struct fks_check_report *report, const char *path,
                             struct fks_error *error);

#endif
