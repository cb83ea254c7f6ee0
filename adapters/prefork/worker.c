/* SPDX-License-Identifier: MIT
 *
 * A worker of forksafe prefork, from the fork to its end: gives back what belongs to the master,
 * runs the hooks, then the work. Runs in the child only. No uv_ function may be called here: the
 * event loop in this memory is the master's, and what a child does to its epoll set happens in the
 * master. The process ends with _exit: the exit handlers in this memory are the master's too.
 */
#include "prefork.h"

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "core/worker_script.h"

/* What ends a worker in an orderly way. */
static const int stop_signals[] = {SIGTERM, SIGINT, SIGQUIT};

/* A worker script may sit in stdio with a stream's lock held, and is not waited for. */
static bool script_runs;

_Noreturn static void leave(int status)
{
    if (!script_runs)
        fflush(NULL); /* what hooks with the full library set wrote */
    else if (ftrylockfile(stdout) == 0)
        fflush_unlocked(stdout);
    _exit(status);
}

/* What the verdict of one event asks this process to exit with; 0: go on. */
static int fire(const struct fks_prefork_birth *birth, enum forksafe_event event, bool app_loaded)
{
    const struct forksafe_occasion occasion = {
        .size = sizeof occasion,
        .role = FORKSAFE_ROLE_WORKER,
        .worker = birth->worker,
        .forked = 1,
        .app_loaded = app_loaded,
    };
    int verdict = forksafe_emit(event, &occasion);
    if (verdict == FORKSAFE_RETIRE) {
        birth->told->retired[birth->worker - 1] = getpid();
        return FKS_PREFORK_RETIRED;
    }
    if (verdict != FORKSAFE_STOP)
        return 0;
    birth->told->stop = 1;
    return FKS_PREFORK_STOPPED;
}

/* The orderly end: WorkerExit runs whatever the status, for what was set up has to be taken down.
 */
_Noreturn static void end(const struct fks_prefork_birth *birth, int status, bool app_loaded)
{
    int asked = fire(birth, FORKSAFE_WORKER_EXIT, app_loaded);
    leave(asked ? asked : status);
}

static void add_stop_signals(sigset_t *set)
{
    for (size_t i = 0; i < sizeof stop_signals / sizeof *stop_signals; i++)
        sigaddset(set, stop_signals[i]);
}

/* From a copy of the master to a process of its own. The order matters. */
static void settle(const struct fks_prefork_birth *birth)
{
    static const int numbers[] = {
#define X(number, action) number,
        FKS_PREFORK_SIGNALS(X)
#undef X
    };
    /* First, while all signals are still blocked: libuv's handlers write into a pipe that the
     * master reads, so that a TERM for this child would stop the master. */
    for (size_t i = 0; i < FKS_PREFORK_SIGNAL_COUNT; i++)
        sigaction(numbers[i], &birth->actions[i], NULL);

    /* The epoll set is shared with the master, not copied. libuv's other descriptors lead nowhere
     * without it; its lock pipe has to keep its number, which libuv's own fork handler closes in a
     * child of this child. */
    close(birth->loop_fd);

    /* A worker does not outlive its master; it may have died before we asked to be told. */
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != birth->master)
        _exit(0);

    /* Signals again, but those that end a worker wait until its hooks have run. */
    sigset_t mask = birth->mask;
    add_stop_signals(&mask);
    sigprocmask(SIG_SETMASK, &mask, NULL);
}

static void tell_worker(const struct fks_prefork_birth *birth)
{
    char number[16];
    snprintf(number, sizeof number, "%d", birth->worker);
    setenv("FORKSAFE_WORKER", number, 1);
}

_Noreturn static void become_command(const struct fks_prefork_birth *birth)
{
    char *const *command = birth->plan->command;
    tell_worker(birth);
    fflush(NULL);
    sigprocmask(SIG_SETMASK, &birth->mask, NULL);
    execvp(command[0], command);
    int error = errno;
    fks_prefork_log("worker %d: cannot run '%s': %s; is it the right path?", birth->worker,
                    command[0], strerror(error));
    _exit(error == ENOENT ? 127 : 126); /* as a shell says it */
}

/* A worker script knows nothing of signals, so a thread ends the process for it: in the middle of
 * the script, which may sit in a blocking call. Whoever comes first, the script's end or the
 * signal, runs WorkerExit. */
static sem_t stop_asked;
static atomic_flag ending = ATOMIC_FLAG_INIT;

static void ask_to_stop(int number)
{
    int error = errno;
    sem_post(&stop_asked);
    errno = error;
}

_Noreturn static void end_script(const struct fks_prefork_birth *birth, int status)
{
    while (atomic_flag_test_and_set(&ending))
        pause(); /* the other thread ends the process */
    end(birth, status, true);
}

static void *await_stop(void *data)
{
    while (sem_wait(&stop_asked) < 0)
        ;
    end_script(data, 0);
}

static void watch_for_stop(const struct fks_prefork_birth *birth)
{
    sem_init(&stop_asked, 0, 0);
    sigset_t all, mask;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &mask); /* handlers run in the script's thread */
    pthread_t thread;
    int error = pthread_create(&thread, NULL, await_stop, (void *)birth);
    sigprocmask(SIG_SETMASK, &mask, NULL);
    if (error) {
        fks_prefork_log("worker %d: no thread for its signals: %s; it will end without WorkerExit",
                        birth->worker, strerror(error));
        return;
    }
    struct sigaction action = {.sa_handler = ask_to_stop, .sa_flags = SA_RESTART};
    for (size_t i = 0; i < sizeof stop_signals / sizeof *stop_signals; i++)
        sigaction(stop_signals[i], &action, NULL);
}

_Noreturn static void run_script(const struct fks_prefork_birth *birth)
{
    tell_worker(birth);
    watch_for_stop(birth);
    script_runs = true;
    sigprocmask(SIG_SETMASK, &birth->mask, NULL);
    int status = fks_worker_script_run(birth->script, birth->plan->ini, birth->worker);
    end_script(birth, status);
}

static void wait_for_stop(void)
{
    sigset_t set;
    int number;
    sigemptyset(&set);
    add_stop_signals(&set);
    sigwait(&set, &number);
}

_Noreturn void fks_prefork_worker_run(const struct fks_prefork_birth *birth)
{
    const struct fks_prefork_plan *plan = birth->plan;
    const bool waits = plan->once || (!plan->command && !birth->script);
    int asked = 0;

    settle(birth);
    asked = fire(birth, FORKSAFE_POST_FORK, false);
    if (asked)
        end(birth, asked, false);
    /* An application of our own loads nothing; a COMMAND or a script comes after the hooks. */
    asked = fire(birth, FORKSAFE_POST_WORKER_INIT, waits);
    if (asked)
        end(birth, asked, waits);

    if (!waits && plan->command)
        become_command(birth);
    if (!waits)
        run_script(birth);
    if (!plan->once)
        wait_for_stop();
    end(birth, 0, waits);
}
