/* SPDX-License-Identifier: MIT
 *
 * The kernel's objects without a name that a fork shares: one table of how /proc calls each, and
 * what is said about it.
 */
#ifndef FKS_DOCTOR_KINDS_H
#define FKS_DOCTOR_KINDS_H

#include "doctor.h"

struct fks_doctor_kind {
    enum fks_doctor_type type;
    const char *link; /* how its link begins */
    const char *id;   /* of the finding */
    enum fks_doctor_severity severity;
    const char *what;
};

extern const struct fks_doctor_kind fks_doctor_kinds[];
extern const size_t fks_doctor_kind_count;

#endif
