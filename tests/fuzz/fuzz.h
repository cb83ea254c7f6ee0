/* SPDX-License-Identifier: MIT
 *
 * What the fuzzers share: a directory of their own in shared memory, their input as files there,
 * and a sample of a server's journal. libFuzzer's process only.
 */
#ifndef FUZZ_H
#define FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* The directory, in FUZZ_DIRECTORY or /dev/shm; made at the first call and removed at the end, but
 * for an end by abort. */
const char *fuzz_directory(void);

/* Writes bytes as the file `name` below it, whole; returns its path, borrowed until the next call.
 */
const char *fuzz_file(const char *name, const void *bytes, size_t size);

/* Empties the directory `name` below it, which need not be there. */
void fuzz_empty(const char *name);

/* Aborts, so that libFuzzer keeps the input, with a line that says what does not hold. */
void fuzz_require(int holds, const char *what);

/* Prints a line of the code under test, where FUZZ_TELL is in the environment: to see what one
 * input comes to. */
void fuzz_tell(const char *text);

/* Several files in one input: a line that begins with the mark ends one part, and is the head of
 * the next. */
#define FUZZ_PARTS 12
struct fuzz_part {
    char head[128]; /* without the mark; "" of the first part */
    const uint8_t *bytes;
    size_t size;
};

/* Splits the input; returns how many parts, at least 1. Bytes are borrowed from it. */
size_t fuzz_split(const uint8_t *data, size_t size, const char *mark, struct fuzz_part *parts);

/* The head's text after this word and a space; NULL where it is another word. */
const char *fuzz_word(const struct fuzz_part *part, const char *word);

/* A path that stays below the directory it is used in, whatever the input says: up to the first
 * white space, of harmless characters. Returns what follows. */
const char *fuzz_name(const char *text, char *name, size_t size);

/* A journal with everything in it: hooks, subscribers that ran, failed and lead, workers that live,
 * ended and were killed, findings, a log. Of the ini `name` below the directory. */
struct fks_journal;
struct fks_journal *fuzz_journal(const char *name, const char *ini);

/* This process runs one more hook in it. */
void fuzz_journal_run(struct fks_journal *journal, unsigned number);

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
