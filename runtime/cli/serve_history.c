/* SPDX-License-Identifier: MIT
 *
 * Keeping and numbering messages (serve_history.h).
 */
#include "serve_history.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/debug_json.h"
#include "core/journal.h"

uint64_t fks_history_next_id(struct fks_history *history)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    uint64_t id = (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
    history->last_id = id > history->last_id ? id : history->last_id + 1;
    return history->last_id;
}

void fks_history_init(struct fks_history *history)
{
    *history = (struct fks_history){0};
    history->floor = fks_history_next_id(history);
}

void fks_history_finish(struct fks_history *history)
{
    while (history->oldest)
        fks_history_drop_oldest(history);
}

void fks_message_print(struct fks_text *to, uint64_t id, const char *event, const char *data,
                       size_t length)
{
    fks_text_print(to, "id: %" PRIu64 "\nevent: %s\ndata: ", id, event);
    (void)fks_text_add(data, length, to);
    fks_text_print(to, "\n\n");
}

void fks_message_print_json(struct fks_text *to, uint64_t id, const char *event, json_t *value)
{
    struct fks_json_stream json = {.sink = fks_text_add, .data = to};
    fks_text_print(to, "id: %" PRIu64 "\nevent: %s\ndata: ", id, event);
    fks_json_value(&json, value);
    fks_text_print(to, "\n\n");
    to->failed = to->failed || json.failed;
    free(json.buffer);
}

struct fks_message *fks_history_add(struct fks_history *history, uint64_t id, struct fks_text *text)
{
    size_t length = text->failed ? 0 : text->length;
    struct fks_message *message = length ? malloc(sizeof *message + length) : NULL;
    if (message) {
        *message = (struct fks_message){.id = id, .made = fks_now(), .length = length};
        memcpy(message->text, text->bytes, length);
    }
    free(text->bytes);
    *text = (struct fks_text){.limit = text->limit};
    if (!message)
        return NULL;
    if (history->newest)
        history->newest->next = message;
    else
        history->oldest = message;
    history->newest = message;
    history->bytes += sizeof *message + length;
    return message;
}

struct fks_message *fks_history_after(const struct fks_history *history, uint64_t id)
{
    struct fks_message *message = history->oldest;
    while (message && message->id <= id)
        message = message->next;
    return message;
}

bool fks_history_is_over_full(const struct fks_history *history)
{
    const struct fks_message *oldest = history->oldest;
    return oldest && (history->bytes > FKS_HISTORY_BYTES ||
                      fks_now() - oldest->made > FKS_HISTORY_SECONDS * UINT64_C(1000000000));
}

void fks_history_drop_oldest(struct fks_history *history)
{
    struct fks_message *oldest = history->oldest;
    history->oldest = oldest->next;
    if (!history->oldest)
        history->newest = NULL;
    history->bytes -= sizeof *oldest + oldest->length;
    history->floor = oldest->id;
    free(oldest);
}
