/* SPDX-License-Identifier: MIT
 *
 * Values of forksafe.* keys. Numbers are read by hand: strtod would take the host's locale,
 * hexadecimal and "nan".
 */
#include "config_values.h"

#include <string.h>

#include "settings.h"
#include "settings_text.h"

#define LONGEST_NAME 63

struct unit {
    const char *name;
    uint64_t factor;
};

static const struct unit times[] = {{"ms", 1000000}, {"s", 1000000000}, {NULL, 0}};
static const struct unit sizes[] = {
    {"", 1}, {"k", 1u << 10}, {"m", 1u << 20}, {"g", 1u << 30}, {NULL, 0}};

static struct fks_span stripped(const char *text)
{
    return fks_strip((struct fks_span){(char *)text, (char *)text + strlen(text)});
}

bool fks_parse_bool(const char *text, bool *out)
{
    static const char *const words[] = {"false", "no", "n", "f", "off", "0", NULL};
    int ignored;
    bool is_true = fks_asbool(text);
    if (!is_true && !fks_parse_choice(text, words, &ignored))
        return false;
    *out = is_true;
    return true;
}

static bool is_digit(const struct fks_span *rest)
{
    return rest->start < rest->end && *rest->start >= '0' && *rest->start <= '9';
}

/* Takes digits off the front of rest. False where there are none or they do not fit. */
static bool take_digits(struct fks_span *rest, uint64_t *out)
{
    *out = 0;
    if (!is_digit(rest))
        return false;
    for (; is_digit(rest); rest->start++)
        if (__builtin_mul_overflow(*out, 10, out) ||
            __builtin_add_overflow(*out, (uint64_t)(*rest->start - '0'), out))
            return false;
    return true;
}

bool fks_parse_count(const char *text, uint64_t *out)
{
    struct fks_span rest = stripped(text);
    uint64_t number;
    if (!take_digits(&rest, &number) || rest.start != rest.end)
        return false;
    *out = number;
    return true;
}

/* ".25" off the front of rest, as a part of factor; nine digits count, and more digits round up: a
 * little is not none. False where no digit follows the point. */
static bool take_fraction(struct fks_span *rest, uint64_t factor, uint64_t *out)
{
    uint64_t numerator = 0, denominator = 1;
    bool more = false;
    *out = 0;
    if (rest->start == rest->end || *rest->start != '.')
        return true;
    rest->start++;
    if (!is_digit(rest))
        return false;
    for (; is_digit(rest); rest->start++) {
        if (denominator == 1000000000) {
            more |= *rest->start != '0';
            continue;
        }
        numerator = numerator * 10 + (uint64_t)(*rest->start - '0');
        denominator *= 10;
    }
    *out = ((numerator + more) * factor + denominator - 1) / denominator;
    return true;
}

/* Digits, perhaps a point and more digits, and one of the units. */
static bool parse_amount(const char *text, const struct unit *unit, uint64_t *out)
{
    struct fks_span rest = stripped(text), whole_text = rest;
    uint64_t whole, fraction;
    if (!take_digits(&rest, &whole) || !take_fraction(&rest, 1, &fraction))
        return false;
    while (unit->name && !fks_same_word(rest, unit->name))
        unit++;
    if (!unit->name || whole > UINT64_MAX / unit->factor - 1)
        return false;
    take_digits(&whole_text, &whole);
    take_fraction(&whole_text, unit->factor, &fraction);
    *out = whole * unit->factor + fraction;
    return true;
}

bool fks_parse_time(const char *text, uint64_t *out)
{
    struct fks_span zero = stripped(text);
    if (fks_same_word(zero, "0")) {
        *out = 0;
        return true;
    }
    return parse_amount(text, times, out);
}

bool fks_parse_size(const char *text, uint64_t *out)
{
    return parse_amount(text, sizes, out);
}

bool fks_parse_choice(const char *text, const char *const *words, int *out)
{
    struct fks_span span = stripped(text);
    for (int i = 0; words[i]; i++)
        if (fks_same_word(span, words[i])) {
            *out = i;
            return true;
        }
    return false;
}

static unsigned least(unsigned a, unsigned b, unsigned c)
{
    unsigned smaller = a < b ? a : b;
    return smaller < c ? smaller : c;
}

unsigned fks_edit_distance(const char *name, const char *word)
{
    size_t n = strlen(name), m = strlen(word);
    if (n > LONGEST_NAME || m > LONGEST_NAME)
        return LONGEST_NAME + 1;
    unsigned rows[3][LONGEST_NAME + 2]; /* before the last, the last, this one */
    unsigned *older = rows[0], *last = rows[1], *row = rows[2];
    for (size_t j = 0; j <= m; j++)
        last[j] = (unsigned)j;
    for (size_t i = 1; i <= n; i++) {
        row[0] = (unsigned)i;
        for (size_t j = 1; j <= m; j++) {
            row[j] = least(last[j] + 1, row[j - 1] + 1, last[j - 1] + (name[i - 1] != word[j - 1]));
            bool swapped =
                i > 1 && j > 1 && name[i - 1] == word[j - 2] && name[i - 2] == word[j - 1];
            if (swapped && older[j - 2] + 1 < row[j])
                row[j] = older[j - 2] + 1;
        }
        unsigned *spare = older;
        older = last;
        last = row;
        row = spare;
    }
    return last[m];
}
