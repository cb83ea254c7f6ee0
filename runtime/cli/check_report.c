/* SPDX-License-Identifier: MIT
 *
 * What `forksafe check` says (check.h): findings beside a baseline, as text, as JSON, and as a
 * baseline. In the command only.
 */
#include "check.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>

#include "core/finding_marks.h"
#include "terminal.h"

#define SCHEMA "forksafe.check/1"

/* --- the baseline --- */

static const char *id_of(const json_t *finding)
{
    const char *id = json_string_value(json_object_get(finding, "id"));
    return id ? id : "";
}

static bool is_known(const json_t *finding)
{
    return json_is_true(json_object_get(finding, "known"));
}

/* A remedy of a hook has repaired it in every worker that had it. */
static bool is_repaired(const json_t *finding)
{
    const char *state = json_string_value(json_object_get(finding, "state"));
    return state && !strcmp(state, "repaired");
}

static bool is_new(const json_t *finding)
{
    return !is_known(finding) && !is_repaired(finding);
}

static void mark(struct fks_check_report *report, const struct fks_marks *marks)
{
    size_t i;
    json_t *finding;
    json_array_foreach(report->findings, i, finding)
    {
        bool known = fks_marks_have(marks, id_of(finding));
        json_object_set_new(finding, "known", json_boolean(known));
    }
    for (size_t n = 0; n < marks->count; n++) {
        bool fits = false;
        json_array_foreach(report->findings, i, finding)
        {
            fits |= fks_pattern_fits(marks->items[n], id_of(finding));
        }
        if (!fits)
            json_array_append_new(report->unused, json_string(marks->items[n]));
    }
}

int fks_check_compare(struct fks_check_report *report, const char *baseline,
                      struct fks_error *error)
{
    struct fks_marks marks = {0};
    size_t i;
    json_t *finding;
    int count = baseline ? fks_marks_read(&marks, baseline, error) : 0;
    if (!count)
        mark(report, &marks);
    fks_marks_finish(&marks);
    if (!count)
        json_array_foreach(report->findings, i, finding) count += is_new(finding);
    return count;
}

/* What the line of a baseline cannot hold, any text stands for. */
static void put_pattern(FILE *to, const char *id)
{
    for (size_t i = 0; id[i]; i++)
        putc(iscntrl((unsigned char)id[i]) || !strncmp(id + i, "  # ", 4) ? '*' : id[i], to);
}

int fks_check_write_baseline(const struct fks_check_report *report, const char *path,
                             struct fks_error *error)
{
    size_t i;
    json_t *finding;
    FILE *to = fopen(path, "we");
    if (!to)
        return fks_fail(error, FORKSAFE_EACCESS, "%s: the baseline cannot be written: %s", path,
                        strerror(errno));
    fputs("# What `forksafe check --baseline` knows: an id a line, in which * is any text.\n", to);
    json_array_foreach(report->findings, i, finding)
    {
        if (is_repaired(finding))
            continue;
        put_pattern(to, id_of(finding));
        putc('\n', to);
    }
    bool failed = ferror(to);
    if (fclose(to) || failed)
        return fks_fail(error, FORKSAFE_EACCESS, "%s: the baseline cannot be written: %s", path,
                        strerror(errno));
    return 0;
}

/* --- JSON --- */

int fks_check_print_json(const struct fks_check_report *report, FILE *to)
{
    json_t *all = json_pack("{ss ss sO sI sO sO sO ss?}", "schema", SCHEMA, "seen_by",
                            report->seen_by, "containers", report->containers, "workers",
                            (json_int_t)report->workers, "findings", report->findings, "unused",
                            report->unused, "notes", report->notes, "problem", report->problem);
    int rc = all ? json_dumpf(all, to, JSON_INDENT(2) | JSON_ENSURE_ASCII) : -1;
    json_decref(all);
    putc('\n', to);
    return rc;
}

/* --- text --- */

static void put(FILE *to, const char *text)
{
    fks_terminal_put(to, text, strlen(text));
}

static enum fks_severity severity_of(const json_t *finding)
{
    const char *name = json_string_value(json_object_get(finding, "severity"));
    int severity = FKS_SEVERITY_HIGH;
    while (name && severity < FKS_SEVERITIES - 1 && strcmp(name, fks_severities[severity]))
        severity++;
    return (enum fks_severity)severity;
}

static void put_quiet(const struct fks_check_report *report, FILE *to)
{
    size_t i;
    json_t *finding;
    json_array_foreach(report->findings, i, finding)
    {
        if (is_new(finding))
            continue;
        fputs(is_known(finding) ? "known     " : "repaired  ", to);
        put(to, id_of(finding));
        putc('\n', to);
    }
}

static void put_lines(FILE *to, const json_t *lines, const char *before, const char *after)
{
    size_t i;
    json_t *line;
    json_array_foreach(lines, i, line)
    {
        fputs(before, to);
        put(to, json_string_value(line));
        fputs(after, to);
    }
}

void fks_check_print_text(const struct fks_check_report *report, FILE *to, bool color)
{
    size_t counts[FKS_SEVERITIES] = {0}, found = 0, i;
    json_t *finding;
    json_array_foreach(report->findings, i, finding)
    {
        if (!is_new(finding))
            continue;
        fks_finding_print(to, finding, color);
        counts[severity_of(finding)]++;
        found++;
    }
    put_quiet(report, to);
    put_lines(to, report->notes, "note: ", "\n");
    put_lines(to, report->unused, "note: nothing is found any more that the baseline's \"",
              "\" fits: take it out\n");
    if (found)
        fks_finding_print_counts(to, counts);
    else
        fputs("nothing found that was not safe to fork", to);
    if (json_array_size(report->findings) > found)
        fprintf(to, ", beside %zu that %s known or repaired",
                json_array_size(report->findings) - found,
                json_array_size(report->findings) - found == 1 ? "is" : "are");
    fprintf(to, " (%u worker%s", report->workers, report->workers == 1 ? "" : "s");
    put_lines(to, report->containers, ", told by ", "");
    fputs(")\n", to);
}
