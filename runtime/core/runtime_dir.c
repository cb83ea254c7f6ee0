/* SPDX-License-Identifier: MIT
 *
 * The search list for journals, made real: directories are made and checked in the master, before
 * the first fork; the commands walk the same list. Every check is made on a descriptor, so that
 * nothing can be swapped in between.
 */
#include "runtime_dir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define RUN_DIR "/run/forksafe"
#define SHM_DIR "/dev/shm"

/* What one call of fks_runtime_dir_make works for. */
struct wish {
    const char *instance;
    uid_t uid;   /* who has to reach the directory later; never -1 */
    uid_t owner; /* whose it becomes; -1: leave */
    gid_t gid;   /* -1: leave */
    char tried[FKS_ERROR_TEXT / 2];
    bool denied; /* some directory failed for want of permission */
};

/* A place where an instance's directory may go. */
struct place {
    const char *path;
    mode_t mode;    /* of the directory, if we make it */
    bool hand_over; /* if we make it, it becomes the workers' user's */
};

static void note(struct wish *wish, const char *path, const char *why)
{
    size_t used = strlen(wish->tried);
    snprintf(wish->tried + used, sizeof wish->tried - used, "%s%s: %s", used ? "; " : "", path,
             why);
}

static int note_errno(struct wish *wish, const char *path)
{
    if (errno == EACCES || errno == EPERM || errno == EROFS)
        wish->denied = true;
    note(wish, path, errno == ELOOP ? "is a symbolic link" : strerror(errno));
    return -1;
}

/* Hands a directory that we may change to its user, with exactly this mode (whatever the umask
 * was). */
static void settle(int fd, mode_t mode, uid_t uid, gid_t gid)
{
    if (geteuid() != 0)
        uid = (uid_t)-1;
    if (fchown(fd, uid, gid) && uid != (uid_t)-1)
        (void)!fchown(fd, uid, (gid_t)-1);
    (void)!fchmod(fd, mode);
}

/* Why a directory cannot be trusted with journals; NULL: it can. */
static const char *distrust(const struct stat *st, uid_t uid)
{
    if (st->st_uid != 0 && st->st_uid != geteuid() && st->st_uid != uid)
        return "belongs to another user";
    if ((st->st_mode & 022) && !(st->st_mode & S_ISVTX))
        return "others may write to it and it is not sticky";
    return NULL;
}

static int open_place(const struct place *place, struct wish *wish)
{
    bool made = mkdir(place->path, place->mode) == 0;
    if (!made && errno != EEXIST)
        return note_errno(wish, place->path);
    int fd = open(place->path, (made ? O_RDONLY : O_PATH) | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    struct stat st;
    if (fd < 0 || fstat(fd, &st)) {
        if (errno == ENOTDIR && lstat(place->path, &st) == 0 && S_ISLNK(st.st_mode))
            errno = ELOOP;
        note_errno(wish, place->path);
        goto close_fd;
    }
    const char *why = distrust(&st, wish->uid);
    if (why) {
        note(wish, place->path, why);
        goto close_fd;
    }
    if (made)
        settle(fd, place->mode, place->hand_over ? wish->uid : (uid_t)-1, (gid_t)-1);
    return fd;

close_fd:
    if (fd >= 0)
        close(fd);
    return -1;
}

/* Makes or finds the instance's directory below `parent`. */
static int open_instance(int parent, const char *path, struct wish *wish)
{
    struct stat st;
    if (mkdirat(parent, wish->instance, 0750) && errno != EEXIST)
        return note_errno(wish, path);
    int fd = openat(parent, wish->instance, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st)) {
        if (errno == ENOTDIR && fstatat(parent, wish->instance, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
            S_ISLNK(st.st_mode))
            errno = ELOOP;
        note_errno(wish, path);
        goto close_fd;
    }
    struct stat above;
    bool only_root_makes =
        geteuid() == 0 && fstat(parent, &above) == 0 && above.st_uid == 0 && !(above.st_mode & 022);
    const char *why = only_root_makes ? NULL : distrust(&st, wish->uid);
    if (why) {
        note(wish, path, why);
        goto close_fd;
    }
    if (geteuid() == 0 || st.st_uid == geteuid())
        settle(fd, 0750, wish->owner, wish->gid);
    if (faccessat(fd, ".", W_OK | X_OK, AT_EACCESS)) {
        note_errno(wish, path);
        goto close_fd;
    }
    return fd;

close_fd:
    if (fd >= 0)
        close(fd);
    return -1;
}

static int try_place(char *path, const struct place *place, struct wish *wish)
{
    int parent = open_place(place, wish);
    if (parent < 0)
        return -1;
    int fd = -1;
    if (snprintf(path, FKS_PATH, "%s/%s", place->path, wish->instance) >= FKS_PATH)
        note(wish, place->path, "the path is too long");
    else
        fd = open_instance(parent, path, wish);
    close(parent);
    if (fd < 0)
        return -1;
    close(fd);
    return 0;
}

/* $RUNTIME_DIRECTORY may name several, separated by colons: the first is the one to write to. */
static bool first_of_list(char *path, const char *list)
{
    size_t length = list ? strcspn(list, ":") : 0;
    if (!length || length >= FKS_PATH || list[0] != '/')
        return false;
    memcpy(path, list, length);
    path[length] = '\0';
    return true;
}

/* A user's own directory is no place for somebody else's journal: the other could not get there
 * again. */
static bool xdg_place(char *path, uid_t uid)
{
    const char *xdg = getenv("XDG_RUNTIME_DIR");
    struct stat st;
    if (!xdg || xdg[0] != '/' || stat(xdg, &st) || st.st_uid != uid)
        return false;
    return snprintf(path, FKS_PATH, "%s/forksafe", xdg) < FKS_PATH;
}

static bool is_file_name(const char *name)
{
    if (!name || !*name || *name == '.' || strlen(name) > 200)
        return false;
    for (const unsigned char *c = (const unsigned char *)name; *c; c++)
        if (*c == '/' || *c < 0x20 || *c == 0x7f)
            return false;
    return true;
}

int fks_runtime_dir_make(char *path, const struct fks_config *config, uid_t uid, gid_t gid,
                         struct fks_error *error)
{
    if (!is_file_name(config->instance))
        return fks_fail(
            error, FORKSAFE_EJOURNAL,
            "forksafe.instance cannot be a directory's name: take one without '/', up to "
            "200 bytes, that does not begin with a dot");
    struct wish wish = {.instance = config->instance,
                        .uid = geteuid() == 0 && uid != (uid_t)-1 ? uid : geteuid(),
                        .owner = uid,
                        .gid = gid};
    char place[FKS_PATH];
    if (config->runtime_dir && *config->runtime_dir) {
        if (try_place(path, &(struct place){config->runtime_dir, 0711, true}, &wish) == 0)
            return 0;
        goto none;
    }
    if (first_of_list(place, getenv("RUNTIME_DIRECTORY")) &&
        try_place(path, &(struct place){place, 0700, true}, &wish) == 0)
        return 0;
    if (xdg_place(place, wish.uid) &&
        try_place(path, &(struct place){place, 0700, true}, &wish) == 0)
        return 0;
    if (try_place(path, &(struct place){RUN_DIR, 0755, false}, &wish) == 0)
        return 0;
    snprintf(place, sizeof place, SHM_DIR "/forksafe-%lu", (unsigned long)wish.uid);
    if (try_place(path, &(struct place){place, 0700, true}, &wish) == 0)
        return 0;
none:
    return fks_fail(
        error, wish.denied ? FORKSAFE_EACCESS : FORKSAFE_EJOURNAL,
        "no runtime directory can be had (%s); set forksafe.runtime_dir to one that this "
        "user can write to",
        wish.tried);
}

/* --- the commands' side --- */

struct walk {
    int (*found)(const char *path, void *data);
    void *data;
    struct {
        dev_t dev;
        ino_t ino;
    } * seen; /* no directory is visited twice */
    size_t seen_count;
};

static bool seen_before(struct walk *walk, const struct stat *st)
{
    for (size_t i = 0; i < walk->seen_count; i++)
        if (walk->seen[i].dev == st->st_dev && walk->seen[i].ino == st->st_ino)
            return true;
    void *more = realloc(walk->seen, (walk->seen_count + 1) * sizeof *walk->seen);
    if (!more)
        return false;
    walk->seen = more;
    walk->seen[walk->seen_count].dev = st->st_dev;
    walk->seen[walk->seen_count++].ino = st->st_ino;
    return false;
}

static int visit(struct walk *walk, const char *path)
{
    struct stat st;
    if (stat(path, &st) && errno == EACCES)
        return walk->found(path,
                           walk->data); /* it may be there: the caller will see that it is denied */
    if (stat(path, &st) || !S_ISDIR(st.st_mode) || seen_before(walk, &st))
        return 0;
    return walk->found(path, walk->data);
}

/* Visits <parent>/<prefix>*<suffix> for every such entry. */
static int visit_all(struct walk *walk, const char *parent, const char *prefix, const char *suffix)
{
    DIR *dir = opendir(parent);
    if (!dir)
        return 0;
    int result = 0;
    for (struct dirent *entry; !result && (entry = readdir(dir));) {
        char path[FKS_PATH];
        if (entry->d_name[0] == '.' || strncmp(entry->d_name, prefix, strlen(prefix)))
            continue;
        if (snprintf(path, sizeof path, "%s/%s%s", parent, entry->d_name, suffix) < FKS_PATH)
            result = visit(walk, path);
    }
    closedir(dir);
    return result;
}

static int visit_environment(struct walk *walk)
{
    const char *list = getenv("RUNTIME_DIRECTORY");
    char path[FKS_PATH];
    int result = 0;
    while (!result && list && *list) {
        if (first_of_list(path, list))
            result = visit(walk, path);
        list += strcspn(list, ":");
        list += *list == ':';
    }
    const char *xdg = getenv("XDG_RUNTIME_DIR");
    if (!result && xdg && xdg[0] == '/' &&
        snprintf(path, sizeof path, "%s/forksafe", xdg) < FKS_PATH)
        result = visit(walk, path);
    return result;
}

static int visit_own(struct walk *walk)
{
    char path[FKS_PATH];
    unsigned long uid = geteuid();
    snprintf(path, sizeof path, "/run/user/%lu/forksafe", uid);
    int result = visit(walk, path);
    if (result)
        return result;
    snprintf(path, sizeof path, SHM_DIR "/forksafe-%lu", uid);
    return visit(walk, path);
}

int fks_runtime_dir_each(const char *runtime_dir, int (*found)(const char *path, void *data),
                         void *data)
{
    struct walk walk = {.found = found, .data = data};
    int result = 0;
    if (runtime_dir && *runtime_dir)
        result = visit(&walk, runtime_dir);
    if (!result)
        result = visit_environment(&walk);
    if (!result)
        result = visit(&walk, RUN_DIR);
    if (!result)
        result = visit_own(&walk);
    if (!result && geteuid() == 0)
        result = visit_all(&walk, SHM_DIR, "forksafe-", "");
    if (!result && geteuid() == 0)
        result = visit_all(&walk, "/run/user", "", "/forksafe");
    free(walk.seen);
    return result;
}

static void append(char *text, size_t size, const char *item)
{
    size_t used = strlen(text);
    snprintf(text + used, size - used, "%s%s", used ? ", " : "", item);
}

void fks_runtime_dir_list(const char *runtime_dir, char *text, size_t size)
{
    const char *environment = getenv("RUNTIME_DIRECTORY"), *xdg = getenv("XDG_RUNTIME_DIR");
    char path[FKS_PATH];
    text[0] = '\0';
    if (runtime_dir && *runtime_dir)
        append(text, size, runtime_dir);
    if (environment && *environment)
        append(text, size, environment);
    if (xdg && *xdg) {
        snprintf(path, sizeof path, "%s/forksafe", xdg);
        append(text, size, path);
    }
    append(text, size, RUN_DIR);
    snprintf(path, sizeof path, SHM_DIR "/forksafe-%lu", (unsigned long)geteuid());
    append(text, size, path);
}

/* --- what /proc tells of a process --- */

/* Reads a small file of /proc whole; NUL-terminated. Returns its length, -1 on failure. */
static ssize_t read_small(const char *path, char *text, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    ssize_t length = read(fd, text, size - 1);
    close(fd);
    if (length >= 0)
        text[length] = '\0';
    return length;
}

unsigned long long fks_process_start(pid_t pid)
{
    char path[64], text[1024];
    snprintf(path, sizeof path, "/proc/%ld/stat", (long)pid);
    if (read_small(path, text, sizeof text) <= 0)
        return 0;
    char *at = strrchr(text, ')'); /* the name before it may hold anything, parentheses too */
    if (at && (!strncmp(at, ") Z", 3) || !strncmp(at, ") X", 3)))
        return 0; /* dead, and not reaped yet */
    for (int field = 2; at && field < 22; field++) {
        at = strchr(at, ' ');
        at = at ? at + 1 : NULL;
    }
    return at ? strtoull(at, NULL, 10) : 0;
}

void fks_boot_id(uint8_t id[16])
{
    char text[64];
    memset(id, 0, 16);
    if (read_small("/proc/sys/kernel/random/boot_id", text, sizeof text) <= 0)
        return;
    size_t digits = 0;
    for (const char *c = text; *c && digits < 32; c++) {
        const char *hex = "0123456789abcdef", *digit = strchr(hex, *c);
        if (!digit)
            continue;
        id[digits / 2] = (uint8_t)(id[digits / 2] << 4 | (digit - hex));
        digits++;
    }
}
