/* SPDX-License-Identifier: MIT
 *
 * Starting a program with the preload adapter in it (preload_environment.h). In the commands that
 * start one, before it is started.
 */
#include "preload_environment.h"

#include <elf.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#define OBJECT     "libforksafe_preload.so"
#define MAX_SCRIPT 4 /* interpreters of interpreters, as in the kernel */

/* --- the program --- */

static bool is_program(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISREG(info.st_mode) && access(path, X_OK) == 0;
}

bool fks_program_find(char path[PATH_MAX], const char *command)
{
    const char *list = getenv("PATH");
    if (strchr(command, '/'))
        return snprintf(path, PATH_MAX, "%s", command) < PATH_MAX && is_program(path);
    for (const char *at = list ? list : "/bin:/usr/bin"; at; at = strchr(at, ':')) {
        at += *at == ':';
        int length = (int)strcspn(at, ":");
        if (snprintf(path, PATH_MAX, "%.*s%s%s", length, at, length ? "/" : "", command) <
                PATH_MAX &&
            is_program(path))
            return true;
    }
    return false;
}

/* What the dynamic loader does not preload into: a program with more rights than its user. */
static bool has_more_rights(int fd)
{
    struct stat info;
    char none[1];
    if (fstat(fd, &info))
        return false;
    if (info.st_mode & S_ISUID && info.st_uid != getuid())
        return true;
    if (info.st_mode & S_ISGID && info.st_mode & S_IXGRP && info.st_gid != getgid())
        return true;
    return getuid() != 0 && (fgetxattr(fd, "security.capability", none, 0) > 0);
}

static bool has_interpreter(int fd, const Elf64_Ehdr *header)
{
    Elf64_Phdr part;
    for (int i = 0; i < header->e_phnum && header->e_phentsize == sizeof part; i++) {
        off_t at = (off_t)header->e_phoff + (off_t)i * (off_t)sizeof part;
        if (pread(fd, &part, sizeof part, at) != (ssize_t)sizeof part)
            return false;
        if (part.p_type == PT_INTERP)
            return true;
    }
    return false;
}

/* Of this command itself: the object was built for the same machine. */
static bool read_own_header(Elf64_Ehdr *header)
{
    int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    bool done = fd >= 0 && read(fd, header, sizeof *header) == (ssize_t)sizeof *header;
    if (fd >= 0)
        close(fd);
    return done;
}

static const char *look_at_elf(int fd, const Elf64_Ehdr *header)
{
    Elf64_Ehdr own;
    if (read_own_header(&own) &&
        (own.e_ident[EI_CLASS] != header->e_ident[EI_CLASS] || own.e_machine != header->e_machine))
        return "it is built for another machine than forksafe";
    if (header->e_ident[EI_CLASS] == ELFCLASS64 && !has_interpreter(fd, header))
        return "it is linked statically, and nothing can be preloaded into it; use a dynamically "
               "linked one, or its adapter";
    if (has_more_rights(fd))
        return "it is setuid, setgid or has file capabilities, and nothing can be preloaded into "
               "it; run it as the user that it becomes";
    return NULL;
}

const char *fks_preload_obstacle(char path[PATH_MAX])
{
    union {
        Elf64_Ehdr elf;
        char text[256];
    } begin;
    for (int depth = 0; depth < MAX_SCRIPT; depth++) {
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
            return NULL; /* it can be executed without being read */
        memset(&begin, 0, sizeof begin);
        ssize_t size = read(fd, begin.text, sizeof begin.text - 1);
        bool is_elf =
            size >= (ssize_t)sizeof begin.elf && !memcmp(begin.elf.e_ident, ELFMAG, SELFMAG);
        const char *why = is_elf ? look_at_elf(fd, &begin.elf) : NULL;
        close(fd);
        if (is_elf || begin.text[0] != '#' || begin.text[1] != '!')
            return why;
        char *name = begin.text + 2 + strspn(begin.text + 2, " \t");
        snprintf(path, PATH_MAX, "%.*s", (int)strcspn(name, " \t\r\n"), name);
    }
    return NULL;
}

/* --- the object --- */

/* Beside this command: in the installation, or in the build tree. */
static bool find_object(char path[PATH_MAX])
{
    static const char *const places[] = {FORKSAFE_PRELOAD_DIRS};
    char own[PATH_MAX], there[PATH_MAX * 2];
    ssize_t length = readlink("/proc/self/exe", own, sizeof own - 1);
    if (length <= 0)
        return false;
    own[length] = '\0';
    *strrchr(own, '/') = '\0';
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        snprintf(there, sizeof there, "%s/%s/%s", own, places[i], OBJECT);
        if (realpath(there, path))
            return true;
    }
    return false;
}

const char *fks_preload_object(char path[PATH_MAX])
{
    if (!find_object(path))
        return OBJECT " is not beside this command; install forksafe as a whole";
    if (strpbrk(path, ": "))
        return OBJECT " lies under a path with a space or colon, which LD_PRELOAD cannot have; "
                      "install forksafe elsewhere";
    return NULL;
}

bool fks_preload_environment(const char *object, const char *ini)
{
    const char *before = getenv("LD_PRELOAD");
    char *list;
    if (setenv("FORKSAFE_INI", ini, 1))
        return false;
    if (!object)
        return true;
    if (asprintf(&list, "%s%s%s", before && *before ? before : "", before && *before ? ":" : "",
                 object) < 0)
        return false;
    unsetenv("FORKSAFE_PRELOAD"); /* of a program that this one runs in */
    bool done = !setenv("LD_PRELOAD", list, 1);
    free(list);
    return done;
}

bool fks_ini_absolute(char *out, size_t size, const char *ini)
{
    char here[PATH_MAX];
    bool is_whole = *ini == '/' || !strncmp(ini, "config:", 7);
    if (!is_whole && !getcwd(here, sizeof here))
        return false;
    return (size_t)snprintf(out, size, "%s%s%s", is_whole ? "" : here, is_whole ? "" : "/", ini) <
           size;
}
