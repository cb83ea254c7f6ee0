/* SPDX-License-Identifier: MIT
 *
 * Fills a journal to its last record, for tests/bench/scale.sh and the specs: a master that forks
 * one child for every slot, and each child writes as a worker's hooks do, through the library's own
 * writer, until its ring has gone round. Then it prints the journal's path and stays until standard
 * input ends. fill_journal INI SUBSCRIBERS SCRIPTS LIVING   the last LIVING children stay alive as
 * long
 */
#include "core/journal.h"
#include "forksafe/forksafe.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define MORE_THAN_RING 8 /* runs of each child beyond what its ring holds */

static const char traceback[] =
    "%s/%05u.lua:12: cannot connect to the database: Connection refused\n"
    "stack traceback:\n\t[C]: in function 'error'\n"
    "\t%s/%05u.lua:12: in function 'connect'\n"
    "\t%s/%05u.lua:31: in function <%s/%05u.lua:27>";

static struct fks_journal *journal;
static struct fks_config config;
static const char *scripts; /* directory of 00001.lua ... */
static uint32_t subscribers;

static int fail(const struct fks_error *error)
{
    fprintf(stderr, "fill_journal: %s\n", error->text);
    return 1;
}

static int open_journal(const char *ini)
{
    struct fks_settings *settings;
    struct fks_error error;
    if (fks_settings_load(&settings, ini, NULL, NULL, 0, &error) ||
        fks_config_init(&config, settings, &error))
        return fail(&error);
    const struct fks_journal_spec spec = {
        .config = &config,
        .ini = ini,
        .app = "main",
        .container = "bench",
        .server_version = "1.0",
        .worker_uid = (uid_t)-1,
        .worker_gid = (gid_t)-1,
        .subscribers = subscribers,
    };
    if (fks_journal_open(&journal, &spec, &error))
        return fail(&error);
    fks_journal_next_generation(journal);
    fks_journal_add_hook(journal, "containers.bench.post_fork", FORKSAFE_POST_FORK);
    fks_journal_status(journal, "bench hook configured", "bench", "bench hook configured");
    return 0;
}

static void add_subscribers(void)
{
    for (uint32_t i = 1; i <= subscribers; i++) {
        char name[32], path[4096];
        snprintf(name, sizeof name, "subscriber-%05u", i);
        snprintf(path, sizeof path, "%s/%05u.lua", scripts, i);
        const struct fks_journal_subscriber entry = {
            .name = name, .path = path, .event = FORKSAFE_POST_FORK, .order = 50, .hash = i};
        fks_journal_add_subscriber(journal, &entry);
    }
}

/* One run; the last of a child fails. */
static void run(const struct forksafe_occasion *occasion, uint32_t subscriber, bool fails)
{
    struct fks_run one = {
        .hook = 0, .subscriber = subscriber, .event = FORKSAFE_POST_FORK, .occasion = occasion};
    fks_journal_begin(journal, &one);
    if (fails) {
        char text[4096];
        uint32_t n = subscriber + 1;
        int length =
            snprintf(text, sizeof text, traceback, scripts, n, scripts, n, scripts, n, scripts, n);
        fks_journal_error(journal, &one, text, (size_t)length);
    }
    fks_journal_end(journal, &one, fails ? FORKSAFE_OUTCOME_ERROR : FORKSAFE_OUTCOME_OK);
}

static void work(uint32_t worker, bool stays)
{
    const struct forksafe_occasion occasion = {.size = sizeof occasion,
                                               .role = FORKSAFE_ROLE_WORKER,
                                               .worker = (int32_t)worker,
                                               .forked = 1};
    uint32_t runs = config.records + MORE_THAN_RING;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    fks_journal_claim(journal, &occasion);
    fks_journal_fire(journal, 0);
    for (uint32_t i = 1; i <= runs; i++)
        run(&occasion, (worker * runs + i) % subscribers, i == runs);
    fks_journal_state(journal, FORKSAFE_STATE_READY);
    while (stays) /* NOLINT(bugprone-infinite-loop): until it is killed */
        pause();
    _exit(0);
}

static bool fork_all(pid_t *living, uint32_t stay)
{
    uint32_t children = config.max_workers - 1; /* one slot is the master's */
    for (uint32_t worker = 1; worker <= children; worker++) {
        bool stays = worker > children - stay;
        pid_t pid = fork();
        if (pid < 0)
            return false;
        if (pid == 0)
            work(worker, stays);
        if (stays) {
            living[worker - (children - stay) - 1] = pid;
            continue;
        }
        int status;
        if (waitpid(pid, &status, 0) != pid)
            return false;
        fks_journal_child_exit(journal, pid, WIFEXITED(status) ? WEXITSTATUS(status) : -1,
                               WIFSIGNALED(status) ? WTERMSIG(status) : 0);
    }
    return true;
}

static void end_all(const pid_t *living, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        if (living[i] <= 0)
            continue;
        kill(living[i], SIGKILL);
        waitpid(living[i], NULL, 0);
    }
}

int main(int argc, char **argv)
{
    if (argc != 5 || !(subscribers = (uint32_t)strtoul(argv[2], NULL, 10))) {
        fprintf(stderr, "usage: fill_journal INI SUBSCRIBERS SCRIPTS LIVING\n");
        return 2;
    }
    scripts = argv[3];
    if (open_journal(argv[1]))
        return 1;
    uint32_t stay = (uint32_t)strtoul(argv[4], NULL, 10);
    if (stay > config.max_workers - 1)
        stay = config.max_workers - 1;
    pid_t *living = calloc(stay + 1, sizeof *living);
    add_subscribers();
    fks_journal_claim(journal, &(struct forksafe_occasion){.size = sizeof(struct forksafe_occasion),
                                                           .role = FORKSAFE_ROLE_MASTER});
    bool filled = living && fork_all(living, stay);
    if (filled) {
        printf("%s\n", fks_journal_path(journal));
        fflush(stdout);
        while (getchar() != EOF)
            ;
    }
    if (living)
        end_all(living, stay);
    free(living);
    return filled ? 0 : 1;
}
