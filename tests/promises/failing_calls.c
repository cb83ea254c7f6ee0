/* SPDX-License-Identifier: MIT
 *
 * Functions of libc of which the Nth call made by forksafe fails: by its library, its modules,
 * LuaJIT and jansson, told by the address that the call returns to. Preloaded into real servers
 * (faults.lua); what others call goes through. The count is a process's own, and a
 * child begins at 0: so N is one of the master's calls or one of each worker's.
 *
 * FAILING_CALLS=master|worker:N:FILE  N 0: none fails. FILE gets a line for each call (N 0) or
 *                                     for the one that failed: "role N name object+offset"
 * FAILING_CALLS_ERROR=NUMBER          instead of the error of the table
 * FAILING_CALLS_LASTING=" NAME ... "  from the Nth on these fail for good, in children too
 * FAILING_CALLS_COMMAND=1             the command itself is forksafe's too
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <link.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define MOST_OBJECTS 16

static const char *const objects[] = {
    "libforksafe.so",         "libforksafe_preload.so", "forksafe_plugin.so", "mod_forksafe.so",
    "ngx_forksafe_module.so", "libluajit-5.1.so",       "libjansson.so"};

/* How a function says that it failed. */
enum { MINUS_ONE, A_NULL, THE_NUMBER };

/* name, how it fails, with what. Not here: what cannot fail (pthread_mutex_unlock), what is done
 * although it says otherwise (close), and what gives nothing back (free). */
#define CALLS(X)                                         \
    X(open, MINUS_ONE, EMFILE)                           \
    X(open64, MINUS_ONE, EMFILE)                         \
    X(__open_2, MINUS_ONE, EMFILE)                       \
    X(openat, MINUS_ONE, ENFILE)                         \
    X(fopen, A_NULL, EMFILE)                             \
    X(fopen64, A_NULL, EMFILE)                           \
    X(fdopen, A_NULL, ENOMEM)                            \
    X(fgets, A_NULL, EIO)                                \
    X(fread, A_NULL, EIO)                                \
    X(opendir, A_NULL, EMFILE)                           \
    X(fdopendir, A_NULL, ENOMEM)                         \
    X(readdir, A_NULL, EIO)                              \
    X(scandir, MINUS_ONE, ENOMEM)                        \
    X(read, MINUS_ONE, EIO)                              \
    X(pread, MINUS_ONE, EINTR)                           \
    X(write, MINUS_ONE, ENOSPC)                          \
    X(pwrite, MINUS_ONE, ENOSPC)                         \
    X(writev, MINUS_ONE, EIO)                            \
    X(lseek, MINUS_ONE, EINVAL)                          \
    X(fcntl, MINUS_ONE, EINVAL)                          \
    X(ioctl, MINUS_ONE, ENOTTY)                          \
    X(flock, MINUS_ONE, EINTR)                           \
    X(dup2, MINUS_ONE, EMFILE)                           \
    X(dup3, MINUS_ONE, EMFILE)                           \
    X(pipe2, MINUS_ONE, EMFILE)                          \
    X(posix_fallocate, THE_NUMBER, ENOSPC)               \
    X(ftruncate, MINUS_ONE, ENOSPC)                      \
    X(fstat, MINUS_ONE, EIO)                             \
    X(fstatat, MINUS_ONE, EACCES)                        \
    X(stat, MINUS_ONE, EACCES)                           \
    X(lstat, MINUS_ONE, EACCES)                          \
    X(statvfs, MINUS_ONE, EIO)                           \
    X(fstatvfs, MINUS_ONE, EIO)                          \
    X(access, MINUS_ONE, EACCES)                         \
    X(faccessat, MINUS_ONE, EACCES)                      \
    X(readlink, MINUS_ONE, EACCES)                       \
    X(readlinkat, MINUS_ONE, EACCES)                     \
    X(realpath, A_NULL, EACCES)                          \
    X(__realpath_chk, A_NULL, EACCES)                    \
    X(getcwd, A_NULL, ENOENT)                            \
    X(fgetxattr, MINUS_ONE, ENOTSUP)                     \
    X(mkdir, MINUS_ONE, EACCES)                          \
    X(mkdirat, MINUS_ONE, EROFS)                         \
    X(linkat, MINUS_ONE, EPERM)                          \
    X(rename, MINUS_ONE, EROFS)                          \
    X(renameat, MINUS_ONE, EROFS)                        \
    X(renameat2, MINUS_ONE, EINVAL)                      \
    X(unlink, MINUS_ONE, EROFS)                          \
    X(unlinkat, MINUS_ONE, EROFS)                        \
    X(chmod, MINUS_ONE, EPERM)                           \
    X(fchmod, MINUS_ONE, EPERM)                          \
    X(fchown, MINUS_ONE, EPERM)                          \
    X(mmap, MINUS_ONE, ENOMEM)                           \
    X(mmap64, MINUS_ONE, ENOMEM)                         \
    X(munmap, MINUS_ONE, ENOMEM)                         \
    X(mprotect, MINUS_ONE, ENOMEM)                       \
    X(madvise, MINUS_ONE, ENOMEM)                        \
    X(malloc, A_NULL, ENOMEM)                            \
    X(calloc, A_NULL, ENOMEM)                            \
    X(realloc, A_NULL, ENOMEM)                           \
    X(reallocarray, A_NULL, ENOMEM)                      \
    X(strdup, A_NULL, ENOMEM)                            \
    X(strndup, A_NULL, ENOMEM)                           \
    X(open_memstream, A_NULL, ENOMEM)                    \
    X(getrandom, MINUS_ONE, ENOSYS)                      \
    X(getrlimit, MINUS_ONE, EPERM)                       \
    X(sysconf, MINUS_ONE, EINVAL)                        \
    X(syscall, MINUS_ONE, ENOSYS)                        \
    X(nanosleep, MINUS_ONE, EINTR)                       \
    X(socket, MINUS_ONE, EMFILE)                         \
    X(socketpair, MINUS_ONE, EMFILE)                     \
    X(getsockname, MINUS_ONE, ENOBUFS)                   \
    X(getpeername, MINUS_ONE, ENOBUFS)                   \
    X(getsockopt, MINUS_ONE, ENOBUFS)                    \
    X(setsockopt, MINUS_ONE, ENOMEM)                     \
    X(send, MINUS_ONE, ENOBUFS)                          \
    X(recv, MINUS_ONE, ENOMEM)                           \
    X(poll, MINUS_ONE, EINTR)                            \
    X(epoll_create1, MINUS_ONE, EMFILE)                  \
    X(epoll_ctl, MINUS_ONE, ENOMEM)                      \
    X(eventfd, MINUS_ONE, EMFILE)                        \
    X(timerfd_create, MINUS_ONE, EMFILE)                 \
    X(timerfd_settime, MINUS_ONE, EINVAL)                \
    X(timer_create, MINUS_ONE, EAGAIN)                   \
    X(timer_settime, MINUS_ONE, EINVAL)                  \
    X(timer_delete, MINUS_ONE, EINVAL)                   \
    X(sigaction, MINUS_ONE, EINVAL)                      \
    X(sigpending, MINUS_ONE, EFAULT)                     \
    X(sigtimedwait, MINUS_ONE, EAGAIN)                   \
    X(pthread_sigmask, THE_NUMBER, EINVAL)               \
    X(pthread_create, THE_NUMBER, EAGAIN)                \
    X(pthread_getattr_np, THE_NUMBER, ENOMEM)            \
    X(pthread_mutex_init, THE_NUMBER, ENOMEM)            \
    X(pthread_mutex_trylock, THE_NUMBER, EBUSY)          \
    X(pthread_mutex_consistent, THE_NUMBER, EINVAL)      \
    X(pthread_mutexattr_init, THE_NUMBER, ENOMEM)        \
    X(pthread_mutexattr_setpshared, THE_NUMBER, ENOTSUP) \
    X(pthread_mutexattr_setrobust, THE_NUMBER, ENOTSUP)  \
    X(__register_atfork, THE_NUMBER, ENOMEM)             \
    X(getgrnam_r, THE_NUMBER, EIO)                       \
    X(kill, MINUS_ONE, EPERM)                            \
    X(prctl, MINUS_ONE, EINVAL)                          \
    X(fork, MINUS_ONE, EAGAIN)                           \
    X(waitid, MINUS_ONE, EINTR)                          \
    X(execvp, MINUS_ONE, ENOMEM)                         \
    X(setenv, MINUS_ONE, ENOMEM)                         \
    X(unsetenv, MINUS_ONE, EINVAL)

typedef long call_function(long, long, long, long, long, long);

extern long __libc_malloc(long, long, long, long, long, long);
extern long __libc_calloc(long, long, long, long, long, long);
extern long __libc_realloc(long, long, long, long, long, long);

enum {
#define X(name, how, error) AT_##name,
    CALLS(X)
#undef X
        CALL_COUNT
};

/* What dlsym itself may call is there before dlsym has been asked. */
static call_function *next[CALL_COUNT] = {
    [AT_malloc] = __libc_malloc, [AT_calloc] = __libc_calloc, [AT_realloc] = __libc_realloc};

static const char *const names[CALL_COUNT] = {
#define X(name, how, error) #name,
    CALLS(X)
#undef X
};

static struct {
    bool worker, command;
    unsigned long at;
    int error;
    const char *file;    /* NULL: nothing is counted */
    const char *lasting; /* names between blanks; NULL: one call fails */
} plan;

/* Where forksafe's objects are, and libc's. */
static struct {
    uintptr_t base, end;
    bool ours;
    char name[32];
} places[MOST_OBJECTS];
static atomic_int place_count;
static atomic_bool is_stale; /* something was loaded since */
static void *(*next_dlopen)(const char *path, int flags);

static pid_t process; /* whose count it is; 0: nobody has called yet */
static bool is_worker;
static atomic_ulong count;
static atomic_bool is_for_good; /* the Nth call was made, here or in the parent */

/* --- who calls --- */

static bool is_of_libc(const char *name)
{
    return !strncmp(name, "libc.so", 7) || !strncmp(name, "ld-linux", 8);
}

static bool is_ours(const char *name)
{
    for (size_t i = 0; i < sizeof objects / sizeof *objects; i++)
        if (!strncmp(name, objects[i], strlen(objects[i])))
            return true;
    return plan.command && !strcmp(name, "forksafe");
}

static int add_place(struct dl_phdr_info *info, size_t size, void *data)
{
    const char *path = *info->dlpi_name ? info->dlpi_name : program_invocation_name;
    const char *name = strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
    int number = place_count;
    (void)size, (void)data;
    if (number == MOST_OBJECTS || !(is_ours(name) || is_of_libc(name)))
        return 0;
    for (int i = 0; i < number; i++)
        if (places[i].base == info->dlpi_addr)
            return 0;
    places[number].base = info->dlpi_addr;
    places[number].ours = is_ours(name);
    snprintf(places[number].name, sizeof places[number].name, "%s", name);
    for (int i = 0; i < info->dlpi_phnum; i++) {
        uintptr_t end = info->dlpi_addr + info->dlpi_phdr[i].p_vaddr + info->dlpi_phdr[i].p_memsz;
        if (info->dlpi_phdr[i].p_type == PT_LOAD && end > places[number].end)
            places[number].end = end;
    }
    place_count = number + 1;
    return 0;
}

static int place_of(const void *caller)
{
    for (int i = 0; i < place_count; i++)
        if ((uintptr_t)caller >= places[i].base && (uintptr_t)caller < places[i].end)
            return i;
    return -1;
}

/* Where the caller is, if that is forksafe; -1. What the loader itself calls is too early to look
 * at what it has loaded. */
static int our_place_of(const void *caller)
{
    int place = place_of(caller);
    if (place < 0 && is_stale) {
        is_stale = false;
        dl_iterate_phdr(add_place, NULL);
        place = place_of(caller);
    }
    return place >= 0 && places[place].ours ? place : -1;
}

/* --- whether it fails --- */

/* Adds a line to the file; whether it is the first there. */
static bool write_down(unsigned long number, const char *name, int place, const void *caller)
{
    char line[160], first[sizeof line] = "";
    int length = snprintf(line, sizeof line, "%s %lu %s %s+0x%lx %d\n",
                          is_worker ? "worker" : "master", number, name, places[place].name,
                          (unsigned long)((uintptr_t)caller - places[place].base), (int)getpid());
    long fd = syscall(SYS_openat, AT_FDCWD, plan.file, O_RDWR | O_APPEND | O_CLOEXEC);
    if (fd < 0)
        return false;
    (void)!syscall(SYS_write, fd, line, (size_t)length);
    (void)!syscall(SYS_pread64, fd, first, (size_t)length, 0L);
    (void)!syscall(SYS_close, fd);
    return !strcmp(line, first);
}

static bool is_lasting(const char *name)
{
    char word[64];
    snprintf(word, sizeof word, " %s ", name);
    return strstr(plan.lasting, word) != NULL;
}

static bool fails(const void *caller, const char *name)
{
    int place = plan.file ? our_place_of(caller) : -1, before = errno;
    if (place < 0)
        return false;
    pid_t self = getpid();
    if (self != process) {
        is_worker = process != 0;
        process = self;
        count = 0;
    }
    unsigned long number = ++count;
    if (is_for_good)
        return is_lasting(name);
    if (plan.at && (is_worker != plan.worker || number != plan.at))
        return false;
    bool is_first = write_down(number, name, place, caller);
    errno = before;
    is_for_good = plan.lasting && plan.at && is_first;
    return plan.at && is_first;
}

static long failure(int how, int error)
{
    if (plan.error)
        error = plan.error;
    if (how == THE_NUMBER)
        return error;
    errno = error;
    return how == A_NULL ? 0 : -1;
}

static call_function *find(int number)
{
    if (!next[number])
        next[number] = (call_function *)dlsym(RTLD_NEXT, names[number]);
    /* cppcheck-suppress CastIntegerToAddressAtReturn; it is a pointer in an array of them */
    return next[number];
}

/* --- the functions --- */

/* All take integers and pointers, six at most: what is passed on is what six registers hold. */
#define X(name, how, error)                                              \
    long call_##name(long, long, long, long, long, long) __asm__(#name); \
    long call_##name(long a, long b, long c, long d, long e, long f)     \
    {                                                                    \
        if (fails(__builtin_return_address(0), #name))                   \
            return failure(how, error);                                  \
        return find(AT_##name)(a, b, c, d, e, f);                        \
    }
CALLS(X)
#undef X

/* One that takes more. */
__attribute__((format(printf, 3, 4))) int call_asprintf(char **out, int flag, const char *format,
                                                        ...) __asm__("__asprintf_chk");
int call_asprintf(char **out, int flag, const char *format, ...)
{
    va_list arguments;
    (void)flag;
    if (fails(__builtin_return_address(0), "asprintf"))
        return (int)failure(MINUS_ONE, ENOMEM);
    va_start(arguments, format);
    int length = vasprintf(out, format, arguments);
    va_end(arguments);
    return length;
}

/* Passed on by a jump: where an object is looked for depends on who calls. */
void *call_dlopen(const char *path, int flags) __asm__("dlopen");
__attribute__((optimize("O2"))) void *call_dlopen(const char *path, int flags)
{
    if (fails(__builtin_return_address(0), "dlopen"))
        return NULL;
    /* LuaJIT would not find the functions of this file. Where another Lua is it must not. */
    if (our_place_of(__builtin_return_address(0)) >= 0 && !dlsym(RTLD_DEFAULT, "lua_gettop"))
        flags &= ~RTLD_DEEPBIND;
    is_stale = true;
    return next_dlopen(path, flags);
}

__attribute__((constructor)) static void begin(void)
{
    static char role[16], file[PATH_MAX];
    const char *error = getenv("FAILING_CALLS_ERROR"), *text = getenv("FAILING_CALLS");
    for (int i = 0; i < CALL_COUNT; i++)
        find(i);
    next_dlopen = (__typeof__(next_dlopen))dlsym(RTLD_NEXT, "dlopen");
    plan.command = getenv("FAILING_CALLS_COMMAND") != NULL;
    plan.error = error ? atoi(error) : 0;
    plan.lasting = getenv("FAILING_CALLS_LASTING");
    if (!text || sscanf(text, "%15[a-z]:%lu:%4095s", role, &plan.at, file) != 3)
        return;
    plan.worker = !strcmp(role, "worker");
    dl_iterate_phdr(add_place, NULL);
    plan.file = file;
}
