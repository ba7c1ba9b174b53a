/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Value types that pass between the core and the adapters of agent/io: who this node is, what its host is. */
#pragma once

#include "common/buf.h"
#include "common/err.h"
#include "common/hash.h"
#include "common/uuid.h"
#include "vm/port.h"

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

/* Sealed bytes: AES-256-GCM under the cluster key (agent/io/pki.h says the format). Only adapters seal and unseal. */

/* How every corosync.conf that is ours begins. */
#define COROSYNC_CONF_HEAD "# Written by ringmasterd from the cluster's committed membership: changes are lost.\n"

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
