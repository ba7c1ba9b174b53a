/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The world of the simulated cores: virtual time, hosts with power, disks and hypervisors, a network, a BMC that
 * re-images hosts, and whoever asks the agents for something. It is the second performer of the core's actions; all
 * rules are in the core.
 *
 *   power ──> host: hypervisor, corosync (as the agent wants it) ──> agent: struct core, restarted when it ends
 *               │ loses: domains, corosync, writes not synced          │ loses: outcomes under way, its memory
 *
 * A call that an agent made is performed later, and its outcome comes later still. An agent that was killed meanwhile
 * gets no outcome; whether the call is performed all the same is a matter of chance, as with a request in a socket.
 * In an exact world (scenarios) nothing is a matter of chance but what the cores draw themselves. */
#pragma once

#include <stdio.h>

#include "agent/core.h"
#include "common/json.h"
#include "tests/sim/blob.h"
#include "tests/sim/check.h"
#include "tests/sim/disk.h"
#include "tests/sim/net.h"
#include "tests/sim/sim.h"

enum { WORLD_NODES_MAX = 6, WORLD_VMS_MAX = 16, WORLD_TASKS_MAX = 4, WORLD_LINE_MAX = 600 };

struct world;

/* ---- hypervisor (host.c) */

struct domain {
    char name[VM_NAME_MAX];
    struct uuid uuid;
    char machine[VM_MACHINE_MAX];
    enum vm_domain_state state;
    bool crashed; /* OFF */
    /* Outgoing migration; serial 0: none. Its caller waits for the outcome, if it still lives. */
    struct {
        uint64_t serial, id;
        size_t target;
        uint32_t life;
        int64_t begin_ms, end_ms;
        uint32_t downtime_ms;
        bool may_postcopy, is_postcopy;
    } out;
    uint64_t in;       /* INCOMING: serial of the migration */
    uint64_t starting; /* serial of a start that takes long; 0: none */
    bool managed_save, memory_snapshot;
    struct uuid checkpoint; /* the newest one that its libvirt knows; nil: none */
};
struct host {
    struct domain domains[WORLD_VMS_MAX];
    size_t n;
    int64_t hung_until_ms; /* the hypervisor answers nothing before */
};

/* ---- tasks (tasks.c) */

/* A task's unit on a host; it ends with the boot. */
struct sim_unit {
    char name[TASK_NAME_MAX];
    struct uuid run;
    enum { UNIT_NONE = 0, UNIT_RUNNING, UNIT_ENDED } state;
    uint64_t serial; /* of its start */
    bool native_level, timed_out;
    int exit_code;
};
/* What is true of a task, whatever the cluster believes. */
struct task_truth {
    char name[TASK_NAME_MAX];
    unsigned starts, failing; /* that many runs of it will fail */
    int64_t ms;               /* how long a run takes; 0: as usual */
};

/* ---- backups (backups.c) */

/* A worker's unit on a host; it ends with the boot. */
struct sim_backup {
    char vm[VM_NAME_MAX];
    struct uuid run, parent;
    int state;       /* as struct sim_unit's */
    uint64_t serial; /* of its start */
    enum backup_work work;
    enum backup_phase phase;
    char engine[16];
    bool crash_consistent;
    char retention[BACKUP_KEEP_MAX];
    uint32_t sequence; /* PUBLISHED */
    int code;          /* GAVE_UP */
    char why[64];
};
/* A reference point that lies in a repository. */
struct sim_point {
    char vm[VM_NAME_MAX];
    struct uuid uuid;
    bool gone; /* a worker has deleted it */
};

/* What is true of a VM, whatever the cluster believes. */
struct guest {
    char name[VM_NAME_MAX];
    unsigned starts;        /* how often it was booted */
    unsigned asked;         /* how often an admin asked for its start */
    unsigned killed;        /* how often power loss took it away */
    unsigned failing_moves; /* that many migrations of it will fail */
    unsigned dirty_ms; /* its moves end only when it may stand still for so long */
    unsigned backups, failing_backups, crashing_backups; /* begun; that many will fail, or their worker crash */
    int64_t backup_ms; /* how long one takes; 0: as usual */
    unsigned deaf; /* that many requests to power off it will not hear */
    char saved_to[VM_PATH_MAX]; /* its memory, on the shared store; "": nothing */
    bool is_save_used;          /* it went on from there: the file must never be read again */
    bool is_off_unseen;     /* it powered itself off, and the cluster does not say so yet */
    struct uuid off_in;     /* the start that was not recorded as done by then: it may be made once more; nil: none */
};

/* ---- nodes (world.c) */

struct sim_node {
    char name[NODE_NAME_MAX];
    char address[ADDRESS_MAX];
    /* The machine. */
    bool powered;
    uint32_t boot; /* counts power cycles */
    struct uuid boot_id;
    int64_t mono_base_ms, wall_skew_ms;
    char release[32];
    struct host host;
    struct sim_unit units[WORLD_TASKS_MAX];
    struct sim_backup backups[WORLD_VMS_MAX];
    unsigned power_cycles;
    /* Its disk. */
    struct disk disk;
    int64_t fsync_ms_max;
    bool has_identity;
    struct identity identity;
    struct uuid joining_token, joining_replica;
    char *corosync_conf;
    char *first_boot_token; /* joins with it until it is a member */
    struct buf copy; /* of the database, the last one */
    unsigned failing_copies;
    /* Processes. */
    bool corosync_runs, in_group;
    struct db_ring cast_ring; /* as the agent said last */
    bool casts, told_quorate;
    uint32_t told_ring; /* nodes of the ring, as its agent was told */
    struct core *core; /* NULL: the agent does not run */
    uint32_t life;     /* counts agents */
    int64_t tick_ms;
    struct guard_note note;  /* in /run */
    int64_t watchdog_ms;     /* when it ends the node; 0: it is not armed */
    unsigned bites;          /* how often it did */
    bool is_stepping, doomed, stays_down;
    int outputs_left; /* the agent is killed when it falls to 0; < 0: is not */
    int64_t frozen_ms; /* until then it takes no step, and what comes to it waits */
    struct net_inbox inbox;
    uint64_t seen_index, epoch;
    struct log_sink sink;
    struct world *world;
};

/* The BMC's knowledge of an operation. */
struct rebuild {
    char op_id[HOOK_OP_ID_MAX];
    size_t node;
    enum hook_state state;
    char *token;
    char target[32];
    bool is_cancelled; /* before it had an effect */
    /* In place: */
    bool is_in_place;
    enum { PACKAGES_CHECKED, PACKAGES_UNPACKED, PACKAGES_DONE } stage;
    uint32_t boot; /* of its unit */
};

/* ---- asking (ask.c) */

struct ask {
    uint64_t client;
    struct uuid id;
    size_t node;
    uint32_t life;
    struct json *answer; /* owned */
    bool is_dead;        /* the agent is gone: no answer will come */
};

/* ---- things to come */

struct errand {
    int64_t at_ms;
    uint64_t order;
    void (*run)(struct world *w, struct errand *j); /* the job is freed afterwards, unless it is queued again */
    bool again;
    size_t node;
    uint32_t life, boot; /* of who asked for it */
    int step;
    uint64_t number;
    struct core_action a;
    struct core_event ev;
    struct vm_outcome vm;
    struct hook_outcome hook;
    struct task_outcome task;
    struct backup_outcome backup;
    struct host_facts facts;
    struct host_vitals vitals;
    struct token_outcome token;
    struct db_witness_outcome witness;
    struct witness_asked asked;
    struct membership_outcome membership;
    struct join_request join;
    struct buf bytes;
};

/* A node that waits for another one's answer over TLS. */
struct tls_wait {
    uint64_t client;
    size_t peer;
    uint32_t peer_life;
    struct errand *job; /* the JOIN or FETCH; owned */
};

struct world_params {
    size_t n;
    uint64_t seed;
    const char *release;
    bool is_exact;
    struct net_params net;
    uint64_t log_kept, lag_snapshot;
    size_t message_max;
    bool has_witness; /* somewhere that all nodes can reach: to be set by `witness set` */
    bool has_watchdogs;
    const struct sim_options *options;
    void (*line)(void *ctx, const char *line); /* of the decision log; may be NULL */
    void *ctx;
};

struct world {
    struct world_params p;
    struct prng prng;
    int64_t now_ms;
    size_t n;
    struct sim_node nodes[WORLD_NODES_MAX];
    struct net *net;
    uint8_t side[NET_NODES_MAX]; /* of a partition */
    struct checker *check;
    struct blob *blob; /* NULL: there is no place for a witness */
    struct errand **heap;
    size_t n_heap, heap_cap;
    uint64_t order;
    uint64_t last_client, last_migration;
    struct ask *asks;
    size_t n_asks;
    struct tls_wait *tls;
    size_t n_tls;
    struct guest guests[WORLD_VMS_MAX];
    size_t n_guests;
    struct task_truth tasks[WORLD_TASKS_MAX];
    size_t n_tasks;
    uint64_t last_unit;
    struct uuid *runs; /* of backups, that were begun */
    size_t n_runs;
    struct sim_point *points;
    size_t n_points, points_seen; /* seen: in the newest state */
    struct rebuild *rebuilds;
    size_t n_rebuilds;
    char (*fenced)[HOOK_OP_ID_MAX]; /* fence commands that were carried out */
    size_t n_fenced;
    uint64_t events_seen; /* of the cluster's journal */
    bool holds_lines;     /* a core takes a step */
    struct buf held;
    uint8_t fl;           /* the highest that was committed */
    uint64_t fl_index;
    uint32_t max_unavailable; /* of the newest run */
    /* Faults. */
    unsigned failing_rebuilds[WORLD_NODES_MAX]; /* that many of this node will fail */
    unsigned failing_fences[WORLD_NODES_MAX];   /* that many fence commands for it fail, and leave it on */
    bool no_rejoin[WORLD_NODES_MAX];
    bool wrong_image[WORLD_NODES_MAX]; /* what is installed is what was there */
    int64_t rebuild_ms[WORLD_NODES_MAX]; /* how long its installation takes; 0: as usual */
    unsigned move_fails, hook_fails; /* of 1000 */
    unsigned slow_starts;            /* of 1000: the caller gives up, the domain starts all the same */
    unsigned lost_outcomes;          /* of 1000: a migration is done, and its caller is told that it failed */
};

struct world *world_new(const struct world_params *params);
void world_free(struct world *w);
/* Lets time pass up to `ms`; false: an invariant was violated. */
bool world_run(struct world *w, int64_t until_ms);
bool world_step(struct world *w, int64_t until_ms); /* the next thing that is due; false: none until then */
const char *world_fault(const struct world *w);
void world_fail(struct world *w, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void world_log(struct world *w, const char *who, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* Things to come. */
struct errand *world_later(struct world *w, int64_t delay_ms, void (*run)(struct world *w, struct errand *j));
void world_again(struct world *w, struct errand *j, int64_t delay_ms); /* the running job, once more */
void errand_free(struct errand *j);
uint64_t world_draw(struct world *w, uint64_t bound);
bool world_chance(struct world *w, unsigned of_1000);
int64_t world_delay(struct world *w, int64_t min_ms, int64_t max_ms); /* exact: min */
int64_t world_mono_ms(const struct world *w, size_t node);
int64_t world_wall_ms(const struct world *w, size_t node);

/* Nodes and what happens to them. */
size_t world_find(const struct world *w, const char *name); /* w->n: none */
size_t world_leader(const struct world *w);                 /* w->n: none */
const struct tables *world_tables(const struct world *w);   /* the leader's; NULL: none */
void world_deliver(struct world *w, size_t node, struct core_event *ev);
void world_kill(struct world *w, size_t node);           /* SIGKILL of the agent; systemd starts it again */
void world_freeze(struct world *w, size_t node, int64_t ms); /* its agent, by SIGSTOP; corosync goes on */
void world_kill_agent_for_good(struct world *w, size_t node);
void world_end_agent(struct world *w, size_t node); /* by SIGTERM, as `systemctl stop` does */
void world_start_agent(struct world *w, size_t node);
void world_forget(struct world *w, size_t node); /* as a node that is in no cluster; its agent is started anew */
/* As `ringmasterd --restore` on every member, then its agent starts. What the checker knew does not hold any more. */
int world_restore_copies(struct world *w, struct error *e);
bool world_is_frozen(const struct world *w, size_t node);
void world_serve_watchdog(struct world *w, size_t node, const struct core_action *a);
void world_power_off(struct world *w, size_t node);
void world_power_on(struct world *w, size_t node);
void world_partition(struct world *w, const uint8_t *side);
void world_heal(struct world *w);
void world_connect(struct world *w); /* corosync's configurations or processes changed */
bool world_reaches(const struct world *w, size_t a, size_t b);
struct uuid world_start_under_way(const struct world *w, const char *vm); /* its op id, as the newest state says */
bool world_stop_is_drain(const struct world *w, const char *vm);
bool world_start_is_failover(const struct world *w, const char *vm);
void world_describe(const struct world *w); /* prints */
bool world_is_settled(struct world *w, char *why, size_t size); /* one leader, one state, VMs where they belong */

/* perform.c: takes the action over. */
void world_perform(struct world *w, size_t node, struct core_action *a);
void world_answer(struct world *w, struct errand *j, enum core_event_type outcome, int64_t delay_ms);
struct errand *world_outcome(struct world *w, size_t node, uint32_t life, uint64_t id, enum core_event_type type);
void world_tls_gone(struct world *w, size_t node);
const char *world_machines(const char *release);

/* bmc.c */
void bmc_call(struct world *w, const struct hook_call *call, struct hook_outcome *ret);
size_t bmc_count(const struct world *w, size_t node); /* how often it was re-imaged */
bool bmc_is_busy(const struct world *w, size_t node);    /* re-images it now */
bool bmc_is_rebuilt(const struct world *w, size_t node); /* re-imaged, or upgraded in place */
void bmc_power_back(struct world *w, size_t node, int64_t delay_ms); /* unless it is on, or re-imaged, by then */
void bmc_first_boot(struct world *w, struct errand *j);

struct rebuild *bmc_find(struct world *w, const char *op_id);
struct rebuild *bmc_new(struct world *w, const struct hook_call *call, size_t node);
void bmc_may_begin(struct world *w, const char *op_id, size_t node); /* what holds for every way to rebuild a node */

/* in-place.c */
void in_place_call(struct world *w, const struct hook_call *call, size_t node, struct hook_outcome *ret);

/* tasks.c */
void tasks_call(struct world *w, struct errand *j); /* performs the call of the job and sees to its outcome */
void tasks_power_lost(struct world *w, size_t node);
struct task_truth *world_task(struct world *w, const char *name);  /* made when it is not there */
size_t task_host(const struct world *w, const char *name);         /* where it runs; w->n: nowhere */

/* backups.c */
void backups_call(struct world *w, struct errand *j); /* performs the call of the job and sees to its outcome */
void backups_power_lost(struct world *w, size_t node);
void backups_guest_gone(struct world *w, size_t node, const char *vm);
void backups_check_idle(struct world *w, const char *vm, const char *what); /* no worker of it runs */
void backups_check_points(struct world *w, const struct tables *t);
bool backups_are_settled(const struct world *w, const struct tables *t, char *why, size_t size);
size_t backup_host(const struct world *w, const char *vm); /* where its worker runs; w->n: nowhere */

/* host.c */
void host_call(struct world *w, struct errand *j); /* performs the VM call of the job and sees to its outcome */
void host_power_lost(struct world *w, size_t node);
struct domain *host_find(struct host *h, const char *name);
struct guest *world_guest(struct world *w, const char *name); /* made when it is not there */
size_t guest_host(const struct world *w, const char *name);   /* where it runs; w->n: nowhere */
void guest_off(struct world *w, const char *name);            /* powers itself off */
void guest_crash(struct world *w, const char *name);          /* its QEMU ends */
bool host_is_empty(const struct host *h);                     /* nothing active */

/* ask.c */
uint64_t world_ask(struct world *w, size_t node, const char *verb, struct json *args); /* takes args */
/* With the id of a request whose answer did not come: it is carried out once. */
uint64_t world_ask_again(struct world *w, size_t node, const char *verb, struct json *args, const struct uuid *id);
struct ask *world_asked(struct world *w, uint64_t client);
void world_ask_done(struct world *w, uint64_t client);
void world_asks_of_dead(struct world *w, size_t node);
int ask_code(const struct ask *a); /* -1: no answer yet; 69: the agent is gone */
/* Asks and lets time pass until the answer is here; the caller frees. NULL: none in time. */
struct json *world_ask_and_wait(struct world *w, size_t node, const char *verb, struct json *args, int64_t ms);
/* trait: "", "device" of its host, or "disk" on its node alone. */
struct json *vm_add_args(const char *name, const char *node, const char *machine, const char *trait);
/* cluster.init on the first, join-token and node.join for the others; waits until all vote. */
bool world_form(struct world *w, int64_t ms);
bool world_join(struct world *w, size_t via, size_t node, int64_t ms);
