/* SPDX-License-Identifier: MIT
 *
 * What is to stand in the journal and happens before there is one: it is made when the scripts are
 * loaded, with room for what they subscribe. Master.
 */
#ifndef FKS_EARLY_H
#define FKS_EARLY_H

#include "journal.h"

/* Adds the first line of a text to the status lines of the journal, or (NULL) of the next one. */
void fks_early_note(struct fks_journal *journal, const char *text);

/* Adds what was noted to a new journal; NULL: forgets it. */
void fks_early_tell(struct fks_journal *journal);

#endif
