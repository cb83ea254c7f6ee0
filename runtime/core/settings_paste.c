/* SPDX-License-Identifier: MIT
 *
 * PasteDeploy's loader without its last step: which sections make an application, and what settings
 * and global_conf it would be given. What only Python can know (whether an egg, a module or a
 * distribution is there) is not asked.
 */
#include "settings_paste.h"

#include <string.h>

#include "settings_text.h"

/* What a section can be found as. Of the spellings in a group the first that is there counts; of
 * two groups both do. */
#define SPELLINGS 2
#define GROUPS    4
#define PROTOCOLS 3

struct fks_paste_type {
    const char *prefixes[GROUPS][SPELLINGS];
    const char *protocols[PROTOCOLS][SPELLINGS]; /* keys that name a factory instead of `use` */
    const char *expected;
};

static const struct fks_paste_type application = {
    .prefixes = {{"app", "application"}, {"composite", "composit"}, {"pipeline"}, {"filter-app"}},
    .protocols = {{"paste.app_factory"}, {"paste.composite_factory"}, {"paste.composit_factory"}},
    .expected =
        "an application ([app:NAME], [composite:NAME], [pipeline:NAME] or [filter-app:NAME])",
};

static const struct fks_paste_type filter = {
    .prefixes = {{"filter"}},
    .protocols = {{"paste.filter_factory", "paste.filter_app_factory"}},
    .expected = "a filter ([filter:NAME])",
};

/* A section in use: the loader's local variables. */
struct section {
    const struct fks_paste_type *type;
    struct fks_ini_file *file;
    const struct fks_ini_section *in;
    struct fks_dict *local_conf, *global_conf;
    struct fks_dict *additions; /* what `set` adds to global_conf, again after a `use` */
};

int fks_paste_fail(struct fks_load *load, const struct fks_place *place, const char *what)
{
    if (!place->key)
        return fks_load_fail(load, place->file, place->line, "%s", what);
    return fks_load_fail(load, place->file, place->line, "%s: %s", fks_shorten(place->key).text,
                         what);
}

/* "FILE:LINE: [SECTION] what", of the section's header. */
static int fail_section(struct fks_load *load, const struct section *s, const char *what)
{
    return fks_load_fail(load, s->file->path, s->in->line, "[%s] %s", fks_shorten(s->in->name).text,
                         what);
}

static struct fks_place place_of(const struct fks_ini_file *file, const struct fks_pair *pair)
{
    return (struct fks_place){pair->file ? pair->file : file->path, pair->name, pair->line};
}

struct fks_context *fks_context_create(struct fks_load *load, struct fks_dict *global_conf,
                                       struct fks_dict *local_conf)
{
    struct fks_context *context = fks_store_take(load->work, sizeof *context);
    if (!context)
        return NULL;
    context->global_conf = global_conf;
    context->local_conf = local_conf ? local_conf : fks_dict_create(load->work);
    return context->local_conf ? context : NULL;
}

/* Whether the section's name is PREFIX:NAME, with white space allowed around NAME. */
static bool is_called(char *section, const char *prefix, const char *name)
{
    size_t length = strlen(prefix);
    if (strncmp(section, prefix, length) || section[length] != ':')
        return false;
    char *start = section + length + 1;
    struct fks_span rest = fks_strip((struct fks_span){start, start + strlen(start)});
    size_t size = (size_t)(rest.end - rest.start);
    return size == strlen(name) && !memcmp(rest.start, name, size);
}

/* Finds the one section of this type and name. *found stays NULL where there is none. */
static int find_section(struct fks_load *load, const struct fks_ini_file *file,
                        const struct fks_paste_type *type, const char *name,
                        const struct fks_ini_section **found)
{
    const struct fks_ini *ini = &file->ini;
    for (size_t group = 0; group < GROUPS; group++) {
        bool spelling_found = false;
        for (size_t i = 0; i < SPELLINGS && type->prefixes[group][i] && !spelling_found; i++)
            for (size_t s = 0; s < ini->count; s++) {
                const struct fks_ini_section *section = &ini->sections[s];
                if (!is_called(section->name, type->prefixes[group][i], name))
                    continue;
                if (*found)
                    return fks_load_fail(
                        load, file->path, section->line,
                        "[%s] has the name of [%s] on line %d; which one is meant?",
                        fks_shorten(section->name).text, fks_shorten((*found)->name).text,
                        (*found)->line);
                *found = section;
                spelling_found = true;
            }
    }
    return 0;
}

/* `set NAME` and `get NAME`: the NAME, without white space around it; NULL for any other key. */
static int prefixed_name(struct fks_load *load, const struct fks_pair *pair, const char *prefix,
                         char **name)
{
    *name = NULL;
    if (strncmp(pair->name, prefix, 4))
        return 0;
    char *start = pair->name + 4;
    struct fks_span text = fks_strip((struct fks_span){start, start + strlen(start)});
    *name = fks_store_text(load->work, text.start, (size_t)(text.end - text.start));
    return *name ? 0 : FORKSAFE_ENOMEM;
}

/* Interpolates one key of a section and files it: `set`, `get` or a key of its own. */
static int sort_option(struct fks_load *load, struct section *s, const struct fks_pair *option,
                       struct fks_dict *gets)
{
    char *set_name, *get_name;
    if (prefixed_name(load, option, "set ", &set_name) ||
        prefixed_name(load, option, "get ", &get_name))
        return fks_load_no_memory(load, s->file->path);
    bool plain = !set_name && !get_name;
    if (plain && fks_dict_find(s->file->interpolated_defaults, option->name))
        return 0; /* PasteDeploy: what [DEFAULT] has too is global, and nobody's own */
    struct fks_pair pair = *option;
    int code = fks_interpolate(load, s->file, s->in->options, option, &pair.value);
    if (code)
        return code;
    if (!plain)
        pair.name = set_name ? set_name : get_name;
    struct fks_dict *to = set_name ? s->additions : get_name ? gets : s->local_conf;
    if (fks_dict_put(to, &pair) || (set_name && fks_dict_put(s->global_conf, &pair)))
        return fks_load_no_memory(load, s->file->path);
    return 0;
}

/* `get a = b`: a becomes what global_conf says of b when all `set`s are done. */
static int resolve_gets(struct fks_load *load, struct section *s, const struct fks_dict *gets)
{
    for (size_t i = 0; i < gets->count; i++) {
        struct fks_pair pair = gets->items[i];
        const struct fks_pair *global = fks_dict_find(s->global_conf, pair.value);
        if (!global) {
            struct fks_place place = place_of(s->file, &pair);
            return fks_paste_fail(load, &place,
                                  "`get` names a key that is neither in [DEFAULT] nor `set`");
        }
        pair.value = global->value;
        if (fks_dict_put(s->local_conf, &pair))
            return fks_load_no_memory(load, s->file->path);
    }
    return 0;
}

/* Every key of the section, then the keys of [DEFAULT] that it has not: `set` and `get` work from
 * there, too. */
static int read_options(struct fks_load *load, struct section *s)
{
    const struct fks_dict *own = s->in->options, *defaults = s->file->ini.defaults;
    struct fks_dict *gets = fks_dict_create(load->work);
    if (!gets)
        return fks_load_no_memory(load, s->file->path);
    for (size_t i = 0; i < own->count; i++) {
        int code = sort_option(load, s, &own->items[i], gets);
        if (code)
            return code;
    }
    for (size_t i = 0; i < defaults->count; i++) {
        const char *name = defaults->items[i].name;
        if ((strncmp(name, "set ", 4) && strncmp(name, "get ", 4)) || fks_dict_find(own, name))
            continue;
        int code = sort_option(load, s, &defaults->items[i], gets);
        if (code)
            return code;
    }
    return resolve_gets(load, s, gets);
}

static int open_section(struct fks_load *load, struct section *s, struct fks_dict *global_conf)
{
    int code = fks_interpolate_defaults(load, s->file);
    if (code)
        return code;
    s->global_conf = fks_dict_create(load->work);
    s->local_conf = fks_dict_create(load->work);
    s->additions = fks_dict_create(load->work);
    if (!s->global_conf || !s->local_conf || !s->additions ||
        fks_dict_update(s->global_conf, s->file->interpolated_defaults) ||
        fks_dict_update(s->global_conf, global_conf))
        return fks_load_no_memory(load, s->file->path);
    return read_options(load, s);
}

/* `use`: what it names, with this section's keys over it. */
static int follow_use(struct fks_load *load, struct section *s, const struct fks_paste_type *type,
                      struct fks_context **out)
{
    struct fks_pair use;
    fks_dict_pop(s->local_conf, "use", &use);
    struct fks_place place = place_of(s->file, &use);
    int code = fks_context_get(load, s->file, type, use.value, &place, s->global_conf, out);
    if (code)
        return code;
    struct fks_context *inner = *out;
    const struct fks_pair *file = fks_dict_find(s->global_conf, "__file__");
    if (fks_dict_update(inner->global_conf, s->additions) ||
        fks_dict_update(inner->local_conf, s->local_conf) ||
        (file && fks_dict_put(inner->global_conf, file)))
        return fks_load_no_memory(load, s->file->path);
    return 0;
}

/* A factory named by its protocol, without `use`. */
static int take_factory(struct fks_load *load, struct section *s, const struct fks_paste_type *type,
                        struct fks_context **out)
{
    struct fks_pair pair, first = {0};
    for (size_t i = 0; i < PROTOCOLS; i++)
        for (size_t j = 0; j < SPELLINGS && type->protocols[i][j]; j++) {
            if (!fks_dict_find(s->local_conf, type->protocols[i][j]))
                continue;
            fks_dict_pop(s->local_conf, type->protocols[i][j], &pair);
            if (first.name)
                return fail_section(load, s, "has two factories; one is enough");
            first = pair;
            break;
        }
    if (!first.name)
        return fail_section(load, s, "has no `use = ...` that says what it is");
    *out = fks_context_create(load, s->global_conf, s->local_conf);
    return *out ? 0 : fks_load_no_memory(load, s->file->path);
}

static int use_or_factory(struct fks_load *load, struct section *s,
                          const struct fks_paste_type *type, struct fks_context **out)
{
    return fks_dict_find(s->local_conf, "use") ? follow_use(load, s, type, out)
                                               : take_factory(load, s, type, out);
}

static int open_filter_app(struct fks_load *load, struct section *s, struct fks_context **out)
{
    struct fks_pair next;
    struct fks_context *filtering;
    if (!fks_dict_pop(s->local_conf, "next", &next))
        return fail_section(load, s, "has no `next = NAME`");
    struct fks_context *context = fks_context_create(load, s->global_conf, s->local_conf);
    if (!context)
        return fks_load_no_memory(load, s->file->path);
    struct fks_place place = place_of(s->file, &next);
    int code = fks_context_get(load, s->file, &application, next.value, &place, s->global_conf,
                               &context->application);
    *out = context;
    return code ? code : use_or_factory(load, s, &filter, &filtering);
}

/* Opens what each word of `pipeline` names: filters, and at last the application. */
static int open_pipeline_words(struct fks_load *load, struct section *s,
                               const struct fks_pair *pipeline, struct fks_context *context)
{
    struct fks_place place = place_of(s->file, pipeline);
    struct fks_span word, next;
    char *at = pipeline->value, *end = at + strlen(at);
    if (!fks_next_word(&at, end, &word))
        return fks_paste_fail(load, &place, "names no application");
    for (bool more = true; more; word = next) {
        more = fks_next_word(&at, end, &next);
        struct fks_context *ignored;
        char *name = fks_store_text(load->work, word.start, (size_t)(word.end - word.start));
        if (!name)
            return fks_load_no_memory(load, s->file->path);
        int code = fks_context_get(load, s->file, more ? &filter : &application, name, &place,
                                   s->global_conf, more ? &ignored : &context->application);
        if (code)
            return code;
    }
    return 0;
}

static int open_pipeline(struct fks_load *load, struct section *s, struct fks_context **out)
{
    struct fks_pair pipeline;
    if (!fks_dict_pop(s->local_conf, "pipeline", &pipeline))
        return fail_section(load, s, "has no `pipeline = FILTER ... APP`");
    for (size_t i = 0; i < s->local_conf->count; i++) {
        if (!s->local_conf->items[i].name)
            continue;
        struct fks_place place = place_of(s->file, &s->local_conf->items[i]);
        return fks_paste_fail(load, &place, "a pipeline section cannot have settings of its own");
    }
    *out = fks_context_create(load, s->global_conf, s->local_conf);
    if (!*out)
        return fks_load_no_memory(load, s->file->path);
    return open_pipeline_words(load, s, &pipeline, *out);
}

/* `filter-with`: a filter around the section; what the section itself is goes inside. */
static int wrap_in_filter(struct fks_load *load, struct section *s,
                          const struct fks_pair *filter_with, struct fks_context **context)
{
    struct fks_context *ignored, *outer = fks_context_create(load, s->global_conf, s->local_conf);
    if (!outer)
        return fks_load_no_memory(load, s->file->path);
    outer->application = *context;
    *context = outer;
    struct fks_place place = place_of(s->file, filter_with);
    return fks_context_get(load, s->file, &filter, filter_with->value, &place, s->global_conf,
                           &ignored);
}

static int get_section_context(struct fks_load *load, struct section *s,
                               struct fks_dict *global_conf, struct fks_context **out)
{
    int code = open_section(load, s, global_conf);
    if (code)
        return code;
    struct fks_pair filter_with;
    bool filtered = fks_dict_pop(s->local_conf, "filter-with", &filter_with);
    fks_dict_pop(s->local_conf, "require", NULL);
    if (!strncmp(s->in->name, "filter-app:", 11))
        code = open_filter_app(load, s, out);
    else if (!strncmp(s->in->name, "pipeline:", 9))
        code = open_pipeline(load, s, out);
    else
        code = use_or_factory(load, s, s->type, out);
    return !code && filtered ? wrap_in_filter(load, s, &filter_with, out) : code;
}

static int get_named_context(struct fks_load *load, struct fks_ini_file *file,
                             const struct fks_paste_type *type, const char *name,
                             const struct fks_place *place, struct fks_dict *global_conf,
                             struct fks_context **out)
{
    size_t scheme = fks_uri_scheme(name);
    if (scheme)
        return fks_uri_context(load, file, type, name, scheme, place, global_conf, out);
    struct section s = {.type = type, .file = file};
    int code = find_section(load, file, type, name, &s.in);
    if (code)
        return code;
    if (s.in)
        return get_section_context(load, &s, global_conf, out);
    if (place->key)
        return fks_load_fail(load, place->file, place->line,
                             "%s: there is no such section in %s: it has to be %s",
                             fks_shorten(place->key).text, file->path, type->expected);
    return fks_load_fail(load, file->path, 0,
                         "has no section [app:%s]; INI#NAME names another application",
                         fks_shorten(name).text);
}

/* One section or URI, and all that it uses. */
int fks_context_get(struct fks_load *load, struct fks_ini_file *file,
                    const struct fks_paste_type *type, const char *name,
                    const struct fks_place *place, struct fks_dict *global_conf,
                    struct fks_context **out)
{
    if (load->depth == 1)
        load->outermost =
            place; /* of a loop it is as good a place as any, and one that the reader knows */
    if (load->depth >= FKS_LOAD_DEPTH)
        return fks_paste_fail(load, load->outermost, "goes too deep; does a section use itself?");
    if (++load->contexts > FKS_LOAD_CONTEXTS)
        return fks_paste_fail(load, load->outermost,
                              "makes too many sections be used; does a section use itself?");
    load->depth++;
    int code = get_named_context(load, file, type, name, place, global_conf, out);
    load->depth--;
    return code;
}

int fks_ini_file_add_defaults(struct fks_load *load, struct fks_ini_file *file,
                              const struct fks_dict *defaults)
{
    for (size_t i = 0; i < defaults->count; i++) {
        const struct fks_pair *pair = &defaults->items[i];
        if (!fks_dict_find(file->ini.defaults, pair->name) &&
            fks_dict_put(file->ini.defaults, pair))
            return fks_load_no_memory(load, file->path);
    }
    return 0;
}

/* The forksafe.* keys: of the section, else of the application that it is put around. A pipeline
 * cannot have any. */
static int collect_forksafe(struct fks_load *load, const struct fks_context *context,
                            struct fks_dict *out)
{
    static const char prefix[] = "forksafe.";
    for (; context; context = context->application)
        for (size_t i = 0; i < context->local_conf->count; i++) {
            struct fks_pair pair = context->local_conf->items[i];
            if (!pair.name || strncmp(pair.name, prefix, sizeof prefix - 1))
                continue;
            pair.name += sizeof prefix - 1;
            if (!fks_dict_find(out, pair.name) && fks_dict_put(out, &pair))
                return fks_load_no_memory(load, "forksafe.*");
        }
    return 0;
}

int fks_load_paste(struct fks_load *load, struct fks_ini_file *file, const char *app,
                   struct fks_dict *global_conf, struct fks_loaded *out)
{
    struct fks_place place = {file->path, NULL, 0};
    struct fks_context *context = NULL;
    int code = fks_ini_file_add_defaults(load, file, global_conf);
    if (!code)
        code = fks_context_get(load, file, &application, app, &place, global_conf, &context);
    if (code)
        return code;
    out->settings = context->local_conf;
    out->global_conf = context->global_conf;
    out->forksafe = fks_dict_create(load->work);
    if (!out->forksafe)
        return fks_load_no_memory(load, file->path);
    return collect_forksafe(load, context, out->forksafe);
}

bool fks_ini_is_own(const struct fks_ini *ini)
{
    if (!fks_ini_section_options(ini, "forksafe"))
        return false;
    for (size_t i = 0; i < ini->count; i++)
        for (size_t group = 0; group < GROUPS; group++)
            for (size_t s = 0; s < SPELLINGS && application.prefixes[group][s]; s++) {
                size_t length = strlen(application.prefixes[group][s]);
                if (!strncmp(ini->sections[i].name, application.prefixes[group][s], length) &&
                    ini->sections[i].name[length] == ':')
                    return false;
            }
    return true;
}
