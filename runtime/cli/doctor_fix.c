/* SPDX-License-Identifier: MIT
 *
 * What to do about a finding, as a line to paste (doctor.h): what finding_kinds.h knows against it,
 * inside the server's own fork hook. In the command only.
 */
#include "doctor.h"

#include <string.h>

#define COUNT(list) (sizeof(list) / sizeof *(list))

/* How each server is recognised, by its command line or name, and how its hook is written around an
 * expression (%s). The first that fits is taken. */
static const struct {
    const char *word;
    enum fks_language language;
    const char *hook;
} servers[] = {
    {"gunicorn", FKS_PYTHON, "def post_fork(server, worker): %s"},
    {"uwsgi", FKS_PYTHON, "uwsgidecorators.postfork(lambda: %s)"},
    {"celery", FKS_PYTHON, "worker_process_init.connect(lambda **_: %s, weak=False)"},
    {"puma", FKS_RUBY, "on_worker_boot { %s }"},
    {"unicorn", FKS_RUBY, "after_fork { |server, worker| %s }"},
    {"python", FKS_PYTHON, "os.register_at_fork(after_in_child=lambda: %s)"},
    {"ruby", FKS_RUBY,
     "Process.singleton_class.prepend(Module.new { def _fork; super.tap { |pid| (%s) if pid == 0 } "
     "end })"},
};

static size_t find_server(const struct fks_doctor *doctor)
{
    char line[4096];
    ssize_t length =
        fks_doctor_read(doctor, line, sizeof line, "%d/cmdline", (int)doctor->processes[0].pid);
    for (ssize_t i = 0; i < length; i++)
        if (!line[i])
            line[i] = ' ';
    for (size_t i = 0; i < COUNT(servers); i++)
        if ((length > 0 && strstr(line, servers[i].word)) ||
            strstr(doctor->processes[0].comm, servers[i].word))
            return i;
    return COUNT(servers);
}

void fks_doctor_fix(const struct fks_doctor *doctor, char *out, size_t size,
                    enum fks_finding_kind kind, const char *subject)
{
    const struct fks_kind *known = &fks_kinds[kind];
    size_t server = find_server(doctor);
    bool is_known = server < COUNT(servers);
    char call[256];
    if (kind == FKS_FINDING_LISTENER) {
        bool is_uwsgi = is_known && !strcmp(servers[server].word, "uwsgi");
        snprintf(out, size, "%s", is_uwsgi ? "close-on-exec = true" : known->advice);
        return;
    }
    if (!is_known) {
        snprintf(out, size, "in the server's post-fork hook: %s", known->advice);
        return;
    }
    const char *expression = fks_finding_expression(kind, subject, servers[server].language);
    snprintf(call, sizeof call, servers[server].hook, expression ? expression : known->call);
    snprintf(out, size, "%s  # %s%s", call, expression ? "" : "yours: ", known->advice);
}
