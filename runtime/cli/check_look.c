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

static bool is_preloaded(const struct fks_reader *reader)
{
    static const char preload[] = "preload";
    size_t length;
    const char *name = fks_reader_string(reader, fks_reader_header(reader)->container, &length);
    return length == strlen(preload) && !memcmp(name, preload, length);
}

/* Whether the server itself says when a worker is ready. A preloaded program does not know how. */
static bool tells_ready(const struct fks_reader *reader)
{
    const struct forksafe_hook *hook;
    if (is_preloaded(reader))
        return false;
    for (uint32_t i = 0; (hook = fks_reader_hook(reader, i)); i++)
        if (hook->event == FORKSAFE_POST_WORKER_INIT)
            return true;
    return false;
}

static void count_workers(struct fks_check_look *look, struct fks_reader *reader)
{
    bool told = tells_ready(reader);
    const struct forksafe_journal_header *header = fks_reader_header(reader);
    look->failed += (unsigned)(header->exits_failed + header->exits_signal);
    look->tells_ready &= told;
    for (uint32_t i = 0; i < header->slot_count; i++) {
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
    look->workers = look->forked = look->ready = look->failed = 0;
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

static bool has_id(const json_t *findings, const json_t *id)
{
    size_t i;
    json_t *one;
    json_array_foreach(findings, i, one)
    {
        if (json_equal(json_object_get(one, "id"), id))
            return true;
    }
    return false;
}

/* Adds those whose id is not there yet. */
static void merge(json_t *all, const json_t *more)
{
    size_t i;
    json_t *one;
    json_array_foreach(more, i, one)
    {
        if (!has_id(all, json_object_get(one, "id")))
            json_array_append(all, one);
    }
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
static int ask_doctor_of_all(const struct fks_server *server, json_t *findings, json_t *notes,
                             struct fks_error *error)
{
    int rc = 0;
    for (size_t i = 1; !rc && i < server->at.process_count; i++)
        if (fks_server_forks(server, i) && !fks_server_is_fork(server, i))
            rc = ask_doctor(server->at.processes[i].pid, findings, notes, error);
    return rc;
}

static int by_doctor(const struct fks_server *server, json_t *findings, json_t *notes,
                     struct fks_error *error)
{
    json_array_append_new(notes,
                          json_string("no adapter told of its forks: looked at from outside, as "
                                      "`forksafe doctor` does"));
    return ask_doctor_of_all(server, findings, notes, error);
}

/* The preload adapter looks at fork(), before a program has tidied up. So of things without a name,
 * such as event loops, only those count that workers share when they are at work. */
static int look_again(const struct fks_server *server, json_t *findings, struct fks_error *error)
{
    json_t *seen = json_array(), *notes = json_array();
    int rc = ask_doctor_of_all(server, seen, notes, error);
    for (size_t i = json_array_size(findings); !rc && i-- > 0;) {
        const json_t *one = json_array_get(findings, i), *id = json_object_get(one, "id");
        if (json_equal(id, json_object_get(one, "kind")) && !has_id(seen, id))
            json_array_remove(findings, i);
    }
    json_decref(seen);
    json_decref(notes);
    return rc;
}

static int by_reader(struct fks_reader *reader, const struct fks_server *server, json_t *findings,
                     struct fks_error *error)
{
    char *text = fks_debug_text(&reader, 1, "check", 0, error);
    json_t *object = text ? json_loads(text, 0, NULL) : NULL;
    json_t *more = json_object_get(object, "findings");
    free(text);
    int rc = more ? 0 : fks_fail(error, FORKSAFE_ENOMEM, "no memory for the findings");
    if (!rc && json_array_size(more) && is_preloaded(reader) && !server->alone)
        rc = look_again(server, more, error);
    if (!rc)
        merge(findings, more);
    json_decref(object);
    return rc;
}

static int by_audit(const struct fks_check_look *look, const struct fks_server *server,
                    json_t *findings, json_t *notes, struct fks_error *error)
{
    int rc = 0;
    for (size_t i = 0; !rc && i < look->count; i++) {
        const struct forksafe_finding_area *area = fks_reader_findings(look->readers[i]);
        if (!is_of(server, look->readers[i]))
            continue;
        if (area->unseen || area->dropped)
            json_array_append_new(notes, json_string("there was more than the audit looks at"));
        rc = by_reader(look->readers[i], server, findings, error);
    }
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
