/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What an executor says of a rebuild, as the row of its step and the journal have it: each thing once, whoever calls
 * the executor, and however often. A line of the journal names the operation. Bounded: while an executor runs, a line
 * every UPGRADE_REPORT_MS and UPGRADE_REPORTS_MAX of an attempt; how it ended is always told. */
#include <stdio.h>

#include "upgrade/run-entry.h"

enum { CONDENSED_MAX = 160 }; /* beside node and operation in a line of the journal */

static bool is_final(enum step_report r)
{
    return r == REPORT_DONE || r == REPORT_FAILED || r == REPORT_CANCELLED;
}

void step_report_encode(const struct step_report_entry *r, struct buf *b)
{
    wire_put_uuid(b, &r->run);
    wire_put_u32(b, r->position);
    wire_put_u32(b, r->attempt);
    wire_put_u8(b, (uint8_t)r->report);
    wire_put_str(b, r->output);
}

int step_report_decode(struct slice payload, struct step_report_entry *ret)
{
    struct wire_reader w = wire_reader(payload);
    struct step_report_entry r = {.run = wire_get_uuid(&w), .position = wire_get_u32(&w)};
    r.attempt = wire_get_u32(&w);
    r.report = (enum step_report)wire_get_u8(&w);
    WIRE_GET_STR(&w, r.output);
    if (wire_end(&w) || r.report == REPORT_NONE || r.report > REPORT_CANCELLED)
        return ERR_MALFORMED;
    *ret = r;
    return 0;
}

void report_condense(const char *printed, char ret[JOURNAL_TEXT_MAX])
{
    size_t end = strlen(printed), n = 0;
    while (end > 0 && (unsigned char)printed[end - 1] <= ' ')
        end--;
    size_t at = end > CONDENSED_MAX ? end - CONDENSED_MAX : 0;
    const char *line = at > 0 ? memchr(printed + at, '\n', end - at) : NULL;
    if (line)
        at = (size_t)(line - printed) + 1;
    while (at > 0 && at < end && ((unsigned char)printed[at] & 0xc0) == 0x80) /* not from inside a UTF-8 sequence */
        at++;
    for (; at < end; at++)
        ret[n++] = (char)(printed[at] == '\n' ? '|' : (unsigned char)printed[at] < ' ' ? ' ' : printed[at]);
    ret[n] = '\0';
}

void report_propose(struct report_state *p, const struct step *s, enum step_report report, const char *output,
                    int64_t now_ms, const struct upgrade_env *env)
{
    struct step_report_entry r = {.run = s->run, .position = s->position, .attempt = s->attempt, .report = report};
    struct buf b = {0};
    char key[UUID_STR_SIZE + 32];
    bool is_same = s->report == report && str_eq(s->output, output);
    bool is_more = s->report == report && !is_final(report);
    if (is_same || is_final(s->report))
        return;
    if (is_more && (now_ms < p->next_ms || s->n_reports >= UPGRADE_REPORTS_MAX))
        return;
    p->next_ms = now_ms + UPGRADE_REPORT_MS;
    STR_COPY(r.output, output);
    step_report_encode(&r, &b);
    snprintf(key, sizeof(key), "upgrade-report-%s-%u", uuid_str(&s->run).s, s->position);
    env->propose(env->ctx, ENTRY_STEP_REPORT, &b, key);
}

static void note(struct tables *t, const struct step *s, int64_t time_ms)
{
    char op[HOOK_OP_ID_MAX];
    step_op_id(s, op);
    journal_event(t, time_ms, s->report == REPORT_FAILED ? EVENT_WARNING : EVENT_INFO, s->node, "%s: rebuild %s%s: %s",
                  s->node, op,
                  s->report == REPORT_FAILED      ? " failed"
                  : s->report == REPORT_CANCELLED ? " was cancelled"
                                                  : "",
                  s->output);
}

int step_report_apply(struct tables *t, const struct entry *e, struct error *err)
{
    struct step_report_entry r;
    struct run run;
    struct step s;
    if (step_report_decode(e->payload, &r) < 0)
        return error_set(err, ERR_MALFORMED, "malformed entry of an executor's report");
    if (run_current(t, &run) < 0 || !uuid_eq(&run.id, &r.run) || step_get(t, &run.id, r.position, &s) < 0)
        return error_set(err, ERR_AGAIN, "no such step of an upgrade: not reported");
    if (s.state != STEP_REBUILDING || s.attempt != r.attempt || is_final(s.report))
        return error_set(err, ERR_AGAIN, "%s is %s in attempt %u: not reported", s.node, step_state_name(s.state),
                         s.attempt);
    if (s.report == r.report && (str_eq(s.output, r.output) || s.n_reports >= UPGRADE_REPORTS_MAX))
        return 0;
    bool is_news = r.output[0] && !str_eq(s.output, r.output);
    s.report = r.report;
    s.n_reports++;
    STR_COPY(s.output, r.output);
    step_put(t, &s);
    if (is_news || is_final(s.report))
        note(t, &s, e->time_ms);
    return 0;
}
