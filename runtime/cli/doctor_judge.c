/* SPDX-License-Identifier: MIT
 *
 * Goes through what several processes have open and keeps the findings (doctor.h): one for each id,
 * with everything it stands for. In the command only.
 */
#include "doctor.h"

#include <stdlib.h>
#include <string.h>

#include "core/debug_json.h"

/* --- keeping what is found --- */

void fks_doctor_note(struct fks_doctor *doctor, const char *text)
{
    if (!doctor->notes && !(doctor->notes = json_array())) {
        doctor->failed = true;
        return;
    }
    for (size_t i = 0; i < json_array_size(doctor->notes); i++)
        if (!strcmp(json_string_value(json_array_get(doctor->notes, i)), text))
            return;
    json_array_append_new(doctor->notes, json_string(text));
}

static json_t *text_of(const char *text)
{
    return fks_json_text(text, strlen(text));
}

static bool fill(struct fks_doctor_finding *finding, const struct fks_doctor *doctor,
                 const struct fks_doctor_thing *thing, const char *id)
{
    const struct fks_kind *kind = &fks_kinds[thing->kind];
    char fix[512];
    fks_doctor_fix(doctor, fix, sizeof fix, thing->kind, thing->subject);
    *finding = (struct fks_doctor_finding){
        .severity = fks_finding_severity(thing->kind, thing->subject),
        .kind = thing->kind,
        .json = json_pack("{so ss ss ss so}", "id", text_of(id), "kind", kind->name, "severity",
                          fks_severities[fks_finding_severity(thing->kind, thing->subject)], "what",
                          "", "fix", text_of(fix)),
        .objects = json_array(),
        .holds = calloc(doctor->process_count, 1),
    };
    if (finding->json && finding->objects && finding->holds) {
        if (kind->subject)
            json_object_set_new(finding->json, kind->subject, text_of(thing->subject));
        return !json_object_set_new(finding->json, "objects", finding->objects);
    }
    json_decref(finding->json);
    json_decref(finding->objects);
    free(finding->holds);
    return false;
}

struct fks_doctor_finding *fks_doctor_add(struct fks_doctor *doctor,
                                          const struct fks_doctor_thing *thing)
{
    char id[4400];
    fks_finding_id(id, sizeof id, thing->kind, thing->subject);
    json_t *wanted = text_of(id);
    for (size_t i = 0; wanted && i < doctor->finding_count; i++)
        if (json_equal(json_object_get(doctor->findings[i].json, "id"), wanted)) {
            json_decref(wanted);
            return &doctor->findings[i];
        }
    json_decref(wanted);
    void *grown =
        reallocarray(doctor->findings, doctor->finding_count + 1, sizeof *doctor->findings);
    if (grown)
        doctor->findings = grown;
    if (!grown || !fill(&doctor->findings[doctor->finding_count], doctor, thing, id)) {
        doctor->failed = true;
        return NULL;
    }
    return &doctor->findings[doctor->finding_count++];
}

void fks_doctor_add_holders(struct fks_doctor *doctor, const struct fks_doctor_thing *thing,
                            const struct fks_doctor_fd *fds, size_t count)
{
    struct fks_doctor_finding *finding = fks_doctor_add(doctor, thing);
    if (!finding)
        return;
    size_t processes = 0;
    for (size_t i = 0; i < count; i++) {
        finding->holds[fds[i].process] = 1;
        processes += i == 0 || fds[i].process != fds[i - 1].process;
    }
    json_array_append_new(finding->objects,
                          json_pack("{so si si sI}", "what", text_of(thing->object), "pid",
                                    (int)doctor->processes[fds[0].process].pid, "fd", thing->number,
                                    "processes", (json_int_t)processes));
}

/* --- judging --- */

static int by_key(const void *left, const void *right)
{
    const struct fks_doctor_fd *a = left, *b = right;
    if (a->type != b->type)
        return a->type < b->type ? -1 : 1;
    if (a->key != b->key)
        return a->key < b->key ? -1 : 1;
    if (a->process != b->process)
        return a->process < b->process ? -1 : 1;
    return (a->number > b->number) - (a->number < b->number);
}

/* The first that is not before `wanted`. */
static size_t first_of(const struct fks_doctor *doctor, const struct fks_doctor_fd *wanted)
{
    size_t low = 0, high = doctor->fd_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (by_key(&doctor->fds[middle], wanted) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* Whether an epoll set of its process has the descriptor in it. */
static bool is_watched(const struct fks_doctor *doctor, const struct fks_doctor_fd *fd)
{
    struct fks_doctor_fd wanted = {.type = FKS_FINDING_EPOLL, .process = fd->process};
    for (size_t i = first_of(doctor, &wanted); i < doctor->fd_count; i++) {
        const struct fks_doctor_fd *epoll = &doctor->fds[i];
        if (epoll->type != FKS_FINDING_EPOLL || epoll->process != fd->process)
            return false;
        if (fks_doctor_watches(doctor, epoll, fd->number))
            return true;
    }
    return false;
}

/* One process waits for it in an epoll set and the others do not: they have a number of it left
 * from the fork, which is how event loops of masters look in workers that stay away from them. */
static bool is_leftover(const struct fks_doctor *doctor, const struct fks_doctor_fd *fds,
                        size_t count)
{
    if (fds->type == FKS_FINDING_EPOLL || !is_watched(doctor, &fds[0]))
        return false;
    for (size_t i = 1; i < count; i++)
        if (fds[i].process != fds[0].process && is_watched(doctor, &fds[i]))
            return false;
    return true;
}

static void judge_nameless(struct fks_doctor *doctor, struct fks_doctor_fd *fds, size_t count)
{
    char object[64];
    if (is_leftover(doctor, fds, count))
        return;
    snprintf(object, sizeof object, "descriptor %d", fds->number);
    struct fks_doctor_thing thing = {.kind = fds->type, .object = object, .number = fds->number};
    fks_doctor_add_holders(doctor, &thing, fds, count);
}

bool fks_doctor_has_socket(const struct fks_doctor *doctor, uint64_t inode)
{
    struct fks_doctor_fd wanted = {.type = FKS_FINDING_CONNECTION, .key = inode};
    size_t found = first_of(doctor, &wanted);
    return found < doctor->fd_count && doctor->fds[found].type == FKS_FINDING_CONNECTION &&
           doctor->fds[found].key == inode;
}

static void judge_run(struct fks_doctor *doctor, struct fks_doctor_fd *fds, size_t count)
{
    switch (fds->type) {
    case FKS_FINDING_CONNECTION: /* a socket has one description */
        fks_doctor_judge_socket(doctor, fds, count);
        break;
    case FKS_FINDING_FILE:
        fks_doctor_judge_file(doctor, fds, count);
        break;
    case FKS_FINDING_DEVICE:
        fks_doctor_split(doctor, fds, count, NULL, fks_doctor_judge_device);
        break;
    default:
        fks_doctor_split(doctor, fds, count, NULL, judge_nameless);
        break;
    }
}

static int by_severity(const void *left, const void *right)
{
    const struct fks_doctor_finding *a = left, *b = right;
    if (a->severity != b->severity)
        return a->severity < b->severity ? -1 : 1;
    return strcmp(json_string_value(json_object_get(a->json, "id")),
                  json_string_value(json_object_get(b->json, "id")));
}

/* Completes a finding once all that it stands for is there. */
static void complete(struct fks_doctor *doctor, const struct fks_doctor_finding *finding)
{
    json_t *pids = json_array();
    for (size_t i = 0; i < doctor->process_count; i++)
        if (finding->holds[i])
            json_array_append_new(pids, json_integer(doctor->processes[i].pid));
    size_t processes = json_array_size(pids);
    const char *member = fks_kinds[finding->kind].subject;
    const char *subject = member ? json_string_value(json_object_get(finding->json, member)) : NULL;
    char where[64], text[4600];
    snprintf(where, sizeof where, "%zu process%s", processes, processes == 1 ? "" : "es");
    fks_finding_what(text, sizeof text, finding->kind, subject, where);
    json_t *what = text_of(text);
    if (json_object_set_new(finding->json, "pids", pids) ||
        json_object_set_new(finding->json, "what", what))
        doctor->failed = true;
    json_object_set_new(finding->json, "count",
                        json_integer((json_int_t)json_array_size(finding->objects)));
}

int fks_doctor_judge(struct fks_doctor *doctor, struct fks_error *error)
{
    if (doctor->fd_count)
        qsort(doctor->fds, doctor->fd_count, sizeof *doctor->fds, by_key);
    for (size_t begin = 0, end; begin < doctor->fd_count; begin = end) {
        const struct fks_doctor_fd *first = &doctor->fds[begin];
        for (end = begin + 1; end < doctor->fd_count && doctor->fds[end].type == first->type &&
                              doctor->fds[end].key == first->key;)
            end++;
        if (!fks_doctor_is_shared(first, end - begin))
            continue;
        judge_run(doctor, &doctor->fds[begin], end - begin);
        qsort(&doctor->fds[begin], end - begin, sizeof *doctor->fds,
              by_key); /* is_watched looks here */
    }
    fks_doctor_judge_threads(doctor);
    for (size_t i = 0; i < doctor->finding_count; i++)
        complete(doctor, &doctor->findings[i]);
    if (doctor->finding_count)
        qsort(doctor->findings, doctor->finding_count, sizeof *doctor->findings, by_severity);
    return doctor->failed ? fks_fail(error, FORKSAFE_ENOMEM, "no memory for all that is found") : 0;
}

void fks_doctor_finish(struct fks_doctor *doctor)
{
    for (size_t i = 0; i < doctor->finding_count; i++) {
        json_decref(doctor->findings[i].json);
        free(doctor->findings[i].holds);
    }
    free(doctor->findings);
    free(doctor->processes);
    free(doctor->fds);
    fks_doctor_nets_free(doctor->nets);
    json_decref(doctor->notes);
    if (doctor->proc)
        closedir(doctor->proc);
}
