/* SPDX-License-Identifier: MIT
 *
 * UTF-8 text as PasteDeploy's language sees it: which characters are white space, and what is not
 * UTF-8 at all. Pure functions over borrowed bytes; any process; nothing here allocates or blocks.
 */
#ifndef FKS_SETTINGS_TEXT_H
#define FKS_SETTINGS_TEXT_H

#include <stdbool.h>
#include <stddef.h>

/* Bytes from start up to, not including, end. */
struct fks_span {
    char *start, *end;
};

/* Bytes of the white space character at `at` (Unicode's, and the ASCII separators 0x1c to 0x1f); 0
 * where there is none. */
size_t fks_space_bytes(const char *at, const char *end);

/* The span without the white space at both ends, or at its right end only. Valid UTF-8 is expected.
 */
struct fks_span fks_strip(struct fks_span span);
struct fks_span fks_strip_right(struct fks_span span);

/* The next word (characters up to white space) at or after *at; moves *at behind it. False at the
 * end. */
bool fks_next_word(char **at, char *end, struct fks_span *word);

/* Whether the span is `word` (in lower case), with ASCII letters of either case taken as the same,
 * in any locale. */
bool fks_same_word(struct fks_span span, const char *word);

/* Bytes of the UTF-8 character at `at`: 1 to 4, or 0 where the bytes are not UTF-8 (surrogates and
 * overlong forms are not). */
size_t fks_utf8_bytes(const char *at, const char *end);

/* Whether all of it is UTF-8. */
bool fks_utf8_valid(const char *text, size_t length);

/* A name as a message can show it: cut to a readable length at a character's border. Use:
 * fks_shorten(name).text. */
struct fks_short_name {
    char text[84];
};
struct fks_short_name fks_shorten(const char *name);

#endif
