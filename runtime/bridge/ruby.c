/* SPDX-License-Identifier: MIT
 *
 * forksafe.ruby: the way into a Ruby that is in this process already (Puma, Unicorn). Its C API is
 * looked up in what the process has loaded, never linked; every step is taken under rb_protect, so
 * that no longjmp of Ruby's crosses a frame of Lua's. Runs wherever a subscriber runs.
 */
#include "bridge.h"

#include <dlfcn.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "core/dispatch.h"

typedef uintptr_t value; /* VALUE */

#define FUNCTIONS(X)                                              \
    X(int, ruby_native_thread_p, (void))                          \
    X(int, ruby_thread_has_gvl_p, (void))                         \
    X(value, rb_eval_string_protect, (const char *, int *))       \
    X(value, rb_protect, (value(*)(value), value, int *))         \
    X(value, rb_funcallv, (value, uintptr_t, int, const value *)) \
    X(uintptr_t, rb_intern, (const char *))                       \
    X(value, rb_str_new, (const char *, long))                    \
    X(char *, rb_string_value_ptr, (volatile value *))            \
    X(long, rb_num2long, (value))                                 \
    X(void, rb_gc_register_address, (value *))                    \
    X(void, rb_set_errinfo, (value))

static struct {
#define X(type, name, arguments) type(*name) arguments;
    FUNCTIONS(X)
#undef X
} ruby;

static bool found;
static value nil;    /* the same number in every build of one Ruby, and not in every Ruby */
static value runner; /* what ruby.rb made; 0 until then */

static void find(void)
{
    if (found)
        return;
    bool all = true;
#define X(type, name, arguments) all &= (*(void **)&ruby.name = dlsym(RTLD_DEFAULT, #name)) != NULL;
    FUNCTIONS(X)
#undef X
    found = all;
}

static value call(value object, const char *method, int count, const value *arguments)
{
    return ruby.rb_funcallv(object, ruby.rb_intern(method), count, arguments);
}

/* Under rb_protect: evaluates ruby.rb, named so that reports can leave its frames out. */
static value make_runner(value toplevel)
{
    size_t length;
    const char *text = fks_bridge_file("ruby.rb", &length);
    volatile value source = ruby.rb_str_new(text, (long)length);
    volatile value name = ruby.rb_str_new("<forksafe>", 10);
    const value arguments[] = {source, name};
    value made = call(toplevel, "eval", 2, arguments);
    ruby.rb_gc_register_address(&runner);
    return runner = made;
}

/* Once a process life. */
static bool prepare(void)
{
    int state = 0;
    if (runner)
        return true;
    nil = ruby.rb_eval_string_protect("nil", &state);
    if (state)
        return false;
    value toplevel = ruby.rb_eval_string_protect("TOPLEVEL_BINDING", &state);
    if (!state)
        ruby.rb_protect(make_runner, toplevel, &state);
    if (state)
        ruby.rb_set_errinfo(nil);
    return !state && runner;
}

struct entry {
    const char *request;
    size_t length;
    struct fks_bridge_answer *answer;
};

/* Under rb_protect. */
static value cross(value data)
{
    const struct entry *entry = (const struct entry *)data; /* NOLINT: Ruby hands numbers on */
    struct fks_bridge_answer *answer = entry->answer;
    value tape = ruby.rb_str_new(entry->request, (long)entry->length);
    volatile value result = call(runner, "run", 1, &tape);
    const char *text = ruby.rb_string_value_ptr(&result);
    long length = ruby.rb_num2long(call(result, "bytesize", 0, NULL));
    answer->tape = malloc((size_t)length);
    answer->length = (size_t)length;
    if (answer->tape)
        memcpy(answer->tape, text, (size_t)length);
    return nil;
}

static enum fks_bridge_outcome run(const char *request, size_t length,
                                   struct fks_bridge_answer *answer)
{
    struct entry entry = {request, length, answer};
    int state = 0;
    if (!found)
        return FKS_BRIDGE_ABSENT;
    answer->text = "ruby is not in a sane state here: in the middle of a fork";
    if (fks_dispatch_in_fork_handler() != FKS_FORK_NONE)
        return FKS_BRIDGE_REFUSED;
    answer->text = "ruby is not in a sane state here: this thread does not hold its lock";
    if (!ruby.ruby_native_thread_p() || !ruby.ruby_thread_has_gvl_p())
        return FKS_BRIDGE_REFUSED;
    answer->text = "ruby gave no answer: out of memory, or the answer could not be made";
    if (!prepare())
        return FKS_BRIDGE_FAILED;
    ruby.rb_protect(cross, (value)&entry, &state);
    if (state)
        ruby.rb_set_errinfo(nil);
    return answer->tape ? FKS_BRIDGE_ANSWERED : FKS_BRIDGE_FAILED;
}

const struct fks_bridge fks_bridge_ruby = {
    .language = "ruby",
    .absent = "no ruby here",
    .find = find,
    .run = run,
};
