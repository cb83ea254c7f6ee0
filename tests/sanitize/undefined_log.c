/* SPDX-License-Identifier: MIT
 *
 * Sends the reports of GCC's UBSan to the files that UBSAN_OPTIONS names. Beside ASan its runtime
 * gives log_path to ASan alone and writes its own reports to standard error, where a server's
 * worker has nobody who reads. Preloaded into every process of tests/run.sh --sanitize address.
 */
#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void set_log(const char *path)
{
    void *runtime = dlopen("libubsan.so.1", RTLD_NOLOAD | RTLD_LAZY);
    if (!runtime)
        return;
    void (*set)(const char *); /* of that library: the first in the process would be ASan's */
    *(void **)&set = dlsym(runtime, "__sanitizer_set_report_path");
    if (set)
        set(path);
}

__attribute__((constructor)) static void begin(void)
{
    const char *options = getenv("UBSAN_OPTIONS");
    const char *log = options ? strstr(options, "log_path=") : NULL;
    char path[PATH_MAX];
    if (!log)
        return;
    log += strlen("log_path=");
    snprintf(path, sizeof path, "%.*s", (int)strcspn(log, ":"), log);
    set_log(path);
}
