/* SPDX-License-Identifier: MIT
 *
 * forksafe serve: web page, live stream and metrics of a server, from its journals. A process of
 * its own that needs nothing of the server's: it may start, restart and die meanwhile.
 */
#include "command.h"

#include <argp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "serve_http.h"
#include "serve_listen.h"
#include "target_option.h"

#define MAX_HOSTS   32
#define DESCRIPTORS 4096 /* more than connections: journals are files too */

struct options {
    struct fks_target_option where;
    const char *listen;
    const char *hosts[MAX_HOSTS + 1];
    size_t host_count;
};

static const struct argp_option option_list[] = {
    {"listen", 'l', "ADDRESS:PORT", 0,
     "where to listen (127.0.0.1:9180); port 0 is any free one; or unix:PATH", 0},
    {"host", 'H', "NAME", 0,
     "a name that a request's Host header may have, beside localhost and the address", 0},
    {0},
};

static error_t parse_option(int key, char *argument, struct argp_state *state)
{
    struct options *options = state->input;
    switch (key) {
    case 'l':
        options->listen = argument;
        return 0;
    case 'H':
        if (options->host_count == MAX_HOSTS)
            argp_error(state, "no more than %d times --host", MAX_HOSTS);
        options->hosts[options->host_count++] = argument;
        return 0;
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &options->where;
        return 0;
    }
    return ARGP_ERR_UNKNOWN;
}

static const struct argp parser = {
    .options = option_list,
    .parser = parse_option,
    .children = fks_target_child,
    .doc =
        "Shows what ran in every worker: / is a page that follows it, /debug.json the debug "
        "object, /events what "
        "changes (server-sent events), /metrics for Prometheus, /instances.json, /healthz. TARGET "
        "is an "
        "ini, an instance, a journal or the pid of any of its processes; none means all that can "
        "be "
        "found.\v"
        "It reads the journals and needs nothing of the server, which may start, restart and end "
        "meanwhile: the last one is shown. There is no password: listen on the loopback interface "
        "or a UNIX socket, and "
        "put a proxy before it that asks for one.\n\n"
        "Exit codes: 0 ended by INT or TERM, 1 it could not be done, 2 usage, 3 no such instance, "
        "4 "
        "permission, 5 a journal of another version.",
};

/* --- life --- */

struct serving {
    uv_loop_t loop;
    uv_signal_t interrupt, terminate;
    struct fks_http http;
    struct fks_source source;
    struct fks_listen listen;
};

static void on_end(uv_signal_t *handle, int number)
{
    uv_stop(handle->loop);
}

static void take_signal(struct serving *serving, uv_signal_t *handle, int number)
{
    uv_signal_init(&serving->loop, handle);
    uv_signal_start(handle, on_end, number);
}

static void close_loop(struct serving *serving)
{
    uv_close((uv_handle_t *)&serving->interrupt, NULL);
    uv_close((uv_handle_t *)&serving->terminate, NULL);
    uv_run(&serving->loop, UV_RUN_DEFAULT);
    uv_loop_close(&serving->loop);
}

/* Prints where, and serves until a signal comes. */
static int serve(struct serving *serving, const struct options *options, struct fks_error *error)
{
    if (uv_loop_init(&serving->loop) < 0)
        return fks_fail(error, FORKSAFE_EOFF, "no event loop");
    take_signal(serving, &serving->interrupt, SIGINT);
    take_signal(serving, &serving->terminate, SIGTERM);
    int rc = fks_http_open(&serving->http, &serving->loop, serving->listen.fd, &serving->source,
                           options->hosts, error);
    if (!rc) {
        printf("forksafe serve: %s\n", serving->listen.url);
        fflush(stdout);
        uv_run(&serving->loop, UV_RUN_DEFAULT);
        fks_http_close(&serving->http);
    }
    close_loop(serving);
    fks_http_finish(&serving->http);
    fks_listen_close(&serving->listen, rc != 0);
    return rc;
}

static void raise_descriptor_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) || limit.rlim_cur >= DESCRIPTORS)
        return;
    limit.rlim_cur = limit.rlim_max < DESCRIPTORS ? limit.rlim_max : DESCRIPTORS;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
}

static int run(int argc, char **argv)
{
    static struct serving serving;
    struct options options = {.listen = "127.0.0.1:9180"};
    struct fks_error error;
    if (argp_parse(&parser, argc, argv, 0, NULL, &options))
        return FKS_EXIT_USAGE;
    signal(SIGPIPE, SIG_IGN);
    raise_descriptor_limit();
    int rc = fks_source_init(&serving.source, options.where.target, &error);
    if (!rc && error.code)
        fprintf(stderr, "forksafe serve: %s\n", error.text);
    if (!rc)
        rc = fks_listen_open(&serving.listen, options.listen, &error);
    if (!rc)
        rc = serve(&serving, &options, &error);
    fks_source_finish(&serving.source);
    return rc ? fks_command_fail("serve", &error) : FKS_EXIT_OK;
}

const struct fks_command fks_command_serve = {
    .name = "serve",
    .synopsis = "[--listen ADDRESS:PORT] [--host NAME] [TARGET]",
    .summary = "a web page, a live stream and metrics of what ran in every worker",
    .run = run,
};
