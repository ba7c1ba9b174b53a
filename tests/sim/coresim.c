/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Whole agents under faults. A seed draws a cluster of 3 or 4 nodes with VMs, and an operator who upgrades it from
 * bookworm to trixie and raises the level, in virtual time. In three of four seeds faults happen meanwhile:
 *   an agent is killed (in the middle of its outputs too; the leader's more often), a host loses power, the network
 *   falls apart or loses messages, disks are slow, a hypervisor hangs, migrations fail, hooks fail, rebuilds fail
 * and the operator also migrates, stops and starts VMs, pauses and resumes. When the faults stop everything must come
 * to its end within END_MS: the run is done, the level raised, one leader, one state, every VM where its row says. */
#include "tests/sim/world.h"

#include <stdarg.h>

#include "agent/cluster.h"
#include "upgrade/level.h"
#include "upgrade/run.h"
#include "vm/vm.h"

enum {
    VMS = 4,
    FORM_MS = 300000,
    BEGIN_MS = 120000,
    END_MS = 90 * 60000,
    SETTLE_MS = 60000,
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
};

static void show(void *ctx, const char *line)
{
    (void)ctx;
    printf("%s\n", line);
}

/* ---- faults ---------------------------------------------------------------------------------------------------- */

static void power_back(struct world *w, struct errand *j)
{
    if (!bmc_is_busy(w, j->node) && w->nodes[j->node].boot == j->boot)
        world_power_on(w, j->node);
}

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
    struct errand *j = world_later(w, 3000 + (int64_t)world_draw(w, 30000), power_back);
    j->node = node;
    j->boot = w->nodes[node].boot;
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
    switch (world_draw(w, 16)) {
    case 0:
    case 1: fault_kill(p, node); break;
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

static void faults_end(struct play *p)
{
    struct world *w = p->w;
    p->is_faulty = false;
    mend(p);
    world_log(w, "!", "the faults are over");
    for (size_t i = 0; i < w->n; i++) {
        w->nodes[i].outputs_left = -1;
        w->failing_rebuilds[i] = 0;
        if (!bmc_is_busy(w, i) && (w->nodes[i].has_identity || w->nodes[i].first_boot_token != NULL))
            world_power_on(w, i);
    }
}

static void let_fault(struct play *p)
{
    struct world *w = p->w;
    if (!p->is_faulty)
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
        p->fault_ms = w->now_ms + 1000 + (int64_t)world_draw(w, 20000);
    }
}

/* ---- the operator ---------------------------------------------------------------------------------------------- */

static void ask(struct play *p, const char *verb, struct json *args)
{
    struct world *w = p->w;
    size_t node = (size_t)world_draw(w, w->n);
    if (w->nodes[node].core == NULL) {
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
    if (!unknown || w->nodes[node].core == NULL || world_chance(w, 500))
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
    struct step s;
    bool in_run = step_current(t, r, &s) == 0 && s.state != STEP_PENDING && str_eq(s.node, n->name);
    return !in_run && (n->state == NODE_PAUSED || n->state == NODE_DRAINING);
}

static bool resume_left_over(struct play *p, const struct run *r)
{
    const struct tables *t = world_tables(p->w);
    struct node n = {0};
    while (node_next(t, &n))
        if (is_left_over(t, r, &n) && (!p->is_faulty || world_chance(p->w, 200))) {
            ask(p, "node.resume", resume_args(n.name));
            node_done(&n);
            return true;
        }
    return false;
}

static void drive_run(struct play *p, const struct run *r)
{
    struct world *w = p->w;
    if (resume_left_over(p, r))
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

static void operate(struct play *p)
{
    struct world *w = p->w;
    struct run r;
    if (w->now_ms < p->operator_ms || is_waiting(p))
        return;
    p->operator_ms = w->now_ms + OPERATOR_MS;
    const struct tables *t = world_tables(w);
    if (t == NULL)
        return;
    if (run_newest(t, &r) != 0) {
        struct json *args = args_of("target", "trixie");
        json_set_bool(args, "accept_warnings", true);
        ask(p, "upgrade.start", args);
        return;
    }
    drive_run(p, &r);
}

static bool is_done(const struct play *p)
{
    const struct tables *t = world_tables(p->w);
    struct run r;
    struct level_state l;
    return !p->is_faulty && t != NULL && run_newest(t, &r) == 0 && r.state == RUN_DONE && level_get(t, &l) == 0 &&
           l.fl == 2;
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

static void begin(struct play *p)
{
    struct world *w = p->w;
    char vm[VM_NAME_MAX];
    if (!world_form(w, FORM_MS)) {
        world_fail(w, "the cluster was not formed");
        return;
    }
    struct json *args = args_of("name", "upgrade.executor");
    json_set_str(args, "value", "/usr/lib/ringmaster/rebuild");
    expect(p, 0, "cluster.config.set", args);
    for (size_t i = 0; i < VMS; i++) {
        snprintf(vm, sizeof(vm), "vm%zu", i + 1);
        if (!expect(p, 0, "vm.add", vm_add_args(vm, w->nodes[i % w->n].name, "pc-q35-7.2")) ||
            !expect(p, 0, "vm.start", args_of("name", vm)))
            return;
    }
    wait_until_settled(p, BEGIN_MS);
}

static void check_vm(struct play *p, const struct vm *v, bool was_faulty)
{
    const struct guest *g = world_guest(p->w, v->name);
    if (v->wanted && v->state != VM_RUNNING && v->error[0] == '\0')
        world_fail(p->w, "VM %s should run and does not, and nothing says why", v->name);
    if (!was_faulty && (g->starts != 1 || v->state != VM_RUNNING))
        world_fail(p->w, "VM %s was started %u times without a fault", v->name, g->starts);
    if (!was_faulty && !str_eq(v->node, v->home))
        world_fail(p->w, "VM %s is on %s, its home is %s", v->name, v->node, v->home);
}

static void end(struct play *p, bool was_faulty)
{
    struct world *w = p->w;
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
        if (!was_faulty && bmc_count(w, world_find(w, n.name)) != 1)
            world_fail(w, "%s was not re-imaged once", n.name);
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
    struct play p = {.w = world_new(&params), .options = options};
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
        printf("seed %lu: done after %ld s\n", (unsigned long)seed, (long)(p.w->now_ms / 1000));
    world_free(p.w);
    return fault == NULL;
}
