/* SPDX-License-Identifier: MIT
 *
 * The layout of a journal, for readers: one file a master, mapped shared by its processes. This
 * header is the whole format. Offsets, no pointers; host byte order; every structure's size is
 * fixed and asserted.
 *
 * Who writes what, without locks:
 *   header, hooks, subscribers, strings,
 *   findings                              the master only; executed anew, it goes on with its file
 *   cells, counters of hooks, header
 *   and findings                          any process, by atomic addition: exact, also when killed
 *   claims                                any process, by compare-and-swap
 *   leaders                               the master; who leads: the process that has the lock
 *   a slot                                its owner; the master writes how that ended
 *
 * How a record is read: its `sequence`, then a copy of it, then its `sequence` again. The copy is
 * believed if the three are the same and even, and the number (half of it) is one of the newest
 * `records_per_slot` up to the slot's `last_sequence`. A number of those that is missing belongs to
 * a process that was killed while it wrote that record. A process killed anywhere leaves at worst
 * its own last record with `ended` 0: begun and not ended. A slot that is claimed again keeps the
 * records of its former owner until they are overwritten: a record says itself whose it is.
 *
 * Time is CLOCK_BOOTTIME in nanoseconds everywhere. A reader adds its own (REALTIME - BOOTTIME).
 *
 * Order in the file: header, hooks, claims, cells, status, subscribers, strings, leaders, findings,
 * then the slots, on pages of their own. What a fresh child touches before its slot lies together
 * at the front, where one page fault maps it.
 */
#ifndef FORKSAFE_JOURNAL_LAYOUT_H
#define FORKSAFE_JOURNAL_LAYOUT_H

#include <stdint.h>

#include "events.h"

#define FORKSAFE_JOURNAL_MAGIC   "forksafe journal" /* 16 bytes, without the NUL */
#define FORKSAFE_JOURNAL_VERSION 2u

/*  What a reader accepts at most; a writer makes no larger one. */
#define FORKSAFE_MAX_SLOTS       100000u
#define FORKSAFE_MAX_RECORDS     65536u     /* in a slot */
#define FORKSAFE_MAX_RECORDS_ALL (1u << 26) /* in a file */
#define FORKSAFE_MAX_HOOKS       1024u
#define FORKSAFE_MAX_SUBSCRIBERS 65535u
#define FORKSAFE_MAX_STRINGS     (32u << 20)
#define FORKSAFE_MAX_ERROR       65536u /* bytes of a slot's error area */
#define FORKSAFE_MAX_LEADERS     16u    /* there is always room for so many */

/*  In a record: the hook has no subscriber, or its subscriber is not in the table. */
#define FORKSAFE_NO_SUBSCRIBER 0xffffu

/*  How a subscriber's run ended. */
#define FORKSAFE_OUTCOMES(X)                                                             \
    X(RUNNING, "running")     /* begun; of a dead process: begun and not ended */        \
    X(OK, "ok")               /* returned */                                             \
    X(ERROR, "error")         /* threw */                                                \
    X(TIMEOUT, "timeout")     /* stopped at its time_limit */                            \
    X(MEMORY, "memory")       /* stopped at the memory_limit */                          \
    X(ABANDONED, "abandoned") /* would not stop: its VM was abandoned */                 \
    X(QUEUED, "queued")       /* an emit within an emit: run when the outer one ended */ \
    X(REFUSED, "refused")     /* not run: the VM was busy in another thread, or could not be had */

enum forksafe_outcome {
#define X(id, name) FORKSAFE_OUTCOME_##id,
    FORKSAFE_OUTCOMES(X)
#undef X
        FORKSAFE_OUTCOME_COUNT
};

/*  What a process is doing, as it said last. Dead is not a state: a reader sees it from /proc. */
#define FORKSAFE_STATES(X)                                                                   \
    X(FREE, "free")         /* the slot was never claimed */                                 \
    X(STARTING, "starting") /* forked; the application is being loaded */                    \
    X(READY, "ready")       /* PostWorkerInit or MasterReady has passed */                   \
    X(EXITING, "exiting")   /* WorkerExit or Shutdown has begun */                           \
    X(EXITED, "exited")     /* reaped by the master: exit_status or exit_signal tells how */ \
    X(GONE, "gone")         /* the master found it dead without having reaped it */

enum forksafe_state {
#define X(id, name) FORKSAFE_STATE_##id,
    FORKSAFE_STATES(X)
#undef X
        FORKSAFE_STATE_COUNT
};

/*  A string in the strings area: `length` bytes at `offset` from its start, not NUL-terminated; {0,
 * 0} is none. */
struct forksafe_string {
    uint32_t offset;
    uint32_t length;
};

#define FORKSAFE_STATUS_TEXT 256
#define FORKSAFE_LOG_LINES   24

/*  Status and autoconfigure log. `sequence` is odd while it is written. */
struct forksafe_status_area {
    uint32_t sequence;
    uint32_t line_count; /* lines beyond FORKSAFE_LOG_LINES are counted here and not kept */
    char status[FORKSAFE_STATUS_TEXT];      /* NUL-terminated */
    char environment[FORKSAFE_STATUS_TEXT]; /* NUL-terminated; empty: null */
    char lines[FORKSAFE_LOG_LINES][FORKSAFE_STATUS_TEXT];
};

struct forksafe_journal_header {
    /* The same in every version of the format, so that any build can tell whose file this is and
     * whether that master lives. */
    char magic[16];
    uint32_t version;
    uint32_t header_size; /* sizeof(struct forksafe_journal_header) */
    uint64_t file_size;
    uint8_t boot_id[16]; /* /proc/sys/kernel/random/boot_id: with another all of it is dead */
    int32_t master_pid;
    uint32_t generation;         /* 1 at the first forksafe_open, up by one at each reload */
    uint64_t master_start_ticks; /* field 22 of /proc/PID/stat; 0: there was no /proc to tell */
    uint64_t created;            /* CLOCK_BOOTTIME */
    uint64_t closed; /* CLOCK_BOOTTIME when its own master replaced it by another file; 0: in use */

    uint64_t opened; /* CLOCK_BOOTTIME of this generation */

    uint32_t slot_count, slot_stride;
    uint32_t records_per_slot;
    uint32_t next_slot; /* where the next claim looks first; a hint */
    uint32_t hook_capacity, hook_count;
    uint32_t subscriber_capacity, subscriber_count;
    uint32_t strings_size, strings_used;
    uint32_t table_writer; /* pid of the process that is adding to the tables; 0: none */
    uint32_t findings_offset;

    uint64_t hooks_offset, cells_offset, claims_offset, status_offset;
    uint64_t subscribers_offset, strings_offset, slots_offset, leaders_offset;

    struct forksafe_string instance, ini, app, container, server_version, forksafe_version;

    /* Counted by any process, by atomic addition. */
    uint64_t forks[FORKSAFE_ROLE_COUNT]; /* by what the child is */
    uint64_t exits_clean;                /* reaped with status 0 */
    uint64_t exits_failed;               /* reaped with another status */
    uint64_t exits_signal;               /* reaped after a signal */
    uint64_t last_fork;                  /* CLOCK_BOOTTIME, 0: none yet */
    uint64_t slots_refused;              /* processes without a slot: no records of their hooks */
    uint64_t subscribers_refused;        /* subscribers that found the table full */
    uint64_t retired;                    /* workers that a subscriber's failure ended */

    /* The breaker of crash loops: retirements in quick succession. */
    uint64_t retire_until;  /* CLOCK_BOOTTIME when the longest pause of one ends */
    uint64_t retire_streak; /* how many there were */
};

#define FORKSAFE_FINDINGS        64 /* kept of one generation; more are counted */
#define FORKSAFE_FINDING_SUBJECT 240
#define FORKSAFE_FINDING_OBJECT  128

/*  One thing that was not safe to fork. What its kind and subject mean is the library's list
 * (finding_kinds.h); kind and subject together name it, also over restarts. */
struct forksafe_finding {
    uint8_t kind;       /* index in that list */
    uint8_t is_pending; /* 1: none before a worker has said that it has it (workers above 0) */
    uint8_t reserved0[2];
    int32_t descriptor;  /* of the first object, in the master; -1: none */
    uint32_t count;      /* objects of this name that the master had */
    uint32_t workers;    /* processes that were forked with it; 0: none has told yet */
    uint32_t repaired;   /* of those, where a remedy was used on it */
    uint32_t former;     /* count at the look before; of the master alone */
    uint64_t repairs;    /* objects replaced by remedies, in all of them together */
    uint64_t first_seen; /* CLOCK_BOOTTIME, in this generation */
    char subject[FORKSAFE_FINDING_SUBJECT]; /* a peer, path or thread; NUL-terminated, may be "" */
    char object[FORKSAFE_FINDING_OBJECT];   /* the first of several; "": its descriptor tells */
};

/*  What the last look at the master found: all of one generation. `sequence` is odd while the
 * master writes; the three counters of a finding are added to at any time. */
struct forksafe_finding_area {
    uint32_t sequence;
    uint32_t generation; /* 0: nobody has looked yet */
    uint32_t count;      /* of findings; beyond FORKSAFE_FINDINGS they are in `dropped` */
    uint32_t dropped;
    uint32_t looks;       /* times the master was looked at, since it began */
    uint32_t descriptors; /* that it had at the last look */
    uint32_t threads;     /* likewise, beside the one that forked */
    uint32_t unseen;      /* 1: there was more than was looked at */
    uint64_t looked;      /* CLOCK_BOOTTIME of the last look */
    uint64_t duration;    /* of it, in ns */
    struct forksafe_finding findings[FORKSAFE_FINDINGS];
};

/*  A claim: claim N says whose slot N is. 0: never used. Else the number of times the slot was
 * claimed, in the upper half (so that no claim ever looks like an earlier one), and the pid. */
#define FORKSAFE_CLAIM_RELEASED      0x80000000u /* the owner is dead: free to be claimed */
#define FORKSAFE_CLAIM_MARKING       0x40000000u /* the master is writing how the owner ended */
#define FORKSAFE_CLAIM_PID(claim)    ((int32_t)((claim)&0x3fffffffu))
#define FORKSAFE_CLAIM_NUMBER(claim) ((uint32_t)((claim) >> 32))
/*  What a slot's `owner` is compared with. */
#define FORKSAFE_CLAIM_OWNER(claim) \
    ((claim) & ~(uint64_t)(FORKSAFE_CLAIM_RELEASED | FORKSAFE_CLAIM_MARKING))

/*  A hook: the pair of fork point and event. In order of registration; first_run orders
 * executed_hooks. */
struct forksafe_hook {
    struct forksafe_string name; /* "containers.uwsgi.post_fork_hook" */
    uint32_t event;              /* enum forksafe_event */
    uint32_t reserved;
    uint64_t runs;      /* times it fired */
    uint64_t first_run; /* CLOCK_BOOTTIME of the first time; 0: never */
};

#define FORKSAFE_BUCKETS 14
/*  Upper bounds of the duration histogram, in nanoseconds; the last bucket is everything above. */
#define FORKSAFE_BUCKET_BOUNDS                                                             \
    {                                                                                      \
        10000, 25000, 50000, 100000, 250000, 500000, 1000000, 2500000, 10000000, 50000000, \
            250000000, 1000000000, 5000000000                                              \
    }

/*  Counters of one subscriber: cell N belongs to subscriber N. Nothing is ever subtracted. */
struct forksafe_cell {
    uint64_t begun; /* runs begun; minus the sum of outcomes: in flight, or killed in the middle */
    uint64_t outcomes[FORKSAFE_OUTCOME_COUNT]; /* by outcome; [RUNNING] stays 0 */
    uint64_t total_ns, max_ns;                 /* of ended runs */
    uint64_t buckets[FORKSAFE_BUCKETS];        /* of ended runs */
};

struct forksafe_subscriber {
    struct forksafe_string name; /* unique for its event, the same after a reload */
    struct forksafe_string path; /* of the script */
    uint32_t line;               /* where it subscribed; 0: by its file name */
    uint32_t event;              /* enum forksafe_event */
    uint32_t hook;               /* index; FORKSAFE_NO_SUBSCRIBER: this container never fires it */
    int32_t order;
    uint32_t on_error; /* enum fks_on_error: 0 log, 1 retire_worker, 2 stop_server */
    uint32_t
        generation;    /* the last that has it (the header's: still subscribed); 0: being written */
    uint64_t hash;     /* of the script's text, FNV-1a 64 */
    uint64_t loaded;   /* CLOCK_BOOTTIME */
    uint64_t mtime_ns; /* of the script, CLOCK_REALTIME */
};

/*  A leader: what one worker of all does, as long as it lives. The lock is a robust, process-shared
 * mutex of the libc that wrote it, for the processes of this master alone: readers leave it alone.
 */
struct forksafe_leader {
    struct forksafe_string name;
    uint32_t generation; /* the last in which a subscriber named it; 0: never used */
    int32_t pid;         /* who had it last; whether that lives, /proc tells. Stored last */
    int32_t worker;      /* its slot, 1..N; 0: the server has none */
    uint32_t taken;      /* how often it was taken */
    uint64_t since;      /* CLOCK_BOOTTIME */
    uint64_t lock[8];
};

#define FORKSAFE_FLAG_FORKED     1u
#define FORKSAFE_FLAG_APP_LOADED 2u

/*  One run of one subscriber, or one firing of a hook that has none. */
struct forksafe_record {
    uint64_t sequence; /* 0 empty; odd: being written; else twice its number in this slot, from 1 */
    uint64_t begun;    /* CLOCK_BOOTTIME */
    uint64_t ended;    /* 0: not; else duration in ns << 8 | enum forksafe_outcome: one store */
    int32_t pid;
    uint32_t generation;
    uint16_t hook;       /* index */
    uint16_t subscriber; /* index, or FORKSAFE_NO_SUBSCRIBER */
    uint8_t event;
    uint8_t role;
    uint8_t flags;
    uint8_t reserved0;
    int32_t worker;    /* 1..N, 0 none */
    int32_t child_pid; /* CHILD_EXIT only */
    int16_t child_exit;
    uint16_t child_signal;
    uint64_t reserved1;
};

/*  A process. The slot is the structure, then `records_per_slot` records (number N in place (N - 1)
 * % records_per_slot), then the error area up to slot_stride. last_sequence - records_per_slot,
 * where above 0, is how many were overwritten. */
struct forksafe_slot {
    /* FORKSAFE_CLAIM_OWNER of the claim that the rest belongs to, stored last. Another value: the
     * owner has not written the rest yet, or was killed before it had. */
    uint64_t owner;
    /* CLOCK_BOOTTIME. The owner lives iff /proc/PID is there and was started no later than this. */
    uint64_t claimed;
    int32_t ppid;
    uint32_t generation;
    int32_t worker;
    uint8_t role, state, flags, reserved0;
    uint32_t runs;   /* runs of subscribers begun in this process */
    uint32_t failed; /* of those, not ok */
    uint64_t slowest_ns;
    uint64_t last_sequence;  /* number of the newest record, not doubled */
    uint64_t state_since;    /* CLOCK_BOOTTIME */
    uint64_t ended;          /* CLOCK_BOOTTIME when the master reaped it or found it gone; 0 */
    int32_t exit_status;     /* -1: not known, or ended by exit_signal */
    int32_t exit_signal;     /* 0: none */
    uint32_t error_sequence; /* odd while the error area is written */
    uint32_t error_length;   /* bytes in the error area; a longer text is cut, and ends in "..." */
    uint64_t error_record;   /* number of the record that the error belongs to; 0: none */
    uint64_t error_total;    /* errors of this process that were written; the area has the newest */
};

_Static_assert(sizeof(struct forksafe_journal_header) == 360, "journal layout");
_Static_assert(sizeof(struct forksafe_status_area) == 6664, "journal layout");
_Static_assert(sizeof(struct forksafe_record) == 64, "journal layout");
_Static_assert(sizeof(struct forksafe_slot) == 104, "journal layout");
_Static_assert(sizeof(struct forksafe_cell) == 200, "journal layout");
_Static_assert(sizeof(struct forksafe_finding) == 408, "journal layout");
_Static_assert(sizeof(struct forksafe_finding_area) == 48 + 64 * 408, "journal layout");
_Static_assert(sizeof(struct forksafe_hook) == 32, "journal layout");
_Static_assert(sizeof(struct forksafe_subscriber) == 64, "journal layout");
_Static_assert(sizeof(struct forksafe_leader) == 96, "journal layout");

#endif
