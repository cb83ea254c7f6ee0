/* SPDX-License-Identifier: MIT
 *
 * The public functions: opening (and opening again, a reload), and the way in for events. Whatever
 * goes wrong here, the host runs on: one line says why, and the journal keeps it where there is
 * one.
 */
#include "forksafe/forksafe.h"

#include <errno.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/auxv.h>
#include <unistd.h>

#include "atfork.h"
#include "bridge/bridge.h"
#include "audit.h"
#include "breaker.h"
#include "debug.h"
#include "dispatch.h"
#include "early.h"
#include "enlist.h"
#include "guards.h"
#include "instance.h"
#include "journal.h"
#include "log.h"
#include "reader.h"
#include "runtime_dir.h"
#include "setup.h"
#include "worker_number.h"

/* This process's set-up; made in the master, inherited by its children. */
static struct {
    struct fks_setup *setup; /* whose subscribers run; NULL: inert */
    struct fks_journal *journal;
    char name[FKS_INSTANCE]; /* what the journal was made for */
    char *journal_path;      /* fks_instance_journal: instead of the config's */
} instance;

/* The process that is in forksafe_open; 0: none. */
static _Atomic pid_t opening;

/* A setuid host, or one with capabilities of its file: who started it must gain nothing by us. */
static bool is_privileged(void)
{
    return getauxval(AT_SECURE) && fks_guard(FKS_GUARD_SETUID);
}

/* The host as this build knows it: an adapter built for an older header has a shorter one. */
static int copy_host(struct forksafe_host *out, const struct forksafe_host *host)
{
    *out = (struct forksafe_host){0};
    if (!host || host->size < offsetof(struct forksafe_host, problem))
        return FORKSAFE_EUSAGE;
    memcpy(out, host, host->size < sizeof *out ? host->size : sizeof *out);
    if (!out->container || !out->environment || (out->point_count && !out->points))
        return FORKSAFE_EUSAGE;
    if (!out->ini)
        out->ini = getenv("FORKSAFE_INI");
    return 0;
}

static bool switched_off(const struct fks_config *config, const struct forksafe_host *host,
                         const char **why)
{
    const char *variable = getenv("FORKSAFE");
    *why = variable && !strcasecmp(variable, "off")
               ? "switched off by FORKSAFE=off in the environment"
           : !config->enabled ? "switched off by forksafe.enabled = false"
                              : NULL;
    char name[128];
    snprintf(name, sizeof name, "forksafe.containers.%s", host->container);
    if (!*why && !fks_config_list_has(config->includes, "auto") &&
        !fks_config_list_has(config->includes, name) &&
        !fks_config_list_has(config->includes, host->container))
        *why = "switched off: forksafe.includes does not name this container";
    return *why != NULL;
}

/* A script that failed: in full to the log, its first line to the debug object. */
static void complain(const char *text, void *data)
{
    (void)data;
    fks_log_text(FORKSAFE_LOG_ERROR, text);
    fks_early_note(instance.journal, text);
}

static void open_journal(struct fks_setup *setup, const struct forksafe_host *host)
{
    if (instance.journal)
        return;
    struct fks_error error;
    struct fks_config config = setup->config;
    size_t subscribers = 0;
    if (setup->vm)
        (void)fks_vm_subscribers(setup->vm, &subscribers);
    if (instance.journal_path)
        config.journal = instance.journal_path;
    const struct fks_journal_spec spec = {
        .config = &config,
        .ini = setup->settings->path,
        .app = setup->settings->app,
        .container = host->container,
        .server_version = host->version,
        .master = host->master,
        .worker_uid = host->worker_uid,
        .worker_gid = host->worker_gid,
        .subscribers = (uint32_t)subscribers,
    };
    if (fks_journal_open(&instance.journal, &spec, &error))
        fks_log(FORKSAFE_LOG_WARNING, "%s%s",
                instance.journal && fks_journal_path(instance.journal)
                    ? ""
                    : "no journal file, `forksafe debug` will not find this server: ",
                error.text);
    snprintf(instance.name, sizeof instance.name, "%s", setup->config.instance);
    fks_early_tell(instance.journal);
}

/* The new setup is whole: nothing can fail but the lock. */
static int put_in_use(struct fks_setup *setup, const struct forksafe_host *host,
                      struct fks_error *error)
{
    uint32_t hooks[FORKSAFE_EVENT_COUNT];
    int result = fks_dispatch_hold(error);
    if (result)
        return result;
    for (int event = 0; event < FORKSAFE_EVENT_COUNT; event++)
        hooks[event] = setup->hooks[event]
                           ? fks_journal_add_hook(instance.journal, setup->hooks[event],
                                                  (enum forksafe_event)event)
                           : FORKSAFE_NO_SUBSCRIBER;
    fks_worker_numbers_open(instance.journal);
    uint32_t generation = fks_journal_next_generation(instance.journal);
    setup->cannot = host->cannot;
    fks_enlist_subscribers(instance.journal, setup, hooks);
    fks_audit_use(instance.journal, setup->config.audit ? &setup->marks : NULL, setup->container,
                  generation);
    fks_setup_destroy(fks_dispatch_use(setup, instance.journal, hooks, generation));
    instance.setup = setup;
    if (fks_journal_header(instance.journal)->master_pid == getpid())
        fks_breaker_reset(instance.journal);
    fks_log_init(host, setup->config.instance, setup->config.log_level);
    fks_dispatch_release();
    fks_atfork_arm(host);
    return 0;
}

/* The words of pyramid_forksafe's debug object. */
static void say_configured(const struct forksafe_host *host)
{
    if (!*host->environment) {
        fks_journal_status(instance.journal, "attempting auto-configure", "",
                           "uWSGI not available");
        return;
    }
    char available[FORKSAFE_STATUS_TEXT], configured[FORKSAFE_STATUS_TEXT];
    snprintf(available, sizeof available, "%s available", host->environment);
    snprintf(configured, sizeof configured, "%s hook configured", host->environment);
    fks_journal_status(instance.journal, NULL, NULL, available);
    fks_journal_status(instance.journal, configured, host->environment, configured);
}

/* Loads the scripts. At a reload all of them must load, or the old ones stay. */
static int load(struct fks_setup *setup, const struct forksafe_host *host, struct fks_error *error)
{
    int result = fks_setup_load(setup, host, complain, forksafe_debug_json, error);
    if (!result && setup->failed && (instance.setup || setup->config.required))
        return fks_fail(error, FORKSAFE_ESCRIPT, "%zu wrong keys or scripts", setup->failed);
    return result;
}

/* Loads the scripts and swaps them in. */
static int load_and_swap(struct fks_setup *setup, const struct forksafe_host *host,
                         struct fks_error *error)
{
    bool reload = instance.setup != NULL;
    int result = load(setup, host, error);
    open_journal(setup, host);
    if (!result && !instance.journal)
        result = fks_fail(error, FORKSAFE_ENOMEM, "out of memory for the journal");
    if (!result)
        result = put_in_use(setup, host, error);
    if (!result && !reload)
        say_configured(host);
    return result;
}

/* One line for a failure, what it means for the server, and the code for the adapter. */
static int give_up(struct fks_setup *setup, const struct forksafe_host *host,
                   const struct fks_error *error, bool required)
{
    bool reload = instance.setup != NULL;
    fks_log(FORKSAFE_LOG_ERROR, "%s; %s", error->text,
            reload     ? "the scripts loaded before stay in use"
            : required ? "the server must not start, since forksafe.required = true"
                       : "the server runs without hooks");
    if (instance.journal) {
        char status[FORKSAFE_STATUS_TEXT];
        snprintf(status, sizeof status, "%s error", host->environment);
        fks_journal_status(instance.journal, reload ? NULL : status, NULL, error->text);
    }
    if (reload) /* the old set-up goes on, and with it its level */
        fks_log_level(instance.setup->config.log_level, instance.setup->config.instance);
    fks_setup_destroy(setup);
    return required && !reload ? FORKSAFE_EREQUIRED : error->code;
}

/* Tells log and journal why nothing runs. At a reload, what ran until now ends here. */
static int stay_inert(struct fks_setup *setup, const struct forksafe_host *host, const char *status,
                      const char *line, enum forksafe_log_level level)
{
    struct fks_error error;
    if (instance.setup) {
        int result = fks_dispatch_hold(&error);
        if (result)
            return give_up(setup, host, &error, false);
        fks_audit_use(NULL, NULL, NULL, 0);
        fks_setup_destroy(fks_dispatch_use(NULL, NULL, NULL, 0));
        instance.setup = NULL;
        fks_dispatch_release();
    }
    fks_log(level, "%s; no subscriber runs", line);
    open_journal(setup, host);
    if (instance.journal)
        fks_journal_status(instance.journal, status, NULL, line);
    fks_setup_destroy(setup);
    return FORKSAFE_EOFF;
}

/* Lets go of what a launcher opened before it forked the process that is the master now. Its
 * journal goes with it if nothing ever happened in it. */
static bool replace_launcher(void)
{
    if (fks_dispatch_hold(NULL))
        return false;
    fks_audit_use(NULL, NULL, NULL, 0);
    fks_setup_destroy(fks_dispatch_use(NULL, NULL, NULL, 0));
    instance.setup = NULL;
    fks_dispatch_release();
    if (fks_journal_path(instance.journal) && fks_journal_is_unused(instance.journal))
        (void)unlink(fks_journal_path(instance.journal));
    fks_journal_close(instance.journal);
    instance.journal = NULL;
    return true;
}

/* A journal has one master. A process that inherited the library open would change its tables under
 * the master's hands, unless its adapter knows that it was a launcher who opened it, and says so by
 * naming the caller as the master. */
static bool is_someone_elses(const struct forksafe_host *host)
{
    pid_t master = host->master ? host->master : getpid();
    if (!instance.journal || fks_journal_header(instance.journal)->master_pid == master)
        return false;
    if (host->master == getpid() && replace_launcher())
        return false;
    fks_log(FORKSAFE_LOG_ERROR,
            "forksafe is open already, by process %d, from which this one was forked: only the "
            "master can reload",
            (int)fks_journal_header(instance.journal)->master_pid);
    return true;
}

/* This server cannot be served as it is configured. */
static int tell_problem(struct fks_setup *setup, const struct forksafe_host *host)
{
    char status[FORKSAFE_STATUS_TEXT], line[512];
    bool required = setup->config.required;
    snprintf(status, sizeof status, "%s error", host->environment);
    snprintf(line, sizeof line, "%s error: %s", host->environment, host->problem);
    int result = stay_inert(setup, host, status, line, FORKSAFE_LOG_ERROR);
    return required && result == FORKSAFE_EOFF ? FORKSAFE_EREQUIRED : result;
}

static int open_host(const struct forksafe_host *host)
{
    struct fks_error error = {0};
    struct fks_setup *setup;
    const char *why;
    if (is_someone_elses(host))
        return FORKSAFE_EUSAGE;
    if (!instance.setup)
        fks_log_init(host, "-", FORKSAFE_LOG_INFO);
    if (!host->ini || !*host->ini) {
        fks_log(FORKSAFE_LOG_INFO,
                "no ini: name one in the %s configuration or in FORKSAFE_INI; no subscriber runs",
                host->environment);
        return FORKSAFE_EINI;
    }
    if (fks_setup_create(&setup, host->ini, &error))
        return give_up(NULL, host, &error, false);
    fks_log_level(setup->config.log_level, setup->config.instance);
    if (switched_off(&setup->config, host, &why))
        return stay_inert(setup, host, why, why, FORKSAFE_LOG_INFO);
    if (host->problem)
        return tell_problem(setup, host);
    bool required = setup->config.required;
    return load_and_swap(setup, host, &error) ? give_up(setup, host, &error, required) : 0;
}

int forksafe_open(const struct forksafe_host *given)
{
    struct forksafe_host host;
    pid_t self = getpid(), other = 0;
    if (is_privileged())
        return FORKSAFE_EOFF;
    if (copy_host(&host, given))
        return FORKSAFE_EUSAGE;
    while (!atomic_compare_exchange_strong(&opening, &other, self))
        if (other == self) /* else it was inherited: that thread is not here */
            return FORKSAFE_EUSAGE;
    int result = open_host(&host);
    atomic_store(&opening, 0);
    return result;
}

int forksafe_check(const struct forksafe_host *given)
{
    struct forksafe_host host;
    struct fks_setup *setup;
    struct fks_error error = {0};
    const char *why;
    if (is_privileged() || instance.setup || copy_host(&host, given) || !host.ini)
        return FORKSAFE_EUSAGE;
    fks_log_init(&host, "-", FORKSAFE_LOG_INFO);
    int result = fks_setup_create(&setup, host.ini, &error);
    if (result)
        return give_up(NULL, &host, &error, false);
    fks_log_level(setup->config.log_level, setup->config.instance);
    if (!switched_off(&setup->config, &host, &why))
        result = load(setup, &host, &error);
    if (result)
        return give_up(setup, &host, &error, setup->config.required);
    fks_setup_destroy(setup);
    return 0;
}

int forksafe_prepare(const struct forksafe_host *given)
{
    struct forksafe_host host;
    struct fks_setup *setup;
    char path[FKS_PATH];
    if (is_privileged() || copy_host(&host, given) || !host.ini)
        return FORKSAFE_EUSAGE;
    int result = fks_setup_create(&setup, host.ini, NULL);
    if (result)
        return result; /* forksafe_open will say why */
    result =
        setup->config.journal && *setup->config.journal
            ? 0
            : fks_runtime_dir_make(path, &setup->config, host.worker_uid, host.worker_gid, NULL);
    fks_setup_destroy(setup);
    return result;
}

int forksafe_emit(enum forksafe_event event, const struct forksafe_occasion *occasion)
{
    if (!instance.setup)
        return FORKSAFE_OK;
    struct forksafe_occasion known = {0};
    if ((unsigned)event >= FORKSAFE_EVENT_COUNT || !occasion || !occasion->size)
        return FORKSAFE_OK;
    memcpy(&known, occasion, occasion->size < sizeof known ? occasion->size : sizeof known);
    int errno_before = errno;
    if (!fks_worker_number_resolve(event, &known))
        return FORKSAFE_OK;
    int verdict = fks_dispatch_emit(event, &known, !known.at_fork);
    if (verdict == FORKSAFE_RETIRE)
        fks_breaker_retire(instance.journal);
    if (errno != errno_before && /* to write it would copy a page */
        fks_guard(FKS_GUARD_UNTOUCHED))
        errno = errno_before;
    return verdict;
}

int forksafe_role(enum forksafe_role role)
{
    bool known = (unsigned)role < FORKSAFE_ROLE_COUNT;
    if (!known || !instance.setup || !fks_journal_role(instance.journal, role))
        return FORKSAFE_EUSAGE;
    return 0;
}

int forksafe_defer(void (*fire)(void))
{
    return fire && instance.setup && fks_python_defers_fork(fire);
}

int forksafe_status(const char *status, const char *environment, const char *line)
{
    if (!instance.journal)
        return FORKSAFE_EUSAGE;
    fks_journal_status(instance.journal, status, environment, line);
    return 0;
}

char *forksafe_debug_json(void)
{
    struct fks_reader *reader;
    if (!instance.journal || fks_reader_over(&reader, fks_journal_header(instance.journal),
                                             fks_journal_size(instance.journal),
                                             fks_journal_path(instance.journal), NULL))
        return NULL;
    char *text = fks_debug_text(&reader, 1, instance.name, 0, NULL);
    fks_reader_close(reader);
    return text;
}

void forksafe_free(void *text)
{
    free(text);
}

const char *forksafe_journal_path(void)
{
    return instance.journal ? fks_journal_path(instance.journal) : NULL;
}

const char *forksafe_container(void)
{
    return instance.setup ? instance.setup->container : NULL;
}

const char *forksafe_version(void)
{
    return FORKSAFE_VERSION;
}

const struct fks_settings *fks_instance_settings(void)
{
    return instance.setup ? instance.setup->settings : NULL;
}

size_t fks_instance_failed(void)
{
    return instance.setup ? instance.setup->failed : 0;
}

void fks_instance_journal(const char *path)
{
    free(instance.journal_path);
    instance.journal_path = strdup(path);
}
