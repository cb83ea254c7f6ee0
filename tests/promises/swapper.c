/* SPDX-License-Identifier: MIT
 *
 * Exchanges two names as fast as it can, in one step each time, until it is ended or its parent is:
 * who tries to have one file looked at and another one read (12_trusted_files_spec.lua).
 *
 *   swapper ONE OTHER
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>

int main(int argc, char **argv)
{
    if (argc != 3) {
        fprintf(stderr, "usage: swapper ONE OTHER\n");
        return 2;
    }
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    puts("swapping");
    fflush(stdout);
    while (renameat2(AT_FDCWD, argv[1], AT_FDCWD, argv[2], RENAME_EXCHANGE) == 0)
        ;
    perror("swapper");
    return 1;
}
