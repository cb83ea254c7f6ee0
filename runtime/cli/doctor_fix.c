/* SPDX-License-Identifier: MIT
 *
 * What to do about a finding, as a line to paste (doctor.h): what the service or the object needs,
 * in the language of the server, inside that server's own fork hook. In the command only.
 */
#include "doctor.h"

#include <string.h>

#define COUNT(list) (sizeof(list) / sizeof *(list))

enum language { PYTHON, RUBY, OTHER, LANGUAGES };

/* How each server is recognised, by its command line or name, and how its hook is written around an
 * expression (%s). The first that fits is taken. */
static const struct {
    const char *word;
    enum language language;
    const char *hook;
} servers[] = {
    {"gunicorn", PYTHON, "def post_fork(server, worker): %s"},
    {"uwsgi", PYTHON, "uwsgidecorators.postfork(lambda: %s)"},
    {"celery", PYTHON, "worker_process_init.connect(lambda **_: %s, weak=False)"},
    {"puma", RUBY, "on_worker_boot { %s }"},
    {"unicorn", RUBY, "after_fork { |server, worker| %s }"},
    {"python", PYTHON, "os.register_at_fork(after_in_child=lambda: %s)"},
    {"ruby", RUBY,
     "Process.singleton_class.prepend(Module.new { def _fork; super.tap { |pid| (%s) if pid == 0 } "
     "end })"},
};

static const struct {
    const char *name;
    uint16_t ports[3];
    const char *path; /* part of a unix socket's path */
    const char *fix[LANGUAGES];
} services[] = {
    {"PostgreSQL",
     {5432, 6432},
     ".s.PGSQL.",
     {"engine.dispose(close=False)", "$db = PG.connect(ENV.fetch(\"DATABASE_URL\"))", NULL}},
    {"MySQL",
     {3306, 33060},
     "mysql",
     {"engine.dispose(close=False)", "$db = Mysql2::Client.new(DATABASE)", NULL}},
    {"Redis",
     {6379, 6380},
     "redis",
     {"redis_client.connection_pool.reset()", "$redis = Redis.new(url: ENV.fetch(\"REDIS_URL\"))",
      NULL}},
    {"MongoDB",
     {27017},
     "mongodb",
     {"setattr(models, \"client\", pymongo.MongoClient(URI))", "$mongo.reconnect", NULL}},
    {"memcached", {11211}, "memcached", {"cache.disconnect_all()", "$cache.reset", NULL}},
    {"Kafka",
     {9092, 9093},
     NULL,
     {"setattr(events, \"producer\", Producer(CONFIG))", "$producer = RDKAFKA.producer", NULL}},
    {"RabbitMQ",
     {5672, 5671},
     NULL,
     {"app.pool.force_close_all()", "$bunny = Bunny.new.tap(&:start)", NULL}},
    {"Elasticsearch",
     {9200},
     NULL,
     {"setattr(search, \"client\", Elasticsearch(HOSTS))", "$search = Elasticsearch::Client.new",
      NULL}},
};

static const struct {
    const char *kind;
    const char *subject; /* how it begins; NULL: any */
    const char *fix[LANGUAGES];
} kinds[] = {
    {"shared-epoll", NULL, {"asyncio.set_event_loop(asyncio.new_event_loop())", NULL, NULL}},
    {"shared-eventfd", NULL, {"asyncio.set_event_loop(asyncio.new_event_loop())", NULL, NULL}},
    {"shared-database", NULL, {"engine.dispose(close=False)", NULL, NULL}},
    {"lost-thread", "rdk:", {"setattr(events, \"producer\", Producer(CONFIG))", NULL, NULL}},
    {"lost-thread",
     "grpc",
     {"setattr(rpc, \"channel\", grpc.insecure_channel(TARGET))", NULL, NULL}},
};

/* What is said of each kind, and what the expression is called where it can only be the user's own.
 */
static const struct {
    const char *kind, *call, *text;
} advice[] = {
    {"shared-connection", "reconnect()",
     "open this connection in each worker, and do not close the inherited one"},
    {"shared-epoll", "make_anew()", "make the event loop in each worker"},
    {"shared-eventfd", "make_anew()", "make the event loop in each worker"},
    {"shared-timerfd", "make_anew()", "make the timer in each worker"},
    {"shared-inotify", "make_anew()", "start watching in each worker, or in the master alone"},
    {"shared-io_uring", "make_anew()", "set up the ring in each worker"},
    {"shared-signalfd", "make_anew()", "make the signalfd in each worker"},
    {"shared-database", "reopen()",
     "open the database in each worker, and do not close the inherited handle"},
    {"shared-file", "reopen()", "open the file in each worker, or with O_APPEND"},
    {"inherited-device", "load_model()",
     "load the model in each worker: nothing may touch the GPU before the fork"},
    {"lost-thread", "start_thread()", "start the thread in each worker"},
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

static size_t find_service(const char *peer, uint16_t port)
{
    for (size_t i = 0; i < COUNT(services); i++) {
        for (size_t j = 0; port && j < COUNT(services[i].ports); j++)
            if (services[i].ports[j] == port)
                return i;
        if (!port && services[i].path && strstr(peer, services[i].path))
            return i;
    }
    return COUNT(services);
}

const char *fks_doctor_service(const char *peer, uint16_t port)
{
    size_t found = find_service(peer, port);
    return found < COUNT(services) ? services[found].name : NULL;
}

/* `expression` NULL: none is known. */
static void write_fix(char *out, size_t size, size_t server, const char *expression,
                      const char *kind)
{
    char call[256];
    size_t known = 0;
    while (known < COUNT(advice) - 1 && strcmp(advice[known].kind, kind) != 0)
        known++;
    if (server == COUNT(servers)) {
        snprintf(out, size, "in the server's post-fork hook: %s", advice[known].text);
        return;
    }
    snprintf(call, sizeof call, servers[server].hook, expression ? expression : advice[known].call);
    snprintf(out, size, "%s  # %s%s", call, expression ? "" : "yours: ", advice[known].text);
}

void fks_doctor_fix_connection(const struct fks_doctor *doctor, char *out, size_t size,
                               const char *peer, uint16_t port)
{
    size_t server = find_server(doctor), service = find_service(peer, port);
    enum language language = server < COUNT(servers) ? servers[server].language : OTHER;
    write_fix(out, size, server, service < COUNT(services) ? services[service].fix[language] : NULL,
              "shared-connection");
}

void fks_doctor_fix_kind(const struct fks_doctor *doctor, char *out, size_t size, const char *kind,
                         const char *subject)
{
    size_t server = find_server(doctor);
    enum language language = server < COUNT(servers) ? servers[server].language : OTHER;
    const char *expression = NULL;
    if (!strcmp(kind, "leaked-listener")) {
        bool is_uwsgi = server < COUNT(servers) && !strcmp(servers[server].word, "uwsgi");
        snprintf(out, size, "%s",
                 is_uwsgi ? "close-on-exec = true"
                          : "set FD_CLOEXEC on it where it is made, or start the program with all "
                            "other descriptors closed");
        return;
    }
    for (size_t i = 0; i < COUNT(kinds); i++)
        if (!expression && !strcmp(kinds[i].kind, kind) &&
            (!kinds[i].subject ||
             (subject && !strncmp(subject, kinds[i].subject, strlen(kinds[i].subject)))))
            expression = kinds[i].fix[language];
    write_fix(out, size, server, expression, kind);
}
