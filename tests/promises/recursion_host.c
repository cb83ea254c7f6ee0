/* SPDX-License-Identifier: MIT
 *
 * A host that fires its event from threads whose stacks are of any size: a hook that recurses must
 * not go over the end of one (04_recursion_spec.lua).
 *
 *   recursion_host INI KIB...     prints "KIB emitted" for each, then the debug object
 */
#include "host.h"

#include <pthread.h>
#include <stdlib.h>

static void *emit(void *nothing)
{
    (void)nothing;
    host_emit(FORKSAFE_WORKER_EXIT, FORKSAFE_ROLE_WORKER);
    return NULL;
}

static int emit_with(size_t kib)
{
    pthread_attr_t attributes;
    pthread_t thread;
    pthread_attr_init(&attributes);
    int problem = pthread_attr_setstacksize(&attributes, kib * 1024);
    if (!problem)
        problem = pthread_create(&thread, &attributes, emit, NULL);
    if (!problem)
        problem = pthread_join(thread, NULL);
    pthread_attr_destroy(&attributes);
    return problem;
}

int main(int argc, char **argv)
{
    if (argc < 3 || host_open(argv[1])) {
        fprintf(stderr, "usage: recursion_host INI KIB...\n");
        return 2;
    }
    setvbuf(stdout, NULL, _IONBF, 0);
    for (int i = 2; i < argc; i++) {
        if (emit_with(strtoul(argv[i], NULL, 10)))
            return 2;
        printf("%s emitted\n", argv[i]);
    }
    emit(NULL); /* the first thread's own */
    char *json = forksafe_debug_json();
    puts(json ? json : "null");
    forksafe_free(json);
    return 0;
}
