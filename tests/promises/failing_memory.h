/* SPDX-License-Identifier: MIT
 *
 * What failing_memory.so has for the host that it is preloaded into, which finds it with dlsym.
 */
#ifndef PROMISES_FAILING_MEMORY_H
#define PROMISES_FAILING_MEMORY_H

#include <stdbool.h>

/* From now on the `at`th allocation fails; with `all` those after it too. */
void failing_memory_arm(unsigned long at, bool all);

/* Ends it. Returns how many allocations there were. */
unsigned long failing_memory_disarm(void);

#endif
