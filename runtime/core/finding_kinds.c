/* SPDX-License-Identifier: MIT
 *
 * The list of finding_kinds.h as a table, and the words made of it. No allocation; in hosts and
 * commands.
 */
#include "finding_kinds.h"

#include <stdio.h>
#include <string.h>

#include "finding_rules.h"

const struct fks_kind fks_kinds[FKS_FINDING_KIND_COUNT] = {
#define X(id, name, severity, subject, link, what, remedy, call, advice) \
    {name, FKS_SEVERITY_##severity, subject, link, what, remedy, call, advice},
    FKS_FINDING_KINDS(X)
#undef X
};

const char *const fks_severities[] = {
    [FKS_SEVERITY_HIGH] = "high", [FKS_SEVERITY_MEDIUM] = "medium", [FKS_SEVERITY_LOW] = "low"};

/* What makes the object anew in the languages of servers, beside what services have. */
static const struct {
    enum fks_finding_kind kind;
    const char *subject; /* how it begins; NULL: any */
    const char *fix[FKS_LANGUAGES];
} expressions[] = {
    {FKS_FINDING_EPOLL, NULL, {"asyncio.set_event_loop(asyncio.new_event_loop())", NULL, NULL}},
    {FKS_FINDING_EVENTFD, NULL, {"asyncio.set_event_loop(asyncio.new_event_loop())", NULL, NULL}},
    {FKS_FINDING_DATABASE, NULL, {"engine.dispose(close=False)", NULL, NULL}},
    {FKS_FINDING_THREAD,
     "rdk:",
     {"vars(events).update(kept=events.producer, producer=Producer(CONFIG))", NULL, NULL}},
    {FKS_FINDING_THREAD,
     "grpc",
     {"setattr(rpc, \"channel\", grpc.insecure_channel(TARGET))", NULL, NULL}},
};

enum fks_finding_kind fks_kind_named(const char *name)
{
    int kind = 0;
    while (kind < FKS_FINDING_KIND_COUNT && strcmp(fks_kinds[kind].name, name) != 0)
        kind++;
    return (enum fks_finding_kind)kind;
}

enum fks_finding_kind fks_kind_of_link(const char *link)
{
    int kind = 0;
    while (kind < FKS_FINDING_KIND_COUNT &&
           !(fks_kinds[kind].link &&
             !strncmp(link, fks_kinds[kind].link, strlen(fks_kinds[kind].link))))
        kind++;
    return (enum fks_finding_kind)kind;
}

void fks_finding_id(char *out, size_t size, enum fks_finding_kind kind, const char *subject)
{
    bool has_subject = subject && *subject;
    snprintf(out, size, "%s%s%s", fks_kinds[kind].name, has_subject ? ":" : "",
             has_subject ? subject : "");
}

static bool is_udp_peer(const char *peer)
{
    size_t length = strlen(peer);
    return length > 4 && !strcmp(peer + length - 4, "/udp");
}

enum fks_severity fks_finding_severity(enum fks_finding_kind kind, const char *subject)
{
    return kind == FKS_FINDING_CONNECTION && is_udp_peer(subject) ? FKS_SEVERITY_LOW
                                                                  : fks_kinds[kind].severity;
}

/* "a TCP connection to 10.0.0.5:5432 (PostgreSQL)": what it is shows in how a peer is written. */
static void describe_peer(char *out, size_t size, const char *peer)
{
    bool is_udp = is_udp_peer(peer);
    bool is_inet = !is_udp && fks_peer_port(peer);
    const char *service = is_udp ? NULL : fks_service_name(peer, fks_peer_port(peer));
    snprintf(out, size, "%s to %.200s%s%s%s",
             is_udp    ? "a connected UDP socket"
             : is_inet ? "a TCP connection"
                       : "a unix connection",
             peer, service ? " (" : "", service ? service : "", service ? ")" : "");
}

void fks_finding_what(char *out, size_t size, enum fks_finding_kind kind, const char *subject,
                      const char *where)
{
    char connection[320];
    const char *what = fks_kinds[kind].what, *place = strstr(what, "%s");
    if (kind == FKS_FINDING_CONNECTION) {
        describe_peer(connection, sizeof connection, subject);
        subject = connection;
    }
    if (!place)
        snprintf(out, size, "%s %s", what, where);
    else
        snprintf(out, size, "%.*s%s%s %s", (int)(place - what), what, subject, place + 2, where);
}

const char *fks_finding_expression(enum fks_finding_kind kind, const char *subject,
                                   enum fks_language language)
{
    if (kind == FKS_FINDING_CONNECTION)
        return fks_service_fix(subject, fks_peer_port(subject), language);
    for (size_t i = 0; i < sizeof expressions / sizeof *expressions; i++)
        if (expressions[i].kind == kind &&
            (!expressions[i].subject || (subject && !strncmp(subject, expressions[i].subject,
                                                             strlen(expressions[i].subject)))))
            return expressions[i].fix[language];
    return NULL;
}

/* The servers that have an interpreter, by their names in hook names. */
static enum fks_language language_of(const char *container)
{
    static const struct {
        const char *container;
        enum fks_language language;
    } servers[] = {
        {"uwsgi", FKS_PYTHON}, {"gunicorn", FKS_PYTHON}, {"celery", FKS_PYTHON},
        {"puma", FKS_RUBY},    {"unicorn", FKS_RUBY},
    };
    for (size_t i = 0; i < sizeof servers / sizeof *servers; i++)
        if (!strcmp(container, servers[i].container))
            return servers[i].language;
    return FKS_OTHER_LANGUAGE;
}

/* The same in Lua's quotes. */
static void quote(char *out, size_t size, const char *text)
{
    size_t length = 0;
    for (; *text && length + 2 < size; text++) {
        if (*text == '"' || *text == '\\')
            out[length++] = '\\';
        out[length++] = *text;
    }
    out[length] = '\0';
}

void fks_finding_fix(char *out, size_t size, enum fks_finding_kind kind, const char *subject,
                     const char *container)
{
    const struct fks_kind *known = &fks_kinds[kind];
    enum fks_language language = language_of(container);
    const char *expression = fks_finding_expression(kind, subject, language);
    char quoted[512], line[640];
    if (known->remedy) {
        const char *place = strstr(known->remedy, "%s");
        quote(quoted, sizeof quoted, subject);
        snprintf(line, sizeof line, "%.*s%s%s",
                 place ? (int)(place - known->remedy) : (int)strlen(known->remedy), known->remedy,
                 place ? quoted : "", place ? place + 2 : "");
        snprintf(out, size, "%s  -- or %s", line, known->advice);
        return;
    }
    quote(quoted, sizeof quoted, expression ? expression : known->call);
    snprintf(line, sizeof line,
             language == FKS_PYTHON ? "forksafe.python.exec(\"%s\")"
             : language == FKS_RUBY ? "forksafe.ruby.exec(\"%s\")"
                                    : "%s",
             quoted);
    snprintf(out, size, "%s  -- %s%s", line, expression ? "" : "yours: ", known->advice);
}
