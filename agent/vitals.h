/* SPDX-License-Identifier: GPL-2.0-or-later */
/* How the nodes are at the moment (pure): free space, corosync's links, the executor's file, the witness as it is seen
 * from there, the clock. Each node says it to all every VITALS_EVERY_MS by a message on the ring that is neither logged
 * nor answered, so that any node can tell an admin: what changes all the time has no place in a database. Who was not
 * heard for VITALS_KEPT_MS is unknown.
 *
 *   u8 version  i64 wall_ms  u8 witness
 *   u8 n_spaces  n × { str path  u64 free_mib  u64 size_mib }
 *   u8 n_links  u8 n_down  n × { u32 nodeid  u8 number }
 *   str executor  u32 executor_code  str executor_why  str executor_remedy
 *
 * A message of another version is passed over: it is of a release that says more.
 *
 * Clocks: a message that was under way for long makes its sender's clock look late by as long, and never early. So of a
 * node's last two statements the one counts that makes it look less late, and one that lay in a queue while the ring
 * formed anew accuses nobody. No clock is believed, the own one neither: each is compared with the median of all. */
#pragma once

#include "agent/port.h"

enum {
    VITALS_VERSION = 1,
    VITALS_EVERY_MS = 30 * 1000,
    VITALS_AGAIN_MS = 1000,      /* after a change of the executor: settings may change many times a second */
    VITALS_KEPT_MS = 100 * 1000, /* three in a row may be lost */
    VITALS_NODES_MAX = 100,      /* as DB_REPLICAS_MAX */
};

enum vitals_witness { VITALS_WITNESS_UNKNOWN = 0, VITALS_WITNESS_ANSWERS = 1, VITALS_WITNESS_SILENT = 2 };

struct vitals_node {
    uint32_t nodeid;
    int64_t heard_ms;               /* monotonic */
    int64_t ahead_ms, was_ahead_ms; /* its clock less this node's, by its last statement and by the one before */
    enum vitals_witness witness;
    struct host_vitals v;
};
struct vitals { /* this node's own among them: it is ahead by 0 */
    struct vitals_node nodes[VITALS_NODES_MAX];
    size_t n;
};

void vitals_encode(const struct host_vitals *v, enum vitals_witness witness, int64_t wall_ms, struct buf *b);
/* What this node says itself. */
void vitals_own(struct vitals *all, int64_t now_ms, uint32_t nodeid, const struct host_vitals *v,
                enum vitals_witness witness);
/* All of it or nothing: ERR_MALFORMED; ERR_UNKNOWN_KIND: another version. */
int vitals_take(struct vitals *all, int64_t now_ms, int64_t wall_ms, uint32_t from_nodeid, struct slice message);
/* The view, self included. What was heard of those that left counts no more. */
void vitals_group(struct vitals *all, const uint32_t *nodeids, size_t n);
/* NULL: it was not heard lately. Borrowed. */
const struct vitals_node *vitals_of(const struct vitals *all, int64_t now_ms, uint32_t nodeid);
/* How far its clock is ahead of the median of all that were heard lately; negative: behind. false: not known. */
bool vitals_clock(const struct vitals *all, int64_t now_ms, uint32_t nodeid, int64_t *ret_ahead_ms);
