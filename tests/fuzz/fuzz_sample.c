/* SPDX-License-Identifier: MIT
 *
 * A server's journal with everything in it, as real processes leave it: this one is the master, and
 * its children were workers. For the fuzzers of what reads journals.
 */
#include "fuzz.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/config.h"
#include "core/finding.h"
#include "core/journal.h"
#include "core/leader.h"
#include "core/settings.h"
#include "forksafe/forksafe.h"

static const struct {
    const char *hook, *name, *path;
    enum forksafe_event event;
} table[] = {
    {"containers.fuzz.fork", "postfork", "/hooks/postfork.lua", FORKSAFE_POST_FORK},
    {"containers.fuzz.fork", "10-db.postfork", NULL, FORKSAFE_POST_FORK},
    {"containers.fuzz.init", "warm \"caches\"\n", "/hooks/\x1b[2Jwarm.lua",
     FORKSAFE_POST_WORKER_INIT},
    {"containers.fuzz.exit", "childexit", "/hooks/childexit.lua", FORKSAFE_CHILD_EXIT},
};
#define ROWS (sizeof table / sizeof *table)

static uint32_t hooks[ROWS], subscribers[ROWS], leader;
static int finding;

static void add_tables(struct fks_journal *journal, const char *script)
{
    struct fks_error error;
    for (size_t i = 0; i < ROWS; i++) {
        hooks[i] = fks_journal_add_hook(journal, table[i].hook, table[i].event);
        const struct fks_journal_subscriber entry = {
            .name = table[i].name,
            .path = table[i].path ? table[i].path : script,
            .line = (uint32_t)i,
            .event = table[i].event,
            .hook = hooks[i],
            .order = (int32_t)i * 10,
            .hash = 42 + i,
            .mtime_ns = 1600000000000000000u,
        };
        subscribers[i] = fks_journal_add_subscriber(journal, &entry);
    }
    leader = fks_leader_add(journal, "migrations", &error);
    fks_journal_status(journal, "the server runs", "fuzz", "forksafe: 4 subscribers");
    fks_journal_status(journal, NULL, NULL, "forksafe: a line with \"quotes\" and \xff");
}

static void add_findings(struct fks_journal *journal)
{
    const struct fks_look look = {.begun = fks_now(), .descriptors = 9, .threads = 2};
    const struct fks_found_object connection = {.kind = FKS_FINDING_CONNECTION,
                                                .subject = "tcp 10.0.0.5:5432",
                                                .object = "socket:[4711]",
                                                .descriptor = 7};
    const struct fks_found_object epoll = {
        .kind = FKS_FINDING_EPOLL, .subject = "", .object = "", .descriptor = -1, .is_pending = 1};
    bool is_new;
    fks_findings_begin(journal, 1);
    finding = fks_findings_add(journal, &connection, &is_new);
    (void)fks_findings_add(journal, &epoll, &is_new);
    fks_findings_again(journal, finding, false);
    fks_findings_end(journal, &look);
}

static void run_one(struct fks_journal *journal, unsigned number,
                    const struct forksafe_occasion *occasion)
{
    static const char trace[] = "postfork.lua:3: no\nstack traceback:\n\t[C]: in function 'error'";
    size_t i = number % ROWS;
    struct fks_run run = {.hook = hooks[i],
                          .subscriber = subscribers[i],
                          .event = table[i].event,
                          .occasion = occasion};
    fks_journal_fire(journal, hooks[i]);
    fks_journal_begin(journal, &run);
    if (number % 3 == 1)
        fks_journal_error(journal, &run, trace, sizeof trace - 1);
    if (number % 7 != 6) /* one in seven never ends */
        fks_journal_end(journal, &run, (enum forksafe_outcome)(number % FORKSAFE_OUTCOME_COUNT));
}

void fuzz_journal_run(struct fks_journal *journal, unsigned number)
{
    const struct forksafe_occasion occasion = {.size = sizeof occasion,
                                               .role = FORKSAFE_ROLE_MASTER,
                                               .child_pid = (pid_t)number,
                                               .child_exit = number % 2 ? -1 : (int)number % 256,
                                               .child_signal = number % 2 ? SIGKILL : 0};
    fks_journal_claim(journal, &occasion);
    run_one(journal, number, &occasion);
}

/* A worker of its own: what it leaves behind, and how it ends, follows from its number. */
static void add_worker(struct fks_journal *journal, int worker)
{
    const struct forksafe_occasion occasion = {
        .size = sizeof occasion, .role = FORKSAFE_ROLE_WORKER, .worker = worker, .forked = 1};
    int status = 0;
    pid_t pid = fork();
    if (!pid) {
        fks_journal_claim(journal, &occasion);
        (void)fks_leader_take(journal, leader, worker);
        (void)fks_finding_arrive(journal, 1, finding, 2, 7);
        if (worker == 1)
            fks_finding_repair(journal, 1, finding, 2, true);
        for (unsigned i = 0; i < 9; i++)
            run_one(journal, i + (unsigned)worker, &occasion);
        if (worker == 2)
            raise(SIGKILL);
        fks_journal_state(journal, FORKSAFE_STATE_EXITING);
        _exit(worker);
    }
    fuzz_require(pid > 0 && waitpid(pid, &status, 0) == pid, "a worker can be forked");
    if (worker != 3) /* of one the master never hears */
        fks_journal_child_exit(journal, pid, WIFEXITED(status) ? WEXITSTATUS(status) : -1,
                               WIFSIGNALED(status) ? WTERMSIG(status) : 0);
}

struct fks_journal *fuzz_journal(const char *name, const char *ini)
{
    static struct fks_settings *settings; /* kept: the journal borrows from them */
    static struct fks_config config;
    struct fks_journal *journal;
    struct fks_error error;
    char script[256], path[256];
    snprintf(script, sizeof script, "%s", fuzz_file("10-db.postfork.lua", "return 1", 8));
    snprintf(path, sizeof path, "%s", fuzz_file(name, ini, strlen(ini)));
    fuzz_require(!fks_settings_load(&settings, path, NULL, NULL, 0, &error), error.text);
    fuzz_require(!fks_config_init(&config, settings, &error), error.text);
    const struct fks_journal_spec spec = {.config = &config,
                                          .ini = path,
                                          .app = "main",
                                          .container = "fuzz",
                                          .server_version = "fuzz 1",
                                          .worker_uid = (uid_t)-1,
                                          .worker_gid = (gid_t)-1};
    fuzz_require(!fks_journal_open(&journal, &spec, &error), error.text);
    fks_journal_next_generation(journal);
    add_tables(journal, script);
    add_findings(journal);
    for (int worker = 1; worker < 5; worker++)
        add_worker(journal, worker);
    fks_journal_sweep(journal);
    for (unsigned i = 0; i < 6; i++)
        fuzz_journal_run(journal, i);
    return journal;
}
