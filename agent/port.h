/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Value types that pass between the core and the adapters of agent/io: who this node is, what its host is. */
#pragma once

#include "common/buf.h"
#include "common/err.h"
#include "common/hash.h"
#include "common/uuid.h"
#include "vm/port.h"
#include "witness/port.h"

/* Who this node is in its cluster; /var/lib/ringmaster/identity.json. Written last when a cluster is formed or joined:
 * where it exists, everything else does. */
struct identity {
    struct uuid cluster;
    char cluster_name[64];
    struct uuid replica; /* this disk's replica of the database: lost with the disk, never reused */
    uint32_t nodeid;     /* corosync nodeid of the slot */
    char node[NODE_NAME_MAX];
    char address[ADDRESS_MAX]; /* of the ring, of the TLS server and of migrations */
    uint16_t port;             /* TLS server */
    bool founder; /* it formed the cluster; without the cluster's first entry in its database it did not get that far */
};

enum { MACHINE_TYPES_MAX = 8192 };

/* What the agent found on its host. Text fields are as the source gives them. */
struct host_facts {
    char hostname[NODE_NAME_MAX];
    char address[ADDRESS_MAX]; /* numeric: configured, or what the host name resolves to */
    uint16_t port;
    char boot_id[UUID_STR_SIZE]; /* /proc/sys/kernel/random/boot_id; in a container: of its PID 1's start */
    char release[32];        /* os-release VERSION_CODENAME */
    char os[96];             /* os-release PRETTY_NAME */
    char kernel[64];
    char corosync[32];
    uint32_t qemu_version;    /* major × 1,000,000 + minor × 1,000 + micro, as libvirt counts; 0: unknown */
    uint32_t libvirt_version; /* the same */
    char agent_version[32];
    uint64_t memory_kib;
    uint32_t cpus;
    char *machines; /* canonical machine types of this QEMU, space separated, sorted; owned; may be NULL */
};
void host_facts_done(struct host_facts *f);

/* How the host is at the moment: told to all by a message of its own (agent/vitals.h), and in no database. */
enum {
    HOST_SPACES_MAX = 4,
    HOST_SPACE_PATH_MAX = 64,
    HOST_LINKS_MAX = 8, /* of corosync, to each node */
    HOST_LINKS_DOWN_MAX = 16,
    HOST_EXECUTOR_MAX = 256,
    HOST_WHY_MAX = 256,
};
struct host_space { /* of a file system: what is free for root's daemons, beyond the reserve */
    char path[HOST_SPACE_PATH_MAX]; /* what was looked at; of several on one file system the first */
    uint64_t free_mib, size_mib;
};
struct host_link { /* one of corosync's to another node, which is down */
    uint32_t nodeid;
    uint8_t number;
};
struct host_vitals {
    struct host_space spaces[HOST_SPACES_MAX];
    uint8_t n_spaces;
    uint8_t n_links; /* to each node; 0: corosync did not say */
    struct host_link down[HOST_LINKS_DOWN_MAX];
    uint8_t n_down; /* links that are down, the first HOST_LINKS_DOWN_MAX of them */
    char executor[HOST_EXECUTOR_MAX]; /* the one that was looked at; "": none */
    int32_t executor_code; /* 0: this node could run it; else why not */
    char executor_why[HOST_WHY_MAX], executor_remedy[HOST_WHY_MAX];
};

/* What an agent that is started again must know of the one before it, in the same boot (agent/guard.h). */
struct guard_note {
    bool on;     /* this node has promised to stop its VMs when it is cut off */
    bool fenced; /* its VMs were destroyed, and nobody was told of it yet */
    int64_t contact_ms; /* monotonic */
    int64_t gap_ms, lease_ms, watchdog_ms;
};

/* One call of ACT_WATCHDOG: the note is kept first, then the watchdog is served. */
enum watchdog_verb { WATCHDOG_LEAVE = 0, WATCHDOG_PET = 1, WATCHDOG_DISARM = 2 };
struct watchdog_call {
    enum watchdog_verb verb;
    struct guard_note note;
};

/* Sealed bytes: AES-256-GCM under the cluster key (agent/io/pki.h says the format). Only adapters seal and unseal. */

/* How every corosync.conf that is ours begins. */
#define COROSYNC_CONF_HEAD "# Written by ringmasterd from the cluster's committed membership: changes are lost.\n"

/* The quorum device's vote alone decides: quorum is 101 of 200, whatever nodes there are (agent/corosync-conf.c). */
#define COROSYNC_EXPECTED_VOTES 200
#define COROSYNC_DEVICE_VOTES 100
#define DIGITS_(number) #number
#define DIGITS(macro) DIGITS_(macro) /* the number as a text */

/* Outcome of forming a cluster (ACT_FOUND) or joining one (ACT_JOIN). */
struct membership_outcome {
    struct error error;
    struct identity identity;
    struct buf sealed_ca_key; /* FOUND: to be kept as TABLE_SECRET "ca.key"; owned */
    char *corosync_conf;      /* JOIN: as handed over; owned */
    struct hash ca_hash;      /* SHA-256 of the CA certificate (DER) */
};

/* A fresh join token (ACT_TOKEN). */
struct token_outcome {
    struct error error;
    struct uuid id;
    struct hash secret_hash;  /* SHA-256 of the secret's bytes: what the database keeps in clear */
    char *text;               /* the token file's text: a secret; owned, wiped by agent/exec.c when the event is over */
    struct buf sealed_text;   /* the same, sealed under the cluster key; owned */
};

/* Outcome of asking a witness (ACT_WITNESS_ASK). */
struct witness_asked {
    struct witness_result result;
    struct buf sealed; /* the credentials that came in clear, sealed; owned */
    enum witness_auth auth; /* what they are */
    uint8_t n_keys;
};

/* A join request as the TLS server parsed it (JSON on the wire). */
struct join_request {
    struct uuid token;
    struct hash secret_hash; /* SHA-256 of the secret that was presented */
    struct uuid replica;
    char node[NODE_NAME_MAX]; /* the slot's name in the token */
    char address[ADDRESS_MAX];
    struct host_facts facts;
    char *csr; /* PEM; owned */
};
void join_request_done(struct join_request *r);
