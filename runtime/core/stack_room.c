/* SPDX-License-Identifier: MIT
 *
 * The ends of a thread's stack (stack_room.h), known per thread. Any process.
 */
#include "stack_room.h"

#include <pthread.h>
#include <stdint.h>

#define FOREIGN 32768u       /* what is taken of a stack whose end is not known */
#define DEEPEST (512u << 10) /* what is ever taken: deeper, one error takes long to come back */

/* With the initial-exec model, whose first use allocates nothing. A child inherits it with the
 * stack. */
static _Thread_local struct {
    uintptr_t low, high; /* 0, 0: not known */
} stack __attribute__((tls_model("initial-exec")));

void fks_stack_know(void)
{
    pthread_attr_t attributes;
    void *low;
    size_t size, guard;
    if (stack.high || pthread_getattr_np(pthread_self(), &attributes))
        return;
    if (!pthread_attr_getstack(&attributes, &low, &size) &&
        !pthread_attr_getguardsize(&attributes, &guard)) {
        stack.low = (uintptr_t)low + guard;
        stack.high = (uintptr_t)low + size;
    }
    pthread_attr_destroy(&attributes);
}

bool fks_stack_is_short(const void *entry, size_t bytes)
{
    uintptr_t here = (uintptr_t)__builtin_frame_address(0);
    uintptr_t taken = (uintptr_t)entry - here;
    if (here > stack.low && here < stack.high)
        return here - stack.low < bytes || taken > DEEPEST;
    return taken > FOREIGN;
}
