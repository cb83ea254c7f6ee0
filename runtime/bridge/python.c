/* SPDX-License-Identifier: MIT
 *
 * forksafe.python: the way into a Python that is in this process already (gunicorn's own, that of
 * uWSGI's plugin). Its C API is looked up in what the process has loaded, never linked; of it only
 * what has stayed the same since Python 3.7 is used. Runs wherever a subscriber runs.
 */
#include "bridge.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/dispatch.h"

#define FILE_INPUT 257 /* Py_file_input */

typedef void object; /* PyObject */

struct method { /* PyMethodDef */
    const char *name;
    object *(*function)(object *self, object *arguments);
    int flags;
    const char *doc;
};
#define NO_ARGUMENTS 0x0004 /* METH_NOARGS */

#define FUNCTIONS(X)                                                 \
    X(int, Py_IsInitialized, (void))                                 \
    X(int, PyGILState_Ensure, (void))                                \
    X(void, PyGILState_Release, (int))                               \
    X(object *, PyGILState_GetThisThreadState, (void))               \
    X(object *, PyEval_GetBuiltins, (void))                          \
    X(object *, PyDict_New, (void))                                  \
    X(int, PyDict_SetItemString, (object *, const char *, object *)) \
    X(object *, PyDict_GetItemString, (object *, const char *))      \
    X(object *, Py_CompileString, (const char *, const char *, int)) \
    X(object *, PyEval_EvalCode, (object *, object *, object *))     \
    X(object *, PyBytes_FromStringAndSize, (const char *, ssize_t))  \
    X(int, PyBytes_AsStringAndSize, (object *, char **, ssize_t *))  \
    X(object *, PyObject_CallFunctionObjArgs, (object *, ...))       \
    X(void, PyErr_Fetch, (object **, object **, object **))          \
    X(void, PyErr_Restore, (object *, object *, object *))           \
    X(int, PyErr_GivenExceptionMatches, (object *, object *))        \
    X(int, Py_AddPendingCall, (int (*)(void *), void *))             \
    X(void, Py_DecRef, (object *))                                   \
    X(int, PyGILState_Check, (void))                                 \
    X(int, PyObject_IsTrue, (object *))                              \
    X(object *, PyLong_FromLong, (long))                             \
    X(object *, PyCFunction_NewEx, (struct method *, object *, object *))

static struct {
#define X(type, name, arguments) type(*name) arguments;
    FUNCTIONS(X)
#undef X
    object **exception;         /* PyExc_Exception */
    object *(*current)(void);   /* the state of the thread that holds the lock; NULL: not offered */
    int (*is_finalizing)(void); /* likewise */
} python;

static bool found;
static object *run_function, *defer_function; /* run() and defer() of python.py; kept for good */

static void *look_up(const char *name)
{
    return dlsym(RTLD_DEFAULT, name);
}

static void find(void)
{
    if (found)
        return;
    bool all = true;
#define X(type, name, arguments) all &= (*(void **)&python.name = look_up(#name)) != NULL;
    FUNCTIONS(X)
#undef X
    python.exception = look_up("PyExc_Exception");
    *(void **)&python.is_finalizing = look_up("Py_IsFinalizing");
    if (!python.is_finalizing)
        *(void **)&python.is_finalizing = look_up("_Py_IsFinalizing"); /* until 3.12 */
    /* From 3.12 on the state that is current is the thread's own, and says nothing of others. */
    if (!look_up("PyUnstable_Code_New"))
        *(void **)&python.current = look_up("_PyThreadState_UncheckedGet");
    found = all && python.exception;
}

/* Without opening anything: each thread is a directory, and so a link. */
static bool is_single_threaded(void)
{
    struct stat threads;
    return !stat("/proc/self/task", &threads) && threads.st_nlink == 3;
}

/* Whether this thread holds the interpreter's lock. */
static bool holds_lock(void)
{
    if (!python.current)
        return python.PyGILState_Check();
    object *holder = python.current();
    return holder && holder == python.PyGILState_GetThisThreadState();
}

static bool is_ending(void)
{
    return python.is_finalizing && python.is_finalizing();
}

/* Python is in the middle of its own fork there: in prepare it still holds its lock, in the child
 * it has not repaired itself. */
static bool may_enter_in_fork_handler(void)
{
    enum fks_fork_handler handler = fks_dispatch_in_fork_handler();
    return handler == FKS_FORK_NONE || (handler == FKS_FORK_PREPARE && holds_lock());
}

/* Why Python must not be entered; NULL where it may. */
static const char *refusal(void)
{
    if (is_ending())
        return "python is not in a sane state here: it is ending";
    if (python.current && python.current() && !holds_lock() && is_single_threaded())
        return "python is not in a sane state here: its lock is held by a thread that did not come "
               "along through the fork; under uWSGI start it with --py-call-uwsgi-fork-hooks";
    if (!may_enter_in_fork_handler())
        return "python is not in a sane state here, in the middle of a fork";
    return NULL;
}

/* Once a process life, with the lock held. Returns whether run_function is there; else Python's
 * error is set. */
static bool prepare(void)
{
    size_t length;
    if (run_function)
        return true;
    object *names = python.PyDict_New();
    if (!names)
        return false;
    object *code =
        python.Py_CompileString(fks_bridge_file("python.py", &length), "<forksafe>", FILE_INPUT);
    object *result = NULL;
    if (code && !python.PyDict_SetItemString(names, "__builtins__", python.PyEval_GetBuiltins()))
        result = python.PyEval_EvalCode(code, names, names);
    if (result) { /* `names` lives on with them */
        defer_function = python.PyDict_GetItemString(names, "defer");
        run_function = python.PyDict_GetItemString(names, "run");
    }
    python.Py_DecRef(result);
    python.Py_DecRef(code);
    if (!run_function)
        python.Py_DecRef(names);
    return run_function != NULL;
}

/* An exception on its way to the host. */
struct raised {
    object *type, *value, *traceback;
};

/* Called by Python in its main thread, where it would call a signal handler. */
static int raise_again(void *data)
{
    struct raised raised = *(struct raised *)data;
    free(data);
    python.PyErr_Restore(raised.type, raised.value, raised.traceback);
    return -1;
}

static void forget(struct raised *raised)
{
    python.Py_DecRef(raised->type);
    python.Py_DecRef(raised->value);
    python.Py_DecRef(raised->traceback);
}

/* SystemExit and the like: what a signal handler of the host raised, while its thread was here, is
 * the host's. Returns whether it gets it. */
static bool hand_over(const struct raised *raised)
{
    if (gettid() != getpid() || !raised->type ||
        python.PyErr_GivenExceptionMatches(raised->type, *python.exception))
        return false;
    struct raised *copy = malloc(sizeof *copy);
    if (!copy)
        return false;
    *copy = *raised;
    if (!python.Py_AddPendingCall(raise_again, copy))
        return true; /* cppcheck-suppress memleak; raise_again frees it */
    free(copy);
    return false;
}

static const char *take_exception(void)
{
    struct raised raised;
    python.PyErr_Fetch(&raised.type, &raised.value, &raised.traceback);
    if (hand_over(&raised))
        return "ended by what a signal handler raised, or by sys.exit(); python raises it again "
               "when the hooks are done";
    forget(&raised);
    return "python gave no answer: out of memory, or the answer could not be made";
}

/* With the lock held. */
static enum fks_bridge_outcome enter(const char *request, size_t length,
                                     struct fks_bridge_answer *answer)
{
    char *text;
    ssize_t size;
    object *tape = prepare() ? python.PyBytes_FromStringAndSize(request, (ssize_t)length) : NULL;
    object *result =
        tape ? python.PyObject_CallFunctionObjArgs(run_function, tape, (object *)NULL) : NULL;
    python.Py_DecRef(tape);
    if (result && !python.PyBytes_AsStringAndSize(result, &text, &size)) {
        answer->tape = malloc((size_t)size);
        answer->length = (size_t)size;
        answer->text = "out of memory";
        if (answer->tape)
            memcpy(answer->tape, text, (size_t)size);
    } else {
        answer->text = take_exception();
    }
    python.Py_DecRef(result);
    return answer->tape ? FKS_BRIDGE_ANSWERED : FKS_BRIDGE_FAILED;
}

static enum fks_bridge_outcome run(const char *request, size_t length,
                                   struct fks_bridge_answer *answer)
{
    if (!found || !python.Py_IsInitialized())
        return FKS_BRIDGE_ABSENT;
    answer->text = refusal();
    if (answer->text)
        return FKS_BRIDGE_REFUSED;
    struct raised before; /* we may be called while the host has one */
    int state = python.PyGILState_Ensure();
    python.PyErr_Fetch(&before.type, &before.value, &before.traceback);
    enum fks_bridge_outcome outcome = enter(request, length, answer);
    python.PyErr_Restore(before.type, before.value, before.traceback);
    python.PyGILState_Release(state);
    return outcome;
}

static void (*fire_in_child)(void);

static object *after_in_child(object *self, object *arguments)
{
    (void)self;
    (void)arguments;
    fire_in_child();
    return python.PyLong_FromLong(0);
}

bool fks_python_defers_fork(void (*fire)(void))
{
    static struct method method = {"forksafe_after_in_child", after_in_child, NO_ARGUMENTS, NULL};
    static object *callback;
    if (!found || !python.Py_IsInitialized() || is_ending() || !holds_lock())
        return false;
    fire_in_child = fire;
    int state = python.PyGILState_Ensure();
    if (!callback)
        callback = python.PyCFunction_NewEx(&method, NULL, NULL);
    object *result = NULL;
    if (callback && prepare())
        result = python.PyObject_CallFunctionObjArgs(defer_function, callback, (object *)NULL);
    bool defers = result && python.PyObject_IsTrue(result) == 1;
    if (!result)
        (void)take_exception();
    python.Py_DecRef(result);
    python.PyGILState_Release(state);
    return defers;
}

const struct fks_bridge fks_bridge_python = {
    .language = "python",
    .absent = "no python here",
    .find = find,
    .run = run,
};
