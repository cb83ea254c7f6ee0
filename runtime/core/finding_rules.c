/* SPDX-License-Identifier: MIT
 *
 * The lists behind finding_rules.h. In hosts and commands.
 */
#include "finding_rules.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define COUNT(list) (sizeof(list) / sizeof *(list))

static const char *const harmless_peers[] = {
    "/run/systemd/", "/dev/log",       "/run/rsyslog",
    "/run/nscd/",    "/var/run/nscd/", "/var/lib/sss/pipes/",
};

static const char *const harmless_threads[] = {"iou-wrk-", "iou-sqp-", "jemalloc_bg_thd",
                                               "ruby-timer-thr", "timer_thread"};

static const char *const dropped_paths[] = {
    "/dev/", "/proc/", "/sys/", "/memfd:", "/[aio]", "/SYSV", "/anon_hugepage"};

/* A part of the path: what Python's multiprocessing (and billiard) makes to be shared. */
static const char *const shared_heaps[] = {"/pym-", "/pymp-"};

static const char *const companions[] = {"-wal",           "-shm",           "-journal",
                                         "-wal (deleted)", "-shm (deleted)", "-journal (deleted)"};

static const struct {
    const char *name;
    size_t at, length;
    const char *bytes;
} databases[] = {
    {"SQLite", 0, 16, "SQLite format 3"},
    {"LMDB", 16, 4, "\xde\xc0\xef\xbe"},
};

static const struct {
    const char *name;
    uint16_t ports[3];
    const char *path; /* part of a unix socket's path */
    const char *fix[FKS_LANGUAGES];
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
     {"vars(events).update(kept=events.producer, producer=Producer(CONFIG))",
      "$producer = RDKAFKA.producer", NULL}},
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

static bool begins(const char *text, const char *with)
{
    return !strncmp(text, with, strlen(with));
}

static bool begins_with_one(const char *text, const char *const *list, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (begins(text, list[i]))
            return true;
    return false;
}

/* --- sockets --- */

void fks_address_text(char out[FKS_ADDRESS_TEXT], int family, const uint8_t *address, uint16_t port)
{
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    char text[INET6_ADDRSTRLEN] = "?";
    bool is_mapped = family == AF_INET6 && !memcmp(address, mapped, sizeof mapped);
    bool is_v6 = family == AF_INET6 && !is_mapped;
    inet_ntop(is_v6 ? AF_INET6 : AF_INET, address + (is_mapped ? 12 : 0), text, sizeof text);
    snprintf(out, FKS_ADDRESS_TEXT, is_v6 ? "[%s]:%u" : "%s:%u", text, port);
}

uint16_t fks_peer_port(const char *peer)
{
    const char *colon = *peer == '/' || *peer == '@' ? NULL : strrchr(peer, ':');
    char *end;
    unsigned long port = colon ? strtoul(colon + 1, &end, 10) : 0;
    return port && port <= UINT16_MAX && !*end ? (uint16_t)port : 0;
}

bool fks_is_harmless_peer(const char *path)
{
    return begins_with_one(path, harmless_peers, COUNT(harmless_peers));
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

const char *fks_service_name(const char *peer, uint16_t port)
{
    size_t found = find_service(peer, port);
    return found < COUNT(services) ? services[found].name : NULL;
}

const char *fks_service_fix(const char *peer, uint16_t port, enum fks_language language)
{
    size_t found = find_service(peer, port);
    return found < COUNT(services) ? services[found].fix[language] : NULL;
}

/* --- threads --- */

void fks_thread_name(char out[FKS_THREAD_NAME], const char *name)
{
    size_t length = 0;
    for (; *name && length < FKS_THREAD_NAME - 1; name++) {
        if (!isdigit((unsigned char)*name))
            out[length++] = *name;
        else if (!length || out[length - 1] != '*')
            out[length++] = '*';
    }
    out[length] = '\0';
}

bool fks_is_harmless_thread(const char *name)
{
    return begins_with_one(name, harmless_threads, COUNT(harmless_threads));
}

/* --- files --- */

bool fks_is_kept_path(const char *link)
{
    for (size_t i = 0; i < COUNT(shared_heaps); i++)
        if (strstr(link, shared_heaps[i]))
            return false;
    if (begins(link, "/dev/shm/"))
        return true;
    return *link == '/' && !begins_with_one(link, dropped_paths, COUNT(dropped_paths));
}

void fks_file_subject(char *out, size_t size, const char *path)
{
    static const char gone[] = " (deleted)";
    size_t length = strlen(path), end = sizeof gone - 1;
    const char *slash = strrchr(path, '/');
    bool is_gone = slash && length > end && !strcmp(path + length - end, gone);
    snprintf(out, size, "%.*s%s%s", is_gone ? (int)(slash + 1 - path) : (int)length, path,
             is_gone ? "*" : "", is_gone ? gone : "");
}

bool fks_is_companion(const char *path)
{
    size_t length = strlen(path);
    for (size_t i = 0; i < COUNT(companions); i++) {
        size_t end = strlen(companions[i]);
        if (length > end && !strcmp(path + length - end, companions[i]))
            return true;
    }
    return false;
}

const char *fks_database_of(const char *bytes, size_t length)
{
    for (size_t i = 0; i < COUNT(databases); i++)
        if (length >= databases[i].at + databases[i].length &&
            !memcmp(bytes + databases[i].at, databases[i].bytes, databases[i].length))
            return databases[i].name;
    return NULL;
}
