/* SPDX-License-Identifier: MIT
 *
 * The ini loader: whatever stands in the file is read, or is one error that names the file. A line
 * "##: file x" begins another file, x.ini beside it, for `config:`; "##: app NAME" asks for that
 * application, "##: option NAME=VALUE" gives one beside the ini, and "##: no file" and "##: folder"
 * are what may be found in its place. libFuzzer's process only.
 */
#include "fuzz.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/config.h"
#include "core/settings.h"

#define OPTIONS 4

/* What is asked of the loader beside the text itself. */
struct asked {
    const char *app;
    struct fks_pair options[OPTIONS];
    size_t count;
    int more; /* there is something else than app.ini */
};

static void count(const struct fks_error *complaint, void *data)
{
    fuzz_tell(complaint->text);
    fuzz_require(*complaint->text != '\0', "a wrong key is told");
    fuzz_require(!strchr(complaint->text, '\n'), "a wrong key is one line");
    ++*(size_t *)data;
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)fuzz_directory();
    return 0;
}

static void add_option(struct asked *asked, const char *text)
{
    char *value = strchr(text, '=');
    if (!value || asked->count == OPTIONS)
        return;
    *value = '\0';
    asked->options[asked->count++] = (struct fks_pair){(char *)text, value + 1, NULL, 0};
}

static void put_no_file(struct asked *asked, int folder)
{
    char path[256];
    snprintf(path, sizeof path, "%s/app.ini", fuzz_directory());
    (void)unlink(path);
    if (folder)
        (void)mkdir(path, 0755);
    asked->more = 1;
}

/* Writes the files that the parts are, and gathers what is asked. */
static void read_parts(struct asked *asked, struct fuzz_part *parts, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        char name[8] = "app.ini";
        const char *file = fuzz_word(&parts[i], "file");
        const char *option = fuzz_word(&parts[i], "option");
        if (fuzz_word(&parts[i], "app"))
            asked->app = fuzz_word(&parts[i], "app");
        if (option)
            add_option(asked, option);
        if (file)
            snprintf(name, sizeof name, "%c.ini", isalnum((unsigned char)*file) ? *file : '_');
        asked->more = asked->more || file;
        if (!strcmp(parts[i].head, "no file") || !strcmp(parts[i].head, "folder")) {
            put_no_file(asked, *parts[i].head == 'f');
            return;
        }
        if (i == 0 || file || parts[i].size)
            (void)fuzz_file(name, parts[i].bytes, parts[i].size);
    }
}

/* Both readings of the forksafe.* keys must agree on whether one is wrong. */
static void read_config(const struct fks_settings *settings)
{
    struct fks_config config;
    struct fks_error error = {0};
    size_t complaints = 0;
    fuzz_require(!fks_config_init_lenient(&config, settings, count, &complaints, &error),
                 "wrong keys have their defaults");
    (void)fks_config_list_has(config.includes, "forksafe.containers.uwsgi");
    (void)fks_asbool(fks_pairs_get(&settings->settings, "debug"));
    fks_config_finish(&config);
    int code = fks_config_init(&config, settings, &error);
    fuzz_require((code != 0) == (complaints != 0), "what is wrong is wrong both ways");
    if (!code)
        fks_config_finish(&config);
}

/* What is refused is refused in one line. */
static void load(const struct asked *asked)
{
    struct fks_settings *settings;
    struct fks_error error = {0};
    char path[256];
    snprintf(path, sizeof path, "%s/app.ini", fuzz_directory());
    if (!fks_settings_load(&settings, path, asked->app, asked->options, asked->count, &error)) {
        read_config(settings);
        fks_settings_destroy(settings);
        return;
    }
    fuzz_require(!settings, "a refused ini gives no settings");
    fuzz_tell(error.text);
    fuzz_require(*error.text != '\0', "an error is told");
    fuzz_require(!strchr(error.text, '\n'), "an error is one line");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct fuzz_part parts[FUZZ_PARTS];
    struct asked asked = {0};
    read_parts(&asked, parts, fuzz_split(data, size, "##: ", parts));
    load(&asked);
    if (asked.more)
        fuzz_empty("");
    return 0;
}
