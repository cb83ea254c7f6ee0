/* SPDX-License-Identifier: MIT
 *
 * The events: the one list from which come the enum, the names that scripts subscribe to, the file
 * names that subscribe by themselves, and the process each runs in. Hosts, readers and the library
 * share it.
 */
#ifndef FORKSAFE_EVENTS_H
#define FORKSAFE_EVENTS_H

/*  id                name                        file (.lua)       runs in           meaning */
#define FORKSAFE_EVENTS(X)                                                              \
    X(MASTER_READY, "ApplicationMasterReady", "masterready", "master",                  \
      "the master is up, before the first fork")                                        \
    X(PRE_FORK, "ApplicationPreFork", "prefork", "forking process",                     \
      "a worker is about to be forked")                                                 \
    X(POST_FORK, "ApplicationPostFork", "postfork", "worker", "just forked")            \
    X(POST_WORKER_INIT, "ApplicationPostWorkerInit", "postworkerinit", "worker",        \
      "the worker has loaded the application")                                          \
    X(WORKER_EXIT, "ApplicationWorkerExit", "workerexit", "worker",                     \
      "it is about to exit in an orderly way")                                          \
    X(CHILD_EXIT, "ApplicationChildExit", "childexit", "master", "a worker was reaped") \
    X(RELOAD, "ApplicationReload", "reload", "master", "an in-place reload")            \
    X(SHUTDOWN, "ApplicationShutdown", "shutdown", "master", "orderly end")

enum forksafe_event {
#define X(id, name, script, process, meaning) FORKSAFE_##id,
    FORKSAFE_EVENTS(X)
#undef X
        FORKSAFE_EVENT_COUNT
};

/*  What a process is to its container. */
#define FORKSAFE_ROLES(X)                                                              \
    X(WORKER, "worker") /* serves requests or jobs */                                  \
    X(MASTER, "master") /* forks the workers */                                        \
    X(HELPER, "helper") /* forked, but serves nothing: cache manager, mule, spooler */ \
    X(SINGLE, "single") /* no master: the one process does the work */                 \
    X(MOLD, "mold")     /* a worker from which other workers are forked */

enum forksafe_role {
#define X(id, name) FORKSAFE_ROLE_##id,
    FORKSAFE_ROLES(X)
#undef X
        FORKSAFE_ROLE_COUNT
};

#endif
