/* SPDX-License-Identifier: MIT
 *
 * The work of a `forksafe prefork` worker as a Lua script: a VM of its own, with the full library
 * set, after the hooks.
 */
#ifndef FKS_WORKER_SCRIPT_H
#define FKS_WORKER_SCRIPT_H

/* Runs the script in the calling process until it returns; `worker` is its first argument (`...`).
 * It is read by the rule for scripts (script.h), as one of the owner of `ini` (INI[#APP]). Errors
 * go to standard error with a traceback. Returns the exit status for the process: 0, or 1 where the
 * script failed. Blocks as long as the script does. */
int fks_worker_script_run(const char *path, const char *ini, int worker);

#endif
