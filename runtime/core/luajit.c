/* SPDX-License-Identifier: MIT
 *
 * Opens libluajit by itself and keeps its functions in a table. Each name of lua.h is defined here
 * as a hidden jump through that table, so that nothing in this library refers to, or offers, a
 * symbol that a host's Lua also has.
 */
#include "luajit.h"

#include <dlfcn.h>
#include <link.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "stack_room.h"

#ifndef __has_feature /* clang's; GCC has __SANITIZE_ADDRESS__ */
#define __has_feature(x) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || \
    __has_feature(address_sanitizer)
#define DEEPBIND 0 /* ASan and TSan refuse it: such a build is not for hosts with another Lua */
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

static uintptr_t code_begin, code_end;

/* For dl_iterate_phdr: stops at the segment of code that has lua_newstate. */
static int find_code(struct dl_phdr_info *object, size_t size, void *data)
{
    uintptr_t known = (uintptr_t)fks_jump_lua_newstate;
    (void)size, (void)data;
    for (size_t i = 0; i < object->dlpi_phnum; i++) {
        const ElfW(Phdr) *segment = &object->dlpi_phdr[i];
        uintptr_t begin = object->dlpi_addr + segment->p_vaddr;
        if (segment->p_type != PT_LOAD || known < begin || known >= begin + segment->p_memsz)
            continue;
        code_begin = begin;
        code_end = begin + segment->p_memsz;
        return 1;
    }
    return 0;
}

bool fks_luajit_has_code(const void *program_counter)
{
    return (uintptr_t)program_counter >= code_begin && (uintptr_t)program_counter < code_end;
}

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
    dl_iterate_phdr(find_code, NULL);
    handle = opened; /* never closed: states made by it live as long as the process */
    return 0;
}

#define THREAD_ROOM 65536u /* many times what glibc takes for a thread's data of a library */

int fks_luajit_use_thread(lua_State *L)
{
    static _Thread_local bool known __attribute__((tls_model("initial-exec")));
    if (known)
        return 0;
    fks_stack_know();
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
