/* SPDX-License-Identifier: MIT
 *
 * `forksafe settings`: what registry.settings will hold, by the same function that fills it in a
 * server. Values are secrets until --reveal says otherwise. What is wrong with a forksafe.* key is
 * told here before a server has to tell it.
 */
#include "command.h"

#include <argp.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/config.h"
#include "core/settings.h"
#include "core/settings_text.h"

#define HIDDEN "(hidden)"

struct unit {
    const char *name;
    uint64_t factor;
};

struct arguments {
    const char *uri, *app;
    bool json, reveal;
    struct fks_pair *options;
    size_t option_count;
};

enum { KEY_JSON = 256, KEY_REVEAL, KEY_APP, KEY_SET };

static const struct argp_option options[] = {
    {"json", KEY_JSON, NULL, 0, "One JSON object, {\"settings\": {...}, \"global_conf\": {...}}",
     0},
    {"reveal", KEY_REVEAL, NULL, 0, "Show the values; without it each is \"" HIDDEN "\"", 0},
    {"app", KEY_APP, "NAME", 0, "The application [app:NAME]; wins over #APP", 0},
    {"set", KEY_SET, "NAME=VALUE", 0, "A name for %(NAME)s, as pserve takes it; may be repeated",
     0},
    {0},
};

static const char documentation[] =
    "Shows the settings that an application gets from its ini, and what forksafe takes from it.\v"
    "INI is a PasteDeploy ini, or one of forksafe's own with [forksafe] and [settings].\n\n"
    "What is wrong with forksafe.* keys is told on standard error, after the settings; such a key "
    "has its default. The "
    "exit code is 1 then, but with --json it is 0 whenever the settings could be read.";

/* "NAME=VALUE" into one more pair; the text is cut in two at the sign. */
static int add_option(struct arguments *arguments, char *text)
{
    char *sign = strchr(text, '=');
    if (!sign || sign == text || !fks_utf8_valid(text, strlen(text)))
        return -1;
    struct fks_pair *larger =
        realloc(arguments->options, (arguments->option_count + 1) * sizeof *larger);
    if (!larger)
        return -1;
    *sign = '\0';
    arguments->options = larger;
    larger[arguments->option_count++] = (struct fks_pair){.name = text, .value = sign + 1};
    return 0;
}

static error_t parse(int key, char *value, struct argp_state *state)
{
    struct arguments *arguments = state->input;
    switch (key) {
    case KEY_JSON:
        arguments->json = true;
        return 0;
    case KEY_REVEAL:
        arguments->reveal = true;
        return 0;
    case KEY_APP:
        arguments->app = value;
        return 0;
    case KEY_SET:
        if (add_option(arguments, value))
            argp_error(state, "--set takes NAME=VALUE, in UTF-8");
        return 0;
    case ARGP_KEY_ARG:
        if (arguments->uri)
            argp_error(state, "takes one INI");
        arguments->uri = value;
        return 0;
    case ARGP_KEY_NO_ARGS:
        argp_error(state, "needs an INI");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static json_t *pairs_object(const struct fks_pairs *pairs, bool reveal)
{
    json_t *object = json_object();
    for (size_t i = 0; object && i < pairs->count; i++) {
        json_t *value = json_string(reveal ? pairs->items[i].value : HIDDEN);
        if (!value || json_object_set_new(object, pairs->items[i].name, value)) {
            json_decref(object);
            return NULL;
        }
    }
    return object;
}

static int print_json(const struct fks_settings *settings, bool reveal)
{
    json_t *object = json_pack("{s:o, s:o}", "settings", pairs_object(&settings->settings, reveal),
                               "global_conf", pairs_object(&settings->global_conf, reveal));
    int code = object ? json_dumpf(object, stdout, JSON_INDENT(2)) : -1;
    json_decref(object);
    return code || putchar('\n') == EOF ? -1 : 0;
}

/* A text for the eye: further lines are indented as an ini has them, control characters are shown
 * as \xNN. */
static void print_text(const char *text)
{
    for (const unsigned char *c = (const unsigned char *)text; *c; c++) {
        if (*c == '\n')
            fputs("\n    ", stdout);
        else if ((*c < 0x20 && *c != '\t') || *c == 0x7f)
            printf("\\x%02x", *c);
        else if (*c == 0xc2 && c[1] >= 0x80 && c[1] <= 0x9f)
            printf("\\x%02x", *++c);
        else
            putchar(*c);
    }
}

static void print_pairs(const struct fks_pairs *pairs, bool reveal)
{
    for (size_t i = 0; i < pairs->count; i++) {
        print_text(pairs->items[i].name);
        fputs(" = ", stdout);
        print_text(reveal ? pairs->items[i].value : HIDDEN);
        putchar('\n');
    }
}

/* Values of keys as text; NULL: as the ini or the default has it. */
static const char *show_bool(char *text, bool value)
{
    return strcpy(text, value ? "true" : "false");
}

/* With the largest unit that needs no fraction; 0 has none. */
static const char *show_number(char *text, uint64_t value, const struct unit *units)
{
    while (value && value % units->factor)
        units++;
    sprintf(text, "%" PRIu64 "%s", value / units->factor, value ? units->name : "");
    return text;
}

static const struct unit no_units[] = {{"", 1}};
static const struct unit sizes[] = {{"G", 1u << 30}, {"M", 1u << 20}, {"K", 1u << 10}, {"", 1}};
static const struct unit times[] = {{"s", 1000000000}, {"ms", 1000000}, {"ns", 1}};

#define SHOW_path(text, value)      (value)
#define SHOW_text(text, value)      (value)
#define SHOW_list(text, value)      NULL
#define SHOW_bool(text, value)      show_bool(text, value)
#define SHOW_count(text, value)     show_number(text, value, no_units)
#define SHOW_size(text, value)      show_number(text, value, sizes)
#define SHOW_time(text, value)      show_number(text, value, times)
#define SHOW_on_error(text, value)  NULL
#define SHOW_lua_libs(text, value)  NULL
#define SHOW_log_level(text, value) NULL

/* A key as forksafe takes it; one that the ini has not is no secret. */
static void print_key(const char *name, const char *given, const char *fallback, const char *shown,
                      bool reveal)
{
    const char *text = shown ? shown : given ? given : fallback;
    printf("forksafe.%s = ", name);
    print_text(given && !reveal ? HIDDEN : *text ? text : "none");
    puts(given ? "" : " (default)");
}

static void print_config(const struct fks_settings *settings, const struct fks_config *config,
                         bool reveal)
{
    char text[32];
    puts("\nforksafe");
#define X(name, type, fallback, meaning)                                  \
    print_key(#name, fks_pairs_get(&settings->forksafe, #name), fallback, \
              SHOW_##type(text, config->name), reveal);
    FKS_CONFIG_KEYS(X)
#undef X
}

static void print_listing(const struct fks_settings *settings, const struct fks_config *config,
                          bool reveal)
{
    print_pairs(&settings->settings, reveal);
    puts("\nglobal_conf");
    print_pairs(&settings->global_conf, reveal);
    print_config(settings, config, reveal);
}

static int print(const struct fks_settings *settings, const struct fks_config *config,
                 const struct arguments *arguments)
{
    int code = 0;
    if (arguments->json)
        code = print_json(settings, arguments->reveal);
    else
        print_listing(settings, config, arguments->reveal);
    if (!code && !fflush(stdout) && !ferror(stdout))
        return FKS_EXIT_OK;
    fprintf(stderr, "forksafe settings: cannot write to standard output\n");
    return FKS_EXIT_FAILED;
}

/* Complaints come before there is anything to print and are told after it. */
struct complaints {
    char **lines;
    size_t count;
};

static void take_complaint(const struct fks_error *error, void *data)
{
    struct complaints *complaints = data;
    char **larger = realloc(complaints->lines, (complaints->count + 1) * sizeof *larger);
    if (!larger)
        return;
    complaints->lines = larger;
    larger[complaints->count] = strdup(error->text);
    complaints->count += larger[complaints->count] != NULL;
}

static void tell_complaints(struct complaints *complaints)
{
    for (size_t i = 0; i < complaints->count; i++) {
        fprintf(stderr, "forksafe settings: %s\n", complaints->lines[i]);
        free(complaints->lines[i]);
    }
    free(complaints->lines);
}

static int show(const struct arguments *arguments)
{
    struct fks_settings *settings;
    struct fks_config config;
    struct fks_error error;
    struct complaints complaints = {0};
    int code = fks_settings_load(&settings, arguments->uri, arguments->app, arguments->options,
                                 arguments->option_count, &error);
    if (code)
        return fks_command_fail("settings", &error);
    code = fks_config_init_lenient(&config, settings, take_complaint, &complaints, &error);
    if (code) {
        fks_settings_destroy(settings);
        return fks_command_fail("settings", &error);
    }
    code = print(settings, &config, arguments);
    fks_config_finish(&config);
    fks_settings_destroy(settings);
    bool wrong =
        complaints.count && !arguments->json; /* JSON is of the settings, which were read */
    tell_complaints(&complaints);
    return code ? code : wrong ? FKS_EXIT_FAILED : FKS_EXIT_OK;
}

static int run(int argc, char **argv)
{
    static const struct argp parser = {options, parse, "INI[#APP]", documentation,
                                       NULL,    NULL,  NULL};
    struct arguments arguments = {0};
    if (argp_parse(&parser, argc, argv, 0, NULL, &arguments))
        return FKS_EXIT_USAGE;
    int code = show(&arguments);
    free(arguments.options);
    return code;
}

const struct fks_command fks_command_settings = {
    "settings",
    "[--json] [--reveal] [--app NAME] [--set NAME=VALUE] INI[#APP]",
    "what registry.settings will hold; values are hidden unless --reveal",
    run,
};
