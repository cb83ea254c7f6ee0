/* SPDX-License-Identifier: MIT
 *
 * A finding of a journal as an element of the debug object (debug_object.h). In the commands, and
 * in hosts.
 */
#include "debug_object.h"

#include <string.h>

#include "finding.h"

static json_t *text_of(const char *text)
{
    return fks_json_text(text, strlen(text));
}

/* The member that the kind's subject is, null for the others. */
static json_t *member(const struct forksafe_finding *finding, const char *name)
{
    const char *subject = fks_kinds[finding->kind].subject;
    return subject && !strcmp(subject, name) ? text_of(finding->subject) : json_null();
}

json_t *fks_debug_finding(const struct fks_debug_writing *writing, const struct fks_reader *reader,
                          const struct forksafe_finding *finding)
{
    const struct fks_kind *kind = &fks_kinds[finding->kind];
    const struct forksafe_journal_header *header = fks_reader_header(reader);
    char id[FORKSAFE_FINDING_SUBJECT + 64], what[768], fix[1536], container[64], where[96],
        object[64];
    size_t length;
    const char *name = fks_reader_string(reader, header->container, &length);
    snprintf(container, sizeof container, "%.*s", (int)(length < 63 ? length : 63), name);
    snprintf(where, sizeof where, "%s%u process%s",
             finding->kind == FKS_FINDING_THREAD ? "" : "the master and ", finding->workers,
             finding->workers == 1 ? "" : "es");
    snprintf(object, sizeof object, "descriptor %d", finding->descriptor);
    fks_finding_id(id, sizeof id, finding->kind, finding->subject);
    fks_finding_what(what, sizeof what, finding->kind, finding->subject, where);
    fks_finding_fix(fix, sizeof fix, finding->kind, finding->subject, container);
    json_t *all =
        json_pack("{so, ss, ss, so, so, so, so, so, so}", "id", text_of(id), "kind", kind->name,
                  "severity", fks_severities[fks_finding_severity(finding->kind, finding->subject)],
                  "what", text_of(what), "fix", text_of(fix), "peer", member(finding, "peer"),
                  "thread", member(finding, "thread"), "path", member(finding, "path"), "object",
                  text_of(*finding->object ? finding->object : object));
    json_t *rest = json_pack(
        "{so, sI, sI, sI, so, ss, si, sI, so}", "descriptor",
        finding->descriptor >= 0 ? json_integer(finding->descriptor) : json_null(), "count",
        (json_int_t)finding->count, "shared_by", (json_int_t)finding->workers, "repaired_in",
        (json_int_t)finding->repaired, "repairs", fks_json_count(finding->repairs), "state",
        fks_finding_is_repaired(finding) ? "repaired" : "open", "master", header->master_pid,
        "generation", (json_int_t)fks_reader_findings(reader)->generation, "first_seen",
        fks_json_time(&writing->stream, finding->first_seen, 3));
    json_object_update(all, rest);
    json_decref(rest);
    return all;
}
