/* SPDX-License-Identifier: MIT
 *
 * The paths of `forksafe serve` (serve_answer.h): one list of them, each answered by one function.
 * No file of a disk is ever served.
 */
#include "serve_answer.h"

#include <stdlib.h>
#include <string.h>

#include "core/debug_json.h"
#include "metrics.h"
#include "serve_page.h"
#include "serve_query.h"
#include "serve_text.h"

#define TEXT       "text/plain; charset=utf-8"
#define JSON       "application/json"
#define JAVASCRIPT "text/javascript; charset=utf-8"

struct request;

struct route {
    const char *path;
    struct fks_answer (*answer)(struct request request);
    const char *file, *type; /* of the page; NULL: made when it is asked for */
};

struct request {
    struct fks_http *http;
    struct MHD_Connection *connection;
    struct route route;
    bool head;
};

/* --- bodies --- */

/* A body that is being sent, and counted as long. */
struct body {
    struct fks_http *http;
    struct fks_text text;
};

static void forget_body(void *data)
{
    struct body *body = data;
    body->http->body_bytes -= body->text.length;
    free(body->text.bytes);
    free(body);
}

static struct body *create_body(struct fks_http *http)
{
    struct body *body = calloc(1, sizeof *body);
    if (!body)
        return NULL;
    body->http = http;
    body->text.limit = FKS_HTTP_BODIES - http->body_bytes;
    return body;
}

struct fks_answer fks_answer_line(unsigned status, const char *line)
{
    struct fks_text text = {.limit = 4096};
    (void)fks_text_add(line, strlen(line), &text);
    (void)fks_text_add("\n", 1, &text);
    struct MHD_Response *response =
        text.bytes ? MHD_create_response_from_buffer(text.length, text.bytes, MHD_RESPMEM_MUST_FREE)
                   : NULL;
    if (!response)
        free(text.bytes);
    return (struct fks_answer){status, response, TEXT};
}

/* Takes ownership of the body, which may have failed. */
static struct fks_answer answer_body(struct body *body, const char *type)
{
    struct fks_http *http = body->http;
    bool failed = body->text.failed || !body->text.bytes;
    http->body_bytes += body->text.length;
    struct MHD_Response *response =
        failed ? NULL
               : MHD_create_response_from_buffer_with_free_callback_cls(
                     body->text.length, body->text.bytes, forget_body, body);
    if (response)
        return (struct fks_answer){MHD_HTTP_OK, response, type};
    forget_body(body);
    return fks_answer_line(MHD_HTTP_SERVICE_UNAVAILABLE,
                           "too much is being sent already; ask for less (?records=100), or later");
}

static struct fks_answer answer_error(const struct fks_error *error)
{
    switch (error->code) {
    case FORKSAFE_ENOENT:
        return fks_answer_line(MHD_HTTP_NOT_FOUND, error->text);
    case FORKSAFE_EUSAGE:
        return fks_answer_line(MHD_HTTP_BAD_REQUEST, error->text);
    default:
        return fks_answer_line(MHD_HTTP_SERVICE_UNAVAILABLE, error->text);
    }
}

/* Journals that cannot be read are not the request's fault, whatever is wrong with them. */
static struct fks_answer answer_unreadable(const struct fks_error *error)
{
    return fks_answer_line(MHD_HTTP_SERVICE_UNAVAILABLE, error->text);
}

/* --- the page --- */

static struct fks_answer answer_page(struct request request)
{
    size_t length = 0;
    const char *text = fks_page_file(request.route.file, &length);
    struct MHD_Response *response =
        MHD_create_response_from_buffer(length, (void *)text, MHD_RESPMEM_PERSISTENT);
    return (struct fks_answer){MHD_HTTP_OK, response, request.route.type};
}

/* --- the debug object --- */

static struct fks_answer answer_debug(struct request request)
{
    struct fks_query query;
    struct fks_error error;
    const struct fks_target *target;
    struct fks_source *source = request.http->source;
    if (fks_query_read(&query, request.connection, &error))
        return answer_error(&error);
    if (fks_source_look(source, &error))
        return answer_unreadable(&error);
    if (fks_source_pick(source, query.instance, &target, &error))
        return answer_error(&error);
    struct body *body = create_body(request.http);
    if (!body)
        return (struct fks_answer){0};
    if (fks_debug_write_view(target->readers, target->reader_count,
                             *target->instance ? target->instance : NULL, &query.view, 0,
                             fks_text_add, &body->text, NULL))
        body->text.failed = true;
    (void)fks_text_add("\n", 1, &body->text);
    return answer_body(body, JSON);
}

static json_t *instance_object(const struct fks_target *target)
{
    const struct forksafe_status_area *area =
        fks_reader_status(target->readers[target->reader_count - 1]);
    const char *status = *area->status ? area->status : "attempting auto-configure";
    bool alive = false;
    for (size_t i = 0; i < target->reader_count; i++)
        alive = alive || fks_reader_master_alive(target->readers[i]);
    return json_pack(
        "{so, so, so, sb}", "instance", fks_json_text(target->instance, strlen(target->instance)),
        "status", fks_json_text(status, strlen(status)), "environment",
        fks_json_text_or_null(area->environment, strlen(area->environment)), "alive", alive);
}

static struct fks_answer answer_instances(struct request request)
{
    struct fks_error error;
    struct fks_source *source = request.http->source;
    if (fks_source_look(source, &error))
        return answer_unreadable(&error);
    struct body *body = create_body(request.http);
    if (!body)
        return (struct fks_answer){0};
    struct fks_json_stream json;
    fks_json_begin(&json, fks_text_add, &body->text, 0);
    fks_json_list(&json, "instances");
    for (size_t i = 0; i < source->count; i++)
        fks_json_item(&json, instance_object(&source->targets[i]));
    fks_json_list_end(&json);
    body->text.failed = fks_json_finish(&json) || body->text.failed;
    (void)fks_text_add("\n", 1, &body->text);
    return answer_body(body, JSON);
}

/* --- events --- */

static struct fks_answer answer_events(struct request request)
{
    struct MHD_Connection *connection = request.connection;
    struct fks_answer answer = {.type = "text/event-stream"};
    struct fks_error error;
    if (request.head) {
        answer.status = MHD_HTTP_OK;
        answer.response = MHD_create_response_from_buffer(0, NULL, MHD_RESPMEM_PERSISTENT);
        return answer;
    }
    const char *last_id = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "Last-Event-ID");
    if (!last_id)
        last_id = MHD_lookup_connection_value(connection, MHD_GET_ARGUMENT_KIND, "last_event_id");
    answer.status = fks_events_answer(
        request.http->events, connection,
        MHD_lookup_connection_value(connection, MHD_GET_ARGUMENT_KIND, "instance"), last_id,
        &answer.response, &error);
    if (answer.status != MHD_HTTP_OK)
        return fks_answer_line(answer.status, error.text);
    MHD_add_response_header(answer.response, "X-Accel-Buffering",
                            "no"); /* nginx holds nothing back */
    return answer;
}

/* --- metrics --- */

/* Whether the Accept header takes OpenMetrics: names it, and not with a quality of 0. */
static bool accepts_open_metrics(struct MHD_Connection *connection)
{
    const char *accept = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "Accept");
    const char *range = accept ? strcasestr(accept, "application/openmetrics-text") : NULL;
    if (!range)
        return false;
    const char *quality = strcasestr(range, "q=");
    size_t length = strcspn(range, ",");
    return !quality || quality > range + length || strtod(quality + 2, NULL) > 0;
}

static size_t count_readers(const struct fks_source *source)
{
    size_t count = 0;
    for (size_t i = 0; i < source->count; i++)
        count += source->targets[i].reader_count;
    return count;
}

/* The readers of all instances. NULL: no memory. */
static struct fks_reader **all_readers(const struct fks_source *source)
{
    struct fks_reader **readers = calloc(count_readers(source) + 1, sizeof(struct fks_reader *));
    size_t used = 0;
    for (size_t i = 0; readers && i < source->count; i++)
        for (size_t n = 0; n < source->targets[i].reader_count; n++)
            readers[used++] = source->targets[i].readers[n];
    return readers;
}

static struct fks_answer answer_metrics(struct request request)
{
    struct fks_error error;
    struct fks_source *source = request.http->source;
    bool open = accepts_open_metrics(request.connection);
    if (fks_source_look(source, &error))
        return answer_unreadable(&error);
    struct fks_reader **readers = all_readers(source);
    struct body *body = readers ? create_body(request.http) : NULL;
    if (body && fks_metrics_write(readers, count_readers(source), open, fks_text_add, &body->text))
        body->text.failed = true;
    free(readers);
    if (!body)
        return (struct fks_answer){0};
    return answer_body(body, open ? FKS_METRICS_TYPE_OPEN : FKS_METRICS_TYPE);
}

/* --- the list --- */

static struct fks_answer answer_health(struct request request)
{
    return fks_answer_line(MHD_HTTP_OK, "ok");
}

static const struct route routes[] = {
    {"/", answer_page, "index.html", "text/html; charset=utf-8"},
    {"/page.css", answer_page, "page.css", "text/css; charset=utf-8"},
    {"/page.js", answer_page, "page.js", JAVASCRIPT},
    {"/debug.json", answer_debug, NULL, NULL},
    {"/instances.json", answer_instances, NULL, NULL},
    {"/events", answer_events, NULL, NULL},
    {"/metrics", answer_metrics, NULL, NULL},
    {"/healthz", answer_health, NULL, NULL},
};

/* The path's route: from the list, or of a module that page.js imports ("/page_text.js"). False
 * where there is none. */
static bool find_route(const char *path, struct route *out)
{
    size_t length;
    for (size_t i = 0; i < sizeof routes / sizeof *routes; i++)
        if (!strcmp(routes[i].path, path)) {
            *out = routes[i];
            return true;
        }
    *out = (struct route){path, answer_page, path + 1, JAVASCRIPT};
    return !strncmp(path, "/page_", 6) && fks_page_file(out->file, &length);
}

struct fks_answer fks_answer_path(struct fks_http *http, struct MHD_Connection *connection,
                                  const char *path, bool head)
{
    struct request request = {.http = http, .connection = connection, .head = head};
    if (!find_route(path, &request.route))
        return fks_answer_line(MHD_HTTP_NOT_FOUND, "there is no such page; begin at /");
    return request.route.answer(request);
}
