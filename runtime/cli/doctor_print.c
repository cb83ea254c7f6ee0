/* SPDX-License-Identifier: MIT
 *
 * What was found as text for a person or as JSON (doctor.h). Names are others' and printed
 * harmless. In the command only.
 */
#include "doctor.h"

#include <string.h>
#include <time.h>

#include "core/debug_json.h"
#include "terminal.h"

enum { PIDS_SHOWN = 10, OBJECTS_SHOWN = 5 };

/* --- JSON --- */

static int write_sink(const char *text, size_t length, void *data)
{
    return fwrite(text, 1, length, data) == length ? 0 : -1;
}

static json_t *time_now(void)
{
    char text[32];
    time_t now = time(NULL);
    struct tm parts;
    if (!gmtime_r(&now, &parts) || !strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts))
        return json_null();
    return json_string(text);
}

static json_t *process_json(const struct fks_doctor_process *process)
{
    static const char *const roles[] = {[FKS_DOCTOR_MASTER] = "master",
                                        [FKS_DOCTOR_WORKER] = "worker",
                                        [FKS_DOCTOR_PROGRAM] = "program"};
    return json_pack("{si si so ss sb}", "pid", (int)process->pid, "ppid", (int)process->ppid,
                     "comm", fks_json_text(process->comm, strlen(process->comm)), "role",
                     roles[process->role], "readable", (int)process->readable);
}

static bool is_unreadable(const struct fks_doctor_process *process)
{
    return !process->readable && !process->gone;
}

int fks_doctor_print_json(const struct fks_doctor *doctor, FILE *to)
{
    struct fks_json_stream stream = {0};
    const struct fks_doctor_process *master = &doctor->processes[0];
    fks_json_begin(&stream, write_sink, to, 2);
    fks_json_member(&stream, "schema", json_string(FKS_DOCTOR_SCHEMA));
    fks_json_member(&stream, "generated_at", time_now());
    fks_json_member(&stream, "pid", json_integer(master->pid));
    fks_json_member(&stream, "name", fks_json_text(master->comm, strlen(master->comm)));
    fks_json_member(&stream, "asked", json_integer(doctor->asked));
    fks_json_list(&stream, "processes");
    for (size_t i = 0; i < doctor->process_count; i++)
        if (!doctor->processes[i].gone)
            fks_json_item(&stream, process_json(&doctor->processes[i]));
    fks_json_list_end(&stream);
    fks_json_list(&stream, "findings");
    for (size_t i = 0; i < doctor->finding_count; i++)
        fks_json_item(&stream, json_incref(doctor->findings[i].json));
    fks_json_list_end(&stream);
    fks_json_list(&stream, "unreadable");
    for (size_t i = 0; i < doctor->process_count; i++)
        if (is_unreadable(&doctor->processes[i]))
            fks_json_item(&stream, json_integer(doctor->processes[i].pid));
    fks_json_list_end(&stream);
    fks_json_member(&stream, "notes", doctor->notes ? json_incref(doctor->notes) : json_array());
    int rc = fks_json_finish(&stream);
    putc('\n', to);
    return rc;
}

/* --- text --- */

static void put(FILE *to, const char *text)
{
    fks_terminal_put(to, text, strlen(text));
}

static void put_member(FILE *to, const json_t *finding, const char *name)
{
    const json_t *value = json_object_get(finding, name);
    if (json_is_string(value))
        fks_terminal_put(to, json_string_value(value), json_string_length(value));
}

static void put_pids(FILE *to, const json_t *pids)
{
    size_t count = json_array_size(pids);
    for (size_t i = 0; i < count && i < PIDS_SHOWN; i++)
        fprintf(to, " %lld", (long long)json_integer_value(json_array_get(pids, i)));
    if (count > PIDS_SHOWN)
        fprintf(to, " and %zu more", count - PIDS_SHOWN);
    putc('\n', to);
}

static void put_objects(FILE *to, const json_t *objects)
{
    size_t count = json_array_size(objects);
    for (size_t i = 0; count > 1 && i < count && i < OBJECTS_SHOWN; i++) {
        json_t *what = json_object_get(json_array_get(objects, i), "what");
        fputs("          ", to);
        put(to, json_string_value(what));
        putc('\n', to);
    }
    if (count > OBJECTS_SHOWN)
        fprintf(to, "          and %zu more\n", count - OBJECTS_SHOWN);
}

static const char *tone_of_severity(const char *severity)
{
    static const enum fks_tone tones[] = {[FKS_SEVERITY_HIGH] = FKS_TONE_BAD,
                                          [FKS_SEVERITY_MEDIUM] = FKS_TONE_BUSY,
                                          [FKS_SEVERITY_LOW] = FKS_TONE_FAINT};
    for (int i = 0; i < FKS_SEVERITIES; i++)
        if (!strcmp(severity, fks_severities[i]))
            return fks_tone_sequence(tones[i]);
    return "";
}

void fks_finding_print(FILE *to, const json_t *finding, bool color)
{
    const char *severity = json_string_value(json_object_get(finding, "severity"));
    const json_t *pids = json_object_get(finding, "pids");
    severity = severity ? severity : "";
    fprintf(to, "%s%-6s%s  ", color ? tone_of_severity(severity) : "", severity,
            color ? FKS_TONE_END : "");
    put_member(to, finding, "id");
    fputs("\n        ", to);
    put_member(to, finding, "what");
    if (pids) {
        putc(':', to);
        put_pids(to, pids);
    } else {
        putc('\n', to);
    }
    put_objects(to, json_object_get(finding, "objects"));
    fputs("        fix: ", to);
    put_member(to, finding, "fix");
    fputs("\n\n", to);
}

void fks_finding_print_counts(FILE *to, const size_t counts[FKS_SEVERITIES])
{
    size_t all = counts[FKS_SEVERITY_HIGH] + counts[FKS_SEVERITY_MEDIUM] + counts[FKS_SEVERITY_LOW];
    fprintf(to, "%zu finding%s: %zu high, %zu medium, %zu low", all, all == 1 ? "" : "s",
            counts[FKS_SEVERITY_HIGH], counts[FKS_SEVERITY_MEDIUM], counts[FKS_SEVERITY_LOW]);
}

static size_t count_role(const struct fks_doctor *doctor, enum fks_doctor_role role)
{
    size_t count = 0;
    for (size_t i = 0; i < doctor->process_count; i++)
        count += doctor->processes[i].role == role && !doctor->processes[i].gone;
    return count;
}

static void put_head(const struct fks_doctor *doctor, FILE *to)
{
    const struct fks_doctor_process *master = &doctor->processes[0];
    size_t workers = count_role(doctor, FKS_DOCTOR_WORKER),
           programs = count_role(doctor, FKS_DOCTOR_PROGRAM);
    fprintf(to, "process %d (", (int)master->pid);
    put(to, master->comm);
    fprintf(to, "), %zu forked process%s", workers, workers == 1 ? "" : "es");
    if (programs)
        fprintf(to, " and %zu other program%s below it", programs, programs == 1 ? "" : "s");
    if (doctor->asked != master->pid)
        fprintf(to, " (%d was asked for: this is what it was forked from)", (int)doctor->asked);
    fputs("\n\n", to);
}

static void put_unreadable(const struct fks_doctor *doctor, FILE *to)
{
    size_t count = 0;
    for (size_t i = 0; i < doctor->process_count; i++) {
        if (!is_unreadable(&doctor->processes[i]))
            continue;
        if (!count++)
            fputs("not read, as this user may not (run it as root):", to);
        if (count <= PIDS_SHOWN)
            fprintf(to, " %d", (int)doctor->processes[i].pid);
    }
    if (count > PIDS_SHOWN)
        fprintf(to, " and %zu more", count - PIDS_SHOWN);
    if (count)
        putc('\n', to);
}

void fks_doctor_print_text(const struct fks_doctor *doctor, FILE *to, bool color)
{
    size_t counts[FKS_SEVERITIES] = {0};
    put_head(doctor, to);
    for (size_t i = 0; i < doctor->finding_count; i++) {
        counts[doctor->findings[i].severity]++;
        fks_finding_print(to, doctor->findings[i].json, color);
    }
    for (size_t i = 0; i < json_array_size(doctor->notes); i++)
        fprintf(to, "note: %s\n", json_string_value(json_array_get(doctor->notes, i)));
    put_unreadable(doctor, to);
    if (!doctor->finding_count) {
        fputs("nothing found that was not safe to fork\n", to);
        return;
    }
    fks_finding_print_counts(to, counts);
    putc('\n', to);
}
