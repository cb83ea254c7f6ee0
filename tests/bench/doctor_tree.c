/* SPDX-License-Identifier: MIT
 *
 * A server for tests/bench/doctor.sh to look at: a master and N workers with M descriptors each,
 * half of them inherited (loopback connections, files, pipes, event loops), half their own. Prints
 * the pids, and ends with its standard input.
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

static struct sockaddr_in address = {.sin_family = AF_INET};

static void open_connections(int listener, int count)
{
    for (int i = 0; i < count; i += 2) { /* both ends are ours */
        int client = socket(AF_INET, SOCK_STREAM, 0);
        if (connect(client, (struct sockaddr *)&address, sizeof address) ||
            accept(listener, NULL, NULL) < 0)
            abort();
    }
}

/* Of every ten: six files, two pipes, an epoll set and an eventfd. */
static void open_others(const char *file, int count)
{
    for (int i = 0; i + 10 <= count; i += 10) {
        int ends[2];
        for (int j = 0; j < 6; j++)
            if (open(file, O_RDONLY) < 0)
                abort();
        if (pipe(ends) || epoll_create1(0) < 0 || eventfd(0, 0) < 0)
            abort();
    }
}

int main(int argc, char **argv)
{
    int workers = argc > 1 ? atoi(argv[1]) : 10, descriptors = argc > 2 ? atoi(argv[2]) : 100;
    socklen_t length = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 64) ||
        getsockname(listener, (struct sockaddr *)&address, &length))
        abort();
    open_connections(listener, descriptors / 5);
    open_others(argv[0], descriptors / 2 - descriptors / 5);
    printf("%d", (int)getpid());
    for (int i = 0; i < workers; i++) {
        fflush(stdout);
        pid_t pid = fork();
        if (pid < 0)
            abort();
        if (!pid) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            open_others(argv[0], descriptors / 2);
            for (;;)
                pause();
        }
        printf(" %d", (int)pid);
    }
    printf("\n");
    fflush(stdout);
    char byte;
    while (read(0, &byte, 1) > 0)
        ;
    return 0;
}
