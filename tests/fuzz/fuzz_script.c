/* SPDX-License-Identifier: MIT
 *
 * The script loader and the VM: any text of a script is loaded or is one error, and its subscribers
 * come back within their limits. libFuzzer's process only.
 */
#include "fuzz.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "core/setup.h"
#include "forksafe/forksafe.h"

static const char ini[] = "[forksafe]\nscripts = hooks\ntime_limit = 20ms\nmemory_limit = 4M\n"
                          "[settings]\ndb.host = 10.0.0.5\n";
static const char *path;
static char path_text[256];

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
};

static void complain(const char *text, void *data)
{
    fuzz_require(*text != '\0', "a script that fails is told");
}

static char *no_debug(void)
{
    return NULL;
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    char directory[256];
    snprintf(path_text, sizeof path_text, "%s", fuzz_file("app.ini", ini, sizeof ini - 1));
    path = path_text;
    snprintf(directory, sizeof directory, "%s/hooks", fuzz_directory());
    fuzz_require(!mkdir(directory, 0700), "a directory for the script can be made");
    return 0;
}

static void run_all(struct fks_setup *setup)
{
    const struct forksafe_occasion occasion = {.size = sizeof occasion, .worker = 1, .forked = 1};
    const char *text;
    size_t count;
    struct fks_subscriber *list = fks_vm_subscribers(setup->vm, &count);
    for (size_t i = 0; i < count && i < 8; i++) {
        const struct fks_vm_event event = {.event = list[i].event,
                                           .occasion = &occasion,
                                           .pid = getpid(),
                                           .ppid = getppid(),
                                           .generation = 1};
        struct timespec now;
        clock_gettime(CLOCK_BOOTTIME, &now);
        if (fks_vm_prepare(setup->vm, &event, &text))
            continue;
        enum forksafe_outcome outcome =
            fks_vm_call(setup->vm, &list[i], list[i].event,
                        (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec, &text);
        fuzz_require(outcome == FORKSAFE_OUTCOME_OK || *text, "a failure has a text");
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fks_setup *setup;
    struct fks_error error;
    fuzz_file("hooks/postfork.lua", data, size);
    fuzz_require(!fks_setup_create(&setup, path, &error), error.text);
    if (!fks_setup_load(setup, &host, complain, no_debug, &error))
        run_all(setup);
    fks_setup_destroy(setup);
    return 0;
}
