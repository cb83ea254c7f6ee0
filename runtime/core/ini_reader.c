/* SPDX-License-Identifier: MIT
 *
 * The reader before inih and the handler behind it. The text is taken apart in place: a value of
 * several lines is never longer than the lines it came from.
 *
 *     my key : one     the reader keeps "my key" as token 4 and      inih parses "k4=v5" and calls
 *         two          "one\ntwo" as token 5, and hands out "k4=v5"  the handler, which looks them
 * up
 */
#include "ini_reader.h"

#include <ini.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ini_file.h"
#include "settings_text.h"

/* What opens every section: inih tells of a section only when it has a pair. */
#define OPENING "open"
/* The longest line that we hand to inih, with its newline and NUL. */
#define LONGEST_LINE 64

struct token {
    char *text;
    int line;
};

struct physical_line {
    struct fks_span whole; /* without "\n" */
    struct fks_span text;  /* without white space around it */
    int number;
};

struct reading {
    struct fks_ini *ini;
    struct fks_store *store;
    struct fks_error *error;
    int code;        /* the first error; ends the reading */
    char *at, *end;  /* what is not read yet */
    int line;        /* number of the line that starts at `at` */
    size_t indent;   /* of the option or header that was read last */
    bool in_section; /* a header was seen */
    struct token *tokens;
    size_t token_count, token_capacity;
    size_t opening;           /* token of the header whose opening pair comes next, plus one */
    size_t handed, received;  /* pairs given to inih, and got back */
    struct fks_dict *options; /* of the section that inih is in */
};

static bool take_line(struct reading *r, struct physical_line *line)
{
    if (r->at >= r->end)
        return false;
    char *newline = memchr(r->at, '\n', (size_t)(r->end - r->at));
    line->whole = (struct fks_span){r->at, newline ? newline : r->end};
    line->text = fks_strip(line->whole);
    line->number = r->line++;
    r->at = newline ? newline + 1 : r->end;
    return true;
}

static void give_back(struct reading *r, const struct physical_line *line)
{
    r->at = line->whole.start;
    r->line = line->number;
}

static bool is_blank(const struct physical_line *line)
{
    return line->text.start == line->text.end;
}

static bool is_comment(const struct physical_line *line)
{
    return !is_blank(line) && (*line->text.start == '#' || *line->text.start == ';');
}

/* White space characters before the text; a tab is one. */
static size_t indent_of(const struct physical_line *line)
{
    size_t characters = 0;
    for (const char *at = line->whole.start; at < line->text.start; characters++)
        at += fks_space_bytes(at, line->text.start);
    return characters;
}

static int fail(struct reading *r, const struct token *where, const char *what)
{
    r->code = fks_fail(r->error, FORKSAFE_EINI, "%s:%d: %s", r->ini->path, where->line, what);
    return r->code;
}

static int fail_memory(struct reading *r)
{
    r->code =
        fks_fail(r->error, FORKSAFE_ENOMEM, "%s: out of memory while reading it", r->ini->path);
    return r->code;
}

/* Puts a text into the table; its number is written to *number. */
static int keep(struct reading *r, struct fks_span text, int line, size_t *number)
{
    struct token *tokens =
        fks_store_grow(r->store, r->tokens, r->token_count, &r->token_capacity, sizeof *tokens);
    if (!tokens)
        return fail_memory(r);
    *text.end = '\0';
    r->tokens = tokens;
    tokens[r->token_count] = (struct token){text.start, line};
    *number = r->token_count++;
    return 0;
}

/* Adds the lines that continue a value: those indented deeper than its key, and blank ones;
 * comments are passed over. Returns the value, joined by "\n". */
static struct fks_span join_value(struct reading *r, struct fks_span value)
{
    struct physical_line line;
    while (take_line(r, &line)) {
        if (is_comment(&line))
            continue;
        if (!is_blank(&line) && indent_of(&line) <= r->indent) {
            give_back(r, &line);
            break;
        }
        size_t length = (size_t)(line.text.end - line.text.start);
        *value.end++ = '\n';
        memmove(value.end, line.text.start, length);
        value.end += length;
    }
    return fks_strip_right(value);
}

/* "[name]": name goes to the last bracket of the line; what follows that is passed over, as
 * configparser does. */
static bool split_header(struct fks_span text, struct fks_span *name)
{
    if (*text.start != '[')
        return false;
    char *end = memrchr(text.start, ']', (size_t)(text.end - text.start));
    if (!end || end == text.start + 1)
        return false;
    *name = (struct fks_span){text.start + 1, end};
    return true;
}

/* "name = value" or "name : value": whichever delimiter comes first. */
static bool split_option(struct fks_span text, struct fks_span *name, struct fks_span *value)
{
    char *delimiter = text.start;
    while (delimiter < text.end && *delimiter != '=' && *delimiter != ':')
        delimiter++;
    if (delimiter == text.end)
        return false;
    *name = fks_strip_right((struct fks_span){text.start, delimiter});
    *value = fks_strip((struct fks_span){delimiter + 1, text.end});
    return true;
}

static int read_header(struct reading *r, struct fks_span name, int line, char *out)
{
    size_t number;
    if (keep(r, name, line, &number))
        return r->code;
    r->in_section = true;
    r->opening = number + 1;
    snprintf(out, LONGEST_LINE, "[s%zu]\n", number);
    return 0;
}

static int read_option(struct reading *r, const struct physical_line *line, char *out)
{
    struct token here = {NULL, line->number};
    struct fks_span name, value;
    if (!split_option(line->text, &name, &value))
        return fail(
            r, &here,
            "is neither a [section], `key = value` nor a comment (the lines that continue a "
            "value are indented deeper than its key)");
    if (name.start == name.end)
        return fail(r, &here, "has no key before its = or :");
    size_t name_number, value_number;
    value = join_value(r, value);
    if (keep(r, name, line->number, &name_number) || keep(r, value, line->number, &value_number))
        return r->code;
    snprintf(out, LONGEST_LINE, "k%zu=v%zu\n", name_number, value_number);
    r->handed++;
    return 0;
}

static int fail_before_section(struct reading *r, const struct physical_line *line)
{
    struct token here = {NULL, line->number};
    if (!strncmp(line->text.start, "\xef\xbb\xbf", 3))
        return fail(r, &here, "starts with a byte order mark; save it as UTF-8 without one");
    if (*line->text.start == '[')
        return fail(r, &here, "has a section header that is not [name]");
    return fail(r, &here, "has a key before the first [section]");
}

/* The next section or option as a line for inih; false at the end. */
static bool read_item(struct reading *r, char *out)
{
    struct physical_line line;
    do {
        if (!take_line(r, &line))
            return false;
    } while (is_blank(&line) || is_comment(&line));
    r->indent = indent_of(&line);
    struct fks_span name;
    if (split_header(line.text, &name))
        return !read_header(r, name, line.number, out);
    return !(r->in_section ? read_option(r, &line, out) : fail_before_section(r, &line));
}

/* inih's ini_reader: one short line a call. */
static char *next_line(char *out, int size, void *stream)
{
    struct reading *r = stream;
    if (r->code)
        return NULL;
    if (size < LONGEST_LINE) {
        r->code =
            fks_fail(r->error, FORKSAFE_EINI,
                     "%s: inih reads lines of %d bytes only: this process has changed its limits",
                     r->ini->path, size);
        return NULL;
    }
    if (!r->opening)
        return read_item(r, out) ? out : NULL;
    snprintf(out, LONGEST_LINE, OPENING "=s%zu\n", r->opening - 1);
    r->opening = 0;
    r->handed++;
    return out;
}

/* The text behind "s12", "k12" or "v12". */
static const struct token *look_up(const struct reading *r, const char *token, char kind)
{
    char *end;
    if (token[0] != kind || !token[1])
        return NULL;
    unsigned long number = strtoul(token + 1, &end, 10);
    return *end || number >= r->token_count ? NULL : &r->tokens[number];
}

static int add_section(struct reading *r, const struct token *header)
{
    struct fks_ini *ini = r->ini;
    struct fks_ini_section *sections =
        fks_store_grow(r->store, ini->sections, ini->count, &ini->capacity, sizeof *sections);
    struct fks_pair name = {header->text, NULL, ini->path, header->line};
    r->options = fks_dict_create(r->store);
    if (!sections || !r->options || fks_dict_put(ini->names, &name))
        return fail_memory(r);
    ini->sections = sections;
    sections[ini->count++] = (struct fks_ini_section){header->text, header->line, r->options};
    return 0;
}

static int open_section(struct reading *r, const struct token *header)
{
    if (!strcmp(header->text, "DEFAULT")) {
        r->options = r->ini->defaults;
        return 0;
    }
    const struct fks_pair *known = fks_dict_find(r->ini->names, header->text);
    if (!known)
        return add_section(r, header);
    r->code = fks_fail(r->error, FORKSAFE_EINI, "%s:%d: section [%s] is already there, on line %d",
                       r->ini->path, header->line, fks_shorten(header->text).text, known->line);
    return r->code;
}

static int add_option(struct reading *r, const struct token *name, const struct token *value)
{
    const struct fks_pair *known = fks_dict_find(r->options, name->text);
    if (known && known->line) {
        r->code = fks_fail(r->error, FORKSAFE_EINI,
                           "%s:%d: %s is already set in this section, on line %d", r->ini->path,
                           name->line, fks_shorten(name->text).text, known->line);
        return r->code;
    }
    struct fks_pair pair = {name->text, value->text, r->ini->path, name->line};
    return fks_dict_put(r->options, &pair) ? fail_memory(r) : 0;
}

/* inih's ini_handler: non-zero is success. */
static int take_pair(void *user, const char *section, const char *name, const char *value)
{
    struct reading *r = user;
    if (r->code)
        return 0;
    const struct token *header = look_up(r, section, 's');
    r->received++;
    if (header && !strcmp(name, OPENING))
        return !open_section(r, header);
    const struct token *key = look_up(r, name, 'k');
    const struct token *text = look_up(r, value, 'v');
    return header && key && text && r->options && !add_option(r, key, text);
}

int fks_ini_read(struct fks_ini *ini, struct fks_store *store, const char *open_path,
                 struct fks_error *error)
{
    struct reading r = {.ini = ini, .store = store, .error = error, .line = 1};
    struct fks_ini_text text;
    int code = fks_ini_text_read(&text, store, open_path, ini->path, error);
    if (code)
        return code;
    r.at = text.start;
    r.end = text.end;
    ini->names = fks_dict_create(store);
    if (!ini->names)
        return fail_memory(&r);
    int result = ini_parse_stream(next_line, &r, take_pair, &r);
    if (r.code)
        return r.code;
    if (result == -2)
        return fail_memory(&r);
    if (result || r.handed != r.received)
        return fks_fail(error, FORKSAFE_EINI,
                        "%s: inih lost %zu of %zu keys: this process has changed its settings",
                        ini->path, r.handed - r.received, r.handed);
    return 0;
}

struct fks_dict *fks_ini_section_options(const struct fks_ini *ini, const char *name)
{
    const struct fks_pair *known = fks_dict_find(ini->names, name);
    return known ? ini->sections[known - ini->names->items].options : NULL;
}
