/* SPDX-License-Identifier: MIT
 *
 * The guards: for each promise to the host the one decision that keeps it, with a switch. A test of
 * a promise proves something only if it fails where the guard is off; tests/run.sh --guards shows
 * that. The product has no switch: there fks_guard() is the constant true. In the test build
 * (-DFORKSAFE_GUARDS=ON, which cannot be installed) the environment variable FORKSAFE_UNGUARDED
 * holds the number of the one promise whose guard is off. In every process, the commands too.
 */
#ifndef FORKSAFE_CORE_GUARDS_H
#define FORKSAFE_CORE_GUARDS_H

#include <stdbool.h>

/* X(number of the promise, name, "what the guard does") */
#define FKS_GUARDS(X)                                                                  \
    X(1, RUNAWAY, "a script that runs over its time is stopped")                       \
    X(2, MEMORY, "a VM's memory ends at its limit")                                    \
    X(3, NO_MEMORY, "what may fail for want of memory is done where that can be told") \
    X(4, RECURSION, "what recurses in C looks whether enough of the stack is left")    \
    X(5, THROWN, "a thrown value is made a text without trusting it")                  \
    X(6, BYTECODE, "code is loaded as text only")                                      \
    X(7, INI, "an ini's line is looked at before it is used")                          \
    X(8, JOURNAL, "what a journal says of itself is held against its file")            \
    X(9, SIGBUS, "a file's blocks are there before it is written through a map")       \
    X(10, COUNTS, "a count that several processes write is added to in one step")      \
    X(11, SYSTEM_CALLS, "a system call that failed is seen, and the host goes on")     \
    X(12, TRUST, "a script that somebody else could have written is not executed")     \
    X(13, SETUID, "a process with more rights than its user is left alone")            \
    X(14, STATE_FILES, "a file that somebody planted is not written to")               \
    X(15, SECRETS, "a setting's value is taken out of every text that leaves")         \
    X(16, INJECTION, "a name is escaped for the place where it is shown")              \
    X(17, PAGE, "a request for another host's name is refused")                        \
    X(18, THREADS, "a fork waits for no lock that another thread may hold")            \
    X(19, UNTOUCHED, "the host finds its process as it was once a hook has run")

enum fks_guard {
#define FKS_GUARD_NUMBER(number, name, text) FKS_GUARD_##name = (number),
    FKS_GUARDS(FKS_GUARD_NUMBER)
#undef FKS_GUARD_NUMBER
};

/* Whether the guard of this promise holds. May be asked anywhere, in a signal handler too: the
 * switch was read when the library or the command was loaded. */
#ifdef FORKSAFE_GUARDS
bool fks_guard(enum fks_guard guard);
#else
static inline bool fks_guard(enum fks_guard guard)
{
    (void)guard;
    return true;
}
#endif

#endif
