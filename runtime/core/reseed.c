/* SPDX-License-Identifier: MIT
 *
 * Fresh seeds for generators of the process, from the kernel. Runs wherever a subscriber runs.
 */
#include "reseed.h"

#include <dlfcn.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/random.h>

static const char *const crypto_libraries[] = {"libcrypto.so.3", "libcrypto.so.1.1"};

static void (*add_to_openssl)(const void *, int, double); /* RAND_add; NULL: no OpenSSL here */

void fks_reseed_find(void)
{
    *(void **)&add_to_openssl = dlsym(RTLD_DEFAULT, "RAND_add");
    for (size_t i = 0; i < sizeof crypto_libraries / sizeof *crypto_libraries; i++) {
        void *library =
            add_to_openssl ? NULL : dlopen(crypto_libraries[i], RTLD_LAZY | RTLD_NOLOAD);
        if (library) /* it stays: the function is called later */
            *(void **)&add_to_openssl = dlsym(library, "RAND_add");
    }
}

static int reseed_libc(const uint32_t *seed)
{
    srandom(seed[0]); /* rand() has the same state */
    srand48((long)seed[1]);
    return 1;
}

static int reseed_openssl(const uint32_t *seed, size_t size)
{
    if (!add_to_openssl)
        return 0;
    add_to_openssl(seed, (int)size, (double)size);
    return 1;
}

int fks_reseed(lua_State *L)
{
    static const char *const names[] = {"libc", "openssl", NULL};
    uint32_t seed[12];
    int which = luaL_checkoption(L, 1, NULL, names);
    if (getrandom(seed, sizeof seed, GRND_NONBLOCK) != (ssize_t)sizeof seed)
        return luaL_error(L, "reseed: the kernel has no random numbers yet");
    lua_pushinteger(L, which == 0 ? reseed_libc(seed) : reseed_openssl(seed, sizeof seed));
    return 1;
}
