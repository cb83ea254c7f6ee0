/* SPDX-License-Identifier: MIT
 *
 * From the text of a forksafe.* key to its value: one parser a type. Pure functions; the locale has
 * no say.
 */
#ifndef FKS_CONFIG_VALUES_H
#define FKS_CONFIG_VALUES_H

#include <stdbool.h>
#include <stdint.h>

/* Each returns whether the text is of the type; *out is set only then. White space around it is
 * allowed. */

/* true yes y t on 1, false no n f off 0, in any case. */
bool fks_parse_bool(const char *text, bool *out);

/* Decimal digits. */
bool fks_parse_count(const char *text, uint64_t *out);

/* "500ms", "2s", "0.5s", "0": nanoseconds. */
bool fks_parse_time(const char *text, uint64_t *out);

/* "512K", "32M", "1.5G", "1048576": bytes. */
bool fks_parse_size(const char *text, uint64_t *out);

/* The place of the text in a list of words that ends with NULL. */
bool fks_parse_choice(const char *text, const char *const *words, int *out);

/* Edits (a character more, less, another, or two swapped) between a name and a word, for the
 * nearest of a list; names of more than 63 bytes are far from everything. */
unsigned fks_edit_distance(const char *name, const char *word);

#endif
