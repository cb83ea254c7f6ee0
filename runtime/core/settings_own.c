/* SPDX-License-Identifier: MIT
 *
 * forksafe's own small ini, for servers without PasteDeploy. It is read by the same rules as the
 * other one:
 *
 *     [forksafe]                    the forksafe.* keys, bare
 *     scripts = %(here)s/hooks
 *
 *     [settings]                    what registry.settings holds, all of it
 *     db.host = 10.0.0.5
 *
 *     [DEFAULT]                     what both can refer to as %(name)s; it goes to global_conf
 */
#include "settings_load.h"

#include <string.h>

#include "settings_text.h"

/* Any other section would be passed over in silence, and is more likely a typing error. */
static int check_sections(struct fks_load *load, const struct fks_ini_file *file)
{
    for (size_t i = 0; i < file->ini.count; i++) {
        const struct fks_ini_section *section = &file->ini.sections[i];
        if (strcmp(section->name, "forksafe") && strcmp(section->name, "settings"))
            return fks_load_fail(
                load, file->path, section->line,
                "[%s] has no meaning beside [forksafe]: there are [forksafe], [settings] and "
                "[DEFAULT]",
                fks_shorten(section->name).text);
    }
    return 0;
}

/* The section with its values interpolated; empty where it is not there. */
static int read_section(struct fks_load *load, const struct fks_ini_file *file, const char *name,
                        struct fks_dict **out)
{
    const struct fks_dict *options = fks_ini_section_options(&file->ini, name);
    *out = fks_dict_create(load->work);
    if (!*out)
        return fks_load_no_memory(load, file->path);
    for (size_t i = 0; options && i < options->count; i++) {
        struct fks_pair pair = options->items[i];
        int code = fks_interpolate(load, file, options, &options->items[i], &pair.value);
        if (code)
            return code;
        if (fks_dict_put(*out, &pair))
            return fks_load_no_memory(load, file->path);
    }
    return 0;
}

int fks_load_own(struct fks_load *load, struct fks_ini_file *file, const struct fks_dict *options,
                 struct fks_loaded *out)
{
    int code = check_sections(load, file);
    if (!code && fks_dict_update(file->ini.defaults, options))
        code = fks_load_no_memory(load, file->path);
    if (!code)
        code = fks_interpolate_defaults(load, file);
    if (!code)
        code = read_section(load, file, "settings", &out->settings);
    if (!code)
        code = read_section(load, file, "forksafe", &out->forksafe);
    out->global_conf = file->interpolated_defaults;
    return code;
}
