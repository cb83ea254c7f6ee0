/* SPDX-License-Identifier: MIT
 *
 * The journal's reader, and what is made of its words: the debug object, metrics, the stream of
 * changes. A file of any content is read or refused. The first byte says how (enum way).
 * libFuzzer's process only.
 */
#include "fuzz.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/debug.h"
#include "core/journal.h"
#include "core/reader.h"
#include "metrics.h"
#include "serve_watch.h"

enum way {
    WHOLE = 1,    /* the input is a file; else a list of changes to a good one: offset (4 bytes),
                     length    (1), bytes */
    MAPPED = 2,   /* read from memory, as a host reads its own */
    MERGED = 4,   /* shown together with a good one of the same instance */
    PART = 8,     /* a part of the debug object, with keys */
    SHORTER = 16, /* the file is cut while it is open */
    METRICS = 32,
    WATCHED = 64, /* the changes come between two looks */
};

static const char ini[] = "[forksafe]\nmax_workers = 4\nrecords = 4\njournal = %(here)s/sample\n";
static uint8_t *good;
static size_t good_size;
static char good_path[256], path[256];

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    const struct forksafe_journal_header *header = fks_journal_header(fuzz_journal("app.ini", ini));
    good_size = header->file_size;
    good = malloc(good_size);
    memcpy(good, header, good_size);
    snprintf(good_path, sizeof good_path, "%s", fuzz_file("good", good, good_size));
    return 0;
}

static void change(uint8_t *file, const uint8_t *data, size_t size)
{
    while (size > 5) {
        uint32_t offset;
        memcpy(&offset, data, 4);
        size_t length = data[4] % 32, at = offset % good_size;
        data += 5;
        size -= 5;
        if (length > size)
            length = size;
        if (length > good_size - at)
            length = good_size - at;
        memcpy(file + at, data, length);
        data += length;
        size -= length;
    }
}

static int swallow(const char *text, size_t length, void *data)
{
    *(size_t *)data += length;
    return 0;
}

static void drop(const char *kind, json_t *object, void *data)
{
    json_decref(object);
}

static void show(struct fks_reader *reader, unsigned way)
{
    static const int32_t pids[] = {1, 2};
    const struct fks_debug_view part = {.processes = true,
                                        .subscribers = true,
                                        .records = true,
                                        .keys = true,
                                        .records_to = fks_now(),
                                        .newest_records = 2,
                                        .pids = way & MERGED ? pids : NULL,
                                        .pid_count = 2};
    struct fks_reader *readers[2] = {reader};
    struct fks_error error = {0};
    size_t length = 0, count = 1;
    if (way & MERGED && !fks_reader_open(&readers[1], good_path, &error))
        count = 2;
    if (way & PART)
        (void)fks_debug_write_view(readers, count, NULL, &part, 2, swallow, &length, &error);
    else
        free(fks_debug_text(readers, count, way & MERGED ? "fuzz" : NULL, 0, &error));
    if (way & METRICS)
        (void)fks_metrics_write(readers, count, way & PART, swallow, &length);
    if (count == 2)
        fks_reader_close(readers[1]);
}

static void read_slots(struct fks_reader *reader, unsigned way)
{
    struct fks_reader_slot slot;
    struct forksafe_slot head;
    struct forksafe_record records[FKS_READER_RUN];
    struct fks_error error = {0};
    uint32_t count = fks_reader_header(reader)->slot_count;
    for (uint32_t i = 0; i < count && i < 8; i++) {
        (void)fks_reader_slot_read(reader, i, &slot, &error);
        (void)fks_reader_slot_head(reader, i, &head);
        (void)fks_reader_records(reader, i, head.last_sequence / 2, way, records);
        (void)fks_reader_slot_is_of(reader, i, getpid());
    }
    (void)fks_reader_master_alive(reader);
}

static void read_all(struct fks_reader *reader, unsigned way, size_t size)
{
    struct fks_error error = {0};
    if (way & SHORTER && !(way & MAPPED))
        fuzz_require(!truncate(path, (off_t)(size / 256 * (way >> 1 & 255))), "it can be cut");
    read_slots(reader, way);
    show(reader, way);
    if (fks_reader_refresh(reader, &error))
        fuzz_require(*error.text != '\0', "what is refused is told");
    else
        show(reader, way);
    fks_reader_close(reader);
}

/* A good journal is watched, and is another one at the second look. */
static void watch(const uint8_t *file, size_t size)
{
    struct fks_reader *reader;
    struct fks_error error = {0};
    (void)fuzz_file("journal", good, good_size);
    fuzz_require(!fks_reader_open(&reader, path, &error), error.text);
    struct fks_watch *watched = fks_watch_create(reader);
    (void)fks_watch_look(watched, drop, NULL, &error);
    (void)fuzz_file("journal", file, size);
    for (int look = 0; look < 2; look++)
        (void)fks_watch_look(watched, drop, NULL, &error);
    (void)fks_watch_replay(watched, 0, drop, NULL, &error);
    (void)fks_watch_is_alive(watched);
    fks_watch_destroy(watched);
}

static void try(const uint8_t *file, size_t size, unsigned way)
{
    struct fks_reader *reader;
    struct fks_error error = {0};
    snprintf(path, sizeof path, "%s/journal", fuzz_directory());
    if (way & WATCHED) {
        watch(file, size);
        return;
    }
    if (!(way & MAPPED))
        (void)fuzz_file("journal", file, size);
    if (way & MAPPED ? fks_reader_over(&reader, (const void *)file, size, NULL, &error)
                     : fks_reader_open(&reader, path, &error))
        fuzz_require(*error.text != '\0', "what is refused is told");
    else
        read_all(reader, way, size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!size)
        return 0;
    unsigned way = data[0];
    size_t file_size = way & WHOLE ? size - 1 : good_size;
    uint8_t *file = malloc(file_size + !file_size); /* of its very size: a byte too far is seen */
    if (way & WHOLE) {
        memcpy(file, data + 1, file_size);
    } else {
        memcpy(file, good, good_size);
        change(file, data + 1, size - 1);
    }
    try(file, file_size, way);
    free(file);
    return 0;
}
