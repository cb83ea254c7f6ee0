/* SPDX-License-Identifier: MIT
 *
 * What the fuzzers share: a directory of their own in shared memory, and their input as a file
 * there. libFuzzer's process only.
 */
#ifndef FUZZ_H
#define FUZZ_H

#include <stddef.h>
#include <stdint.h>

/* The directory, made at the first call and removed at the end. Aborts where it cannot be had. */
const char *fuzz_directory(void);

/* Writes bytes as the file `name` below it, whole; returns its path, borrowed until the next call.
 */
const char *fuzz_file(const char *name, const void *bytes, size_t size);

/* Aborts, so that libFuzzer keeps the input, with a line that says what does not hold. */
void fuzz_require(int holds, const char *what);

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
