/* SPDX-License-Identifier: MIT
 *
 * Opens libluajit by itself and keeps its functions in a table. Each name of lua.h is defined here
 * as a hidden jump through that table, so that nothing in this library refers to, or offers, a
 * symbol that a host's Lua also has.
 */
#include "luajit.h"

#include <dlfcn.h>
#include <stddef.h>
#include <stdlib.h>

#ifndef __has_feature /* clang's; GCC has __SANITIZE_ADDRESS__ */
#define __has_feature(x) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || __has_feature(address_sanitizer)
#define DEEPBIND                                                                    \
    0 /* ASan refuses RTLD_DEEPBIND: such a build is not for hosts with another Lua \
       */
#else
#define DEEPBIND RTLD_DEEPBIND
#endif

static const char library[] = "libluajit-5.1.so.2";

/* One pointer a function, and one jump to it: the compiler cannot write a function that passes on
 * arguments it does not know. */
#if defined(__x86_64__)
#define JUMP(name) "endbr64\n\tjmp *fks_jump_" #name "(%rip)\n"
#elif defined(__aarch64__)
#define JUMP(name)                                                                             \
    "bti c\n\tadrp x16, fks_jump_" #name "\n\tldr x16, [x16, :lo12:fks_jump_" #name "]\n\tbr " \
    "x16\n"
#else
#error "luajit.c knows the jump instruction of x86-64 and arm64 only"
#endif

#define X(name)                                                                           \
    __attribute__((visibility("hidden"))) void *fks_jump_##name;                          \
    __asm__(".pushsection .text\n\t.globl " #name "\n\t.hidden " #name "\n\t.type " #name \
            ", %function\n" #name ":\n\t" JUMP(name) ".size " #name ", .-" #name          \
                                                     "\n\t.popsection\n");
FKS_LUAJIT_FUNCTIONS(X)
#undef X

static const struct {
    const char *name;
    void **pointer;
} functions[] = {
#define X(name) {#name, &fks_jump_##name},
    FKS_LUAJIT_FUNCTIONS(X)
#undef X
};

int fks_luajit_load(struct fks_error *error)
{
    static void *handle;
    if (handle)
        return 0;
    void *opened = dlopen(library, RTLD_NOW | RTLD_LOCAL | DEEPBIND);
    if (!opened)
        return fks_fail(error, FORKSAFE_ELUAJIT,
                        "cannot open LuaJIT: %s; install libluajit2-5.1-2 or libluajit-5.1-2",
                        dlerror());
    for (size_t i = 0; i < sizeof functions / sizeof *functions; i++) {
        *functions[i].pointer = dlsym(opened, functions[i].name);
        if (!*functions[i].pointer) {
            dlclose(opened);
            return fks_fail(error, FORKSAFE_ELUAJIT,
                            "%s has no %s: it is not LuaJIT 2.1; install libluajit2-5.1-2", library,
                            functions[i].name);
        }
    }
    handle = opened; /* never closed: states made by it live as long as the process */
    return 0;
}

#define THREAD_ROOM 65536u /* many times what glibc takes for a thread's data of a library */

int fks_luajit_use_thread(lua_State *L)
{
    static _Thread_local bool known __attribute__((tls_model("initial-exec")));
    if (known)
        return 0;
    void *volatile room = malloc(THREAD_ROOM); /* given back, it is there for glibc */
    if (!room)
        return FORKSAFE_ENOMEM;
    free(room);
    lua_pushnil(L);
    lua_pcall(L, 0, 0, 0); /* throws */
    lua_settop(L, -2);
    known = true;
    return 0;
}
