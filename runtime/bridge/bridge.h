/* SPDX-License-Identifier: MIT
 *
 * forksafe.python and forksafe.ruby: code of the application called from Lua, in the same process.
 * What is common to all languages is bridge.c (the Lua side) and tape.c (values as bytes); a
 * language is one entry of this table and a file of its own code that is run once a process.
 */
#ifndef FKS_BRIDGE_H
#define FKS_BRIDGE_H

#include <stdbool.h>
#include <stddef.h>

#include "core/luajit.h"

enum fks_bridge_outcome {
    FKS_BRIDGE_ANSWERED, /* tape: a status ("value", "absent", "error") and a value */
    FKS_BRIDGE_ABSENT,   /* this process has no such interpreter */
    FKS_BRIDGE_REFUSED,  /* it has one that must not be entered here and now */
    FKS_BRIDGE_FAILED,   /* it was entered, and gave no answer */
};

struct fks_bridge_answer {
    const char *text; /* REFUSED: why, and what to do; FAILED: what happened. Static storage */
    char *tape;       /* ANSWERED: the caller frees it */
    size_t length;
};

/* One language. */
struct fks_bridge {
    const char *language; /* "python": the name in forksafe.*, and in what errors say */
    const char *absent;   /* "no python here" */

    /* Looks up the interpreter's C API in what the process has loaded, once it is there. Master,
     * where the scripts are loaded: dlsym is not for a fresh child. */
    void (*find)(void);

    /* Enters the interpreter with a request (kind, what, where, arguments, keywords). Throws no Lua
     * error, and lets no exception of the language out. Any process; blocks as long as the called
     * code does, and for the interpreter's lock. */
    enum fks_bridge_outcome (*run)(const char *request, size_t length,
                                   struct fks_bridge_answer *answer);
};

extern const struct fks_bridge fks_bridge_python, fks_bridge_ruby;

/* `find` of every language. Master, at each opening. */
void fks_bridges_find(void);

/* lua_State with a table on top: sets its fields `python` and `ruby`. May throw. */
void fks_bridges_push(lua_State *L);

/* For an atfork prepare handler: whether the thread that forks is in os.fork(). Then `fire` is
 * called in the child by Python itself, after it has repaired itself there (os.register_at_fork),
 * and what is fired then may enter Python. Does not wait for the interpreter's lock. */
bool fks_python_defers_fork(void (*fire)(void));

/* The code of a language that the build has put into the library ("python.py"), NUL-terminated. */
const char *fks_bridge_file(const char *name, size_t *length);

#endif
