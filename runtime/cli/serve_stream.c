/* SPDX-License-Identifier: MIT
 *
 * From journals to messages (serve_stream.h).
 */
#include "serve_stream.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/debug.h"
#include "core/debug_json.h"
#include "core/journal.h"

#define SECOND        UINT64_C(1000000000)
#define LARGEST_STATE (1u << 20)
#define LARGEST       (16u << 20) /* of any message */

static void add(struct fks_stream *stream, uint64_t id, struct fks_text *text)
{
    if (!fks_history_add(&stream->history, id, text)) {
        stream->history.floor = id;
        stream->lost = true;
    }
}

static void on_change(const char *kind, json_t *object, void *data)
{
    struct fks_stream *stream = data;
    struct fks_text text = {.limit = LARGEST};
    uint64_t id = fks_history_next_id(&stream->history);
    fks_message_print_json(&text, id, kind, object);
    add(stream, id, &text);
}

/* --- trouble --- */

/* Tells once that the journals cannot be read, and once that they can again (NULL). */
static void tell_trouble(struct fks_stream *stream, const struct fks_error *error)
{
    const char *line = error ? error->text : "";
    if (!strcmp(line, stream->trouble))
        return;
    snprintf(stream->trouble, sizeof stream->trouble, "%s", line);
    on_change("trouble", json_pack("{so}", "error", fks_json_text_or_null(line, strlen(line))),
              stream);
}

/* --- state --- */

static uint64_t hash_of(const char *text, size_t length)
{
    uint64_t hash = 0xcbf29ce484222325u;
    for (size_t i = 0; i < length; i++)
        hash = (hash ^ (unsigned char)text[i]) * 0x100000001b3u;
    return hash ? hash : 1;
}

/* The debug object without its long lists; with `is_large` without subscribers too. */
static int write_state(const struct fks_stream *stream, const struct fks_target *target,
                       struct fks_text *text)
{
    struct fks_debug_view view = {.subscribers = !stream->is_large};
    return fks_debug_write_view(target->readers, target->reader_count,
                                *target->instance ? target->instance : NULL, &view, 0, fks_text_add,
                                text, NULL);
}

static void add_left_out(struct fks_text *text)
{
    text->length--; /* the last brace */
    fks_text_print(text, ",\"left_out\":[\"subscribers\"]}");
}

/* Tells the state where it is another one than the last time, but for when it was looked at. */
static void tell_state(struct fks_stream *stream, const struct fks_target *target)
{
    struct fks_text text = {.limit = stream->is_large ? LARGEST : LARGEST_STATE};
    struct fks_text message = {.limit = LARGEST + 100};
    int rc = write_state(stream, target, &text);
    if (rc && text.failed && !stream->is_large) {
        stream->is_large = true;
        text.length = 0;
        text.failed = false;
        text.limit = LARGEST;
        rc = write_state(stream, target, &text);
    }
    const char *body = rc ? NULL : strstr(text.bytes, "\"instance\":");
    uint64_t hash = body ? hash_of(body, text.length - (size_t)(body - text.bytes)) : 0;
    if (body && hash != stream->state_hash) {
        if (stream->is_large)
            add_left_out(&text);
        uint64_t id = fks_history_next_id(&stream->history);
        fks_message_print(&message, id, "state", text.bytes, text.length);
        add(stream, id, &message);
        stream->state_hash = hash;
    }
    free(text.bytes);
}

/* --- masters --- */

static bool is_watched(const struct fks_stream *stream, const struct fks_reader *reader)
{
    for (size_t i = 0; i < stream->watch_count; i++)
        if (fks_watch_is_of(stream->watches[i], reader))
            return true;
    return false;
}

/* Watches a journal that was found, with a descriptor of its own. All that a new master's journal
 * has is news; not so at the stream's first look. */
static void watch(struct fks_stream *stream, const struct fks_reader *found, bool is_news)
{
    const char *path = fks_reader_path(found);
    struct fks_reader *reader;
    struct fks_watch **more =
        realloc(stream->watches, (stream->watch_count + 1) * sizeof(struct fks_watch *));
    if (more)
        stream->watches = more;
    if (!more || !path || fks_reader_open(&reader, path, NULL))
        return;
    struct fks_watch *new = fks_watch_create(reader);
    if (!new)
        return;
    if (fks_watch_look(new, is_news ? on_change : NULL, stream, NULL))
        fks_watch_destroy(new);
    else
        stream->watches[stream->watch_count++] = new;
}

static void drop(struct fks_stream *stream, size_t index)
{
    fks_watch_destroy(stream->watches[index]);
    stream->watches[index] = stream->watches[--stream->watch_count];
}

static bool is_among(const struct fks_target *target, const struct fks_watch *watched)
{
    for (size_t i = 0; i < target->reader_count; i++)
        if (fks_watch_is_of(watched, target->readers[i]))
            return true;
    return false;
}

/* Looks which masters there are now. */
static void renew(struct fks_stream *stream, struct fks_source *source, bool is_first)
{
    const struct fks_target *target;
    struct fks_error error;
    if (fks_source_look(source, &error) ||
        fks_source_pick(source, *stream->instance ? stream->instance : NULL, &target, &error)) {
        tell_trouble(stream, &error);
        return;
    }
    snprintf(stream->instance, sizeof stream->instance, "%s", target->instance);
    for (size_t i = 0; i < target->reader_count; i++)
        if (!is_watched(stream, target->readers[i]))
            watch(stream, target->readers[i], !is_first);
    for (size_t i = stream->watch_count; i-- > 0;)
        if (!is_among(target, stream->watches[i]) && !fks_watch_is_alive(stream->watches[i]))
            drop(stream, i);
    tell_trouble(stream, NULL);
    uint64_t now = fks_now();
    if (now < stream->state_due)
        return;
    tell_state(stream, target);
    stream->state_due = now + (fks_now() - now) * 10; /* a tenth of the time at most */
}

/* --- the whole --- */

void fks_stream_init(struct fks_stream *stream, const char *instance)
{
    *stream = (struct fks_stream){0};
    snprintf(stream->instance, sizeof stream->instance, "%s", instance);
    fks_history_init(&stream->history);
}

void fks_stream_finish(struct fks_stream *stream)
{
    while (stream->watch_count)
        drop(stream, 0);
    free(stream->watches);
    fks_history_finish(&stream->history);
}

void fks_stream_look(struct fks_stream *stream, struct fks_source *source)
{
    uint64_t now = fks_now();
    for (size_t i = stream->watch_count; i-- > 0;) {
        struct fks_error error;
        if (!fks_watch_look(stream->watches[i], on_change, stream, &error))
            continue;
        tell_trouble(stream, &error);
        drop(stream, i);
    }
    if (now < stream->renew_due)
        return;
    renew(stream, source, !stream->renew_due);
    stream->renew_due = now + SECOND;
}

/* What a replay prints to. */
struct replay {
    struct fks_stream *stream;
    struct fks_text *to;
};

static void on_replay(const char *kind, json_t *object, void *data)
{
    struct replay *replay = data;
    fks_message_print_json(replay->to, fks_history_next_id(&replay->stream->history), kind, object);
}

void fks_stream_replay(struct fks_stream *stream, const struct fks_target *target, uint64_t since,
                       struct fks_text *to)
{
    struct replay replay = {stream, to};
    struct fks_text state = {.limit = LARGEST};
    for (size_t i = 0; i < stream->watch_count && !to->failed; i++)
        (void)fks_watch_replay(stream->watches[i], since, on_replay, &replay, NULL);
    if (!write_state(stream, target, &state)) {
        if (stream->is_large)
            add_left_out(&state);
        fks_message_print(to, fks_history_next_id(&stream->history), "state", state.bytes,
                          state.length);
    }
    free(state.bytes);
}
