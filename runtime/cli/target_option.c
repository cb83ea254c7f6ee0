/* SPDX-License-Identifier: MIT
 *
 * Reading TARGET and --previous from the command line.
 */
#include "target_option.h"

static const struct argp_option previous_options[] = {
    {"previous", 'p', NULL, 0,
     "the journal of the master that ended last, instead of those that live", 0},
    {0},
};

static error_t parse(int key, char *argument, struct argp_state *state)
{
    struct fks_target_option *option = state->input;
    switch (key) {
    case 'p':
        option->previous = true;
        return 0;
    case ARGP_KEY_ARG:
        if (option->target)
            argp_error(state, "one TARGET at most; '%s' is another", argument);
        option->target = argument;
        return 0;
    }
    return ARGP_ERR_UNKNOWN;
}

static const struct argp target_parser = {.parser = parse, .args_doc = "[TARGET]"};
static const struct argp target_previous_parser = {
    .options = previous_options, .parser = parse, .args_doc = "[TARGET]"};

const struct argp_child fks_target_child[] = {{&target_parser, 0, NULL, 0}, {0}};
const struct argp_child fks_target_previous_child[] = {{&target_previous_parser, 0, NULL, 0}, {0}};
