/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Whole agents under faults. A seed draws a cluster of 3 or 4 nodes with VMs, and an operator who upgrades it from
 * bookworm to trixie and raises the level, in virtual time. In three of four seeds faults happen meanwhile:
 *   an agent is killed (in the middle of its outputs too; the leader's more often), a host loses power, the network
 *   falls apart or loses messages, disks are slow, a hypervisor hangs, migrations fail, hooks fail, rebuilds fail;
 *   in a third of the seeds also: there is a fence command, which fails now and then;
 *   in a quarter of the seeds the nodes are upgraded in place, in all others a BMC re-images them;
 *   in half of the seeds the VMs have drain policies, one of them may be bound to its host, QEMUs crash, guests write
 *   faster than they are copied or do not hear that they shall power off, and one node fails again and again;
 *   in a quarter of the seeds also: all nodes but one are lost, and an admin forces quorum on that one;
 *   in half of the seeds also: two sites lose one another, agents are frozen and go on, clocks jump by up to an hour,
 *   and, in most of these, there is a witness, which some nodes do not reach and which does not say what became of a
 *   write
 *   in half of the seeds there are two cluster tasks, one of them native to its level, due every minute or two, and
 *   the operator runs them by hand now and then;
 *   in half of the seeds there is a repository of backups, two VMs are backed up by schedule, and all of them by hand,
 *   workers fail and crash;
 * and the operator also migrates, stops and starts VMs, pauses and resumes; in a third of the seeds he approves each
 * node, in a third two nodes may be out at once, in a third he rolls the upgrade back once and begins anew. When the
 * faults stop everything must come to its end within END_MS: the run is done, the level raised, one leader, one state,
 * every VM where its row says. */
#include "tests/sim/world.h"

#include <stdarg.h>

#include "agent/cluster.h"
#include "backup/job.h"
#include "task/task.h"
#include "upgrade/level.h"
#include "upgrade/run.h"
#include "vm/vm.h"

enum {
    VMS = 4,
    FORM_MS = 300000,
    BEGIN_MS = 120000,
    END_MS = 90 * 60000,
    SETTLE_MS = 60000,
    TASKS_END_MS = 6 * 60000,
    ASK_MS = 30000,
    OPERATOR_MS = 2000,
};

struct play {
    struct world *w;
    const struct sim_options *options;
    bool is_faulty;
    int64_t faults_end_ms, fault_ms, mend_ms, operator_ms, asked_ms;
    uint64_t ask; /* under way; 0: none */
    char verb[32]; /* of it */
    struct json *args;
    uint32_t retries;
    struct prng extra; /* faults of sites, frozen agents, the witness and clocks */
    int64_t extra_ms;  /* the next one; INT64_MAX: never */
    struct prng fence;
    bool has_fence; /* command */
    bool in_place;  /* upgraded by its own package manager, a quarter of the seeds */
    struct prng force;
    int64_t force_ms; /* what comes next of forcing; INT64_MAX: never */
    enum { FORCE_NONE, FORCE_ALONE, FORCE_ASKED } forcing;
    size_t survivor;
    uint64_t force_ask;
    unsigned n_forced;
    struct prng tasks;
    bool has_tasks;
    struct prng backups;
    bool has_backups;
    struct prng vms;
    bool has_policies;
    int64_t vm_ms;         /* the next thing that happens to a VM; INT64_MAX: never */
    unsigned crashes[VMS]; /* short of a crash loop */
    size_t bad_node;       /* fails again and again; w->n: none */
    struct prng run; /* how he upgrades */
    bool approves, rolls_back, rolled_back;
    uint32_t max_unavailable;
};

static void show(void *ctx, const char *line)
{
    (void)ctx;
    printf("%s\n", line);
}

/* ---- faults ---------------------------------------------------------------------------------------------------- */

static void fault_kill(struct play *p, size_t node)
{
    struct sim_node *s = &p->w->nodes[node];
    if (s->core == NULL)
        return;
    s->outputs_left = 1 + (int)world_draw(p->w, 12);
    world_log(p->w, "!", "kill the agent of %s after %d more actions", s->name, s->outputs_left);
}

static void fault_power(struct play *p, size_t node)
{
    struct world *w = p->w;
    if (!w->nodes[node].powered || bmc_is_busy(w, node))
        return;
    world_log(w, "!", "%s loses power", w->nodes[node].name);
    world_power_off(w, node);
    bmc_power_back(w, node, 3000 + (int64_t)world_draw(w, 30000));
}

static void fault_partition(struct play *p)
{
    uint8_t side[WORLD_NODES_MAX];
    char text[WORLD_NODES_MAX + 1] = "";
    for (size_t i = 0; i < p->w->n; i++) {
        side[i] = (uint8_t)world_draw(p->w, 2);
        text[i] = (char)('A' + side[i]);
    }
    world_log(p->w, "!", "partition %s", text);
    world_partition(p->w, side);
}

/* Two rooms that lose one another: what a witness is for. */
static void fault_sites(struct play *p)
{
    uint8_t side[WORLD_NODES_MAX];
    for (size_t i = 0; i < p->w->n; i++)
        side[i] = 2 * i >= p->w->n;
    world_log(p->w, "!", "the sites lose one another");
    world_partition(p->w, side);
}

/* The agent, or the node as a whole: then nobody hears it either. */
static void freeze(struct play *p, size_t node, int64_t ms, bool is_cut)
{
    struct world *w = p->w;
    uint8_t side[WORLD_NODES_MAX] = {0};
    if (w->nodes[node].core != NULL)
        world_log(w, "!", "%s %s stands still for %ld ms", is_cut ? "node" : "the agent of", w->nodes[node].name,
                  (long)ms);
    world_freeze(w, node, ms);
    side[node] = 1;
    if (is_cut)
        world_partition(w, side);
}

static void extra_freeze(struct play *p, size_t node)
{
    freeze(p, node, 500 + (int64_t)prng_below(&p->extra, 12000), false);
}

static void fault_witness(struct play *p)
{
    struct blob_params bad = {.delay_ms_max = 400, .late_ms_max = 8000, .unknown = 500, .refused = 50};
    if (p->w->blob == NULL)
        return;
    if (prng_below(&p->extra, 2) == 0)
        blob_set_params(p->w->blob, bad);
    for (size_t i = 0; i < p->w->n; i++)
        blob_reach(p->w->blob, i, prng_below(&p->extra, 3) != 0);
    world_log(p->w, "!", "the witness is hard to reach");
}

static void mend_witness(struct play *p)
{
    if (p->w->blob == NULL)
        return;
    blob_set_params(p->w->blob, (struct blob_params){.delay_ms_max = 40});
    for (size_t i = 0; i < p->w->n; i++)
        blob_reach(p->w->blob, i, true);
}

/* Drawn apart from the others, so that these play in every seed as they do without it. */
static void extra_fault(struct play *p)
{
    size_t node = (size_t)prng_below(&p->extra, p->w->n), leader = world_leader(p->w);
    switch (prng_below(&p->extra, 6)) {
    case 0:
    case 1: fault_sites(p); break;
    case 2: extra_freeze(p, node); break;
    case 3: extra_freeze(p, leader < p->w->n ? leader : node); break;
    case 4: fault_witness(p); break;
    default: p->w->nodes[node].wall_skew_ms += (int64_t)prng_below(&p->extra, 7200000) - 3600000; break;
    }
}

static void set_loss(struct play *p, unsigned of_1000)
{
    struct net_params net = p->w->p.net;
    net.loss = of_1000;
    net_set_params(p->w->net, net);
}

static void mend(struct play *p)
{
    struct world *w = p->w;
    world_log(w, "!", "network, disks, moves and hooks are mended");
    world_heal(w);
    mend_witness(p);
    set_loss(p, 0);
    w->move_fails = w->hook_fails = w->lost_outcomes = w->slow_starts = 0;
    for (size_t i = 0; i < w->n; i++)
        w->nodes[i].fsync_ms_max = 8;
}

static void hang(struct play *p, size_t node)
{
    int64_t ms = 2000 + (int64_t)world_draw(p->w, 40000);
    world_log(p->w, "!", "the hypervisor of %s hangs for %ld ms", p->w->nodes[node].name, (long)ms);
    p->w->nodes[node].host.hung_until_ms = p->w->now_ms + ms;
}

/* For longer than a lease, too: where there are watchdogs. */
static void fault_freeze(struct play *p, size_t node)
{
    int64_t ms = 200 + (int64_t)world_draw(p->w, world_chance(p->w, 700) ? 5000 : 30000);
    freeze(p, node, ms, world_chance(p->w, 500));
}

static void fault_guest_off(struct play *p)
{
    const struct guest *g = &p->w->guests[world_draw(p->w, p->w->n_guests)];
    world_log(p->w, "!", "the guest of %s powers itself off", g->name);
    guest_off(p->w, g->name);
}

static void fault(struct play *p)
{
    struct world *w = p->w;
    size_t node = (size_t)world_draw(w, w->n), leader = world_leader(w);
    switch (world_draw(w, w->p.has_watchdogs ? 20 : 16)) {
    case 0:
    case 1: fault_kill(p, node); break;
    case 16:
    case 17: fault_freeze(p, leader < w->n && world_chance(w, 300) ? leader : node); break;
    case 18:
    case 19: fault_partition(p); break;
    case 2:
    case 3: fault_kill(p, leader < w->n ? leader : node); break;
    case 4:
    case 5: fault_power(p, node); break;
    case 6: fault_partition(p); break;
    case 7: set_loss(p, 1 + (unsigned)world_draw(w, 60)); break;
    case 8: w->nodes[node].fsync_ms_max = 50 + (int64_t)world_draw(w, 800); break;
    case 9: hang(p, node); break;
    case 10:
        w->move_fails = (unsigned)world_draw(w, 600);
        w->hook_fails = (unsigned)world_draw(w, 500);
        w->lost_outcomes = (unsigned)world_draw(w, 400);
        break;
    case 11: w->failing_rebuilds[node] = (unsigned)world_draw(w, 3); break;
    case 12: fault_guest_off(p); break;
    case 15: w->slow_starts = 100 + (unsigned)world_draw(w, 900); break;
    case 13: w->nodes[node].wall_skew_ms += (int64_t)world_draw(w, 600000) - 300000; break;
    case 14:
        for (size_t i = 0; i < w->n; i++)
            fault_power(p, i);
        break;
    default: break;
    }
}

/* ---- VMs with policies ------------------------------------------------------------------------------------------ */

static const char *const policies[] = {"fail", "shutdown-restart", "save", "skip-node"};

/* Without the host it can be neither moved nor saved. */
static const char *draw_policy(struct play *p, bool is_bound)
{
    return policies[is_bound ? 1 + 2 * prng_below(&p->vms, 2) : prng_below(&p->vms, 4)];
}

static void vm_fault(struct play *p)
{
    size_t i = (size_t)prng_below(&p->vms, VMS);
    struct guest *g = &p->w->guests[i];
    switch (prng_below(&p->vms, 5)) {
    case 0:
        if (p->crashes[i]++ < 3)
            guest_crash(p->w, g->name);
        break;
    case 1:
        g->dirty_ms = 1000 + (unsigned)prng_below(&p->vms, 8000);
        world_log(p->w, "!", "%s may stand still for %u ms, or does not move", g->name, g->dirty_ms);
        break;
    case 2: g->dirty_ms = 0; break;
    case 3: g->deaf = (unsigned)prng_below(&p->vms, 3); break;
    default:
        if (p->bad_node < p->w->n)
            fault_power(p, p->bad_node);
    }
}

static void mend_vms(struct play *p)
{
    for (size_t i = 0; i < p->w->n_guests; i++)
        p->w->guests[i].dirty_ms = p->w->guests[i].deaf = 0;
}

/* ---- forcing quorum --------------------------------------------------------------------------------------------- */

/* One of the others would come up as the whole cluster, and could not know better: all the rest was lost before it. */
static bool is_one_enough(const struct play *p, const struct db *db)
{
    const struct db_config *config = db_configuration(db);
    for (size_t i = 0; i < config->n; i++)
        if (config->replicas[i].nodeid != p->w->nodes[p->survivor].identity.nodeid &&
            db_config_is_quorum(config, config->replicas[i].weight))
            return true;
    return false;
}

/* Any node that has all that is committed: what another one alone has would be given up. */
static bool find_survivor(struct play *p)
{
    struct world *w = p->w;
    p->survivor = (size_t)prng_below(&p->force, w->n);
    const struct sim_node *s = &w->nodes[p->survivor];
    const struct db *db = s->core != NULL ? core_db(s->core) : NULL;
    bool may = db != NULL && !world_is_frozen(w, p->survivor) && db_commit_index(db) == checker_commit(w->check) &&
               !is_one_enough(p, db);
    for (size_t i = 0; i < w->n; i++)
        may = may && w->nodes[i].has_identity && !bmc_is_rebuilt(w, i); /* it would reboot as the others come up */
    return may;
}

static void lose_all_others(struct play *p)
{
    struct world *w = p->w;
    p->force_ms = w->now_ms + 500;
    if (!find_survivor(p))
        return;
    world_log(w, "!", "all nodes but %s lose power", w->nodes[p->survivor].name);
    mend(p);
    for (size_t i = 0; i < w->n; i++)
        if (i != p->survivor) {
            world_power_off(w, i);
            bmc_power_back(w, i, 20000 + (int64_t)prng_below(&p->force, 40000));
        }
    p->forcing = FORCE_ALONE;
    p->force_ms = w->now_ms + 1000 + (int64_t)prng_below(&p->force, 8000);
}

static bool others_are_off(const struct play *p)
{
    for (size_t i = 0; i < p->w->n; i++)
        if (i != p->survivor && p->w->nodes[i].powered)
            return false;
    return true;
}

/* He has looked at them: who forces while others may run has two clusters. */
static void force(struct play *p)
{
    struct world *w = p->w;
    p->force_ms = w->now_ms + 500;
    if (!others_are_off(p)) {
        p->forcing = FORCE_ASKED;
        return;
    }
    if (w->nodes[p->survivor].core == NULL)
        return;
    if (prng_below(&p->force, 3) == 0)
        world_ask(w, p->survivor, "quorum.prevent", NULL);
    world_log(w, ">", "quorum.force at %s", w->nodes[p->survivor].name);
    p->force_ask = world_ask(w, p->survivor, "quorum.force", NULL);
    p->forcing = FORCE_ASKED;
}

/* All are back, and of one epoch. */
static bool is_forced_through(const struct play *p)
{
    uint64_t epoch = UINT64_MAX;
    for (size_t i = 0; i < p->w->n; i++) {
        const struct sim_node *s = &p->w->nodes[i];
        const struct db *db = s->core != NULL ? core_db(s->core) : NULL;
        if (db == NULL || !s->in_group || (epoch != UINT64_MAX && db_epoch_of(db_term(db)) != epoch))
            return false;
        epoch = db_epoch_of(db_term(db));
    }
    return true;
}

static void end_forcing(struct play *p)
{
    struct ask *k = p->force_ask != 0 ? world_asked(p->w, p->force_ask) : NULL;
    p->force_ms = p->w->now_ms + 500;
    if (!is_forced_through(p))
        return;
    p->n_forced += k != NULL && ask_code(k) == 0;
    if (k != NULL)
        world_ask_done(p->w, p->force_ask);
    p->force_ask = 0;
    p->forcing = FORCE_NONE;
    p->force_ms = p->w->now_ms + 30000 + (int64_t)prng_below(&p->force, 200000);
}

/* True: nothing else happens meanwhile. */
static bool let_force(struct play *p)
{
    static void (*const steps[])(struct play *p) = {
        [FORCE_NONE] = lose_all_others, [FORCE_ALONE] = force, [FORCE_ASKED] = end_forcing};
    if (p->w->now_ms >= p->force_ms)
        steps[p->forcing](p);
    return p->forcing != FORCE_NONE;
}

/* ---- when what happens ------------------------------------------------------------------------------------------ */

static void faults_end(struct play *p)
{
    struct world *w = p->w;
    p->is_faulty = false;
    mend(p);
    mend_vms(p);
    world_log(w, "!", "the faults are over");
    for (size_t i = 0; i < w->n; i++) {
        w->nodes[i].outputs_left = -1;
        w->nodes[i].wall_skew_ms = 0; /* an hour off, a join token is good for nothing, or a deadline not yet over */
        w->failing_rebuilds[i] = w->failing_fences[i] = 0;
        if (!bmc_is_busy(w, i) && (w->nodes[i].has_identity || w->nodes[i].first_boot_token != NULL))
            world_power_on(w, i);
    }
}

static void let_fault(struct play *p)
{
    struct world *w = p->w;
    if (!p->is_faulty || let_force(p))
        return;
    if (w->now_ms >= p->faults_end_ms) {
        faults_end(p);
        return;
    }
    if (w->now_ms >= p->mend_ms) {
        mend(p);
        p->mend_ms = w->now_ms + 20000 + (int64_t)world_draw(w, 40000);
    }
    if (w->now_ms >= p->fault_ms) {
        fault(p);
        if (p->has_fence)
            w->failing_fences[prng_below(&p->fence, w->n)] = (unsigned)prng_below(&p->fence, 4);
        p->fault_ms = w->now_ms + 1000 + (int64_t)world_draw(w, 20000);
    }
    if (w->now_ms >= p->vm_ms) {
        vm_fault(p);
        p->vm_ms = w->now_ms + 1000 + (int64_t)prng_below(&p->vms, 20000);
    }
    if (w->now_ms >= p->extra_ms) {
        extra_fault(p);
        p->extra_ms = w->now_ms + 2000 + (int64_t)prng_below(&p->extra, 40000);
    }
}

/* ---- the operator ---------------------------------------------------------------------------------------------- */

static void ask(struct play *p, const char *verb, struct json *args)
{
    struct world *w = p->w;
    size_t node = (size_t)world_draw(w, w->n);
    if (w->nodes[node].core == NULL || world_is_frozen(w, node)) {
        json_free(args);
        return;
    }
    STR_COPY(p->verb, verb);
    json_free(p->args);
    p->args = args != NULL ? json_copy(args) : NULL;
    world_log(w, ">", "%s %s at %s", verb, json_get_str(args, "name", ""), w->nodes[node].name);
    p->ask = world_ask(w, node, verb, args);
    p->asked_ms = w->now_ms;
}

/* As clusterctl does when the agent it asked went away, or was left without a leader: the same request elsewhere. */
static bool ask_again(struct play *p, int code, const struct uuid *id)
{
    struct world *w = p->w;
    size_t node = (size_t)world_draw(w, w->n);
    bool unknown = code < 0 || code == -ERR_NO_AGENT || code == -ERR_TIMEOUT || code == -ERR_NO_QUORUM;
    if (!unknown || w->nodes[node].core == NULL || world_is_frozen(w, node) || world_chance(w, 500))
        return false;
    world_log(w, ">", "%s %s at %s, once more", p->verb, json_get_str(p->args, "name", ""), w->nodes[node].name);
    p->ask = world_ask_again(w, node, p->verb, p->args != NULL ? json_copy(p->args) : NULL, id);
    p->asked_ms = w->now_ms;
    return true;
}

/* True: an answer is still awaited. */
static bool is_waiting(struct play *p)
{
    struct ask *k = p->ask != 0 ? world_asked(p->w, p->ask) : NULL;
    if (k == NULL)
        return false;
    int code = ask_code(k);
    if (code < 0 && p->w->now_ms - p->asked_ms < ASK_MS)
        return true;
    if (code != 0)
        world_log(p->w, "<", "%d %s", code, json_str(json_path(k->answer, "status.message"), ""));
    struct uuid id = k->id;
    world_ask_done(p->w, p->ask);
    p->ask = 0;
    return ask_again(p, code, &id);
}

static struct json *args_of(const char *key, const char *value)
{
    struct json *args = json_object_new();
    json_set_str(args, key, value);
    return args;
}

static const char *any_vm(struct play *p)
{
    return p->w->guests[world_draw(p->w, p->w->n_guests)].name;
}

static struct json *start_args(struct play *p)
{
    struct json *args = args_of("name", any_vm(p));
    if (world_chance(p->w, 500))
        json_set_str(args, "node", p->w->nodes[world_draw(p->w, p->w->n)].name);
    return args;
}

/* Whichever move is under way, the run's own too: what was moving stays where it is, or has arrived. */
static void cancel_a_move(struct play *p)
{
    const struct tables *t = world_tables(p->w);
    struct vm v;
    for (bool more = vm_next(t, NULL, &v); more; more = vm_next(t, v.name, &v))
        if (v.op == VM_OP_MIGRATE && world_chance(p->w, 500)) {
            ask(p, "job.cancel", args_of("id", uuid_str(&v.op_id).s));
            return;
        }
}

static void meddle(struct play *p, const struct run *r)
{
    struct world *w = p->w;
    switch (world_draw(w, 16)) {
    case 0: ask(p, "vm.migrate", args_of("name", any_vm(p))); break;
    case 1:
        if (world_chance(w, 300)) {
            struct json *args = args_of("name", any_vm(p));
            json_set_bool(args, "hard", world_chance(w, 500));
            ask(p, "vm.stop", args);
        }
        break;
    case 2: ask(p, "vm.start", start_args(p)); break;
    case 5:
    case 6:
    case 7: cancel_a_move(p); break;
    case 4: ask(p, "node.drain", args_of("name", w->nodes[world_draw(w, w->n)].name)); break;
    case 3:
        if (r->state == RUN_RUNNING && world_chance(w, 300))
            ask(p, "upgrade.pause", NULL);
        break;
    default: break;
    }
}

static struct json *resume_args(const char *node)
{
    struct json *args = args_of("name", node);
    json_set_bool(args, "failback", true);
    return args;
}

/* Maintenance that the operator began, or that a step which was given up left behind: not the run's own node. */
static bool is_left_over(const struct tables *t, const struct run *r, const struct node *n)
{
    bool in_run = !run_state_is_final(r->state) && step_is_on(t, n->name);
    return !in_run && (n->state == NODE_PAUSED || n->state == NODE_DRAINING);
}

/* What stands in the run's way, and its remedy names: not a node that is being upgraded meanwhile. */
static bool is_quarantined(const struct play *p, const struct run *r, const struct node *n)
{
    return r->state == RUN_PAUSED_ERROR && n->quarantined_ms > world_wall_ms(p->w, 0) &&
           !step_is_on(world_tables(p->w), n->name);
}

static bool resume_left_over(struct play *p, const struct run *r)
{
    const struct tables *t = world_tables(p->w);
    struct node n = {0};
    while (node_next(t, &n))
        if ((is_left_over(t, r, &n) || is_quarantined(p, r, &n)) && (!p->is_faulty || world_chance(p->w, 200))) {
            ask(p, "node.resume", resume_args(n.name));
            node_done(&n);
            return true;
        }
    return false;
}

static bool may_roll_back(const struct run *r)
{
    return r->state == RUN_RUNNING || r->state == RUN_PAUSED || r->state == RUN_PAUSED_ERROR ||
           r->state == RUN_AWAITING_RAISE;
}

/* He approves, or turns back; false: neither. */
static bool decide(struct play *p, const struct run *r)
{
    const struct tables *t = world_tables(p->w);
    struct step s;
    if (p->rolls_back && may_roll_back(r) && prng_below(&p->run, 40) == 0) {
        p->rolls_back = false;
        p->rolled_back = true;
        ask(p, "upgrade.rollback", NULL);
        return true;
    }
    if (!r->approve_each || step_first_open(t, r, &s) != 0 || s.state != STEP_AWAITING_APPROVAL)
        return false;
    if (prng_below(&p->run, 3) == 0)
        ask(p, "upgrade.approve", NULL);
    return true;
}

static void start(struct play *p)
{
    struct json *args = args_of("target", "trixie");
    json_set_bool(args, "accept_warnings", true);
    if (p->approves)
        json_set_bool(args, "approve_each", true);
    if (p->max_unavailable > 1)
        json_set_int(args, "max_unavailable", p->max_unavailable);
    ask(p, "upgrade.start", args);
}

/* As the remedy says: a policy that takes the node along, then another run. True: something was asked for. */
static bool take_along(struct play *p, const struct run *r)
{
    const struct tables *t = world_tables(p->w);
    struct error unused = {0};
    struct vm v;
    if (p->is_faulty || r->state != RUN_AWAITING_RAISE || !run_is_partial(t, r, &unused))
        return false;
    for (bool more = vm_next(t, NULL, &v); more; more = vm_next(t, v.name, &v))
        if (v.policy == VM_POLICY_SKIP_NODE) {
            struct json *args = args_of("name", v.name);
            json_set_str(args, "policy", "shutdown-restart");
            ask(p, "vm.set", args);
            return true;
        }
    start(p);
    return true;
}

static void drive_run(struct play *p, const struct run *r)
{
    struct world *w = p->w;
    if (resume_left_over(p, r) || take_along(p, r) || decide(p, r))
        return;
    if (r->state == RUN_PAUSED && world_chance(w, 300)) {
        ask(p, "upgrade.resume", NULL);
    } else if (r->state == RUN_PAUSED_ERROR) {
        if (r->remedy[0] == '\0')
            world_fail(w, "the run is in paused-error without a remedy: %s", r->error);
        if (!world_chance(w, 200))
            return;
        if (!p->is_faulty && ++p->retries > 20)
            world_fail(w, "the run does not get on: %s", r->error);
        ask(p, "upgrade.retry", NULL);
    } else if (r->state == RUN_AWAITING_RAISE && !p->is_faulty) {
        ask(p, "level.raise", NULL);
    } else if (p->is_faulty) {
        meddle(p, r);
    }
}

static bool is_upgraded(const struct tables *t)
{
    struct node n = {0};
    bool all = true;
    while (node_next(t, &n))
        all = all && str_eq(n.facts.release, "trixie");
    return all;
}

static const char *const task_names[] = {"report", "dedup"}; /* the second is native to its level */

/* True: he asked for one. */
static bool run_task(struct play *p)
{
    if (!p->has_tasks || prng_below(&p->tasks, 25) != 0)
        return false;
    ask(p, "task.run", args_of("name", task_names[prng_below(&p->tasks, 2)]));
    return true;
}

/* Now and then a worker will fail, an admin wants a backup, or does not any more. */
static bool run_backup(struct play *p)
{
    char vm[VM_NAME_MAX];
    if (!p->has_backups || prng_below(&p->backups, 20) != 0)
        return false;
    snprintf(vm, sizeof(vm), "vm%u", 1 + (unsigned)prng_below(&p->backups, VMS));
    struct guest *g = world_guest(p->w, vm);
    switch (prng_below(&p->backups, p->is_faulty ? 5 : 2)) {
    case 0: g->backup_ms = 1000 + (int64_t)prng_below(&p->backups, 90000); break;
    case 2: g->failing_backups++; return false;
    case 3: g->crashing_backups++; return false;
    case 4: ask(p, "backup.cancel", args_of("name", vm)); return true;
    default: break;
    }
    struct json *args = args_of("name", vm);
    if (prng_below(&p->backups, 3) == 0)
        json_set_str(args, "keep", "last=2");
    ask(p, "backup.start", args);
    return true;
}

static void operate(struct play *p)
{
    struct world *w = p->w;
    struct run r;
    if (w->now_ms < p->operator_ms || is_waiting(p))
        return;
    p->operator_ms = w->now_ms + OPERATOR_MS;
    const struct tables *t = world_tables(w);
    if (t == NULL || run_task(p) || run_backup(p))
        return;
    bool has_run = run_newest(t, &r) == 0;
    if (has_run && r.state == RUN_CANCELLED && resume_left_over(p, &r))
        return; /* what is asked of the leader may be its end */
    if (has_run && r.state != RUN_CANCELLED)
        drive_run(p, &r);
    else if (!p->is_faulty && is_upgraded(t)) /* the abort came when the last node was rebuilt already */
        ask(p, "level.raise", NULL);
    else
        start(p);
}

static bool is_done(const struct play *p)
{
    const struct tables *t = world_tables(p->w);
    struct run r;
    struct level_state l;
    return !p->is_faulty && t != NULL && run_newest(t, &r) == 0 && run_state_is_final(r.state) &&
           level_get(t, &l) == 0 && l.fl == 2;
}

/* ---- begin and end --------------------------------------------------------------------------------------------- */

static bool expect(struct play *p, size_t node, const char *verb, struct json *args)
{
    AUTO(json_freep) struct json *answer = world_ask_and_wait(p->w, node, verb, args, ASK_MS);
    int code = (int)json_int(json_path(answer, "status.code"), -1);
    if (code != 0)
        world_fail(p->w, "%s: %d %s", verb, code, json_str(json_path(answer, "status.message"), "no answer"));
    return code == 0;
}

static bool wait_until_settled(struct play *p, int64_t ms)
{
    char why[256] = "";
    int64_t until = p->w->now_ms + ms;
    while (world_fault(p->w) == NULL && !world_is_settled(p->w, why, sizeof(why)))
        if (!world_run(p->w, p->w->now_ms + 100) || p->w->now_ms >= until) {
            world_fail(p->w, "not settled: %s", why);
            return false;
        }
    return world_fault(p->w) == NULL;
}

static void set_up_quorum(struct play *p)
{
    struct world *w = p->w;
    for (size_t i = 0; i < w->n && w->blob != NULL; i++) {
        struct json *args = args_of("name", w->nodes[i].name);
        json_set_str(args, "site", 2 * i >= w->n ? "b" : "a");
        expect(p, 0, "node.set", args);
    }
    if (w->blob == NULL)
        return;
    struct json *args = args_of("kind", "file");
    json_set_str(args, "path", "/srv/witness");
    expect(p, 0, "witness.set", args);
    if (prng_below(&p->extra, 2) == 0) {
        args = args_of("name", "quorum.preferred_site");
        json_set_str(args, "value", "a");
        expect(p, 0, "cluster.config.set", args);
    }
}

static void set_up_fencing(struct play *p)
{
    if (!p->has_fence)
        return;
    struct json *args = args_of("name", "fence.command");
    json_set_str(args, "value", "/usr/lib/ringmaster/fence");
    expect(p, 0, "cluster.config.set", args);
}

static void set_up_tasks(struct play *p)
{
    for (size_t i = 0; i < 2 && p->has_tasks; i++) {
        struct json *args = args_of("name", task_names[i]);
        json_set_str(args, "command", "/usr/lib/tasks/run");
        json_set_str(args, "calendar", prng_below(&p->tasks, 2) == 0 ? "minutely" : "*:0/2:30");
        json_set_str(args, "affinity", i == 1 ? "native-level" : "any");
        json_set_int(args, "timeout_seconds", 20 + (int64_t)prng_below(&p->tasks, 100));
        expect(p, 0, "task.add", args);
    }
}

static void set_up_backups(struct play *p)
{
    if (!p->has_backups)
        return;
    struct json *args = args_of("name", "main");
    json_set_str(args, "path", "/srv/backup");
    expect(p, 0, "repository.add", args);
    args = args_of("name", "backup.drain_minutes");
    json_set_str(args, "value", prng_below(&p->backups, 2) == 0 ? "0" : "1");
    expect(p, 0, "cluster.config.set", args);
    for (size_t i = 0; i < 2; i++) {
        args = args_of("name", i == 0 ? "vm1" : "vm2");
        json_set_str(args, "calendar", i == 0 ? "*:0/2" : "*:0/3:30");
        if (i == 0)
            json_set_str(args, "keep", "last=3");
        expect(p, 0, "backup.schedule.add", args);
    }
}

static bool is_backed_up_since(const struct play *p, const char *vm, uint64_t runs)
{
    struct backup b;
    const struct tables *t = world_tables(p->w);
    return t != NULL && backup_get(t, vm, &b) == 0 && b.state == BACKUP_IDLE && b.runs > runs &&
           b.result == BACKUP_DONE;
}

/* Every VM that is to run can be backed up in the end. */
static void end_backup_of(struct play *p, const char *vm)
{
    struct world *w = p->w;
    struct backup b = {0};
    struct vm v = {0};
    int64_t until = w->now_ms + TASKS_END_MS;
    backup_get(world_tables(w), vm, &b);
    world_guest(w, vm)->failing_backups = world_guest(w, vm)->crashing_backups = 0;
    while (world_fault(w) == NULL && !is_backed_up_since(p, vm, b.runs)) {
        const struct tables *t = world_tables(w);
        if (t != NULL && vm_get(t, vm, &v) == 0 && !v.wanted)
            return;
        if (world_leader(w) < w->n)
            json_free(world_ask_and_wait(w, world_leader(w), "backup.start", args_of("name", vm), ASK_MS));
        if (!world_run(w, w->now_ms + 5000) || w->now_ms >= until)
            world_fail(w, "VM %s cannot be backed up", vm);
    }
}

static bool is_any_backed_up(const struct world *w)
{
    const struct tables *t = world_tables(w);
    struct backup b;
    for (bool more = t != NULL && backup_next(t, NULL, &b); more; more = backup_next(t, b.vm, &b))
        if (b.state != BACKUP_IDLE)
            return true;
    return false;
}

static void end_backups(struct play *p)
{
    for (size_t i = 0; i < 2 && p->has_backups && world_fault(p->w) == NULL; i++) {
        const char *vm = i == 0 ? "vm1" : "vm2";
        expect(p, world_leader(p->w), "backup.schedule.remove", args_of("name", vm));
        end_backup_of(p, vm);
    }
    int64_t until = p->w->now_ms + TASKS_END_MS;
    while (world_fault(p->w) == NULL && is_any_backed_up(p->w)) /* a slow one lasts longer than SETTLE_MS */
        if (!world_run(p->w, p->w->now_ms + 100) || p->w->now_ms >= until)
            world_fail(p->w, "a backup does not end");
}

static bool is_run_since(const struct play *p, const char *name, uint64_t runs)
{
    struct task k;
    const struct tables *t = world_tables(p->w);
    return t != NULL && task_get(t, name, &k) == 0 && k.state == TASK_IDLE && !k.requested && k.runs > runs;
}

/* What is due is done in the end: every member may now. */
static void end_tasks(struct play *p)
{
    struct world *w = p->w;
    for (size_t i = 0; i < 2 && p->has_tasks && world_fault(w) == NULL; i++) {
        struct task k = {0};
        int64_t until = w->now_ms + TASKS_END_MS;
        task_get(world_tables(w), task_names[i], &k);
        if (k.state == TASK_IDLE)
            json_free(world_ask_and_wait(w, world_leader(w), "task.run", args_of("name", task_names[i]), ASK_MS));
        while (world_fault(w) == NULL && !is_run_since(p, task_names[i], k.runs))
            if (!world_run(w, w->now_ms + 100) || w->now_ms >= until) {
                world_fail(w, "task %s is due, and not done", task_names[i]);
                return;
            }
    }
}

static void set_up_policies(struct play *p)
{
    if (!p->has_policies)
        return;
    struct json *args = args_of("name", "vm.save_path");
    json_set_str(args, "value", "/srv/save");
    expect(p, 0, "cluster.config.set", args);
}

static bool add_vm(struct play *p, size_t i, bool is_bound)
{
    char vm[VM_NAME_MAX];
    snprintf(vm, sizeof(vm), "vm%zu", i + 1);
    if (!expect(p, 0, "vm.add",
                vm_add_args(vm, p->w->nodes[i % p->w->n].name, "pc-q35-7.2", is_bound ? "device" : "")) ||
        !expect(p, 0, "vm.start", args_of("name", vm)))
        return false;
    if (!p->has_policies)
        return true;
    struct json *args = args_of("name", vm);
    json_set_str(args, "policy", draw_policy(p, is_bound));
    json_set_str(args, "postcopy", prng_below(&p->vms, 2) == 0 ? "on" : "off");
    return expect(p, 0, "vm.set", args);
}

static void begin(struct play *p)
{
    struct world *w = p->w;
    if (!world_form(w, FORM_MS)) {
        world_fail(w, "the cluster was not formed");
        return;
    }
    struct json *args = args_of("name", "upgrade.executor");
    json_set_str(args, "value", p->in_place ? EXECUTOR_IN_PLACE : "/usr/lib/ringmaster/rebuild");
    expect(p, 0, "cluster.config.set", args);
    set_up_quorum(p);
    set_up_fencing(p);
    set_up_tasks(p);
    set_up_policies(p);
    size_t bound = p->has_policies ? (size_t)prng_below(&p->vms, 2 * VMS) : VMS;
    for (size_t i = 0; i < VMS; i++)
        if (!add_vm(p, i, i == bound))
            return;
    wait_until_settled(p, BEGIN_MS);
    set_up_backups(p);
}

static void check_vm(struct play *p, const struct vm *v, bool was_faulty)
{
    const struct guest *g = world_guest(p->w, v->name);
    if (v->wanted && v->state != VM_RUNNING && v->error[0] == '\0')
        world_fail(p->w, "VM %s should run and does not, and nothing says why", v->name);
    if (v->owed != VM_OWED_NOTHING)
        world_fail(p->w, "VM %s is still owed a start", v->name);
    if (!was_faulty && (g->starts != 1 + g->killed || v->state != VM_RUNNING))
        world_fail(p->w, "VM %s was started %u times without a fault", v->name, g->starts);
    if (!was_faulty && !str_eq(v->node, v->home) && !v->has_host_device) /* such a one does not come while it runs */
        world_fail(p->w, "VM %s is on %s, its home is %s", v->name, v->node, v->home);
}

static void end(struct play *p, bool was_faulty)
{
    struct world *w = p->w;
    end_tasks(p);
    end_backups(p);
    if (!wait_until_settled(p, SETTLE_MS))
        return;
    const struct tables *t = world_tables(w);
    struct node n = {0};
    struct vm v;
    for (bool more = vm_next(t, NULL, &v); more; more = vm_next(t, v.name, &v))
        check_vm(p, &v, was_faulty);
    while (node_next(t, &n)) {
        if (!str_eq(n.facts.release, "trixie") || n.state != NODE_ACTIVE)
            world_fail(w, "%s runs %s and is %s at the end", n.name, n.facts.release, node_state_name(n.state));
        if (!was_faulty && !p->rolled_back && bmc_count(w, world_find(w, n.name)) != 1)
            world_fail(w, "%s was not rebuilt once", n.name);
    }
    checker_end(w->check, db_applied_index(core_db(w->nodes[world_leader(w)].core)));
}

static void upgrade(struct play *p)
{
    struct world *w = p->w;
    int64_t until = w->now_ms + END_MS;
    while (world_fault(w) == NULL && !is_done(p)) {
        let_fault(p);
        operate(p);
        if (!world_run(w, w->now_ms + 100) || w->now_ms < until)
            continue;
        const struct tables *t = world_tables(w);
        struct run r = {0};
        if (t != NULL)
            run_newest(t, &r);
        world_fail(w, "after %d minutes the run is %s: %s", END_MS / 60000,
                   t == NULL ? "without a leader" : run_state_name(r.state), r.error);
    }
}

bool coresim_run(uint64_t seed, const struct sim_options *options)
{
    struct prng prng = prng_new(seed ^ 0xc0de);
    struct world_params params = {.n = prng_below(&prng, 4) == 0 ? 4 : 3, .seed = prng_next(&prng),
                                  .release = "bookworm", .options = options,
                                  .net = {.delay_ms_max = 1 + (int64_t)prng_below(&prng, 20),
                                          .notice_ms_max = 100 + (int64_t)prng_below(&prng, 1500)},
                                  .line = options->is_verbose ? show : NULL};
    if (prng_below(&prng, 2) == 0) {
        params.log_kept = 60 + prng_below(&prng, 100); /* more than one step commits */
        params.lag_snapshot = 10 + prng_below(&prng, 40);
    }
    if (prng_below(&prng, 3) == 0)
        params.message_max = 2000 + prng_below(&prng, 4000);
    params.has_watchdogs = prng_below(&prng, 3) != 0;
    struct prng extra = prng_new(seed ^ 0x517e5);
    bool has_extra = prng_below(&extra, 2) == 0;
    params.has_witness = has_extra && prng_below(&extra, 4) != 0;
    if (params.has_witness && prng_below(&extra, 2) == 0)
        params.n = 4;
    struct play p = {.w = world_new(&params), .options = options, .extra = extra};
    p.fence = prng_new(seed ^ 0xfe9ce);
    p.has_fence = prng_below(&p.fence, 3) == 0;
    struct prng way = prng_new(seed ^ 0x1bace);
    p.in_place = prng_below(&way, 4) == 0;
    p.force = prng_new(seed ^ 0xf0ace);
    p.force_ms = prng_below(&p.force, 4) == 0 ? 0 : INT64_MAX;
    p.extra_ms = has_extra ? 0 : INT64_MAX;
    p.vms = prng_new(seed ^ 0x70115);
    p.has_policies = prng_below(&p.vms, 2) == 0;
    p.vm_ms = p.has_policies ? 0 : INT64_MAX;
    p.bad_node = (size_t)prng_below(&p.vms, 3 * p.w->n);
    p.run = prng_new(seed ^ 0x3077);
    p.approves = prng_below(&p.run, 3) == 0;
    p.max_unavailable = prng_below(&p.run, 3) == 0 ? 2 : 1;
    p.rolls_back = prng_below(&p.run, 3) == 0;
    p.tasks = prng_new(seed ^ 0x7a5c5);
    p.has_tasks = prng_below(&p.tasks, 2) == 0;
    p.backups = prng_new(seed ^ 0xbac4b);
    p.has_backups = prng_below(&p.backups, 2) == 0;
    bool was_faulty = prng_below(&prng, 4) != 0;
    begin(&p);
    p.is_faulty = was_faulty;
    p.faults_end_ms = p.w->now_ms + 60000 + (int64_t)prng_below(&prng, 400000);
    if (world_fault(p.w) == NULL)
        upgrade(&p);
    if (world_fault(p.w) == NULL)
        end(&p, was_faulty);
    json_free(p.args);
    const char *fault = world_fault(p.w);
    if (fault != NULL && options->is_verbose)
        world_describe(p.w);
    if (fault != NULL)
        printf("seed %lu, at %.3f s: %s\n", (unsigned long)seed, (double)p.w->now_ms / 1000.0, fault);
    else if (options->is_verbose)
        printf("seed %lu: done after %ld s, quorum was forced %u times\n", (unsigned long)seed,
               (long)(p.w->now_ms / 1000), p.n_forced);
    world_free(p.w);
    return fault == NULL;
}
