/* SPDX-License-Identifier: MIT
 *
 * The journal's reader: a file of any content is read or refused. Odd inputs are a file as they
 * are; even ones change a good journal: a list of offsets (4 bytes), lengths (1) and bytes.
 * libFuzzer's process only.
 */
#include "fuzz.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/debug.h"
#include "core/journal.h"
#include "core/reader.h"
#include "core/settings.h"
#include "forksafe/forksafe.h"

static const char ini[] = "[forksafe]\nmax_workers = 4\nrecords = 4\njournal = %(here)s/good\n";
static uint8_t *good; /* a journal with a hook, a subscriber, runs, and an error */
static size_t good_size;

static void write_runs(struct fks_journal *journal)
{
    const struct forksafe_occasion occasion = {
        .size = sizeof occasion, .role = FORKSAFE_ROLE_WORKER, .worker = 1, .forked = 1};
    const struct fks_journal_subscriber entry = {
        .name = "postfork", .path = "/hooks/postfork.lua", .event = FORKSAFE_POST_FORK};
    uint32_t hook = fks_journal_add_hook(journal, "containers.fuzz.fork", FORKSAFE_POST_FORK);
    uint32_t subscriber = fks_journal_add_subscriber(journal, &entry);
    fks_journal_claim(journal, &occasion);
    for (int i = 0; i < 6; i++) {
        struct fks_run run = {.hook = hook,
                              .subscriber = subscriber,
                              .event = FORKSAFE_POST_FORK,
                              .occasion = &occasion};
        fks_journal_fire(journal, hook);
        fks_journal_begin(journal, &run);
        fks_journal_error(journal, &run, "postfork.lua:3: no", 18);
        fks_journal_end(journal, &run, i % 2 ? FORKSAFE_OUTCOME_ERROR : FORKSAFE_OUTCOME_OK);
    }
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    static struct fks_settings *settings; /* kept: the journal borrows from them */
    static struct fks_config config;
    static struct fks_journal *journal;
    struct fks_error error;
    const char *path = fuzz_file("app.ini", ini, sizeof ini - 1);
    fuzz_require(!fks_settings_load(&settings, path, NULL, NULL, 0, &error), error.text);
    fuzz_require(!fks_config_init(&config, settings, &error), error.text);
    const struct fks_journal_spec spec = {.config = &config,
                                          .ini = path,
                                          .app = "main",
                                          .container = "fuzz",
                                          .worker_uid = (uid_t)-1,
                                          .worker_gid = (gid_t)-1};
    fuzz_require(!fks_journal_open(&journal, &spec, &error), error.text);
    fks_journal_next_generation(journal);
    write_runs(journal);
    good_size = fks_journal_header(journal)->file_size;
    good = malloc(good_size);
    memcpy(good, fks_journal_header(journal), good_size);
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

static void read_all(const char *path)
{
    struct fks_reader *reader;
    struct fks_reader_slot slot;
    struct fks_error error = {0};
    size_t length = 0;
    if (fks_reader_open(&reader, path, &error)) {
        fuzz_require(*error.text != '\0', "what is refused is told");
        return;
    }
    uint32_t count = fks_reader_header(reader)->slot_count;
    for (uint32_t i = 0; i < count && i < 64; i++)
        (void)fks_reader_slot_read(reader, i, &slot, &error);
    (void)fks_debug_write(&reader, 1, "fuzz", 0, swallow, &length, &error);
    fks_reader_close(reader);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!size)
        return 0;
    if (data[0] & 1) {
        read_all(fuzz_file("journal", data + 1, size - 1));
        return 0;
    }
    uint8_t *file = malloc(good_size);
    memcpy(file, good, good_size);
    change(file, data + 1, size - 1);
    read_all(fuzz_file("journal", file, good_size));
    free(file);
    return 0;
}
