/* SPDX-License-Identifier: MIT
 *
 * forksafe repl: a Lua prompt over the debug object. Here: its options, and the lines that come
 * from them or from a pipe; at a terminal repl_line.c takes over. Reads journals only: works when a
 * worker is stuck, and after all of them have ended.
 */
#include "command.h"

#include <argp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "repl.h"
#include "target_option.h"

struct options {
    struct fks_target_option where;
    struct fks_repl_spec spec;
    const char **expressions;
    size_t expression_count;
};

static const struct argp_option option_list[] = {
    {"eval", 'e', "EXPR", 0, "evaluate EXPR, print what it returns, and leave; may be given again",
     0},
    {"json", 'j', NULL, 0, "print results as JSON, one a line", 0},
    {0},
};

static error_t parse_option(int key, char *argument, struct argp_state *state)
{
    struct options *options = state->input;
    switch (key) {
    case 'e':
        options->expressions[options->expression_count++] = argument;
        return 0;
    case 'j':
        options->spec.json = true;
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
    .children = fks_target_previous_child,
    .doc = "A Lua prompt over what the journal holds. TARGET is an ini, an instance, a journal or "
           "the pid of any of its processes; none means all that can be found.\v"
           "`debug_state` is the debug object as a table; `executed_hooks`, `processes`, "
           "`records`, `subscribers`, `hooks`, `masters` and `findings` are its lists. They are "
           "read anew at each line; `help` lists what else there is.\n\n"
           "From a pipe every line is run; one that is not finished goes on with the next. A line "
           "that fails is told on standard error, the lines after it still run, and the exit code "
           "is 1.",
};

/* The -e expressions in their order; the first that fails is the last. */
static int run_expressions(struct fks_repl *repl, const struct options *options)
{
    for (size_t i = 0; i < options->expression_count; i++) {
        char name[32] = "-e";
        if (options->expression_count > 1)
            snprintf(name, sizeof name, "-e[%zu]", i + 1);
        enum fks_repl_answer answer = fks_repl_feed(repl, options->expressions[i], name, 1);
        if (answer == FKS_REPL_INCOMPLETE)
            answer = fks_repl_close(repl);
        if (answer == FKS_REPL_QUIT)
            break;
        if (answer == FKS_REPL_ERROR)
            return FKS_EXIT_FAILED;
    }
    return FKS_EXIT_OK;
}

/* Lines from standard input. */
static int run_input(struct fks_repl *repl)
{
    char *line = NULL;
    size_t size = 0, number = 0;
    bool failed = false;
    for (ssize_t length; (length = getline(&line, &size, stdin)) >= 0;) {
        if (length && line[length - 1] == '\n')
            line[length - 1] = '\0';
        enum fks_repl_answer answer = fks_repl_feed(repl, line, "stdin", ++number);
        failed |= answer == FKS_REPL_ERROR;
        if (answer == FKS_REPL_QUIT)
            break;
    }
    free(line);
    failed |= fks_repl_close(repl) == FKS_REPL_ERROR;
    return failed ? FKS_EXIT_FAILED : FKS_EXIT_OK;
}

static int run_session(const struct options *options)
{
    struct fks_repl *repl;
    struct fks_error error;
    if (fks_repl_create(&repl, &options->spec, &error))
        return fks_command_fail("repl", &error);
    int code;
    if (options->expression_count)
        code = run_expressions(repl, options);
    else if (options->spec.interactive)
        code = fks_repl_interact(repl);
    else
        code = run_input(repl);
    fks_repl_destroy(repl);
    return code;
}

static int run(int argc, char **argv)
{
    struct options options = {.expressions = calloc((size_t)argc, sizeof(char *))};
    if (!options.expressions) {
        fprintf(stderr, "forksafe repl: out of memory\n");
        return FKS_EXIT_FAILED;
    }
    argp_parse(&parser, argc, argv, 0, NULL, &options);
    options.spec.target = options.where.target;
    options.spec.previous = options.where.previous;
    options.spec.interactive =
        !options.expression_count && isatty(STDIN_FILENO) && isatty(STDOUT_FILENO);
    int code = run_session(&options);
    free(options.expressions);
    return code;
}

const struct fks_command fks_command_repl = {
    "repl",
    "[-e EXPR]... [--json] [--previous] [TARGET]",
    "a Lua prompt over the debug object",
    run,
};
