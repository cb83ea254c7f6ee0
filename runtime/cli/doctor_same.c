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

enum { KCMP_SAME = 0, KCMP_LESS = 1, KCMP_GREATER = 2, SHARED_PASSES = 8 };

static const struct fks_doctor *sorting; /* qsort has no argument for it */

static long compare_files(const struct fks_doctor *doctor, const struct fks_doctor_fd *a,
                          const struct fks_doctor_fd *b)
{
    return syscall(SYS_kcmp, doctor->processes[a->process].pid, doctor->processes[b->process].pid,
                   KCMP_FILE, a->number, b->number);
}

/* Whether the kernel answers for this process: it does where we could trace it, and where no
 * container's filter forbids the call. */
static bool is_comparable(const struct fks_doctor *doctor, const struct fks_doctor_fd *fd)
{
    struct fks_doctor_process *process = &doctor->processes[fd->process];
    if (process->comparable < 0)
        process->comparable =
            compare_files(doctor, fd, fd) == KCMP_SAME || (errno != EPERM && errno != ENOSYS);
    return process->comparable;
}

/* Without the kernel's answer: a worker has from its master what both have under one number. Not so
 * two workers, which each open their own alike. */
static bool is_same_number(const struct fks_doctor *doctor, const struct fks_doctor_fd *a,
                           const struct fks_doctor_fd *b)
{
    const struct fks_doctor_process *one = &doctor->processes[a->process],
                                    *other = &doctor->processes[b->process];
    if (a->number != b->number || one->role == FKS_DOCTOR_PROGRAM ||
        other->role == FKS_DOCTOR_PROGRAM)
        return false;
    return one->pid == other->ppid || other->pid == one->ppid;
}

static bool is_same(const struct fks_doctor *doctor, const struct fks_doctor_fd *a,
                    const struct fks_doctor_fd *b)
{
    if (is_comparable(doctor, a) && is_comparable(doctor, b))
        return compare_files(doctor, a, b) == KCMP_SAME;
    return is_same_number(doctor, a, b);
}

static int by_description(const void *left, const void *right)
{
    const struct fks_doctor_fd *a = left, *b = right;
    bool has_a = is_comparable(sorting, a), has_b = is_comparable(sorting, b);
    if (has_a != has_b)
        return has_a ? -1 : 1;
    long answer = has_a ? compare_files(sorting, a, b) : -1;
    if (answer == KCMP_SAME)
        return 0;
    if (answer == KCMP_LESS || answer == KCMP_GREATER)
        return answer == KCMP_LESS ? -1 : 1;
    return (a->number > b->number) - (a->number < b->number);
}

bool fks_doctor_is_shared(const struct fks_doctor_fd *fds, size_t count)
{
    for (size_t i = 1; i < count; i++)
        if (fds[i].process != fds[0].process)
            return true;
    return false;
}

/* Those that are the same as the first come to the front, in their order, and the others stay
 * nearly in theirs. Returns how many. */
static size_t take_same(const struct fks_doctor *doctor, struct fks_doctor_fd *fds, size_t count)
{
    size_t same = 1;
    for (size_t i = 1; i < count; i++)
        if (is_same(doctor, &fds[0], &fds[i])) {
            struct fks_doctor_fd moved = fds[i];
            fds[i] = fds[same];
            fds[same++] = moved;
        }
    return same;
}

static void note_numbers(struct fks_doctor *doctor, const struct fks_doctor_fd *fds, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (!is_comparable(doctor, &fds[i])) {
            fks_doctor_note(doctor,
                            "kcmp(2) is not permitted here: whether files, epoll sets and the "
                            "like are shared was judged by their numbers");
            return;
        }
}

/* Those of the master, mostly, with what the others have of them: in each pass one look at
 * everybody. Stops at the first that nobody else has, and when it would take longer than sorting.
 * Returns how many it took. */
static size_t take_shared(struct fks_doctor *doctor, struct fks_doctor_fd *fds, size_t count,
                          fks_doctor_group *each)
{
    size_t taken = 0;
    for (int pass = 0; pass < SHARED_PASSES && taken < count; pass++) {
        size_t same = take_same(doctor, fds + taken, count - taken);
        if (!fks_doctor_is_shared(fds + taken, same))
            break;
        each(doctor, fds + taken, same);
        taken += same;
    }
    return taken;
}

void fks_doctor_split(struct fks_doctor *doctor, struct fks_doctor_fd *fds, size_t count,
                      fks_doctor_group *each)
{
    if (!fks_doctor_is_shared(fds, count))
        return;
    note_numbers(doctor, fds, count);
    size_t taken = take_shared(doctor, fds, count, each);
    fds += taken;
    count -= taken;
    sorting = doctor;
    if (count > 1)
        qsort(fds, count, sizeof *fds, by_description);
    for (size_t begin = 0, end; begin < count; begin = end) {
        for (end = begin + 1; end < count && is_same(doctor, &fds[begin], &fds[end]);)
            end++;
        if (fks_doctor_is_shared(fds + begin, end - begin))
            each(doctor, fds + begin, end - begin);
    }
}
