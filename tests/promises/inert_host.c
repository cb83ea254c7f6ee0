/* SPDX-License-Identifier: MIT
 *
 * A host that calls every function of the library and says what came back: run with more rights
 * than its user has (13_setuid_spec.lua), nothing may come of it.
 *
 *   inert_host [INI]      without INI the environment would name one
 */
#include "host.h"

#include <stdlib.h>
#include <sys/wait.h>

int main(int argc, char **argv)
{
    const char *ini = argc > 1 ? argv[1] : NULL;
    const struct forksafe_host host = {.size = sizeof host,
                                       .container = "promises",
                                       .environment = "a host",
                                       .ini = ini,
                                       .log = host_log};
    char *json = NULL;
    (void)!write(STDOUT_FILENO, "begin\n", 6);
    int prepared = forksafe_prepare(&host), checked = forksafe_check(&host);
    int opened = host_open(ini), verdict = host_emit(FORKSAFE_MASTER_READY, FORKSAFE_ROLE_MASTER);
    pid_t pid = fork();
    if (pid == 0)
        _exit(host_emit(FORKSAFE_WORKER_EXIT, FORKSAFE_ROLE_WORKER));
    int status = -1;
    waitpid(pid, &status, 0);
    json = forksafe_debug_json();
    int told = forksafe_status("a status", NULL, NULL);
    printf("prepare %d check %d open %d emit %d child %d json %d path %d status %d lines %d\n",
           prepared, checked, opened, verdict, status, json != NULL,
           forksafe_journal_path() != NULL, told, (int)host_lines);
    forksafe_free(json);
    return 0;
}
