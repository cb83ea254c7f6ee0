/* SPDX-License-Identifier: MIT
 *
 * The ini loader: whatever stands in the file is read, or is one error that names the file.
 * libFuzzer's process only.
 */
#include "fuzz.h"

#include <string.h>

#include "core/config.h"
#include "core/settings.h"

static void count(const struct fks_error *complaint, void *data)
{
    fuzz_require(*complaint->text != '\0', "a wrong key is told");
    ++*(size_t *)data;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fks_settings *settings;
    struct fks_config config;
    struct fks_error error = {0};
    size_t complaints = 0;
    const char *path = fuzz_file("app.ini", data, size);
    if (fks_settings_load(&settings, path, NULL, NULL, 0, &error)) {
        fuzz_require(!settings, "a refused ini gives no settings");
        fuzz_require(strstr(error.text, "app.ini") != NULL, "an error names the file");
        fuzz_require(!strchr(error.text, '\n'), "an error is one line");
        return 0;
    }
    if (!fks_config_init_lenient(&config, settings, count, &complaints, &error))
        fks_config_finish(&config);
    fks_settings_destroy(settings);
    return 0;
}
