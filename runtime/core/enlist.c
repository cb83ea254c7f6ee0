/* SPDX-License-Identifier: MIT
 *
 * What a journal has to know of the subscribers of a new set-up (enlist.h), and what the log has to
 * say of those that ask in vain.
 */
#include "enlist.h"

#include "leader.h"
#include "log.h"
#include "names.h"
#include "verdict.h"

static void name_leader(struct fks_journal *journal, struct fks_subscriber *subscriber)
{
    struct fks_error error;
    subscriber->leader_id = fks_leader_add(journal, subscriber->leader, &error);
    if (subscriber->leader_id == FKS_NO_LEADER)
        fks_log(FORKSAFE_LOG_WARNING,
                "%s: subscriber '%s' never runs here: it is for the leader '%s', and %s",
                subscriber->path, subscriber->name, subscriber->leader, error.text);
}

/* What a script asks for in vain in this container. */
static void say_what_is_not_here(const struct fks_setup *setup,
                                 const struct fks_subscriber *subscriber,
                                 const uint32_t hooks[FORKSAFE_EVENT_COUNT])
{
    const char *obstacle =
        fks_verdict_obstacle(subscriber->on_error, subscriber->event, setup->cannot);
    if (hooks[subscriber->event] == FORKSAFE_NO_SUBSCRIBER)
        fks_log(FORKSAFE_LOG_WARNING,
                "%s: subscriber '%s' never runs here: this container has no such fork point",
                subscriber->path, subscriber->name);
    else if (obstacle)
        fks_log(FORKSAFE_LOG_WARNING,
                "%s: subscriber '%s' of %s: on_error = %s is not available here: %s; its failures "
                "are only logged",
                subscriber->path, subscriber->name, fks_event_names[subscriber->event],
                fks_on_error_names[subscriber->on_error], obstacle);
}

void fks_enlist_subscribers(struct fks_journal *journal, const struct fks_setup *setup,
                            const uint32_t hooks[FORKSAFE_EVENT_COUNT])
{
    size_t count;
    struct fks_subscriber *list = fks_vm_subscribers(setup->vm, &count);
    for (size_t i = 0; i < count; i++) {
        const struct fks_journal_subscriber entry = {
            .name = list[i].name,
            .path = list[i].path,
            .line = list[i].line,
            .event = list[i].event,
            .hook = hooks[list[i].event],
            .order = list[i].order,
            .on_error = list[i].on_error,
            .hash = list[i].script->hash,
            .mtime_ns = list[i].script->mtime_ns,
        };
        list[i].id = fks_journal_add_subscriber(journal, &entry);
        for (int outcome = 0; outcome < FORKSAFE_OUTCOME_COUNT; outcome++)
            list[i].ended_before[outcome] =
                fks_journal_ended(journal, list[i].id, (enum forksafe_outcome)outcome);
        if (list[i].leader)
            name_leader(journal, &list[i]);
        say_what_is_not_here(setup, &list[i], hooks);
    }
}
