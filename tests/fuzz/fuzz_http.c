/* SPDX-License-Identifier: MIT
 *
 * The HTTP side of `forksafe serve`: the real server on a UNIX socket, with a dead server's journal
 * to show, and any bytes as a request. libFuzzer's process only.
 */
#include "fuzz.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "serve_http.h"
#include "serve_listen.h"

#define TURNS 200 /* of the loop, at most, for one request */

static uv_loop_t loop;
static struct fks_source source;
static struct fks_listen listening;
static struct fks_http http;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    static const char *const hosts[] = {NULL};
    struct fks_error error;
    char where[256];
    signal(SIGPIPE, SIG_IGN);
    setenv("RUNTIME_DIRECTORY", fuzz_directory(), 1);
    snprintf(where, sizeof where, "unix:%s/http.sock", fuzz_directory());
    fuzz_require(!fks_source_init(&source, NULL, &error), error.text);
    fuzz_require(!fks_listen_open(&listening, where, &error), error.text);
    uv_loop_init(&loop);
    fuzz_require(!fks_http_open(&http, &loop, listening.fd, &source, hosts, &error), error.text);
    return 0;
}

static int connect_to_it(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s", listening.path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    fuzz_require(fd >= 0 && !connect(fd, (struct sockaddr *)&address, sizeof address),
                 "it accepts");
    return fd;
}

/* Reads until the server has closed, or has had its turns (a live stream stays open). */
static size_t read_answer(int fd)
{
    static char answer[1 << 16];
    size_t total = 0;
    for (int turn = 0; turn < TURNS; turn++) {
        uv_run(&loop, UV_RUN_NOWAIT);
        ssize_t got = recv(fd, answer, sizeof answer, MSG_DONTWAIT);
        if (got == 0)
            break;
        if (got > 0)
            total += (size_t)got;
    }
    return total;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int fd = connect_to_it();
    (void)!send(fd, data, size, MSG_NOSIGNAL | MSG_DONTWAIT);
    shutdown(fd, SHUT_WR);
    (void)read_answer(fd);
    close(fd);
    for (int turn = 0; turn < 3; turn++)
        uv_run(&loop, UV_RUN_NOWAIT);
    return 0;
}
