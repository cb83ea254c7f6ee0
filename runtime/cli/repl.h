/* SPDX-License-Identifier: MIT
 *
 * What the files of `forksafe repl` share: the session (a Lua state of its own over the journals),
 * the conversion between JSON and Lua, the line editor and its history. All of it runs in the
 * command's process, in one thread.
 */
#ifndef FKS_REPL_H
#define FKS_REPL_H

#include <stdbool.h>
#include <stddef.h>

#include <jansson.h>

#include "core/error.h"
#include "core/luajit.h"

/* What a session is over. Borrowed until fks_repl_destroy. */
struct fks_repl_spec {
    const char *target; /* NULL: all that can be found */
    bool previous;      /* journals of dead masters instead */
    bool json;          /* results are printed as JSON */
    bool interactive;   /* a person types at a terminal */
};

/* What became of a line. */
enum fks_repl_answer {
    FKS_REPL_OK,
    FKS_REPL_ERROR,      /* told on standard error */
    FKS_REPL_INCOMPLETE, /* waits for the lines after it */
    FKS_REPL_QUIT,
};

struct fks_repl;

/* Opens LuaJIT, resolves the target once and makes the session. Returns 0 with *out for
 * fks_repl_destroy, or negative with a line: what the target's resolution says, FORKSAFE_ELUAJIT or
 * FORKSAFE_ENOMEM. */
int fks_repl_create(struct fks_repl **out, const struct fks_repl_spec *spec,
                    struct fks_error *error);

/* NULL is harmless. */
void fks_repl_destroy(struct fks_repl *repl);

/* Gives a line to the session, which runs it (as long as that takes) and prints results. `name` and
 * `number` (from 1) are what an error calls its place. */
enum fks_repl_answer fks_repl_feed(struct fks_repl *repl, const char *line, const char *name,
                                   size_t number);

/* Forgets lines that wait for more. */
void fks_repl_cancel(struct fks_repl *repl);

/* No more lines come: FKS_REPL_ERROR where some were waiting. */
enum fks_repl_answer fks_repl_close(struct fks_repl *repl);

/* Makes the running line end with an error at its next instruction. Async-signal-safe. */
void fks_repl_interrupt(struct fks_repl *repl);

/* For TAB: what to add to the line (never NULL) and what to list (NULL: nothing). Borrowed until
 * the next call of the session. */
void fks_repl_complete(struct fks_repl *repl, const char *line, size_t length,
                       const char **addition, const char **list);

/* Texts of the session, borrowed until its next call: the greeting, and the prompt (of a line that
 * goes on). */
const char *fks_repl_banner(struct fks_repl *repl);
const char *fks_repl_prompt(struct fks_repl *repl, bool more);

/* Lines from the terminal until the person leaves. Returns an enum fks_exit. */
int fks_repl_interact(struct fks_repl *repl);

/* Pushes a JSON value as Lua has it: null is nil in an object and NULL (a light userdata) in a
 * list; integers above 2^53 lose their last digits. Lists have a metatable whose __columns are the
 * names of their objects' members. Throws where memory is short. */
void fks_repl_push_json(lua_State *lua, const json_t *value);

/* The value at `index` as JSON, the caller's; NULL with *problem (static) where it has none. Never
 * throws for what a value is. */
json_t *fks_repl_to_json(lua_State *lua, int index, const char **problem);

/* The lines that were typed, kept in a file of the person's own. */
struct fks_repl_history {
    char path[1024]; /* empty: not kept */
};

enum { FKS_REPL_HISTORY_LINES = 1000 };

/* Finds the file ($XDG_STATE_HOME/forksafe/repl_history, else below ~/.local/state) and makes its
 * directories (0700). Calls `each` with its last FKS_REPL_HISTORY_LINES lines, oldest first.
 * Returns 0, or negative with a line: then nothing is kept. */
int fks_repl_history_open(struct fks_repl_history *history,
                          void (*each)(const char *line, void *data), void *data,
                          struct fks_error *error);

/* Appends a line. A failure is nobody's loss and not told. */
void fks_repl_history_add(const struct fks_repl_history *history, const char *line);

#endif
