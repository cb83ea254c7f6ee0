/* SPDX-License-Identifier: MIT
 *
 * The script loader and the VM: any text of a script is loaded or is one error, and its subscribers
 * come back within their limits. A line "--: file NAME MODE" begins another script or module,
 * "--: folder NAME MODE" and "--: link NAME TARGET" make those, "--: marks" begins the baseline,
 * and
 * "--: ini N" takes another ini. Behind a MODE "u" gives it to another user, "g" to another group.
 * libFuzzer's process only.
 */
#include "fuzz.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "core/setup.h"
#include "forksafe/forksafe.h"

#define LONGEST 1000000000u /* ns: time_limit, its grace, and room for sanitizers */
#define KEYS    "time_limit = 20ms\nbaseline = %(here)s/marks\n"
#define REST    "[settings]\ndb.host = 10.0.0.5\nlist = a b\n c\n"

/* Never lua_libs = full: what the fuzzer writes would have io and os. */
static const char *const inis[] = {
    "[forksafe]\nscripts = hooks\nmemory_limit = 4M\n" KEYS REST,
    "[forksafe]\nscripts = hooks\nmemory_limit = 1M\non_error = stop_server\n" KEYS REST,
    "[forksafe]\nscripts = hooks\nno_such = 1\nrecords = x\nlog_level = error\n" KEYS REST,
    "[forksafe]\nscripts = elsewhere\n" KEYS REST,
    "[forksafe]\nenabled = true\n" KEYS REST,
};

/* The value of db.password, another one for each input: libFuzzer learns what is compared. */
static char secret[17];

static const struct forksafe_fork_point points[] = {
    {FORKSAFE_POST_FORK, 0, "post_fork"},
    {FORKSAFE_CHILD_EXIT, 0, "child_exit"},
};

static const struct forksafe_host host = {
    .size = sizeof host,
    .container = "fuzz",
    .environment = "fuzz",
    .points = points,
    .point_count = 2,
    .known = "shared-epoll\nshared-socketpair fuzz*",
};

static void complain(const char *text, void *data)
{
    fuzz_tell(text);
    fuzz_require(*text != '\0', "a script that fails is told");
    fuzz_require(!strstr(text, secret), "no setting's value is in it");
}

static char *debug_json(void)
{
    return strdup("{\"schema\":\"forksafe.debug/1\",\"enabled\":true,\"masters\":[{\"pid\":17,"
                  "\"cpu\":0.5,\"journal\":null}],\"records\":[]}");
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)fuzz_directory();
    return 0;
}

/* --- the files --- */

/* "MODE u", as far as it may. */
static void give(const char *path, const char *text, unsigned fallback)
{
    char *end;
    unsigned mode = (unsigned)strtoul(text, &end, 8) & 0777;
    if (!strcmp(end, " u") || !strcmp(end, " g"))
        (void)!lchown(path, end[1] == 'u' ? 65534 : (uid_t)-1, 65534);
    (void)chmod(path, mode ? mode : fallback);
}

/* "hooks/NAME", its folders made. */
static const char *place(const char *text, char *below, size_t size)
{
    char name[96], path[256];
    const char *rest = fuzz_name(text, name, sizeof name);
    snprintf(below, size, "hooks/%s", *name ? name : "postfork.lua");
    for (char *slash = below; (slash = strchr(slash, '/')); slash++) {
        snprintf(path, sizeof path, "%s/%.*s", fuzz_directory(), (int)(slash - below), below);
        (void)mkdir(path, 0755);
    }
    return rest;
}

/* What cannot be made (a folder stands there, a link leads nowhere) is not made. */
static void make_file(const struct fuzz_part *part, const char *text)
{
    char below[128], path[256];
    const char *rest = place(text, below, sizeof below);
    snprintf(path, sizeof path, "%s/%s", fuzz_directory(), below);
    FILE *file = access(path, F_OK) ? fopen(path, "wx") : NULL;
    if (!file)
        return;
    fuzz_require(fwrite(part->bytes, 1, part->size, file) == part->size, "a script is written");
    fclose(file);
    give(path, rest, 0644);
}

static void make_other(const struct fuzz_part *part)
{
    char below[128], path[256], target[96];
    const char *folder = fuzz_word(part, "folder"), *link = fuzz_word(part, "link");
    const char *rest = place(folder ? folder : link, below, sizeof below);
    snprintf(path, sizeof path, "%s/%s", fuzz_directory(), below);
    if (folder) {
        (void)mkdir(path, 0755);
        give(path, rest, 0755);
        return;
    }
    (void)fuzz_name(rest, target, sizeof target);
    (void)!symlink(*target ? target : "nowhere", path);
}

static const char *make_ini(const char *begin)
{
    char ini[512];
    unsigned long long random;
    fuzz_require(!getentropy(&random, sizeof random), "there is a random number");
    snprintf(secret, sizeof secret, "%016llx", random);
    int length = snprintf(ini, sizeof ini, "%sdb.password = %s\n", begin, secret);
    return fuzz_file("app.ini", ini, (size_t)length);
}

/* Makes what the input stands for; returns the ini. */
static const char *make_all(const struct fuzz_part *parts, size_t count)
{
    const char *ini = inis[0];
    fuzz_empty("");
    for (size_t i = 0; i < count; i++) {
        const char *file = fuzz_word(&parts[i], "file"), *which = fuzz_word(&parts[i], "ini");
        if (which)
            ini = inis[(unsigned char)*which % (sizeof inis / sizeof *inis)];
        if (fuzz_word(&parts[i], "folder") || fuzz_word(&parts[i], "link"))
            make_other(&parts[i]);
        else if (!strcmp(parts[i].head, "marks"))
            (void)fuzz_file("marks", parts[i].bytes, parts[i].size);
        else if (parts[i].size || file || count == 1)
            make_file(&parts[i], file ? file : "postfork.lua");
    }
    return make_ini(ini);
}

/* --- what must hold --- */

/* Whom the loader must not have believed: a file that everybody may write, or bytecode. */
static void check_scripts(const struct fks_setup *setup)
{
    struct stat info;
    for (size_t i = 0; i < setup->scripts.count; i++)
        if (!stat(setup->scripts.items[i].path, &info))
            fuzz_require(!(info.st_mode & S_IWOTH), "what everybody may write is not loaded");
}

static void check_subscriber(const struct fks_subscriber *subscriber)
{
    fuzz_require(!subscriber->script->length || *subscriber->script->text != '\x1b',
                 "bytecode is not run");
}

static uint64_t time_of(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* One firing of a subscriber. False: there is no memory for it. */
static int run_one(struct fks_setup *setup, const struct fks_subscriber *subscriber)
{
    const struct forksafe_occasion occasion = {.size = sizeof occasion, .worker = 1, .forked = 1};
    const struct fks_vm_event event = {.event = subscriber->event,
                                       .occasion = &occasion,
                                       .pid = getpid(),
                                       .ppid = getppid(),
                                       .generation = 1};
    const char *text;
    check_subscriber(subscriber);
    if (fks_vm_prepare(setup->vm, &event, &text))
        return 0;
    uint64_t begun = time_of(CLOCK_THREAD_CPUTIME_ID);
    enum forksafe_outcome outcome =
        fks_vm_call(setup->vm, subscriber, subscriber->event, time_of(CLOCK_BOOTTIME), &text);
    fuzz_require(time_of(CLOCK_THREAD_CPUTIME_ID) - begun < LONGEST, "it comes back in time");
    if (outcome == FORKSAFE_OUTCOME_OK)
        return 1;
    fuzz_tell(text);
    fuzz_require(*text != '\0', "a failure has a text");
    fuzz_require(!strstr(text, secret), "no setting's value is in it");
    return 1;
}

/* Of a state that was given up the same scripts make a new one, as the dispatcher does. */
static void run_all(struct fks_setup *setup)
{
    struct fks_error error;
    size_t count, failed;
    struct fks_subscriber *list = fks_vm_subscribers(setup->vm, &count);
    for (size_t i = 0; i < count && i < 8; i++) {
        if (!run_one(setup, &list[i]) || !fks_vm_is_lost(setup->vm))
            continue;
        fks_vm_destroy(setup->vm);
        setup->vm = NULL;
        if (fks_vm_create(&setup->vm, &setup->spec, &failed, &error))
            return;
        list = fks_vm_subscribers(setup->vm, &count);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct fuzz_part parts[FUZZ_PARTS];
    struct fks_setup *setup;
    struct fks_error error;
    const char *ini = make_all(parts, fuzz_split(data, size, "--: ", parts));
    fuzz_require(!fks_setup_create(&setup, ini, &error), error.text);
    if (!fks_setup_load(setup, &host, complain, debug_json, &error)) {
        check_scripts(setup);
        run_all(setup);
    }
    fks_setup_destroy(setup);
    return 0;
}
