/* SPDX-License-Identifier: MIT
 *
 * Whether two descriptors are one open file description, inherited through a fork, or two that were
 * opened apart (doctor.h): asks the kernel with kcmp(2). In the command only.
 */
#include "doctor.h"

#include <errno.h>
#include <linux/kcmp.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { KCMP_SAME = 0, KCMP_LESS = 1 };

/* Descriptions that are compared each with each, of one type and path: of more, those that only one
 * process has, as far as the numbers tell, are left out. */
#define SORTED_MOST 1024

static const struct fks_doctor *sorting; /* qsort has no argument for it */

static long compare_files(const struct fks_doctor *doctor, size_t one, int number, size_t other,
                          int other_number)
{
    return syscall(SYS_kcmp, doctor->processes[one].pid, doctor->processes[other].pid, KCMP_FILE,
                   number, other_number);
}

/* Whether the kernel answers for this process: it does where we could trace it, and where no
 * container's filter forbids the call. */
static bool is_comparable(const struct fks_doctor *doctor, size_t index, int number)
{
    struct fks_doctor_process *process = &doctor->processes[index];
    if (process->comparable < 0)
        process->comparable = compare_files(doctor, index, number, index, number) == KCMP_SAME ||
                              (errno != EPERM && errno != ENOSYS);
    return process->comparable;
}

enum fks_doctor_same fks_doctor_same_number(const struct fks_doctor *doctor, size_t process,
                                            const struct fks_doctor_fd *other)
{
    int number = other->number;
    if (!is_comparable(doctor, process, number) || !is_comparable(doctor, other->process, number))
        return FKS_DOCTOR_NOT_TOLD;
    return compare_files(doctor, process, number, other->process, number) == KCMP_SAME
               ? FKS_DOCTOR_SAME
               : FKS_DOCTOR_OTHER;
}

bool fks_doctor_is_shared(const struct fks_doctor_fd *fds, size_t count)
{
    for (size_t i = 1; i < count; i++)
        if (fds[i].process != fds[0].process)
            return true;
    return false;
}

static int by_description(const void *left, const void *right)
{
    const struct fks_doctor_fd *a = left, *b = right;
    if (a->description != b->description)
        return a->description < b->description ? -1 : 1;
    if (a->process != b->process)
        return a->process < b->process ? -1 : 1;
    return (a->number > b->number) - (a->number < b->number);
}

/* As the kernel orders open files; those of which it does not tell come last, each by itself. */
static int by_file(const void *left, const void *right)
{
    const struct fks_doctor_fd *a = left, *b = right;
    bool has_a = is_comparable(sorting, a->process, a->number);
    if (has_a != is_comparable(sorting, b->process, b->number))
        return has_a ? -1 : 1;
    long answer = has_a ? compare_files(sorting, a->process, a->number, b->process, b->number) : -1;
    if (answer < 0 || answer > 2)
        return by_description(left, right);
    return answer == KCMP_SAME ? 0 : answer == KCMP_LESS ? -1 : 1;
}

static bool is_one_file(const struct fks_doctor *doctor, const struct fks_doctor_fd *a,
                        const struct fks_doctor_fd *b)
{
    return is_comparable(doctor, a->process, a->number) &&
           is_comparable(doctor, b->process, b->number) &&
           compare_files(doctor, a->process, a->number, b->process, b->number) == KCMP_SAME;
}

static size_t end_of_run(const struct fks_doctor_fd *fds, size_t begin, size_t count)
{
    size_t end = begin + 1;
    while (end < count && fds[end].description == fds[begin].description)
        end++;
    return end;
}

static void note_numbers(struct fks_doctor *doctor, const struct fks_doctor_fd *fds, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (!is_comparable(doctor, fds[i].process, fds[i].number)) {
            fks_doctor_note(doctor,
                            "kcmp(2) is not permitted here: whether files, epoll sets and the "
                            "like are shared was judged by their numbers");
            return;
        }
}

/* One descriptor of each description into `out`, which has room for `count`: all that matter, or
 * where they are too many, of those alone that several processes have. Returns how many. */
static size_t first_of_each(struct fks_doctor *doctor, const struct fks_doctor_fd *fds,
                            size_t count, fks_doctor_test *matters, struct fks_doctor_fd *out)
{
    size_t all = 0, taken = 0;
    for (size_t begin = 0; begin < count; begin = end_of_run(fds, begin, count))
        all++;
    for (size_t begin = 0, end; begin < count; begin = end) {
        end = end_of_run(fds, begin, count);
        bool is_shared = fks_doctor_is_shared(fds + begin, end - begin);
        if (is_shared || (all <= SORTED_MOST && (!matters || matters(doctor, &fds[begin]))))
            out[taken++] = fds[begin];
    }
    if (all > SORTED_MOST && taken < all)
        fks_doctor_note(doctor,
                        "there is too much of one kind to compare each with each: what processes "
                        "share under different numbers was not looked for");
    return taken;
}

/* What was dup(2)ed, or handed over a socket, is the same under other numbers. */
static void join_dups(struct fks_doctor *doctor, struct fks_doctor_fd *fds, size_t count,
                      fks_doctor_test *matters)
{
    struct fks_doctor_fd *list = calloc(count, sizeof *list);
    if (!list) {
        doctor->failed = true;
        return;
    }
    size_t listed = first_of_each(doctor, fds, count, matters, list);
    sorting = doctor;
    qsort(list, listed, sizeof *list, by_file);
    for (size_t i = 1; i < listed; i++) {
        uint32_t from = list[i].description, to = list[i - 1].description;
        if (!is_one_file(doctor, &list[i - 1], &list[i]))
            continue;
        list[i].description = to;
        for (size_t j = 0; j < count; j++)
            if (fds[j].description == from)
                fds[j].description = to;
    }
    free(list);
}

void fks_doctor_split(struct fks_doctor *doctor, struct fks_doctor_fd *fds, size_t count,
                      fks_doctor_test *matters, fks_doctor_group *each)
{
    if (!fks_doctor_is_shared(fds, count))
        return;
    note_numbers(doctor, fds, count);
    qsort(fds, count, sizeof *fds, by_description);
    join_dups(doctor, fds, count, matters);
    qsort(fds, count, sizeof *fds, by_description);
    for (size_t begin = 0, end; begin < count; begin = end) {
        end = end_of_run(fds, begin, count);
        if (fks_doctor_is_shared(fds + begin, end - begin))
            each(doctor, fds + begin, end - begin);
    }
}
