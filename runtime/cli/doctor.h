/* SPDX-License-Identifier: MIT
 *
 * What the files of `forksafe doctor` share: the processes of a server and their open descriptors
 * as /proc has them, and what is found. In the command's process only; nothing of the server is
 * touched. One doctor is one look: fks_doctor_collect, fks_doctor_judge, print, fks_doctor_finish.
 */
#ifndef FKS_DOCTOR_H
#define FKS_DOCTOR_H

#include <dirent.h>
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include "core/error.h"
#include "core/finding_kinds.h"

#define FKS_DOCTOR_SCHEMA "forksafe.doctor/1"

enum fks_doctor_role {
    FKS_DOCTOR_MASTER,
    FKS_DOCTOR_WORKER,  /* forked from the master without an exec since */
    FKS_DOCTOR_PROGRAM, /* below the master, but another program (or the same one started again) */
};

struct fks_doctor_process {
    pid_t pid, ppid;
    size_t parent; /* index; the master's is its own */
    char comm[64]; /* any bytes */
    enum fks_doctor_role role;
    uint64_t started; /* in ticks since boot */
    uint64_t stack;   /* where its stack begins: the same in a fork, another after an exec; 0: not
                         told to us */
    unsigned threads;
    bool readable;  /* its descriptors could be read */
    bool gone;      /* it ended while we looked */
    int comparable; /* whether kcmp(2) may look at it; -1: not tried yet */
};

/* One open descriptor that may matter: pipes, devices and the like are not kept. */
struct fks_doctor_fd {
    uint64_t key;         /* a socket's inode, a hash of a path, 0 for what has neither */
    uint32_t process;     /* index */
    uint32_t description; /* the same number: known to be the same open file description */
    int number;
    enum fks_finding_kind
        type; /* what its link says; _CONNECTION of any socket, _FILE of any file */
};

struct fks_doctor_finding {
    enum fks_severity severity;
    enum fks_finding_kind kind;
    json_t *json;    /* id, kind, severity, what, fix, pids, count, objects and one of peer, path,
                        thread, address */
    json_t *objects; /* borrowed from json */
    uint8_t *holds;  /* for each process whether it is one of the pids */
};

struct fks_doctor_nets;

struct fks_doctor {
    DIR *proc;
    pid_t asked;                          /* the pid that was given */
    struct fks_doctor_process *processes; /* the master first, parents before children */
    size_t process_count;
    struct fks_doctor_fd *fds; /* by process; after judging by type and key */
    size_t fd_count, fd_room;
    struct fks_doctor_nets *nets; /* tables of the network namespaces seen so far */
    struct fks_doctor_finding *findings;
    size_t finding_count;
    json_t *notes; /* what could not be told, a sentence each */
    bool failed;   /* no memory: what was found is not all */
};

/* --- collecting (doctor_tree.c, doctor_fds.c) --- */

/* Finds the server that `pid` belongs to and reads what its processes have open. *doctor is for
 * finish either way. Returns 0, or negative with a line: FORKSAFE_ENOENT, FORKSAFE_EACCESS where
 * nothing can be read, FORKSAFE_ENOMEM. */
int fks_doctor_collect(struct fks_doctor *doctor, pid_t pid, struct fks_error *error);

void fks_doctor_finish(struct fks_doctor *doctor);

/* Fills processes and their roles: from the first master above `pid` down. */
int fks_doctor_tree(struct fks_doctor *doctor, pid_t pid, struct fks_error *error);

/* Whether it was forked from its parent without an exec since. A fork has its parent's stack where
 * that had it, and an exec moves it to a random place; where the kernel tells us no addresses, the
 * name has to do. */
bool fks_doctor_is_fork(const struct fks_doctor_process *child,
                        const struct fks_doctor_process *parent);

/* Fills fds; marks processes unreadable or gone. */
void fks_doctor_fds(struct fks_doctor *doctor);

/* Reads /proc/NAME into buffer (NUL-terminated). Returns the length, or -1 with errno. */
__attribute__((format(printf, 4, 5))) ssize_t fks_doctor_read(const struct fks_doctor *doctor,
                                                              char *buffer, size_t size,
                                                              const char *name, ...);

/* The text of the link /proc/NAME, NUL-terminated. Returns its length, or -1 with errno. */
__attribute__((format(printf, 4, 5))) ssize_t fks_doctor_link(const struct fks_doctor *doctor,
                                                              char *buffer, size_t size,
                                                              const char *name, ...);

/* What /proc/PID/fdinfo/N says. Returns whether it could be read. */
bool fks_doctor_fdinfo(const struct fks_doctor *doctor, const struct fks_doctor_fd *fd,
                       unsigned *flags, unsigned long long *position);

/* Whether this epoll set has the descriptor of that number in it. */
bool fks_doctor_watches(const struct fks_doctor *doctor, const struct fks_doctor_fd *epoll,
                        int number);

/* --- what is the same (doctor_same.c) --- */

/* Whether a process has under a number what another has under the same one, being forked from it
 * or beside it. kcmp(2) tells; where it may not: whether it can be, as far as type and key go. */
enum fks_doctor_same { FKS_DOCTOR_OTHER, FKS_DOCTOR_SAME, FKS_DOCTOR_NOT_TOLD };
enum fks_doctor_same fks_doctor_same_number(const struct fks_doctor *doctor, size_t process,
                                            const struct fks_doctor_fd *other);

/* Calls `each` for every open file description among fds (of one type and key; reordered) that
 * several processes have. `matters`: whether one that a single process has is worth a comparison
 * with the others; NULL: it is. */
typedef void fks_doctor_group(struct fks_doctor *doctor, struct fks_doctor_fd *fds, size_t count);
typedef bool fks_doctor_test(const struct fks_doctor *doctor, const struct fks_doctor_fd *fd);
void fks_doctor_split(struct fks_doctor *doctor, struct fks_doctor_fd *fds, size_t count,
                      fks_doctor_test *matters, fks_doctor_group *each);

/* Whether more than one process is among them. */
bool fks_doctor_is_shared(const struct fks_doctor_fd *fds, size_t count);

/* --- sockets (doctor_net.c, doctor_unix.c) --- */

struct fks_doctor_socket {
    uint64_t inode, peer_inode; /* peer_inode: of a unix socket; 0: none */
    int family, type, state;    /* AF_INET, AF_INET6, AF_UNIX; SOCK_*; as TCP's (TCP_LISTEN) */
    uint16_t local_port, peer_port;
    uint8_t local[16], peer[16];
    char *name; /* of a unix socket; "" where it has none */
};

struct fks_doctor_net {
    uint64_t id;                       /* the namespace's inode; 0: not told to us */
    struct fks_doctor_socket *sockets; /* by inode */
    size_t count, room;
    uint8_t tcp_listens[8192], udp_listens[8192]; /* a bit a port */
    bool has_unix;                                /* with peers */
};

/* The sockets in the process's network namespace, read when it is first asked for. NULL: no memory.
 */
const struct fks_doctor_net *fks_doctor_net_of(struct fks_doctor *doctor, size_t process);

/* The doctor's own namespace, where a socket may be from that is in no table of its process. */
const struct fks_doctor_net *fks_doctor_net_own(struct fks_doctor *doctor);

/* NULL: it is not there. */
const struct fks_doctor_socket *fks_doctor_socket_find(const struct fks_doctor_net *net,
                                                       uint64_t inode);

/* A zeroed socket at the end of the table. NULL: no memory. */
struct fks_doctor_socket *fks_doctor_socket_add(struct fks_doctor_net *net);

/* Adds the unix sockets of the namespace that `ns` (a descriptor; -1: our own) is. Returns whether
 * it could be asked. */
bool fks_doctor_unix(struct fks_doctor_net *net, int ns);

void fks_doctor_nets_free(struct fks_doctor_nets *nets);

/* --- judging (doctor_judge.c, doctor_sockets.c, doctor_files.c, doctor_threads.c) --- */

/* Fills findings, the worst first. Returns 0, or FORKSAFE_ENOMEM with a line. */
int fks_doctor_judge(struct fks_doctor *doctor, struct fks_error *error);

void fks_doctor_judge_socket(struct fks_doctor *doctor, struct fks_doctor_fd *fds, size_t count);
void fks_doctor_judge_file(struct fks_doctor *doctor, struct fks_doctor_fd *fds, size_t count);
void fks_doctor_judge_device(struct fks_doctor *doctor, struct fks_doctor_fd *fds, size_t count);
void fks_doctor_judge_threads(struct fks_doctor *doctor);

/* Whether a process of the server has this socket open. */
bool fks_doctor_has_socket(const struct fks_doctor *doctor, uint64_t inode);

/* One thing that was found. Things with the same id become one finding with several objects. */
struct fks_doctor_thing {
    enum fks_finding_kind kind;
    const char *subject; /* "10.0.0.5:5432"; NULL where the kind has none */
    const char *object;  /* which of several: "127.0.0.1:4000 -> 10.0.0.5:5432" */
    int number;          /* the descriptor's in the first process; -1: none */
};

/* NULL: no memory, and doctor->failed says so. */
struct fks_doctor_finding *fks_doctor_add(struct fks_doctor *doctor,
                                          const struct fks_doctor_thing *thing);
void fks_doctor_add_holders(struct fks_doctor *doctor, const struct fks_doctor_thing *thing,
                            const struct fks_doctor_fd *fds, size_t count);

/* One sentence, once. */
void fks_doctor_note(struct fks_doctor *doctor, const char *text);

/* --- remedies (doctor_fix.c) --- */

/* Writes a line to paste against it, in the server's own words. */
void fks_doctor_fix(const struct fks_doctor *doctor, char *out, size_t size,
                    enum fks_finding_kind kind, const char *subject);

/* --- printing (doctor_print.c) --- */

/* One finding, as the doctor has them and the debug object; what only one has may be missing. */
void fks_finding_print(FILE *to, const json_t *finding, bool color);

/* "3 findings: 1 high, 2 medium, 0 low", without a line end. */
void fks_finding_print_counts(FILE *to, const size_t counts[FKS_SEVERITIES]);

int fks_doctor_print_json(const struct fks_doctor *doctor, FILE *to);
void fks_doctor_print_text(const struct fks_doctor *doctor, FILE *to, bool color);

#endif
