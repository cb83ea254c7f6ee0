/* SPDX-License-Identifier: MIT
 *
 * Threads that the master had when it forked and its workers therefore have not (doctor.h): by name
 * and by when each began. In the command only.
 */
#include "doctor.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct thread {
    pid_t id;
    uint64_t started;
    char name[FKS_THREAD_NAME]; /* runs of digits are "*": rdk:broker12 is rdk:broker* */
};

struct threads {
    struct thread *items;
    size_t count;
};

static bool read_thread(const struct fks_doctor *doctor, pid_t pid, const char *id,
                        struct thread *out)
{
    char text[2048];
    if (fks_doctor_read(doctor, text, sizeof text, "%d/task/%.20s/stat", (int)pid, id) <= 0)
        return false;
    char *name = strchr(text, '('), *end = strrchr(text, ')');
    if (!name || !end || end < name)
        return false;
    *end = '\0';
    out->id = atoi(id);
    fks_thread_name(out->name, name + 1);
    char *field = end + 1; /* before the state; its start is 19 fields on */
    for (int i = 0; field && i < 19; i++)
        field = strchr(field + 1, ' ');
    out->started = field ? strtoull(field, NULL, 10) : 0;
    return !fks_is_harmless_thread(name + 1);
}

/* Those beside the first thread. */
static void read_threads(struct fks_doctor *doctor, pid_t pid, struct threads *out)
{
    char name[32];
    snprintf(name, sizeof name, "%d/task", (int)pid);
    int fd = openat(dirfd(doctor->proc), name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *directory = fd < 0 ? NULL : fdopendir(fd);
    if (!directory && fd >= 0)
        close(fd);
    if (!directory)
        return;
    for (struct dirent *entry; (entry = readdir(directory));) {
        struct thread thread;
        if (*entry->d_name == '.' || atoi(entry->d_name) == pid ||
            !read_thread(doctor, pid, entry->d_name, &thread))
            continue;
        void *grown = reallocarray(out->items, out->count + 1, sizeof *out->items);
        if (!grown) {
            doctor->failed = true;
            break;
        }
        out->items = grown;
        out->items[out->count++] = thread;
    }
    closedir(directory);
}

/* Clock ticks are coarse: within one the kernel's numbers tell which came first. */
static bool is_before(const struct thread *thread, const struct fks_doctor_process *process)
{
    return thread->started < process->started ||
           (thread->started == process->started && thread->id < process->pid);
}

static size_t count_of(const struct threads *threads, const char *name,
                       const struct fks_doctor_process *before)
{
    size_t count = 0;
    for (size_t i = 0; i < threads->count; i++)
        count += !strcmp(threads->items[i].name, name) &&
                 (!before || is_before(&threads->items[i], before));
    return count;
}

static void add_lost(struct fks_doctor *doctor, const char *name, size_t lost, size_t worker)
{
    struct fks_doctor_thing thing = {.kind = FKS_FINDING_THREAD, .subject = name};
    struct fks_doctor_finding *finding = fks_doctor_add(doctor, &thing);
    if (!finding)
        return;
    finding->holds[worker] = 1;
    while (json_array_size(finding->objects) < lost)
        if (json_array_append_new(
                finding->objects,
                json_pack("{sO}", "what", json_object_get(finding->json, "thread")))) {
            doctor->failed = true;
            return;
        }
}

static void compare(struct fks_doctor *doctor, const struct threads *masters, size_t worker)
{
    const struct fks_doctor_process *process = &doctor->processes[worker];
    struct threads own = {0};
    if (process->threads > 1)
        read_threads(doctor, process->pid, &own);
    for (size_t i = 0; i < masters->count; i++) {
        const char *name = masters->items[i].name;
        size_t had = count_of(masters, name, process), has = count_of(&own, name, NULL);
        bool is_first = true;
        for (size_t j = 0; j < i; j++)
            is_first = is_first && strcmp(masters->items[j].name, name) != 0;
        if (is_first && had > has)
            add_lost(doctor, name, had - has, worker);
    }
    free(own.items);
}

void fks_doctor_judge_threads(struct fks_doctor *doctor)
{
    struct threads masters = {0};
    if (doctor->processes[0].threads <= 1)
        return;
    read_threads(doctor, doctor->processes[0].pid, &masters);
    for (size_t i = 1; i < doctor->process_count; i++)
        if (doctor->processes[i].role == FKS_DOCTOR_WORKER && !doctor->processes[i].gone &&
            doctor->processes[i].ppid == doctor->processes[0].pid)
            compare(doctor, &masters, i);
    free(masters.items);
}
