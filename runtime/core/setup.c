/* SPDX-License-Identifier: MIT
 *
 * From an ini to a VM that is ready to run. Master, before the first fork or at a reload.
 */
#include "setup.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bridge/bridge.h"
#include "reseed.h"

static void keep_complaint(const struct fks_error *complaint, void *data)
{
    struct fks_setup *setup = data;
    setup->failed++;
    if (setup->complaint_count == sizeof setup->complaints / sizeof *setup->complaints)
        return;
    setup->complaints[setup->complaint_count] = strdup(complaint->text);
    if (setup->complaints[setup->complaint_count])
        setup->complaint_count++;
}

int fks_setup_create(struct fks_setup **out, const char *ini, struct fks_error *error)
{
    *out = NULL;
    struct fks_setup *setup = calloc(1, sizeof *setup);
    if (!setup)
        return fks_fail(error, FORKSAFE_ENOMEM, "out of memory");
    int result = fks_settings_load(&setup->settings, ini, NULL, NULL, 0, error);
    if (!result)
        result =
            fks_config_init_lenient(&setup->config, setup->settings, keep_complaint, setup, error);
    if (result) {
        fks_setup_destroy(setup);
        return result;
    }
    *out = setup;
    return 0;
}

/* What the VM needs longer than the host lends it, and when it is built again in a child. */
static int copy_borrowed(struct fks_setup *setup, const struct forksafe_host *host)
{
    size_t count = 0;
    while (environ && environ[count])
        count++;
    setup->container = strdup(host->container);
    setup->environment = calloc(count + 1, sizeof *setup->environment);
    if (!setup->container || !setup->environment)
        return -1;
    for (size_t i = 0; i < count; i++)
        if (!(setup->environment[i] = strdup(environ[i])))
            return -1;
    return 0;
}

static int name_hooks(struct fks_setup *setup, const struct forksafe_host *host)
{
    for (uint32_t i = 0; i < host->point_count; i++) {
        const struct forksafe_fork_point *point = &host->points[i];
        if (!point->hook || point->event < 0 || point->event >= FORKSAFE_EVENT_COUNT ||
            setup->hooks[point->event])
            return FORKSAFE_EUSAGE;
        if (asprintf(&setup->hooks[point->event], "containers.%s.%s", host->container,
                     point->hook) < 0) {
            setup->hooks[point->event] = NULL;
            return FORKSAFE_ENOMEM;
        }
        setup->spec.hooks[point->event] = setup->hooks[point->event];
    }
    return 0;
}

static void complain_of_file(const struct fks_error *error, void *data)
{
    struct fks_setup *setup = data;
    setup->failed++;
    setup->spec.complain(error->text, setup->spec.data);
}

/* What the adapter says of its server, and what the user has committed. */
static void read_marks(struct fks_setup *setup, const struct forksafe_host *host)
{
    struct fks_error error;
    for (const char *at = host->known; at && *at; at += strspn(at, "\n")) {
        char *pattern = strndup(at, strcspn(at, "\n"));
        if (pattern)
            (void)fks_marks_add(&setup->marks, pattern);
        free(pattern);
        at += strcspn(at, "\n");
    }
    if (setup->config.baseline && *setup->config.baseline &&
        fks_marks_read(&setup->marks, setup->config.baseline, &error))
        complain_of_file(&error, setup);
}

static void load_scripts(struct fks_setup *setup)
{
    struct fks_error error;
    struct stat ini;
    if (!setup->config.scripts || !*setup->config.scripts)
        return;
    uid_t owner = stat(setup->settings->real_path, &ini) ? 0 : ini.st_uid;
    if (fks_scripts_init(&setup->scripts, setup->config.scripts, owner, complain_of_file, setup,
                         &error))
        complain_of_file(&error, setup);
}

int fks_setup_load(struct fks_setup *setup, const struct forksafe_host *host,
                   void (*complain)(const char *text, void *data), char *(*debug_json)(void),
                   struct fks_error *error)
{
    if (copy_borrowed(setup, host))
        return fks_fail(error, FORKSAFE_ENOMEM, "out of memory");
    setup->spec = (struct fks_vm_spec){
        .config = &setup->config,
        .settings = setup->settings,
        .scripts = &setup->scripts,
        .marks = &setup->marks,
        .container = setup->container,
        .environment = setup->environment,
        .complain = complain,
        .debug_json = debug_json,
    };
    fks_bridges_find();
    fks_reseed_find();
    int result = fks_luajit_load(error);
    if (result)
        return result;
    result = name_hooks(setup, host);
    if (result)
        return fks_fail(error, result, "the adapter's list of fork points is wrong: %s",
                        fks_error_text(result));
    for (size_t i = 0; i < setup->complaint_count; i++)
        complain(setup->complaints[i], NULL);
    if (setup->failed > setup->complaint_count)
        complain("more keys of the ini are wrong; see `forksafe settings`", NULL);
    read_marks(setup, host);
    load_scripts(setup);
    size_t failed;
    result = fks_vm_create(&setup->vm, &setup->spec, &failed, error);
    setup->failed += failed;
    return result;
}

void fks_setup_destroy(struct fks_setup *setup)
{
    if (!setup)
        return;
    fks_vm_destroy(setup->vm);
    fks_scripts_finish(&setup->scripts);
    fks_marks_finish(&setup->marks);
    fks_config_finish(&setup->config);
    fks_settings_destroy(setup->settings);
    for (int event = 0; event < FORKSAFE_EVENT_COUNT; event++)
        free(setup->hooks[event]);
    for (size_t i = 0; i < setup->complaint_count; i++)
        free(setup->complaints[i]);
    for (char **entry = setup->environment; entry && *entry; entry++)
        free(*entry);
    free(setup->environment);
    free(setup->container);
    free(setup);
}
