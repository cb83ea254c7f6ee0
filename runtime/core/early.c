/* SPDX-License-Identifier: MIT
 *
 * Status lines from before the journal (early.h). Master.
 */
#include "early.h"

#include <stdio.h>
#include <string.h>

static struct {
    char lines[FORKSAFE_LOG_LINES][FORKSAFE_STATUS_TEXT];
    uint32_t count;
} early;

void fks_early_note(struct fks_journal *journal, const char *text)
{
    char line[FKS_ERROR_TEXT];
    snprintf(line, sizeof line, "%.*s", (int)strcspn(text, "\n"), text);
    if (journal)
        fks_journal_status(journal, NULL, NULL, line); /* cuts it visibly where it is too long */
    else if (early.count < FORKSAFE_LOG_LINES)
        fks_journal_text(early.lines[early.count++], line);
}

void fks_early_tell(struct fks_journal *journal)
{
    for (uint32_t i = 0; journal && i < early.count; i++)
        fks_journal_status(journal, NULL, NULL, early.lines[i]);
    early.count = 0;
}
