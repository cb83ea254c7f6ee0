/* SPDX-License-Identifier: MIT
 *
 * The lists of events.h and journal_layout.h as texts, for everything that shows or reads them.
 * Static storage, any process.
 */
#ifndef FKS_NAMES_H
#define FKS_NAMES_H

#include "forksafe/journal_layout.h"

extern const char *const fks_event_names[FORKSAFE_EVENT_COUNT]; /* "ApplicationPostFork" */
extern const char *const fks_event_files[FORKSAFE_EVENT_COUNT]; /* "postfork" */
extern const char *const fks_role_names[FORKSAFE_ROLE_COUNT];
extern const char *const fks_outcome_names[FORKSAFE_OUTCOME_COUNT];
extern const char *const fks_state_names[FORKSAFE_STATE_COUNT];
extern const char *const fks_on_error_names[3]; /* by enum fks_on_error */

#endif
