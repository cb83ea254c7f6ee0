/* SPDX-License-Identifier: MIT
 *
 * Fresh seeds for generators of the process, from the kernel. Runs wherever a subscriber runs.
 */
#include "reseed.h"

#include <dlfcn.h>
#include <limits.h>
#include <link.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

static const char crypto_library[] = "libcrypto.so"; /* and its version */

static void (*add_to_openssl)(const void *, int, double); /* RAND_add; NULL: no OpenSSL here */

/* For dl_iterate_phdr: copies the path of a library of OpenSSL's, and stops there. */
static int copy_crypto_path(struct dl_phdr_info *library, size_t size, void *path)
{
    (void)size;
    const char *slash = strrchr(library->dlpi_name, '/');
    return slash && !strncmp(slash + 1, crypto_library, sizeof crypto_library - 1) &&
           snprintf(path, PATH_MAX, "%s", library->dlpi_name) < PATH_MAX;
}

/* Among the libraries that are there: to ask for one by its name looks into every directory of the
 * system where there is none. */
void fks_reseed_find(void)
{
    char path[PATH_MAX];
    *(void **)&add_to_openssl = dlsym(RTLD_DEFAULT, "RAND_add");
    if (add_to_openssl || !dl_iterate_phdr(copy_crypto_path, path))
        return;
    void *library = dlopen(path, RTLD_LAZY | RTLD_NOLOAD);
    if (library) /* it stays: the function is called later */
        *(void **)&add_to_openssl = dlsym(library, "RAND_add");
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
