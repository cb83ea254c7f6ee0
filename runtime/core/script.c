/* SPDX-License-Identifier: MIT
 *
 * Reading a script directory: which files count, whose files are trusted, which event a name means.
 * Master only.
 */
#include "script.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "guards.h"
#include "names.h"

#define MOST_FILES   4096
#define MOST_BYTES   (4u << 20) /* of one file */
#define MOST_DEPTH   8
#define MOST_FOLDERS 1024
#define MOST_TOLD    16 /* folders that are not looked into: links can make thousands of them */

struct walk {
    struct fks_scripts *out;
    size_t room;
    uid_t ini_owner;
    fks_script_complaint complain;
    void *data;
    char trusted[PATH_MAX];      /* the directory found good last, with all above it */
    const struct folder *folder; /* being read; NULL: none */
    unsigned folders, told;      /* read so far, and not looked into */
    bool is_full;                /* no more modules are looked for, which was told */
};

/* A directory of scripts that is open, and where it really lies; "": that cannot be told. */
struct folder {
    const struct folder *above;
    int fd;
    char real[PATH_MAX];
};

/* What is looked at is an open file, or a path. */
struct place {
    int fd; /* -1: the path */
    const char *path;
};

uint64_t fks_hash(const void *bytes, size_t length)
{
    uint64_t hash = 14695981039346656037u;
    for (const unsigned char *byte = bytes; length--; byte++)
        hash = (hash ^ *byte) * 1099511628211u;
    return hash;
}

/* "postfork.lua" and "10-db.postfork.lua" subscribe to ApplicationPostFork. */
static int event_of_name(const char *name)
{
    size_t length = strlen(name) - strlen(".lua");
    const char *start = name + length;
    while (start > name && start[-1] != '.')
        start--;
    for (int event = 0; event < FORKSAFE_EVENT_COUNT; event++)
        if (strlen(fks_event_files[event]) == (size_t)(name + length - start) &&
            !strncmp(start, fks_event_files[event], (size_t)(name + length - start)))
            return event;
    return FKS_NO_EVENT;
}

static bool is_lua_name(const char *name)
{
    size_t length = strlen(name);
    return name[0] != '.' && length > 4 && !strcmp(name + length - 4, ".lua");
}

/* A ConfigMap, say: mode 0777, and nobody can write it. */
static bool is_read_only(const struct place *place)
{
    struct statvfs mount;
    return !(place->fd < 0 ? statvfs(place->path, &mount) : fstatvfs(place->fd, &mount)) &&
           (mount.f_flag & ST_RDONLY);
}

/* Who may write what runs inside the server: as OpenSSH's StrictModes and suEXEC. Returns what is
 * wrong, and what to do about it. */
static const char *distrust(const struct stat *info, const struct place *place, uid_t ini_owner)
{
    const char *doubt = NULL;
    if (!fks_guard(FKS_GUARD_TRUST))
        return NULL;
    if (info->st_uid != 0 && info->st_uid != geteuid() && info->st_uid != ini_owner)
        return "it belongs to another user; chown it to the user that starts the server";
    if (S_ISDIR(info->st_mode) && info->st_mode & S_ISVTX)
        return NULL; /* only owners replace what lies in it, and those are looked at */
    if (info->st_mode & S_IWOTH)
        doubt = "everybody may write it; chmod o-w";
    else if (geteuid() == 0 && (info->st_mode & S_IWGRP) && info->st_gid != 0)
        doubt = "its group may write it, and the server is started as root; chmod g-w";
    return doubt && is_read_only(place) ? NULL : doubt;
}

/* A directory and all above it: who may write one of them can put another script in its place.
 * `directory` has no symbolic links in it; cut to the one that is wrong. */
static const char *distrust_directory(char *directory, uid_t ini_owner)
{
    struct stat info;
    for (char *end = directory + strlen(directory);; end = strrchr(directory, '/')) {
        *end = '\0';
        const struct place place = {-1, *directory ? directory : "/"};
        if (lstat(place.path, &info))
            return "it cannot be looked at; correct forksafe.scripts in the ini";
        const char *doubt = distrust(&info, &place, ini_owner);
        if (doubt || !*directory)
            return doubt;
    }
}

/* Whether scripts of this directory may be loaded; `path` is what the complaint is about. */
static int check_directory(struct walk *walk, const char *real, const char *path,
                           struct fks_error *error)
{
    char directory[PATH_MAX];
    if (!strcmp(real, walk->trusted))
        return 0;
    snprintf(directory, sizeof directory, "%s", strcmp(real, "/") ? real : "");
    const char *doubt = distrust_directory(directory, walk->ini_owner);
    if (!doubt) {
        snprintf(walk->trusted, sizeof walk->trusted, "%s", real);
        return 0;
    }
    if (!strcmp(directory, path))
        return fks_fail(error, FORKSAFE_ESCRIPT, "%s: scripts not loaded: %s", path, doubt);
    return fks_fail(error, FORKSAFE_ESCRIPT, "%s: not loaded, because of %s: %s", path,
                    *directory ? directory : "/", doubt);
}

/* Where the open file lies, as the kernel knows it: to ask for its name again would be to ask about
 * what somebody may have put there meanwhile. Without /proc the name has to lead to the very
 * file. */
static bool real_path(int fd, const char *path, const struct stat *opened, char real[PATH_MAX])
{
    char link[64];
    struct stat info;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, real, PATH_MAX);
    if (length > 0 && length < PATH_MAX) {
        real[length] = '\0';
        return real[0] == '/';
    }
    return realpath(path, real) && !lstat(real, &info) && info.st_ino == opened->st_ino &&
           info.st_dev == opened->st_dev;
}

/* Opens a script: where that is no symbolic link, as a file of the open folder, so that it lies
 * there (*is_inside). Returns the descriptor, or -1. */
static int open_script(const struct walk *walk, const struct fks_script *script, bool *is_inside)
{
    const int flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;
    *is_inside = walk->folder && *walk->folder->real;
    if (*is_inside) {
        const char *name = strrchr(script->path, '/') + 1;
        int fd = openat(walk->folder->fd, name, flags | O_NOFOLLOW);
        if (fd >= 0 || errno != ELOOP)
            return fd;
        *is_inside = false;
    }
    return open(script->path, flags);
}

/* Where the file really lies: a symbolic link may lead out of the script directory. */
static int check_place(struct walk *walk, int fd, const struct fks_script *script,
                       const struct stat *opened, struct fks_error *error)
{
    char real[PATH_MAX];
    if (!opened->st_nlink || !real_path(fd, script->path, opened, real))
        return fks_fail(error, FORKSAFE_ESCRIPT, "%s: it was replaced while it was read; reload",
                        script->path);
    char *slash = strrchr(real, '/');
    slash[slash == real] = '\0'; /* "/" keeps its own */
    return check_directory(walk, real, script->path, error);
}

/* The whole text, `length` bytes by now; a file that is being written meanwhile is not half a
 * script. */
static int read_all(int fd, struct fks_script *script, struct fks_error *error)
{
    size_t got = 0, room = script->length + 1; /* one more: to see its end */
    script->text = malloc(room);
    if (!script->text)
        return fks_fail(error, FORKSAFE_ENOMEM, "%s: out of memory", script->path);
    for (;;) {
        ssize_t n = read(fd, script->text + got, room - got);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return fks_fail(error, FORKSAFE_ESCRIPT, "%s: cannot read the script: %s", script->path,
                            strerror(errno));
        got += (size_t)n;
        if (n == 0 || got == room || got == script->length)
            break;
    }
    if (got == script->length)
        return 0;
    return fks_fail(error, FORKSAFE_ESCRIPT, "%s: it was changed while it was read; reload",
                    script->path);
}

static int read_script(struct walk *walk, struct fks_script *script, struct fks_error *error)
{
    bool is_inside;
    int fd = open_script(walk, script, &is_inside);
    if (fd < 0)
        return fks_fail(error, FORKSAFE_ESCRIPT,
                        "%s: cannot read the script: %s; make it readable for "
                        "the user that starts the server",
                        script->path, strerror(errno));
    struct stat info;
    const char *doubt = NULL;
    int result = 0;
    if (fstat(fd, &info) || !S_ISREG(info.st_mode))
        result = fks_fail(error, FORKSAFE_ESCRIPT, "%s: not a regular file; remove or rename it",
                          script->path);
    else if ((doubt = distrust(&info, &(struct place){fd, NULL}, walk->ini_owner)))
        result = fks_fail(error, FORKSAFE_ESCRIPT, "%s: not loaded: %s", script->path, doubt);
    else if (info.st_size > MOST_BYTES)
        result = fks_fail(error, FORKSAFE_ESCRIPT, "%s: larger than 4 MiB; split it", script->path);
    else {
        script->length = (size_t)info.st_size;
        script->mtime_ns =
            (uint64_t)info.st_mtim.tv_sec * 1000000000u + (uint64_t)info.st_mtim.tv_nsec;
        result = is_inside && info.st_nlink
                     ? check_directory(walk, walk->folder->real, script->path, error)
                     : check_place(walk, fd, script, &info, error);
        if (!result)
            result = read_all(fd, script, error);
    }
    close(fd);
    if (!result)
        script->hash = fks_hash(script->text, script->length);
    return result;
}

void fks_script_finish(struct fks_script *script)
{
    free(script->path);
    free(script->name);
    free(script->text);
    *script = (struct fks_script){0};
}

static int add_script(struct walk *walk, const char *directory, const char *below, const char *name,
                      struct fks_error *error)
{
    struct fks_scripts *out = walk->out;
    if (out->count == MOST_FILES) {
        walk->is_full = true;
        return fks_fail(error, FORKSAFE_ESCRIPT,
                        "%s: more than %d Lua files; move what is no script elsewhere", directory,
                        MOST_FILES);
    }
    if (out->count == walk->room) {
        size_t room = walk->room ? walk->room * 2 : 16;
        struct fks_script *grown = realloc(out->items, room * sizeof *grown);
        if (!grown)
            return fks_fail(error, FORKSAFE_ENOMEM, "%s: out of memory", directory);
        out->items = grown;
        walk->room = room;
    }
    struct fks_script *script = &out->items[out->count];
    memset(script, 0, sizeof *script);
    if (asprintf(&script->path, "%s/%s", directory, name) < 0)
        script->path = NULL;
    if (asprintf(&script->name, "%s%s", below, name) < 0)
        script->name = NULL;
    if (!script->path || !script->name) {
        fks_script_finish(script);
        return fks_fail(error, FORKSAFE_ENOMEM, "%s: out of memory", directory);
    }
    script->module = below[0] != '\0';
    script->event = script->module ? FKS_NO_EVENT : event_of_name(name);
    struct fks_error complaint;
    if (read_script(walk, script, &complaint)) {
        walk->complain(&complaint, walk->data);
        fks_script_finish(script);
        return 0;
    }
    out->count++;
    return 0;
}

static int read_directory(struct walk *walk, const char *directory, const char *below, int depth,
                          struct fks_error *error);

static int read_folder(struct walk *walk, const char *directory, const char *below,
                       const char *name, int depth, struct fks_error *error)
{
    char *path = NULL, *further = NULL;
    int result = FORKSAFE_ENOMEM;
    if (asprintf(&path, "%s/%s", directory, name) < 0)
        path = NULL;
    if (asprintf(&further, "%s%s/", below, name) < 0)
        further = NULL;
    struct stat info;
    if (!path || !further)
        fks_fail(error, FORKSAFE_ENOMEM, "%s: out of memory", directory);
    else if (stat(path, &info) || !S_ISDIR(info.st_mode))
        result = 0;
    else if (depth == MOST_DEPTH)
        result = fks_fail(error, FORKSAFE_ESCRIPT, "%s: deeper than %d folders; not looked into",
                          path, MOST_DEPTH);
    else
        result = read_directory(walk, path, further, depth + 1, error);
    if (result == FORKSAFE_ESCRIPT) { /* a folder of modules is no reason to go without the rest */
        if (walk->told++ < MOST_TOLD || walk->is_full)
            walk->complain(error, walk->data);
        result = 0;
    }
    free(path);
    free(further);
    return result;
}

static void open_folder(struct folder *folder, const struct folder *above, const char *directory)
{
    struct stat info;
    folder->above = above;
    folder->fd = open(directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (folder->fd < 0 || fstat(folder->fd, &info) ||
        !real_path(folder->fd, directory, &info, folder->real))
        folder->real[0] = '\0';
}

/* Links may lead to a folder that they lie in, and folders to each other in many ways. */
static int enter_folder(struct walk *walk, const struct folder *folder, const char *directory,
                        struct fks_error *error)
{
    for (const struct folder *one = folder->above; one; one = one->above)
        if (folder->real[0] && !strcmp(one->real, folder->real))
            return fks_fail(error, FORKSAFE_ESCRIPT,
                            "%s: a link to a folder that it lies in; not looked into", directory);
    if (walk->folders++ < MOST_FOLDERS)
        return 0;
    walk->is_full = true;
    return fks_fail(error, FORKSAFE_ESCRIPT,
                    "%s: more than %d folders; move what has no modules elsewhere", directory,
                    MOST_FOLDERS);
}

/* The scripts first: they have room, whatever lies in folders. */
static int read_entries(struct walk *walk, const char *directory, const char *below, int depth,
                        struct dirent *const *entries, int count, struct fks_error *error)
{
    int result = 0;
    for (int i = 0; i < count && !result; i++)
        if (is_lua_name(entries[i]->d_name))
            result = add_script(walk, directory, below, entries[i]->d_name, error);
    for (int i = 0; i < count && !result && !walk->is_full; i++)
        if (!is_lua_name(entries[i]->d_name) && entries[i]->d_name[0] != '.')
            result = read_folder(walk, directory, below, entries[i]->d_name, depth, error);
    return result;
}

static int read_directory(struct walk *walk, const char *directory, const char *below, int depth,
                          struct fks_error *error)
{
    struct dirent **entries = NULL;
    int count = scandir(directory, &entries, NULL, NULL);
    if (count < 0 && fks_guard(FKS_GUARD_SYSTEM_CALLS))
        return fks_fail(error, FORKSAFE_ESCRIPT,
                        depth ? "%s: cannot read the folder: %s; make it readable for the user "
                                "that starts the server"
                              : "%s: cannot read the script directory: %s; make it, or correct "
                                "forksafe.scripts in the ini",
                        directory, strerror(errno));
    struct folder folder;
    open_folder(&folder, walk->folder, directory);
    walk->folder = &folder;
    int result = enter_folder(walk, &folder, directory, error);
    if (!result)
        result = read_entries(walk, directory, below, depth, entries, count, error);
    walk->folder = folder.above;
    if (folder.fd >= 0)
        close(folder.fd);
    for (int i = 0; i < count; i++)
        free(entries[i]);
    free(entries);
    return result;
}

/* Byte order of names, scripts before modules: the order must not depend on the file system or the
 * locale. */
static int compare(const void *left, const void *right)
{
    const struct fks_script *a = left, *b = right;
    if (a->module != b->module)
        return a->module ? 1 : -1;
    return strcmp(a->name, b->name);
}

int fks_script_read(struct fks_script *out, const char *path, uid_t ini_owner,
                    struct fks_error *error)
{
    struct walk walk = {.ini_owner = ini_owner};
    *out = (struct fks_script){.path = strdup(path), .event = FKS_NO_EVENT};
    int result = out->path ? read_script(&walk, out, error)
                           : fks_fail(error, FORKSAFE_ENOMEM, "%s: out of memory", path);
    if (result)
        fks_script_finish(out);
    return result;
}

int fks_scripts_init(struct fks_scripts *out, const char *directory, uid_t ini_owner,
                     fks_script_complaint complain, void *data, struct fks_error *error)
{
    struct walk walk = {.out = out, .ini_owner = ini_owner, .complain = complain, .data = data};
    char real[PATH_MAX];
    *out = (struct fks_scripts){0};
    int result = realpath(directory, real) ? check_directory(&walk, real, directory, error) : 0;
    if (!result)
        result = read_directory(&walk, directory, "", 0, error);
    if (result) {
        fks_scripts_finish(out);
        return result;
    }
    if (out->count)
        qsort(out->items, out->count, sizeof *out->items, compare);
    return 0;
}

void fks_scripts_finish(struct fks_scripts *scripts)
{
    for (size_t i = 0; i < scripts->count; i++)
        fks_script_finish(&scripts->items[i]);
    free(scripts->items);
    *scripts = (struct fks_scripts){0};
}

const struct fks_script *fks_scripts_find(const struct fks_scripts *scripts, const char *module)
{
    static const char *const patterns[] = {"%s.lua", "%s/init.lua"};
    char path[512], name[512];
    if (strlen(module) >= sizeof path - 16)
        return NULL;
    strcpy(path, module);
    for (char *dot = path; (dot = strchr(dot, '.'));)
        *dot = '/';
    for (size_t p = 0; p < 3; p++) {
        if (p < 2)
            snprintf(name, sizeof name, patterns[p], path);
        else
            snprintf(name, sizeof name, "%s.lua", module);
        for (size_t i = 0; i < scripts->count; i++)
            if (!strcmp(scripts->items[i].name, name))
                return &scripts->items[i];
    }
    return NULL;
}
