/* SPDX-License-Identifier: MIT
 *
 * The switch of the guards, in the test build alone; in the product this file is empty. It is read
 * when the library or the command is loaded: later a server may have dropped its environment, as
 * nginx does.
 */
#include "core/guards.h"

#ifdef FORKSAFE_GUARDS

#include <stdlib.h>

static int unguarded; /* the promise whose guard is off; 0 is none */

/* Before all other constructors. Not secure_getenv(): promise 13 is about those who may not read
 * it. */
__attribute__((constructor(101))) static void read_switch(void)
{
    const char *text = getenv("FORKSAFE_UNGUARDED");

    unguarded = text ? (int)strtol(text, NULL, 10) : 0;
}

bool fks_guard(enum fks_guard guard)
{
    return (int)guard != unguarded;
}

#else

typedef int fks_guards_hold; /* a file must not be empty */

#endif
