/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Shared by the files of the run (run.c, run-apply.c, run-step.c, check.c) and their tests; nobody else includes it.
 *
 * ENTRY_RUN_START    str target, str by, u32 n, n × (str node, str from_release, u8 skipped)
 * ENTRY_RUN_CONTROL  u8 verb, str by
 * ENTRY_RUN_MOVE     uuid run, u64 seq, u8 state, str error, str remedy
 * ENTRY_STEP_MOVE    uuid run, u64 run_seq, u32 position, u64 seq, u8 state, u32 attempt, uuid replica_before,
 *                    u8 hook_failed, str detail, str remedy */
#pragma once

#include "upgrade/run.h"

struct run_move {
    struct uuid run;
    uint64_t seq; /* the row's, as the leader saw it */
    enum run_state state;
    char error[JOURNAL_TEXT_MAX], remedy[JOURNAL_TEXT_MAX]; /* to PAUSED_ERROR */
};
struct step_move {
    struct uuid run;
    uint64_t run_seq; /* of the run's row: a move from before a pause or an abort is stale */
    uint32_t position;
    uint64_t seq;
    enum step_state state;
    uint32_t attempt;           /* REBUILDING -> REBUILDING: one more; else as it is */
    struct uuid replica_before; /* to EVICTING */
    bool hook_failed;           /* to FAILED */
    char detail[JOURNAL_TEXT_MAX], remedy[JOURNAL_TEXT_MAX];
};
void run_move_encode(const struct run_move *m, struct buf *b);
int run_move_decode(struct slice payload, struct run_move *ret);
void step_move_encode(const struct step_move *m, struct buf *b);
int step_move_decode(struct slice payload, struct step_move *ret);

/* The state tables of run.h's diagram: moves that the leader may propose. */
bool run_state_may(enum run_state from, enum run_state to);
bool step_state_may(enum step_state from, enum step_state to);
bool step_state_is_final(enum step_state s); /* done, skipped */

void run_put(struct tables *t, const struct run *r);
void step_put(struct tables *t, const struct step *s);
void step_key(const struct uuid *run, uint32_t position, char *ret, size_t size);
enum { STEP_KEY_SIZE = UUID_STR_SIZE + 16 };

const struct upgrade_node *upgrade_view_find(const struct upgrade_view *v, const char *node);
/* The check before each node: why it may not be taken out of the cluster now; false: nothing is in the way. */
bool upgrade_step_obstacle(const struct upgrade_view *v, const char *node, struct error *ret);
/* As upgrade_check; own_run: the run that asks, which is not in its own way. NULL: none. */
int upgrade_check_for(const struct tables *t, const struct upgrade_view *v, const char *target,
                      const struct uuid *own_run, struct json **ret_findings);
/* The first finding with that result; returns its check's name (borrowed), or NULL. */
const char *upgrade_finding_first(const struct json *findings, const char *result, struct error *ret);
