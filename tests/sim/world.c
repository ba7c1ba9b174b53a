/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/sim/world.h"

#include <assert.h>
#include <stdarg.h>

#include "agent/cluster.h"
#include "common/journal.h"
#include "upgrade/level.h"
#include "upgrade/run-entry.h"
#include "vm/vm.h"

enum {
    TICK_MS = 50,
    BOOT_MS = 8000,      /* from power to the agent's start */
    RESTART_MS = 1000,   /* systemd's RestartSec */
    GROUP_JOIN_MS = 200, /* corosync runs -> the agent is in the group */
};
static const int64_t WALL_BASE_MS = 1764000000000; /* 2025-11-24T16:00:00Z */

/* ---- chance and time ------------------------------------------------------------------------------------------- */

uint64_t world_draw(struct world *w, uint64_t bound)
{
    return prng_below(&w->prng, bound);
}

bool world_chance(struct world *w, unsigned of_1000)
{
    return of_1000 > 0 && world_draw(w, 1000) < of_1000;
}

int64_t world_delay(struct world *w, int64_t min_ms, int64_t max_ms)
{
    if (w->p.is_exact || max_ms <= min_ms)
        return min_ms;
    return min_ms + (int64_t)world_draw(w, (uint64_t)(max_ms - min_ms + 1));
}

int64_t world_mono_ms(const struct world *w, size_t node)
{
    return w->now_ms - w->nodes[node].mono_base_ms;
}

int64_t world_wall_ms(const struct world *w, size_t node)
{
    return WALL_BASE_MS + w->now_ms + w->nodes[node].wall_skew_ms;
}

/* ---- log and faults -------------------------------------------------------------------------------------------- */

const char *world_fault(const struct world *w)
{
    return checker_fault(w->check);
}

void world_fail(struct world *w, const char *fmt, ...)
{
    char text[256];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    checker_fail(w->check, "%s", text);
}

static void put_line(struct world *w, const char *who, const char *text)
{
    char line[WORLD_LINE_MAX + 64];
    if (w->p.line == NULL)
        return;
    if (w->p.is_exact)
        snprintf(line, sizeof(line), "%4lds %-3s %s", (long)(w->now_ms / 1000), who, text);
    else
        snprintf(line, sizeof(line), "%8.3f %-3s %s", (double)w->now_ms / 1000.0, who, text);
    if (w->holds_lines)
        buf_printf(&w->held, "%s\n", line);
    else
        w->p.line(w->p.ctx, line);
}

/* What a node decides in a step comes after what the step applied. */
static void release_lines(struct world *w)
{
    w->holds_lines = false;
    AUTO(freep) char *text = buf_steal_str(&w->held);
    char *at = NULL;
    for (char *p = strtok_r(text, "\n", &at); p != NULL; p = strtok_r(NULL, "\n", &at))
        w->p.line(w->p.ctx, p);
}

void world_log(struct world *w, const char *who, const char *fmt, ...)
{
    char text[WORLD_LINE_MAX];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    put_line(w, who, text);
}

static void write_log(void *ctx, enum log_level level, const char *line)
{
    static const char *const marks[] = {[LOG_ERROR_] = "ERROR ", [LOG_WARN_] = "warn  ", [LOG_NOTICE_] = "",
                                        [LOG_INFO_] = "(info) ", [LOG_DEBUG_] = "(debug) "};
    struct sim_node *node = ctx;
    char text[WORLD_LINE_MAX];
    snprintf(text, sizeof(text), "%s%s", marks[level], line);
    put_line(node->world, node->name, text);
}

/* ---- things to come: a heap by time, then by order ------------------------------------------------------------- */

static bool is_before(const struct errand *a, const struct errand *b)
{
    return a->at_ms != b->at_ms ? a->at_ms < b->at_ms : a->order < b->order;
}

static void push(struct world *w, struct errand *j, int64_t at_ms)
{
    if (w->n_heap == w->heap_cap) {
        w->heap_cap = w->heap_cap == 0 ? 64 : 2 * w->heap_cap;
        w->heap = xrealloc(w->heap, w->heap_cap, sizeof(*w->heap));
    }
    j->at_ms = at_ms;
    j->order = ++w->order;
    size_t i = w->n_heap++;
    for (; i > 0 && is_before(j, w->heap[(i - 1) / 2]); i = (i - 1) / 2)
        w->heap[i] = w->heap[(i - 1) / 2];
    w->heap[i] = j;
}

static struct errand *pop(struct world *w)
{
    struct errand *top = w->heap[0], *last = w->heap[--w->n_heap];
    size_t i = 0;
    for (size_t child; (child = 2 * i + 1) < w->n_heap; i = child) {
        if (child + 1 < w->n_heap && is_before(w->heap[child + 1], w->heap[child]))
            child++;
        if (!is_before(w->heap[child], last))
            break;
        w->heap[i] = w->heap[child];
    }
    if (w->n_heap > 0)
        w->heap[i] = last;
    return top;
}

struct errand *world_later(struct world *w, int64_t delay_ms, void (*run)(struct world *w, struct errand *j))
{
    struct errand *j = xcalloc(1, sizeof(*j));
    j->run = run;
    push(w, j, w->now_ms + delay_ms);
    return j;
}

void world_again(struct world *w, struct errand *j, int64_t delay_ms)
{
    j->again = true;
    push(w, j, w->now_ms + delay_ms);
}

void errand_free(struct errand *j)
{
    core_action_done(&j->a);
    vm_outcome_done(&j->vm);
    backup_outcome_done(&j->backup);
    host_facts_done(&j->facts);
    free(j->token.text);
    buf_done(&j->token.sealed_text);
    buf_done(&j->membership.sealed_ca_key);
    free(j->membership.corosync_conf);
    join_request_done(&j->join);
    buf_done(&j->bytes);
    free(j);
}

static void run_errand(struct world *w, struct errand *j)
{
    j->again = false;
    j->run(w, j);
    if (!j->again)
        errand_free(j);
}

/* ---- what must hold after every step --------------------------------------------------------------------------- */

static void show_events(struct world *w, const struct tables *t)
{
    TABLES_FOREACH (t, TABLE_EVENT, row) {
        struct cluster_event e;
        if (cluster_event_decode(row.value, &e) || e.seq <= w->events_seen)
            continue;
        w->events_seen = e.seq;
        world_log(w, "*", "%s%s", e.severity == EVENT_ERROR     ? "ERROR "
                                  : e.severity == EVENT_WARNING ? "warn  "
                                                                : "",
                  e.text);
    }
}

/* "The level rises only when every member has a copy of the same index on its disk." */
static void check_copies(struct world *w, const struct level_state *l)
{
    for (size_t i = 0; i < l->n; i++) {
        size_t node = world_find(w, l->members[i].node);
        struct wire_reader r = wire_reader(buf_slice(&w->nodes[node].copy));
        wire_get_u16(&r); /* its head is that of a snapshot (agent/db/snapshot.c) */
        wire_get_uuid(&r);
        uint64_t index = wire_get_u64(&r);
        if (wire_err(&r) || index != l->copy_index)
            world_fail(w, "level %u: %s has a database copy of %lu, not of %lu", l->fl, l->members[i].node,
                       (unsigned long)index, (unsigned long)l->copy_index);
    }
}

/* The level of a prefix of the log is known only with that prefix: a node that lags may say less. */
static void check_level(struct world *w, const struct db *db)
{
    struct level_state l;
    if (level_get(db_tables(db), &l))
        return;
    if (l.fl < w->fl && db_applied_index(db) >= w->fl_index)
        world_fail(w, "the functional level fell from %u to %u", w->fl, l.fl);
    if (l.fl > w->fl) {
        if (w->fl > 0)
            check_copies(w, &l);
        w->fl = l.fl;
        w->fl_index = db_applied_index(db);
    }
}

/* "Entries are written in the format of the committed functional level." */
static void check_formats(struct world *w, const struct db *db, uint64_t seen)
{
    struct level_state l;
    if (level_get(db_tables(db), &l))
        return;
    for (uint64_t i = seen + 1; i <= db_applied_index(db); i++) {
        const struct entry *e = db_entry_at(db, i);
        if (e != NULL && e->level > l.fl)
            world_fail(w, "format: entry %lu is of level %u, the functional level is %u", (unsigned long)i, e->level,
                       l.fl);
    }
}

/* An upgrade takes out as many nodes at a time as it may. */
static void check_steps(struct world *w, const struct tables *t)
{
    struct run r;
    if (run_newest(t, &r))
        return;
    uint32_t n = steps_under_way(t, &r, NULL);
    w->max_unavailable = r.max_unavailable;
    if (n > r.max_unavailable)
        world_fail(w, "upgrade: %u steps are under way at once", n);
}

static bool newest_row(const struct world *w, const char *vm, struct vm *ret)
{
    const struct db *newest = NULL;
    for (size_t i = 0; i < w->n; i++) {
        const struct db *db = w->nodes[i].core != NULL ? core_db(w->nodes[i].core) : NULL;
        if (db != NULL && (newest == NULL || db_applied_index(db) > db_applied_index(newest)))
            newest = db;
    }
    return newest != NULL && vm_get(db_tables(newest), vm, ret) == 0;
}

/* The newest state says so: a replica that catches up passes through old ones, in which a guest was off as well. */
static void see_guests_off(struct world *w)
{
    struct vm v;
    for (size_t i = 0; i < w->n_guests; i++)
        if (w->guests[i].is_off_unseen && newest_row(w, w->guests[i].name, &v) && v.state == VM_STOPPED &&
            v.op == VM_OP_NONE && !v.wanted)
            w->guests[i].is_off_unseen = false;
}

/* It forced quorum in this step: the entry of that is the last one in its log, and not yet anywhere else. */
static void note_epoch(struct world *w, size_t node, const struct db *db)
{
    struct sim_node *s = &w->nodes[node];
    const struct entry *last = db_entry_at(db, db_last_index(db));
    bool is_new = db_epoch_of(db_term(db)) > s->epoch;
    s->epoch = db_epoch_of(db_term(db));
    if (is_new && last != NULL && last->kind == ENTRY_FORCE && last->term == db_term(db) &&
        db_commit_index(db) < last->index)
        checker_forced(w->check, node, db);
}

static void check_node(struct world *w, size_t node)
{
    struct checker_node nodes[WORLD_NODES_MAX];
    const struct db *db = core_db(w->nodes[node].core);
    if (db == NULL)
        return;
    for (size_t i = 0; i < w->n; i++) {
        const struct sim_node *s = &w->nodes[i];
        nodes[i] = (struct checker_node){.db = s->core != NULL ? core_db(s->core) : NULL, .disk = &s->disk,
                                         .ring = s->in_group ? net_ring(w->net, i) : 0};
        if (s->has_identity)
            nodes[i].replica = s->identity.replica;
    }
    note_epoch(w, node, db);
    checker_step(w->check, node, nodes, w->n);
    if (db_applied_index(db) == w->nodes[node].seen_index)
        return;
    check_formats(w, db, w->nodes[node].seen_index);
    check_steps(w, db_tables(db));
    backups_check_points(w, db_tables(db));
    w->nodes[node].seen_index = db_applied_index(db);
    check_level(w, db);
    see_guests_off(w);
    struct table_row last;
    if (w->p.line != NULL && tables_last(db_tables(db), TABLE_EVENT, &last)) {
        w->holds_lines = false;
        show_events(w, db_tables(db));
    }
}

/* ---- agents ---------------------------------------------------------------------------------------------------- */

static void drain(struct world *w, size_t node)
{
    struct sim_node *s = &w->nodes[node];
    struct core_action a;
    while (!s->doomed && core_take_action(s->core, &a)) {
        if (s->outputs_left > 0 && --s->outputs_left == 0)
            s->doomed = true;
        world_perform(w, node, &a);
        core_action_done(&a);
    }
}

static void end_agent(struct world *w, size_t node)
{
    struct sim_node *s = &w->nodes[node];
    if (s->core == NULL)
        return;
    core_free(s->core);
    s->core = NULL;
    s->doomed = false;
    s->frozen_ms = 0;
    net_inbox_done(&s->inbox);
    s->outputs_left = -1;
    /* A write that was handed to the kernel stays; one that was not is gone. */
    disk_crash(&s->disk, w->p.is_exact ? s->disk.n : (size_t)world_draw(w, s->disk.n + 1));
    world_connect(w);
    world_asks_of_dead(w, node);
    world_tls_gone(w, node);
}

/* corosync is quorate where its device casts, on the ring that is. */
static bool is_corosync_quorate(const struct world *w, size_t node)
{
    const struct sim_node *s = &w->nodes[node];
    return s->in_group && s->casts && s->cast_ring.seq == net_ring(w->net, node);
}

static void tell_quorum(struct world *w, size_t node)
{
    struct sim_node *s = &w->nodes[node];
    bool quorate = is_corosync_quorate(w, node);
    uint32_t ring = 0;
    for (size_t i = 0; i < w->n; i++)
        ring += w->nodes[i].corosync_runs && w->side[i] == w->side[node];
    if (s->core == NULL || (quorate == s->told_quorate && ring == s->told_ring))
        return;
    s->told_quorate = quorate;
    s->told_ring = ring;
    world_deliver(w, node, &(struct core_event){.type = EV_QUORUM, .quorate = quorate, .n_votes = ring});
}

void world_deliver(struct world *w, size_t node, struct core_event *ev)
{
    struct sim_node *s = &w->nodes[node];
    if (s->core == NULL || (ev->type == EV_VM_CHANGED && world_is_frozen(w, node)))
        return;
    assert(!s->is_stepping);
    s->is_stepping = true;
    ev->now_ms = world_mono_ms(w, node);
    ev->wall_ms = world_wall_ms(w, node);
    w->holds_lines = w->p.line != NULL;
    core_step(s->core, ev);
    check_node(w, node);
    release_lines(w);
    drain(w, node);
    s->is_stepping = false;
    if (s->doomed)
        world_kill(w, node);
    else
        tell_quorum(w, node);
}

static void restart_agent(struct world *w, struct errand *j)
{
    const struct sim_node *s = &w->nodes[j->node];
    if (s->powered && s->boot == j->boot && s->core == NULL && !s->stays_down)
        world_start_agent(w, j->node);
}

static void start_later(struct world *w, size_t node, int64_t delay_ms)
{
    struct errand *j = world_later(w, delay_ms, restart_agent);
    j->node = node;
    j->boot = w->nodes[node].boot;
}

void world_kill(struct world *w, size_t node)
{
    struct sim_node *s = &w->nodes[node];
    if (s->is_stepping) {
        s->doomed = true;
        return;
    }
    if (s->core == NULL)
        return;
    end_agent(w, node);
    start_later(w, node, RESTART_MS);
}

void world_kill_agent_for_good(struct world *w, size_t node)
{
    w->nodes[node].stays_down = true;
    world_kill(w, node);
}

void world_end_agent(struct world *w, size_t node)
{
    w->nodes[node].stays_down = true;
    world_deliver(w, node, &(struct core_event){.type = EV_STOP});
}

static int restore_copy(struct sim_node *s, struct error *e)
{
    struct db_batch *batch;
    struct db_image image = disk_load(&s->disk);
    if (s->core)
        return error_set(e, ERR_CONDITION, "the agent of %s runs", s->name);
    int err = core_restore(&image, &s->identity, buf_slice(&s->copy), &batch, e);
    db_image_done(&image);
    if (err)
        return err;
    uint64_t seq;
    batch->seq = s->disk.last_seq + 1;
    disk_write(&s->disk, batch, 0);
    (void)disk_complete(&s->disk, 0, &seq);
    disk_crash(&s->disk, 0); /* the next process counts from 1 */
    return 0;
}

int world_restore_copies(struct world *w, struct error *e)
{
    int err = 0;
    for (size_t i = 0; i < w->n && !err; i++)
        if (w->nodes[i].has_identity)
            err = restore_copy(&w->nodes[i], e);
    if (err)
        return err;
    checker_free(w->check);
    w->check = checker_new(w->p.options);
    if (w->blob) {
        blob_tells(w->blob, w->check);
        checker_witness(w->check, w->blob);
    }
    checker_restored(w->check, &w->nodes[0].disk.image);
    w->fl = 0;
    for (size_t i = 0; i < w->n; i++)
        if (w->nodes[i].has_identity)
            world_start_agent(w, i);
    return 0;
}

void world_start_agent(struct world *w, size_t node)
{
    struct sim_node *s = &w->nodes[node];
    struct db_image image = {0};
    struct core_params p = {.seed = prng_next(&w->prng), .message_max = w->p.message_max, .log = &s->sink,
                            .version = "0.1.0", .now_ms = world_mono_ms(w, node), .wall_ms = world_wall_ms(w, node),
                            .log_kept = w->p.log_kept, .lag_snapshot = w->p.lag_snapshot,
                            .has_watchdog = w->p.has_watchdogs, .note = s->note};
    assert(s->powered && s->core == NULL);
    s->stays_down = false;
    s->life++;
    s->outputs_left = -1;
    s->seen_index = 0;
    s->tick_ms = w->now_ms + world_delay(w, TICK_MS, 2 * TICK_MS);
    if (s->has_identity) {
        image = disk_load(&s->disk);
        p.identity = &s->identity;
        p.image = &image;
    }
    checker_started(w->check, node);
    s->core = core_new(&p);
    s->told_quorate = false;
    s->told_ring = 0;
    check_node(w, node);
    s->is_stepping = true;
    drain(w, node);
    s->is_stepping = false;
    world_connect(w);
    if (s->first_boot_token != NULL && !s->has_identity) {
        struct errand *j = world_later(w, 2000, bmc_first_boot);
        j->node = node;
        j->life = s->life;
    }
}

void world_forget(struct world *w, size_t node)
{
    struct sim_node *s = &w->nodes[node];
    bool runs = s->core != NULL;
    if (runs)
        world_kill_agent_for_good(w, node);
    disk_done(&s->disk);
    disk_init(&s->disk);
    s->has_identity = false;
    s->joining_token = (struct uuid){{0}};
    free(s->corosync_conf);
    s->corosync_conf = NULL;
    free(s->first_boot_token);
    s->first_boot_token = NULL;
    if (runs)
        world_start_agent(w, node);
}

/* ---- power ----------------------------------------------------------------------------------------------------- */

void world_power_off(struct world *w, size_t node)
{
    struct sim_node *s = &w->nodes[node];
    if (!s->powered)
        return;
    s->powered = false;
    s->power_cycles++;
    s->corosync_runs = false;
    s->note = (struct guard_note){0};
    s->watchdog_ms = 0;
    end_agent(w, node);
    host_power_lost(w, node);
    tasks_power_lost(w, node);
    backups_power_lost(w, node);
    world_connect(w);
}

static struct uuid boot_uuid(size_t node, uint32_t boot)
{
    struct uuid id = {{0xb0, 0x07}};
    id.b[6] = 0x40;
    id.b[8] = 0x80;
    id.b[13] = (uint8_t)(node + 1);
    id.b[14] = (uint8_t)(boot >> 8);
    id.b[15] = (uint8_t)boot;
    return id;
}

void world_power_on(struct world *w, size_t node)
{
    struct sim_node *s = &w->nodes[node];
    if (s->powered)
        return;
    s->powered = true;
    s->stays_down = false;
    s->boot++;
    s->boot_id = boot_uuid(node, s->boot);
    s->mono_base_ms = w->now_ms - 3000;
    start_later(w, node, world_delay(w, BOOT_MS, 3 * BOOT_MS));
}

/* ---- the agent stands still, the watchdog bites ---------------------------------------------------------------- */

bool world_is_frozen(const struct world *w, size_t node)
{
    return w->nodes[node].frozen_ms > w->now_ms;
}

void world_serve_watchdog(struct world *w, size_t node, const struct core_action *a)
{
    struct sim_node *s = &w->nodes[node];
    s->note = a->watchdog.note;
    if (a->watchdog.verb == WATCHDOG_PET)
        s->watchdog_ms = w->now_ms + s->note.watchdog_ms;
    else if (a->watchdog.verb == WATCHDOG_DISARM)
        s->watchdog_ms = 0;
    world_outcome(w, node, s->life, a->id, EV_WATCHDOG);
}

static void bite(struct world *w, size_t node)
{
    world_log(w, "!", "the watchdog resets %s", w->nodes[node].name);
    w->nodes[node].bites++;
    world_power_off(w, node);
    world_power_on(w, node);
}

static bool step_watchdogs(struct world *w)
{
    for (size_t i = 0; i < w->n; i++)
        if (w->nodes[i].watchdog_ms != 0 && w->nodes[i].watchdog_ms <= w->now_ms) {
            bite(w, i);
            return true;
        }
    return false;
}

/* ---- network --------------------------------------------------------------------------------------------------- */

static bool lists(const struct sim_node *s, const struct sim_node *other)
{
    char line[32];
    snprintf(line, sizeof(line), "nodeid: %u\n", other->identity.nodeid);
    return s->corosync_conf != NULL && strstr(s->corosync_conf, line) != NULL;
}

/* A ring forms among nodes that list each other; true: not with all that are in it already. */
static bool is_outside(const struct world *w, size_t node, const bool *in_ring)
{
    const struct sim_node *s = &w->nodes[node];
    for (size_t i = 0; i < w->n; i++)
        if (in_ring[i] && w->side[i] == w->side[node] && (!lists(&w->nodes[i], s) || !lists(s, &w->nodes[i])))
            return true;
    return false;
}

static void join_group(struct world *w, struct errand *j)
{
    struct sim_node *s = &w->nodes[j->node];
    if (s->life != j->life || s->core == NULL || !s->corosync_runs || !s->has_identity || s->in_group)
        return;
    s->in_group = true;
    net_up(w->net, w->now_ms, j->node);
}

static void connect_node(struct world *w, size_t node)
{
    struct sim_node *s = &w->nodes[node];
    bool can = s->powered && s->corosync_runs && s->core != NULL && s->has_identity;
    if (s->in_group && !can) {
        s->in_group = false;
        net_down(w->net, w->now_ms, node);
        if (s->core != NULL && !s->is_stepping) {
            world_deliver(w, node, &(struct core_event){.type = EV_RING});
            world_deliver(w, node, &(struct core_event){.type = EV_GROUP});
        }
    } else if (can && !s->in_group) {
        struct errand *j = world_later(w, GROUP_JOIN_MS, join_group);
        j->node = node;
        j->life = s->life;
    }
}

void world_connect(struct world *w)
{
    uint8_t side[NET_NODES_MAX];
    bool in_ring[WORLD_NODES_MAX] = {false};
    memcpy(side, w->side, sizeof(side));
    for (size_t i = 0; i < w->n; i++) {
        connect_node(w, i);
        if (!w->nodes[i].corosync_runs || is_outside(w, i, in_ring))
            side[i] = (uint8_t)(100 + i);
        else
            in_ring[i] = true;
    }
    net_partition(w->net, w->now_ms, side);
}

void world_partition(struct world *w, const uint8_t *side)
{
    memcpy(w->side, side, w->n);
    world_connect(w);
}

void world_heal(struct world *w)
{
    memset(w->side, 0, sizeof(w->side));
    world_connect(w);
}

bool world_reaches(const struct world *w, size_t a, size_t b)
{
    return w->nodes[a].powered && w->nodes[b].powered && w->side[a] == w->side[b];
}

static void take_view(struct world *w, const struct net_event *e)
{
    uint32_t ids[NET_NODES_MAX];
    for (size_t i = 0; i < e->n; i++)
        ids[i] = w->nodes[e->members[i]].identity.nodeid;
    world_deliver(w, e->to, &(struct core_event){.type = EV_GROUP, .group = ids, .n_group = e->n});
}

static void take_net(struct world *w, struct net_event *e)
{
    struct sim_node *s = &w->nodes[e->to];
    if (s->core != NULL && world_is_frozen(w, e->to)) {
        net_inbox_put(&s->inbox, e);
        return;
    }
    if (e->type == NET_VIEW)
        take_view(w, e);
    else if (e->type == NET_RING)
        world_deliver(w, e->to, &(struct core_event){.type = EV_RING, .ring = {1, e->ring}});
    else
        world_deliver(w, e->to, &(struct core_event){.type = EV_MESSAGE,
                                                     .from_nodeid = w->nodes[e->from].identity.nodeid,
                                                     .bytes = buf_slice(&e->bytes)});
    net_event_done(e);
}

void world_freeze(struct world *w, size_t node, int64_t ms)
{
    struct sim_node *s = &w->nodes[node];
    if (s->core != NULL && s->frozen_ms == 0)
        s->frozen_ms = w->now_ms + ms;
}

/* What came meanwhile comes now, in its order; an agent that dies of it takes the rest along. */
static void thaw(struct world *w, size_t node)
{
    struct sim_node *s = &w->nodes[node];
    world_deliver(w, node, &(struct core_event){.type = EV_TICK});
    for (struct net_event e; net_inbox_take(&s->inbox, &e);)
        take_net(w, &e);
}

static bool step_frozen(struct world *w)
{
    for (size_t i = 0; i < w->n; i++) {
        struct sim_node *s = &w->nodes[i];
        if (s->frozen_ms == 0 || s->frozen_ms > w->now_ms)
            continue;
        s->frozen_ms = 0;
        world_log(w, "!", "%s goes on", s->name);
        thaw(w, i);
        return true;
    }
    return false;
}

static bool step_blob(struct world *w)
{
    struct blob_event e;
    if (w->blob == NULL || !blob_next(w->blob, w->now_ms, &e))
        return false;
    struct errand *j = world_outcome(w, e.node, e.life, e.outcome.id, EV_WITNESS);
    j->witness = e.outcome;
    return true;
}

/* ---- time passes ----------------------------------------------------------------------------------------------- */

static int64_t earliest(const struct world *w)
{
    int64_t at = net_next_ms(w->net), blob = w->blob != NULL ? blob_next_ms(w->blob) : INT64_MAX;
    at = blob < at ? blob : at;
    if (w->n_heap > 0 && w->heap[0]->at_ms < at)
        at = w->heap[0]->at_ms;
    for (size_t i = 0; i < w->n; i++) {
        const struct sim_node *s = &w->nodes[i];
        int64_t disk = disk_next_ms(&s->disk);
        if (s->watchdog_ms != 0 && s->watchdog_ms < at)
            at = s->watchdog_ms;
        if (s->frozen_ms > 0) {
            at = s->frozen_ms < at ? s->frozen_ms : at;
            continue;
        }
        if (disk < at)
            at = disk;
        if (s->core != NULL && s->tick_ms < at)
            at = s->tick_ms;
    }
    return at;
}

static bool step_disks(struct world *w)
{
    for (size_t i = 0; i < w->n; i++) {
        struct sim_node *s = &w->nodes[i];
        struct core_event ev = {.type = EV_PERSISTED};
        if (world_is_frozen(w, i) || !disk_complete(&s->disk, w->now_ms, &ev.seq))
            continue;
        world_deliver(w, i, &ev);
        return true;
    }
    return false;
}

static void step_ticks(struct world *w)
{
    for (size_t i = 0; i < w->n; i++) {
        struct sim_node *s = &w->nodes[i];
        if (s->core == NULL || s->tick_ms > w->now_ms || world_is_frozen(w, i))
            continue;
        s->tick_ms = w->now_ms + TICK_MS;
        world_deliver(w, i, &(struct core_event){.type = EV_TICK});
    }
}

bool world_step(struct world *w, int64_t until_ms)
{
    struct net_event e;
    int64_t at = earliest(w);
    if (at > until_ms) {
        w->now_ms = until_ms;
        return false;
    }
    w->now_ms = at > w->now_ms ? at : w->now_ms;
    if (step_frozen(w) || step_blob(w) || step_watchdogs(w))
        return true;
    if (w->n_heap > 0 && w->heap[0]->at_ms <= w->now_ms)
        run_errand(w, pop(w));
    else if (net_next(w->net, w->now_ms, &e))
        take_net(w, &e);
    else if (!step_disks(w))
        step_ticks(w);
    return true;
}

bool world_run(struct world *w, int64_t until_ms)
{
    while (world_fault(w) == NULL && world_step(w, until_ms))
        ;
    return world_fault(w) == NULL;
}

/* ---- looking at it --------------------------------------------------------------------------------------------- */

size_t world_find(const struct world *w, const char *name)
{
    for (size_t i = 0; i < w->n; i++)
        if (str_eq(w->nodes[i].name, name))
            return i;
    return w->n;
}

size_t world_leader(const struct world *w)
{
    size_t best = w->n;
    for (size_t i = 0; i < w->n; i++) {
        const struct db *db = w->nodes[i].core != NULL ? core_db(w->nodes[i].core) : NULL;
        if (db != NULL && db_is_leader(db) &&
            (best == w->n || db_term(db) > db_term(core_db(w->nodes[best].core))))
            best = i;
    }
    return best;
}

const struct tables *world_tables(const struct world *w)
{
    size_t i = world_leader(w);
    return i < w->n ? db_tables(core_db(w->nodes[i].core)) : NULL;
}

static bool vms_are_right(const struct world *w, const struct tables *t, char *why, size_t size)
{
    struct vm v;
    for (bool more = vm_next(t, NULL, &v); more; more = vm_next(t, v.name, &v)) {
        size_t at = guest_host(w, v.name);
        const char *host = at < w->n ? w->nodes[at].name : "";
        bool is_owed = v.owed != VM_OWED_NOTHING && v.wanted;
        if (v.op == VM_OP_NONE && !is_owed && str_eq(host, v.state == VM_RUNNING ? v.node : ""))
            continue;
        snprintf(why, size, "VM %s is %s on %s, and runs on %s", v.name, vm_state_name(&v), v.node,
                 host[0] ? host : "no host");
        return false;
    }
    return true;
}

bool world_is_settled(struct world *w, char *why, size_t size)
{
    size_t leader = world_leader(w);
    snprintf(why, size, "there is no leader");
    if (leader == w->n)
        return false;
    const struct db *lead = core_db(w->nodes[leader].core);
    struct hash state = tables_hash(db_tables(lead));
    struct node row = {0};
    bool same = true;
    while (node_next(db_tables(lead), &row)) {
        size_t i = world_find(w, row.name);
        const struct db *db = w->nodes[i].core != NULL ? core_db(w->nodes[i].core) : NULL;
        struct hash h = db != NULL ? tables_hash(db_tables(db)) : (struct hash){{0}};
        bool ok = db != NULL && db_applied_index(db) == db_applied_index(lead) && hash_eq(&h, &state) &&
                  (i == leader || !db_is_leader(db)) && db_is_quorate(db, world_mono_ms(w, i)) &&
                  is_corosync_quorate(w, i);
        if (!ok && same)
            snprintf(why, size, "%s has not the leader's state", row.name);
        same = same && ok;
    }
    return same && vms_are_right(w, db_tables(lead), why, size) && backups_are_settled(w, db_tables(lead), why, size);
}

struct uuid world_start_under_way(const struct world *w, const char *vm)
{
    struct vm v;
    return newest_row(w, vm, &v) && v.op == VM_OP_START ? v.op_id : (struct uuid){{0}};
}

bool world_stop_is_drain(const struct world *w, const char *vm)
{
    struct vm v;
    return newest_row(w, vm, &v) && v.op == VM_OP_STOP && v.reason == VM_REASON_DRAIN;
}

bool world_start_is_failover(const struct world *w, const char *vm)
{
    struct vm v;
    bool is_start = newest_row(w, vm, &v) && v.op == VM_OP_START;
    return is_start && (v.reason == VM_REASON_FAILOVER || v.reason == VM_REASON_RECOVERY);
}

void world_describe(const struct world *w)
{
    for (size_t i = 0; i < w->n; i++) {
        const struct sim_node *s = &w->nodes[i];
        const struct db *db = s->core != NULL ? core_db(s->core) : NULL;
        printf("  %s: %s, %s, %s%s%s", s->name, s->release, s->powered ? "on" : "off",
               s->core != NULL ? "agent runs" : "no agent", s->corosync_runs ? ", corosync" : "",
               s->in_group ? ", in group" : "");
        if (db != NULL)
            printf(", term %lu, log to %lu, applied %lu%s", (unsigned long)db_term(db),
                   (unsigned long)db_last_index(db), (unsigned long)db_applied_index(db),
                   db_is_leader(db) ? ", leads" : "");
        for (size_t k = 0; k < s->host.n; k++)
            printf(", %s%s", s->host.domains[k].name, s->host.domains[k].state == VM_DOMAIN_RUNNING ? "" : " off");
        printf("\n");
    }
}

/* ---- making and ending it -------------------------------------------------------------------------------------- */

static void make_node(struct world *w, size_t i)
{
    struct sim_node *s = &w->nodes[i];
    snprintf(s->name, sizeof(s->name), "n%zu", i + 1);
    snprintf(s->address, sizeof(s->address), "10.0.0.%zu", i + 1);
    STR_COPY(s->release, w->p.release);
    s->world = w;
    s->sink = (struct log_sink){.write = write_log, .ctx = s, .max = LOG_NOTICE_};
    if (w->p.line == NULL)
        s->sink.max = LOG_ERROR_ - 1;
    s->fsync_ms_max = w->p.is_exact ? 2 : 8;
    s->wall_skew_ms = w->p.is_exact ? 0 : (int64_t)world_draw(w, 4000) - 2000;
    s->outputs_left = -1;
    disk_init(&s->disk);
    s->powered = true;
    s->boot = 1;
    s->boot_id = boot_uuid(i, 1);
    s->mono_base_ms = w->p.is_exact ? -10000 : -(int64_t)world_draw(w, 1000000) - 1000;
}

struct world *world_new(const struct world_params *params)
{
    struct world *w = xcalloc(1, sizeof(*w));
    w->p = *params;
    if (w->p.message_max == 0)
        w->p.message_max = 1 << 20; /* the agent's */
    w->n = params->n;
    assert(w->n <= WORLD_NODES_MAX);
    w->prng = prng_new(params->seed);
    w->net = net_new(w->n, prng_next(&w->prng), params->net);
    w->check = checker_new(params->options);
    if (params->has_witness) {
        w->blob = blob_new(params->seed ^ 0xb10b, (struct blob_params){.delay_ms_max = params->is_exact ? 1 : 40},
                           w->check);
        checker_witness(w->check, w->blob);
    }
    for (size_t i = 0; i < w->n; i++)
        make_node(w, i);
    for (size_t i = 0; i < w->n; i++)
        world_start_agent(w, i);
    return w;
}

static void free_node(struct sim_node *s)
{
    net_inbox_done(&s->inbox);
    core_free(s->core);
    disk_done(&s->disk);
    free(s->corosync_conf);
    free(s->first_boot_token);
    buf_done(&s->copy);
}

void world_free(struct world *w)
{
    for (size_t i = 0; i < w->n; i++)
        free_node(&w->nodes[i]);
    for (size_t i = 0; i < w->n_heap; i++)
        errand_free(w->heap[i]);
    for (size_t i = 0; i < w->n_tls; i++)
        errand_free(w->tls[i].job);
    for (size_t i = 0; i < w->n_asks; i++)
        json_free(w->asks[i].answer);
    for (size_t i = 0; i < w->n_rebuilds; i++)
        free(w->rebuilds[i].token);
    net_free(w->net);
    blob_free(w->blob);
    checker_free(w->check);
    buf_done(&w->held);
    free(w->heap);
    free(w->tls);
    free(w->asks);
    free(w->rebuilds);
    free(w->fenced);
    free(w->runs);
    free(w->points);
    free(w);
}
