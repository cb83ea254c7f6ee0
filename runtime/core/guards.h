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
#define FKS_GUARDS(X)                                                                    \
    X(1, RUNAWAY, "what hangs in one call after its time is jumped out of")              \
    X(2, MEMORY, "a VM's memory ends at its limit, not at four times that")              \
    X(3, NO_MEMORY, "memory that could not be had is seen before it is used")            \
    X(4, RECURSION, "what recurses in C looks whether enough of the stack is left")      \
    X(5, THROWN, "what __tostring made of a thrown value is used if it is a text")       \
    X(6, BYTECODE, "code is loaded as text only")                                        \
    X(7, INI, "an ini with a NUL byte is refused")                                       \
    X(8, JOURNAL, "what a journal says of itself is held against its file")              \
    X(9, SIGBUS, "a file's blocks are there before it is written through a map")         \
    X(10, COUNTS, "a slot counts on where its former owner ended")                       \
    X(11, SYSTEM_CALLS, "a directory that cannot be read is not taken for an empty one") \
    X(12, TRUST, "a script that somebody else could have written is not loaded")         \
    X(13, SETUID, "a process with more rights than its user is left alone")              \
    X(14, STATE_FILES, "a file that somebody planted is neither used nor replaced")      \
    X(15, SECRETS, "a setting's value is taken out of what a script threw")              \
    X(16, INJECTION, "a character that does more than show itself is escaped")           \
    X(17, PAGE, "a request that came by another host's name is refused")                 \
    X(18, THREADS, "what a thread held that a fork left behind is taken over")           \
    X(19, UNTOUCHED, "errno is after an event what it was before")

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
