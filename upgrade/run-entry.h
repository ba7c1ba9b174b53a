/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Shared by the files of the run (run.c, run-apply.c, run-step.c and its parts, plan.c, check.c) and their tests alone.
 *
 * ENTRY_RUN_START    str target, str by, u8 approve_each, u32 max_unavailable, str accepted, u8 executor, u32 n,
 *                    n × (str node, str from_release, u8 skipped)
 * ENTRY_RUN_CONTROL  u8 verb, str by, str node
 * ENTRY_RUN_MOVE     uuid run, u64 seq, u8 state, str error, str remedy
 * ENTRY_STEP_MOVE    uuid run, u64 run_seq, u32 position, u64 seq, u8 state, u32 attempt, uuid replica_before,
 *                    str boot_before, u8 hook_failed, u8 left_out, canary, str detail, str remedy
 * ENTRY_STEP_REPORT  uuid run, u32 position, u32 attempt, u8 report, str output
 * canary             u8 result, str vm, str from, u8 leg, str text */
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
    struct uuid replica_before; /* to EVICTING, and from DRAINED to REBUILDING */
    char boot_before[UUID_STR_SIZE]; /* from DRAINED to REBUILDING */
    bool hook_failed;           /* to FAILED */
    bool left_out;              /* to SKIPPED */
    struct canary canary;       /* changed in CANARY alone */
    char detail[JOURNAL_TEXT_MAX], remedy[JOURNAL_TEXT_MAX];
};
void run_move_encode(const struct run_move *m, struct buf *b);
int run_move_decode(struct slice payload, struct run_move *ret);
void step_move_encode(const struct step_move *m, struct buf *b);
int step_move_decode(struct slice payload, struct step_move *ret);

/* Changes no sequence number: it is in nobody's way. */
struct step_report_entry {
    struct uuid run;
    uint32_t position, attempt;
    enum step_report report;
    char output[JOURNAL_TEXT_MAX];
};
void step_report_encode(const struct step_report_entry *r, struct buf *b);
int step_report_decode(struct slice payload, struct step_report_entry *ret);
int step_report_apply(struct tables *t, const struct entry *e, struct error *err);

int step_of_node(const struct tables *t, const struct run *r, const char *node, struct step *ret); /* under way there */
bool step_is_given_up(const struct run *r, const struct step *s); /* its node is no longer to be upgraded */
bool step_is_unwanted(const struct run *r, const struct step *s); /* its rebuild is: aborted, or rolled back */
int64_t upgrade_backoff_ms(unsigned failures); /* UPGRADE_POLL_MS for none */

/* What an executor says, on its way to the journal. */
struct report_state {
    int64_t next_ms;
};
/* The end of what a program printed, on one line. */
void report_condense(const char *printed, char ret[JOURNAL_TEXT_MAX]);
/* Proposes it, unless the row says so already, or it is too early for one more line. */
void report_propose(struct report_state *p, const struct step *s, enum step_report report, const char *output,
                    int64_t now_ms, const struct upgrade_env *env);

/* The state tables of run.h's diagram: moves that the leader may propose. */
bool run_state_may(enum run_state from, enum run_state to);
bool step_state_may(enum step_state from, enum step_state to);
bool step_state_is_final(enum step_state s); /* done, skipped */

void run_note(char notes[RUN_NOTES_MAX], const char *line); /* one more, while there is room */
void canary_encode(const struct canary *c, struct buf *b);
struct canary canary_decode(struct wire_reader *w);
bool canary_is_over(enum canary_result r); /* passed, or there is none */
void run_put(struct tables *t, const struct run *r);
void step_put(struct tables *t, const struct step *s);
void step_key(const struct uuid *run, uint32_t position, char *ret, size_t size);
enum { STEP_KEY_SIZE = UUID_STR_SIZE + 16 };

const struct upgrade_node *upgrade_view_find(const struct upgrade_view *v, const char *node);
/* Votes, and of how many, once these nodes are out. Evicted, their weight is gone from both sides; in place
 * they keep it. */
void upgrade_votes_without(const struct upgrade_view *v, const char *const *nodes, size_t n, unsigned *ret_votes,
                           unsigned *ret_total);
void upgrade_known_releases(char *dst, size_t size); /* "bookworm, trixie" */
/* The check before each node: why it may not be taken out of the cluster now; false: nothing is in the way. others:
 * nodes whose steps are under way. */
bool upgrade_step_obstacle(const struct upgrade_view *v, const char *node, const char *const *others, size_t n_others,
                           uint32_t max_unavailable, struct error *ret);
/* As upgrade_check; own_run: the run that asks, which is not in its own way. NULL: none. */
int upgrade_check_for(const struct tables *t, const struct upgrade_view *v, const char *target,
                      const struct uuid *own_run, struct json **ret_findings);
/* The first finding with that result; returns its check's name (borrowed), or NULL. */
const char *upgrade_finding_first(const struct json *findings, const char *result, struct error *ret);
