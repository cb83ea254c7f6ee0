/* SPDX-License-Identifier: MIT
 *
 * How text comes to a person: whether in colour, names of others made harmless, columns as they are
 * seen, short forms of durations. In the commands only.
 */
#ifndef FKS_TERMINAL_H
#define FKS_TERMINAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* First thing in a command: takes the user's locale, which says what a terminal can show, and lets
 * a reader that went away (`| head`) end the command without a word. */
void fks_terminal_init(void);

/* --- colour --- */

enum fks_color_when { FKS_COLOR_AUTO, FKS_COLOR_ALWAYS, FKS_COLOR_NEVER };

/* The words of --color=WHEN; NULL is "always". Returns 0, or -1: no such word. */
int fks_color_parse(enum fks_color_when *out, const char *word);

/* Whether `to` gets colour: with AUTO only a terminal that is not dumb, and not where NO_COLOR is
 * set and not empty. */
bool fks_color_wanted(enum fks_color_when when, FILE *to);

/* What a colour says. */
enum fks_tone { FKS_TONE_PLAIN, FKS_TONE_GOOD, FKS_TONE_BUSY, FKS_TONE_BAD, FKS_TONE_FAINT };

/* The sequences that begin and end it. NULL for FKS_TONE_PLAIN. Static storage. */
const char *fks_tone_sequence(enum fks_tone tone);
#define FKS_TONE_END "\033[0m"

/* By the words of the debug object: ok, error, running, ...; ready, dead, ... */
enum fks_tone fks_tone_of(const char *word);

/* --- text --- */

/* Writes text that is not ours. What a terminal would act on (control characters, marks that turn
 * the direction, line ends) and what it cannot show comes as \xHH, a byte each. Returns the columns
 * that it takes. */
size_t fks_terminal_put(FILE *to, const char *text, size_t length);

/* The same as a string for free(); NULL: no memory. */
char *fks_terminal_text(const char *text, size_t length);

/* The columns that fks_terminal_put would take. */
size_t fks_terminal_width(const char *text, size_t length);

/* --- numbers --- */

#define FKS_SHORT 16 /* bytes that are enough for these */

/* "850ns", "12.3us", "4.56ms", "7.89s", "2m05s", "3h07m". Returns `to`. */
char *fks_duration_text(char to[FKS_SHORT], uint64_t ns);

/* The largest unit alone: "12s", "3m", "5h", "8d". Returns `to`. */
char *fks_age_text(char to[FKS_SHORT], uint64_t ns);

#endif
