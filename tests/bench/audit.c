/* SPDX-License-Identifier: MIT
 *
 * What the audit costs at a fork of a master with many descriptors: the whole look, the check that
 * nothing has changed, the child's part, and a look's floor (the calls that tell what a descriptor
 * is, and nothing else), as medians in microseconds of the processor. Half of the descriptors are
 * ends of loopback connections; the rest are eventfds, pipes and files that are written. A PreFork
 * between two calls of getuid() is for strace to count. Arguments: INI DESCRIPTORS ROUNDS.
 */
#include <forksafe/forksafe.h>

#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { LOOK, SAME, CHILD, FLOOR, FIGURES };

static const struct forksafe_fork_point points[] = {{FORKSAFE_PRE_FORK, 0, "pre_fork"},
                                                    {FORKSAFE_POST_FORK, 0, "post_fork"}};

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return (double)time.tv_sec * 1e6 + (double)time.tv_nsec / 1e3;
}

static double emit(enum forksafe_event event, int role)
{
    const struct forksafe_occasion occasion = {
        .size = sizeof occasion, .role = role, .worker = 1, .forked = event == FORKSAFE_POST_FORK};
    double before = now();
    forksafe_emit(event, &occasion);
    return now() - before;
}

static int listen_here(struct sockaddr_in *address)
{
    socklen_t length = sizeof *address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    *address =
        (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (bind(fd, (struct sockaddr *)address, sizeof *address) || listen(fd, 64) ||
        getsockname(fd, (struct sockaddr *)address, &length))
        exit(1);
    return fd;
}

/* Two descriptors. */
static void open_two(int kind, int listener, const struct sockaddr_in *address)
{
    int pair[2], fd;
    switch (kind) {
    case 0:
    case 1:
        fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (connect(fd, (const struct sockaddr *)address, sizeof *address) ||
            accept(listener, NULL, NULL) < 0)
            exit(1);
        break;
    case 2:
        if (eventfd(0, 0) < 0 || eventfd(0, 0) < 0) /* NOLINT(misc-redundant-expression): two */
            exit(1);
        break;
    default:
        if (pipe(pair))
            exit(1);
        close(pair[1]);
        fd = open(".", O_TMPFILE | O_RDWR, 0600);
        if (fd < 0 || write(fd, "x", 1) != 1)
            exit(1);
    }
}

static int compare(const void *left, const void *right)
{
    double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

static double median(double *values, int count)
{
    qsort(values, (size_t)count, sizeof *values, compare);
    return values[count / 2];
}

/* The least that tells what a descriptor is, and where it leads. */
static void ask(int number, int directory)
{
    char name[16], text[4096];
    struct stat st;
    struct sockaddr_storage address;
    socklen_t length = sizeof address;
    if (fstat(number, &st))
        return;
    if (S_ISSOCK(st.st_mode)) {
        if (getsockname(number, (struct sockaddr *)&address, &length))
            return;
        length = sizeof address;
        (void)getpeername(number, (struct sockaddr *)&address, &length);
    }
    if (S_ISREG(st.st_mode))
        (void)!pread(number, text, 16, 0);
    if (S_ISREG(st.st_mode) || !(st.st_mode & S_IFMT)) {
        snprintf(name, sizeof name, "%d", number);
        (void)!readlinkat(directory, name, text, sizeof text);
    }
}

static double floor_of(int largest)
{
    int directory = open("/proc/self/fd", O_PATH | O_DIRECTORY | O_CLOEXEC);
    double before = now();
    for (int number = 0; number <= largest; number++)
        ask(number, directory);
    double took = now() - before;
    close(directory);
    return took;
}

static double in_child(double *shared)
{
    pid_t pid = fork();
    if (pid < 0)
        exit(1);
    if (!pid) {
        *shared = emit(FORKSAFE_POST_FORK, FORKSAFE_ROLE_WORKER);
        _exit(0);
    }
    waitpid(pid, NULL, 0);
    return *shared;
}

int main(int argc, char **argv)
{
    int count = argc == 4 ? atoi(argv[2]) : 0, rounds = argc == 4 ? atoi(argv[3]) : 0;
    if (!rounds)
        return 2;
    const struct rlimit room = {100000, 100000};
    (void)setrlimit(RLIMIT_NOFILE, &room);
    const struct forksafe_host host = {.size = sizeof host,
                                       .container = "bench",
                                       .environment = "bench",
                                       .ini = argv[1],
                                       .points = points,
                                       .point_count = 2,
                                       .worker_uid = (uid_t)-1,
                                       .worker_gid = (gid_t)-1};
    if (forksafe_open(&host))
        return 1;
    struct sockaddr_in address;
    int listener = listen_here(&address);
    for (int i = 0; i < count / 2; i++)
        open_two(i % 4, listener, &address);
    double *shared =
        mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    double *values = calloc((size_t)FIGURES * (size_t)rounds, sizeof *values);
    for (int round = 0; round < rounds; round++) {
        (void)!open("/dev/null", O_RDONLY); /* a change */
        values[LOOK * rounds + round] = emit(FORKSAFE_PRE_FORK, FORKSAFE_ROLE_MASTER);
        values[CHILD * rounds + round] = in_child(shared);
        (void)getuid();
        values[SAME * rounds + round] = emit(FORKSAFE_PRE_FORK, FORKSAFE_ROLE_MASTER);
        (void)getuid();
        values[FLOOR * rounds + round] = floor_of(count + 8);
    }
    for (int figure = 0; figure < FIGURES; figure++)
        printf("%.1f%c", median(values + figure * rounds, rounds),
               figure + 1 < FIGURES ? ' ' : '\n');
    fflush(stdout);
    if (getenv("AUDIT_WAITS")) /* for lsof */
        (void)!read(0, values, 1);
    return 0;
}
