/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The database's invariants, checked after every step of a node against all that any node ever said or did:
 *
 *   one leader      at most one leader a term
 *   completeness    a leader holds every entry that was committed up to its term
 *   matching        two logs that hold an entry of the same index and term are equal up to there
 *   one prefix      no two nodes ever commit different entries at an index
 *   equal state     equal applied index means equal state hash
 *   acknowledged    a proposal whose outcome was told is committed, for ever
 *   once            a request id changes the state at one index only
 *   on disk         when an entry is committed by count, a majority of the configuration has it on disk
 *   counted         what a leader commits ends with an entry of its own term; what a follower commits, it knows to be
 *                   equal to its leader's log
 *   changes         the configuration in force is that of the log; a leader has at most one change
 *                   uncommitted, after a commit of its own term
 *   said            what a vote or an acknowledgement claims is on the disk of who says it
 *   one vote        a replica votes for one candidate a term, across restarts
 *   elected         a leader has the votes of a majority of its configuration; the witness's is its tag of that term
 *   tag             the witness's sequence rises by one and its term never falls; a term has one leader
 *   members         whoever the tag names as a member has on disk all that was committed by counting the witness; so
 *                   has whoever a write that may still land names; nothing is counted before the tag is the leader's
 *
 *   verdict         who casts on a ring that still is its own, casts on the ring on which all others do; whoever casts
 *                   was told by a leader that had a majority on that ring
 *
 * The last nine judge by rule, before harm is done; sim_options.only_results leaves them out. Matching is proved by
 * induction: an entry of an index and term is always the same and always follows the same term. Requests are numbers
 * (request_uuid). */
#pragma once

#include "agent/db/internal.h"
#include "tests/sim/disk.h"
#include "tests/sim/net.h"
#include "tests/sim/sim.h"

struct blob;
struct checker;

struct checker *checker_new(const struct sim_options *options);
void checker_free(struct checker *c);

/* NULL: all is well. */
const char *checker_fault(const struct checker *c);
void checker_fail(struct checker *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* A node took a step, or goes on after a start (then nothing of its former life is expected). disks: of all nodes. */
/* The simulated witness: written when a write lands. Without checker_witness() there is none. */
void checker_witness(struct checker *c, const struct blob *blob);
void checker_tag_written(struct checker *c, const struct db_tag *old, const struct db_tag *tag);
struct checker_node {
    const struct db *db; /* NULL: down */
    const struct disk *disk;
    struct uuid replica;
    uint64_t ring; /* that its corosync is on now */
};
void checker_started(struct checker *c, size_t node);
/* Quorum was forced there: an epoch begins, with what is committed of that node's log. What else was committed may be
 * lost; within each epoch everything holds, and it is judged by itself. Before the step is checked. */
void checker_forced(struct checker *c, size_t node, const struct db *db);
/* Of a new checker: every replica was put back to that state, which is committed, and is all that there is. */
void checker_restored(struct checker *c, const struct db_image *image);
void checker_step(struct checker *c, size_t node, const struct checker_node *nodes, size_t n);
void checker_sends(struct checker *c, const struct checker_node *node, struct slice bytes);
void checker_applies(struct checker *c, uint64_t term, const struct entry *e); /* term: of the node */
void checker_acknowledged(struct checker *c, uint64_t term, const struct uuid *request_id);
/* All acknowledged proposals stand in the log up to there. */
void checker_end(struct checker *c, uint64_t applied);

/* What is committed, as nobody in the cluster can know it; of the last epoch that began for good. */
bool checker_is_said(const struct checker *c, uint64_t ring); /* by some leader: it lives */
const struct db_config *checker_config(const struct checker *c);
uint64_t checker_commit(const struct checker *c);
uint64_t checker_counted(const struct checker *c); /* entries and elections that needed the witness */

struct uuid request_uuid(uint64_t number);
uint64_t request_number(const struct uuid *id); /* 0: not one of these */
