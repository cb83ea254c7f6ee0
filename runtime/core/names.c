/* SPDX-License-Identifier: MIT
 *
 * The lists as texts: each table is its list, so that they cannot differ.
 */
#include "names.h"

#include "config.h"

const char *const fks_event_names[FORKSAFE_EVENT_COUNT] = {
#define X(id, name, file, process, meaning) name,
    FORKSAFE_EVENTS(X)
#undef X
};

const char *const fks_event_files[FORKSAFE_EVENT_COUNT] = {
#define X(id, name, file, process, meaning) file,
    FORKSAFE_EVENTS(X)
#undef X
};

const char *const fks_role_names[FORKSAFE_ROLE_COUNT] = {
#define X(id, name) name,
    FORKSAFE_ROLES(X)
#undef X
};

const char *const fks_outcome_names[FORKSAFE_OUTCOME_COUNT] = {
#define X(id, name) name,
    FORKSAFE_OUTCOMES(X)
#undef X
};

const char *const fks_state_names[FORKSAFE_STATE_COUNT] = {
#define X(id, name) name,
    FORKSAFE_STATES(X)
#undef X
};

const char *const fks_on_error_names[3] = {
    [FKS_ON_ERROR_LOG] = "log",
    [FKS_ON_ERROR_RETIRE_WORKER] = "retire_worker",
    [FKS_ON_ERROR_STOP_SERVER] = "stop_server",
};
