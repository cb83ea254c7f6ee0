/* SPDX-License-Identifier: MIT
 *
 * What `forksafe check` sees of the server that it has started (check.h): the journals that its
 * processes have mapped, wherever those lie, who of its workers is ready, and the findings. Where
 * no audit looked, the doctor looks. In the command only.
 */
#include "check.h"

#include <stdlib.h>
#include <string.h>

#include "core/debug.h"
#include "core/debug_json.h"

/* --- journals --- */

/* The path of a line of /proc/PID/maps that maps a file shared and writable; NULL: another line. */
static const char *journal_path(char *line)
{
    char rights[8] = "";
    int path = 0;
    line[strcspn(line, "\n")] = '\0';
    if (sscanf(line, "%*s %7s %*s %*s %*s %n", rights, &path) != 1 || strcmp(rights, "rw-s"))
        return NULL;
    return path && line[path] == '/' ? line + path : NULL;
}

static void add_journal(struct fks_check_look *look, const char *path)
{
    struct fks_reader *reader, **grown;
    for (size_t i = 0; i < look->count; i++)
        if (!strcmp(fks_reader_path(look->readers[i]), path))
            return;
    if (fks_reader_open(&reader, path, NULL))
        return;
    grown = realloc(look->readers, (look->count + 1) * sizeof(*grown));
    if (!grown) {
        fks_reader_close(reader);
        return;
    }
    look->readers = grown;
    grown[look->count++] = reader;
}

static void find_journals(struct fks_check_look *look, pid_t pid)
{
    char name[64], *line = NULL;
    size_t room = 0;
    snprintf(name, sizeof name, "/proc/%d/maps", (int)pid);
    FILE *maps = fopen(name, "re");
    if (!maps)
        return;
    while (getline(&line, &room, maps) > 0) {
        const char *path = journal_path(line);
        if (path)
            add_journal(look, path);
    }
    free(line);
    fclose(maps);
}

/* --- workers --- */

/* Whether the server itself says when a worker is ready. A preloaded program does not know how. */
static bool tells_ready(const struct fks_reader *reader)
{
    size_t length;
    const char *name = fks_reader_string(reader, fks_reader_header(reader)->container, &length);
    const struct forksafe_hook *hook;
    if (length == strlen("preload") && !memcmp(name, "preload", length))
        return false;
    for (uint32_t i = 0; (hook = fks_reader_hook(reader, i)); i++)
        if (hook->event == FORKSAFE_POST_WORKER_INIT)
            return true;
    return false;
}

static void count_workers(struct fks_check_look *look, struct fks_reader *reader)
{
    bool told = tells_ready(reader);
    look->tells_ready &= told;
    uint32_t slots = fks_reader_header(reader)->slot_count;
    for (uint32_t i = 0; i < slots; i++) {
        struct fks_reader_slot read;
        if (fks_reader_slot_read(reader, i, &read, NULL) <= 0 || !read.settled ||
            read.slot.role != FORKSAFE_ROLE_WORKER)
            continue;
        look->forked++;
        look->state = look->state * 31 + read.slot.claimed;
        look->workers += read.alive;
        look->ready += read.alive && (!told || read.slot.state == FORKSAFE_STATE_READY);
    }
}

/* Whether what it says is about this server: its master lives, or everybody has ended. What a
 * launcher saw when it daemonised is about nobody. */
static bool is_of(const struct fks_server *server, const struct fks_reader *reader)
{
    return fks_reader_findings(reader)->generation &&
           (server->alone || fks_reader_master_alive(reader));
}

static void count_forks(struct fks_check_look *look, const struct fks_server *server)
{
    for (size_t i = 1; i < server->at.process_count; i++) {
        if (!fks_server_is_fork(server, i))
            continue;
        look->workers++;
        look->state = look->state * 31 + (uint64_t)server->at.processes[i].pid;
    }
    look->ready = look->forked = look->workers;
}

void fks_check_look(struct fks_check_look *look, const struct fks_server *server)
{
    for (size_t i = 1; i < server->at.process_count; i++)
        find_journals(look, server->at.processes[i].pid);
    look->workers = look->forked = look->ready = 0;
    look->state = 0;
    look->tells_ready = true;
    for (size_t i = 0; i < look->count; i++)
        if (!fks_reader_refresh(look->readers[i], NULL) && is_of(server, look->readers[i]))
            count_workers(look, look->readers[i]);
    look->told = look->forked > 0;
    if (look->told)
        return;
    look->tells_ready = false;
    count_forks(look, server);
}

void fks_check_look_finish(struct fks_check_look *look)
{
    for (size_t i = 0; i < look->count; i++)
        fks_reader_close(look->readers[i]);
    free(look->readers);
    *look = (struct fks_check_look){0};
}

json_t *fks_check_containers(const struct fks_check_look *look, const struct fks_server *server)
{
    json_t *names = json_array();
    for (size_t i = 0; look->told && i < look->count; i++) {
        size_t length;
        const struct fks_reader *reader = look->readers[i];
        const char *name = fks_reader_string(reader, fks_reader_header(reader)->container, &length);
        if (is_of(server, reader))
            json_array_append_new(names, fks_json_text(name, length));
    }
    return names;
}

/* --- findings --- */

/* Adds those whose id is not there yet. */
static void merge(json_t *all, const json_t *more)
{
    size_t i, n;
    json_t *one, *known;
    json_array_foreach(more, i, one)
    {
        bool is_known = false;
        json_array_foreach(all, n, known) is_known |=
            json_equal(json_object_get(known, "id"), json_object_get(one, "id"));
        if (!is_known)
            json_array_append(all, one);
    }
}

static int by_audit(const struct fks_check_look *look, const struct fks_server *server,
                    json_t *findings, json_t *notes, struct fks_error *error)
{
    struct fks_reader **of = calloc(look->count + 1, sizeof(*of));
    size_t count = 0;
    for (size_t i = 0; of && i < look->count; i++) {
        if (!is_of(server, look->readers[i]))
            continue;
        of[count++] = look->readers[i];
        if (fks_reader_findings(look->readers[i])->unseen ||
            fks_reader_findings(look->readers[i])->dropped)
            json_array_append_new(notes, json_string("there was more than the audit looks at"));
    }
    char *text = of ? fks_debug_text(of, count, "check", 0, error) : NULL;
    json_t *object = text ? json_loads(text, 0, NULL) : NULL;
    free(text);
    free(of);
    if (!object)
        return fks_fail(error, FORKSAFE_ENOMEM, "no memory for the findings");
    merge(findings, json_object_get(object, "findings"));
    json_decref(object);
    return 0;
}

static int ask_doctor(pid_t pid, json_t *findings, json_t *notes, struct fks_error *error)
{
    struct fks_doctor doctor;
    int rc = fks_doctor_collect(&doctor, pid, error);
    if (!rc)
        rc = fks_doctor_judge(&doctor, error);
    for (size_t i = 0; !rc && i < doctor.finding_count; i++) {
        json_t *one = json_pack("[O]", doctor.findings[i].json);
        merge(findings, one);
        json_decref(one);
    }
    for (size_t i = 0; !rc && i < json_array_size(doctor.notes); i++)
        json_array_append(notes, json_array_get(doctor.notes, i));
    for (size_t i = 0; !rc && i < doctor.process_count; i++)
        if (!doctor.processes[i].readable && !doctor.processes[i].gone) {
            json_array_append_new(notes, json_string("not every process could be read, as this "
                                                     "user may not (run it as root)"));
            break;
        }
    fks_doctor_finish(&doctor);
    return rc;
}

/* Every process that has forks and is none itself is a master. */
static int by_doctor(const struct fks_server *server, json_t *findings, json_t *notes,
                     struct fks_error *error)
{
    int rc = 0;
    json_array_append_new(notes,
                          json_string("no adapter told of its forks: looked at from outside, as "
                                      "`forksafe doctor` does"));
    for (size_t i = 1; !rc && i < server->at.process_count; i++)
        if (fks_server_forks(server, i) && !fks_server_is_fork(server, i))
            rc = ask_doctor(server->at.processes[i].pid, findings, notes, error);
    return rc;
}

json_t *fks_check_findings(const struct fks_check_look *look, const struct fks_server *server,
                           json_t *notes, struct fks_error *error)
{
    json_t *findings = json_array();
    int rc = look->told ? by_audit(look, server, findings, notes, error)
                        : by_doctor(server, findings, notes, error);
    if (!rc && findings)
        return findings;
    json_decref(findings);
    return NULL;
}
