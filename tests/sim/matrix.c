/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The upgrade with one failure at one moment, for every failure, every state of every node's step, and every order of
 * the nodes of clusters of three and four. A case is a number: the clusters' sizes and ways of rebuilding, orders,
 * nodes, states and failures, the last ones changing fastest; the same number is the same play.
 *
 *   form, upgrade.start ──> the step is in that state: the failure ──> an operator ──> an end
 *
 * The operator knows what an admin knows: he mends what failed once the run stopped for it, or after its time, and does
 * what the run's remedy says, nothing else. The end is awaiting-raise, or what he asked for: cancelled, rolled back.
 * Then every node is a member and active, and every VM runs where its row says; whether one was doubled, stopped or
 * started more often than asked for is watched all the time (check.c, host.c). A run that has no end, or whose remedy
 * does not help, is a fault. */
#include "tests/sim/world.h"

#include "agent/cluster.h"
#include "upgrade/run.h"
#include "vm/vm.h"

enum {
    NODES_MAX = 4,
    ASK_MS = 30000,
    LOOK_MS = 500,
    FORM_MS = 300000,
    REACH_MS = 120 * 60000, /* until the moment of the failure */
    END_MS = 8 * 3600000,
    SETTLE_MS = 120000,
    RETRIES_MAX = 8,
};

enum end { END_UPGRADED = 1, END_ABORTED, END_ROLLED_BACK };

struct kind;
struct play {
    struct world *w;
    size_t n, position, node; /* of the step */
    size_t order[NODES_MAX];
    bool in_place;
    enum step_state at;
    const struct kind *kind;
    enum end end;
    bool is_mended;
    int64_t mend_ms; /* 0: when the run has stopped */
    size_t hit;      /* a node that was hit, or w->n */
    unsigned retries;
};

/* ---- failures -------------------------------------------------------------------------------------------------- */

static size_t leader_of(const struct play *p)
{
    size_t leader = world_leader(p->w);
    return leader < p->n ? leader : p->order[p->n - 1];
}

static void mend_later(struct play *p, int64_t ms)
{
    p->mend_ms = p->w->now_ms + ms;
}

static void kill_leader(struct play *p)
{
    world_kill(p->w, leader_of(p));
}

static void power_off(struct play *p, size_t node, int64_t ms)
{
    if (!p->w->nodes[node].powered || bmc_is_busy(p->w, node))
        return;
    p->hit = node;
    world_power_off(p->w, node);
    mend_later(p, ms);
}

static void power_on(struct play *p)
{
    if (p->hit < p->n && !bmc_is_busy(p->w, p->hit))
        world_power_on(p->w, p->hit);
}

static void power_off_leader(struct play *p)
{
    power_off(p, leader_of(p), 30000);
}

static void power_off_node(struct play *p)
{
    power_off(p, p->node, 60000);
}

/* For longer than anything is waited for. */
static void power_off_other(struct play *p)
{
    power_off(p, p->order[(p->position + 1) % p->n], 25 * 60000);
}

static void fail_rebuilds(struct play *p)
{
    p->w->failing_rebuilds[p->node] = 100;
}

static void mend_rebuilds(struct play *p)
{
    p->w->failing_rebuilds[p->node] = 0;
}

static void hang_rebuild(struct play *p)
{
    p->w->rebuild_ms[p->node] = 3 * 3600000;
    mend_later(p, 3 * 3600000);
}

static void mend_hang(struct play *p)
{
    p->w->rebuild_ms[p->node] = 0;
}

static void fail_hooks(struct play *p)
{
    p->w->hook_fails = 1000;
}

static void mend_hooks(struct play *p)
{
    p->w->hook_fails = 0;
}

static void never_rejoin(struct play *p)
{
    p->w->no_rejoin[p->node] = true;
}

static bool is_slot_empty(const struct play *p)
{
    const struct tables *t = world_tables(p->w);
    struct node n = {0};
    bool is = t != NULL && node_get(t, p->w->nodes[p->node].name, &n) == 0 && n.state == NODE_ABSENT;
    node_done(&n);
    return is;
}

/* As an admin does it: a token from some member, used on the node. */
static void join_by_hand(struct play *p)
{
    struct world *w = p->w;
    size_t via = leader_of(p);
    struct json *args = json_object_new();
    json_set_str(args, "node", w->nodes[p->node].name);
    AUTO(json_freep) struct json *answer = world_ask_and_wait(w, via, "cluster.join-token", args, ASK_MS);
    const char *token = json_str(json_path(answer, "data.token"), NULL);
    if (token == NULL || w->nodes[p->node].core == NULL)
        return;
    args = json_object_new();
    json_set_str(args, "token", token);
    json_free(world_ask_and_wait(w, p->node, "node.join", args, ASK_MS));
}

static void mend_rejoin(struct play *p)
{
    p->w->no_rejoin[p->node] = false;
}

static void wrong_image(struct play *p)
{
    p->w->wrong_image[p->node] = true;
}

static void mend_image(struct play *p)
{
    p->w->wrong_image[p->node] = false;
}

static void fail_moves(struct play *p)
{
    p->w->move_fails = 1000;
}

static void slow_moves(struct play *p)
{
    for (size_t i = 0; i < p->w->n_guests; i++)
        p->w->guests[i].dirty_ms = 1000000;
}

static void mend_moves(struct play *p)
{
    p->w->move_fails = 0;
    for (size_t i = 0; i < p->w->n_guests; i++)
        p->w->guests[i].dirty_ms = 0;
}

static void hang_hypervisor(struct play *p)
{
    p->w->nodes[p->node].host.hung_until_ms = p->w->now_ms + 15 * 60000;
    mend_later(p, 15 * 60000);
}

static void lose_quorum(struct play *p)
{
    uint8_t side[WORLD_NODES_MAX];
    for (size_t i = 0; i < p->n; i++)
        side[i] = (uint8_t)i;
    world_partition(p->w, side);
    mend_later(p, 3 * 60000);
}

static void cut_node_off(struct play *p)
{
    uint8_t side[WORLD_NODES_MAX] = {0};
    side[p->node] = 1;
    world_partition(p->w, side);
    mend_later(p, 4 * 60000);
}

static void heal(struct play *p)
{
    world_heal(p->w);
}

static bool ask(struct play *p, const char *verb, struct json *args)
{
    struct world *w = p->w;
    size_t at = leader_of(p);
    world_log(w, ">", "%s at %s", verb, w->nodes[at].name);
    if (w->nodes[at].core == NULL) {
        json_free(args);
        return false;
    }
    AUTO(json_freep) struct json *answer = world_ask_and_wait(w, at, verb, args, ASK_MS);
    int code = (int)json_int(json_path(answer, "status.code"), -1);
    if (code != 0)
        world_log(w, "<", "%d %s", code, json_str(json_path(answer, "status.message"), ""));
    return code == 0;
}

static void ask_pause(struct play *p)
{
    ask(p, "upgrade.pause", NULL);
    mend_later(p, 15 * 60000);
}

static void ask_resume(struct play *p)
{
    ask(p, "upgrade.resume", NULL);
}

/* Refused when all is over; then it goes on as it would. */
static void ask_abort(struct play *p)
{
    if (ask(p, "upgrade.abort", NULL))
        p->end = END_ABORTED;
}

static void ask_rollback(struct play *p)
{
    if (ask(p, "upgrade.rollback", NULL))
        p->end = END_ROLLED_BACK;
}

static void resume_node(struct play *p)
{
    struct json *args = json_object_new();
    json_set_str(args, "name", p->w->nodes[p->node].name);
    json_set_bool(args, "failback", true);
    ask(p, "node.resume", args);
}

static const struct kind {
    const char *name;
    void (*happens)(struct play *p);
    void (*mend)(struct play *p);
} kinds[] = {
    {"leader killed", kill_leader, NULL},
    {"leader loses power", power_off_leader, power_on},
    {"node loses power", power_off_node, power_on},
    {"another node is away", power_off_other, power_on},
    {"executor fails", fail_rebuilds, mend_rebuilds},
    {"executor hangs", hang_rebuild, mend_hang},
    {"hooks cannot be run", fail_hooks, mend_hooks},
    {"node never rejoins", never_rejoin, mend_rejoin},
    {"node rejoins with the old release", wrong_image, mend_image},
    {"migrations fail", fail_moves, mend_moves},
    {"migrations do not converge", slow_moves, mend_moves},
    {"hypervisor hangs", hang_hypervisor, NULL},
    {"quorum lost", lose_quorum, heal},
    {"node cut off", cut_node_off, heal},
    {"paused", ask_pause, ask_resume},
    {"node resumed by an admin", resume_node, NULL},
    {"aborted", ask_abort, NULL},
    {"rolled back", ask_rollback, NULL},
};
static const enum step_state states[] = {STEP_PENDING,    STEP_DRAINING,        STEP_DRAINED, STEP_EVICTING,
                                         STEP_REBUILDING, STEP_AWAITING_REJOIN, STEP_JOINING, STEP_VERIFYING,
                                         STEP_CANARY,     STEP_FAILBACK,        STEP_DONE};
enum { N_KINDS = sizeof(kinds) / sizeof(kinds[0]), N_STATES = sizeof(states) / sizeof(states[0]) };

/* ---- cases ----------------------------------------------------------------------------------------------------- */

static size_t orders_of(size_t n)
{
    return n == 3 ? 6 : 24;
}

/* There is no eviction in place, and the canary is of the first node. */
static bool is_case(const struct play *p)
{
    return !(p->in_place && p->at == STEP_EVICTING) && !(p->position > 0 && p->at == STEP_CANARY);
}

static uint64_t count_of(size_t n)
{
    return orders_of(n) * n * N_STATES * N_KINDS;
}

uint64_t matrix_count(void)
{
    return 2 * (count_of(3) + count_of(4));
}

static void read_order(struct play *p, uint64_t k)
{
    size_t left[NODES_MAX], n_left = p->n;
    for (size_t i = 0; i < p->n; i++)
        left[i] = i;
    for (size_t i = 0; i < p->n; i++) {
        size_t at = (size_t)(k % n_left);
        k /= n_left--;
        p->order[i] = left[at];
        for (size_t j = at; j < n_left; j++)
            left[j] = left[j + 1];
    }
}

static void read_case(struct play *p, uint64_t number)
{
    p->in_place = number >= count_of(3) + count_of(4);
    if (p->in_place)
        number -= count_of(3) + count_of(4);
    p->n = number < count_of(3) ? 3 : 4;
    if (p->n == 4)
        number -= count_of(3);
    p->kind = &kinds[number % N_KINDS];
    number /= N_KINDS;
    p->at = states[number % N_STATES];
    number /= N_STATES;
    p->position = (size_t)(number % p->n);
    read_order(p, number / p->n);
    p->node = p->order[p->position];
    p->hit = p->n;
    p->end = END_UPGRADED;
}

static void write_case(const struct play *p, char *dst, size_t size)
{
    int len = snprintf(dst, size, "%s, %s, order ", p->in_place ? "in place" : "by a BMC", p->kind->name);
    for (size_t i = 0; i < p->n; i++)
        len += snprintf(dst + len, size - (size_t)len, "%sn%zu", i ? "," : "", p->order[i] + 1);
    snprintf(dst + len, size - (size_t)len, ", as n%zu is %s", p->node + 1, step_state_name(p->at));
}

/* ---- the play -------------------------------------------------------------------------------------------------- */

static bool expect(struct play *p, const char *verb, struct json *args)
{
    if (ask(p, verb, args))
        return true;
    world_fail(p->w, "%s was refused", verb);
    return false;
}

static struct json *pair(const char *key, const char *value)
{
    struct json *args = json_object_new();
    json_set_str(args, key, value);
    return args;
}

static bool settle(struct play *p, int64_t ms)
{
    char why[256] = "";
    int64_t until = p->w->now_ms + ms;
    while (world_fault(p->w) == NULL && !world_is_settled(p->w, why, sizeof(why)))
        if (!world_run(p->w, p->w->now_ms + 100) || p->w->now_ms >= until)
            world_fail(p->w, "not settled: %s", why);
    return world_fault(p->w) == NULL;
}

static void set_up(struct play *p)
{
    struct world *w = p->w;
    char vm[VM_NAME_MAX];
    if (!world_form(w, FORM_MS)) {
        world_fail(w, "the cluster was not formed");
        return;
    }
    struct json *args = pair("name", "upgrade.executor");
    json_set_str(args, "value", p->in_place ? EXECUTOR_IN_PLACE : "/usr/lib/ringmaster/rebuild");
    expect(p, "cluster.config.set", args);
    for (size_t i = 0; i < p->n && world_fault(w) == NULL; i++) {
        snprintf(vm, sizeof(vm), "vm%zu", i + 1);
        if (expect(p, "vm.add", vm_add_args(vm, w->nodes[i].name, "pc-q35-7.2", "")))
            expect(p, "vm.start", pair("name", vm));
    }
    settle(p, SETTLE_MS);
}

static bool start(struct play *p)
{
    char order[64] = "";
    size_t len = 0;
    const struct tables *t = world_tables(p->w);
    for (size_t i = 0; i < p->n; i++) {
        struct node n = {0};
        bool is_open =
            t != NULL && node_get(t, p->w->nodes[p->order[i]].name, &n) == 0 && !str_eq(n.facts.release, "trixie");
        node_done(&n);
        if (is_open)
            len += (size_t)snprintf(order + len, sizeof(order) - len, "%sn%zu", len ? "," : "", p->order[i] + 1);
    }
    struct json *args = pair("target", "trixie");
    json_set_bool(args, "accept_warnings", true);
    json_set_str(args, "order", order);
    return ask(p, "upgrade.start", args);
}

static bool get_run(const struct play *p, struct run *ret)
{
    const struct tables *t = world_tables(p->w);
    return t != NULL && run_newest(t, ret) == 0;
}

/* Pending: the one before it is done. */
static bool is_reached(const struct play *p)
{
    struct run r;
    struct step s, before;
    if (!get_run(p, &r) || step_get(world_tables(p->w), &r.id, (uint32_t)p->position, &s) != 0 || s.state != p->at)
        return false;
    bool is_next = p->position == 0 || (step_get(world_tables(p->w), &r.id, (uint32_t)p->position - 1, &before) == 0 &&
                                        before.state == STEP_DONE);
    return p->at != STEP_PENDING || (r.state == RUN_RUNNING && is_next);
}

static void reach(struct play *p)
{
    int64_t until = p->w->now_ms + REACH_MS;
    while (world_fault(p->w) == NULL && !is_reached(p))
        if (!world_step(p->w, until))
            world_fail(p->w, "the step was not reached");
}

static void mend(struct play *p)
{
    if (p->is_mended)
        return;
    p->is_mended = true;
    world_log(p->w, "!", "%s: mended", p->kind->name);
    if (p->kind->mend != NULL)
        p->kind->mend(p);
}

/* Its rebuild was cancelled, and its slot waits for it. */
static bool is_to_be_joined(const struct play *p, const struct run *r)
{
    struct step s;
    return p->end == END_ABORTED && !p->in_place && is_slot_empty(p) &&
           step_get(world_tables(p->w), &r->id, (uint32_t)p->position, &s) == 0 && s.state == STEP_AWAITING_REJOIN &&
           strstr(s.detail, "clusterctl node join") != NULL;
}

/* "Look at its console, have its agent run, or join it by hand." Its token may have expired. */
static void look_at_console(struct play *p)
{
    struct sim_node *s = &p->w->nodes[p->node];
    if (bmc_is_busy(p->w, p->node))
        return;
    if (!s->powered)
        world_power_on(p->w, p->node);
    else if (is_slot_empty(p))
        join_by_hand(p);
    world_run(p->w, p->w->now_ms + 60000);
}

/* What the remedy says. */
static void obey(struct play *p, const struct run *r)
{
    if (strstr(r->remedy, "look at the console") != NULL)
        look_at_console(p);
    if (r->remedy[0] == '\0')
        world_fail(p->w, "paused-error without a remedy: %s", r->error);
    else if (++p->retries > RETRIES_MAX)
        world_fail(p->w, "the remedy does not help (%s): %s", r->remedy, r->error);
    else if (strstr(r->remedy, "clusterctl upgrade abort and start again") != NULL)
        ask(p, "upgrade.abort", NULL);
    else
        ask(p, "upgrade.retry", NULL); /* of a check: as soon as it passes */
}

/* True: this is the end. */
static bool operate(struct play *p)
{
    struct run r;
    if (p->mend_ms > 0 && p->w->now_ms >= p->mend_ms)
        mend(p);
    if (!get_run(p, &r))
        return false;
    if (r.state == RUN_PAUSED_ERROR) {
        if (p->mend_ms > 0 && !p->is_mended)
            return false; /* he waits for it */
        mend(p);
        world_run(p->w, p->w->now_ms + 60000);
        obey(p, &r);
    } else if (is_to_be_joined(p, &r)) {
        world_forget(p->w, p->node);
        world_run(p->w, p->w->now_ms + 5000);
        join_by_hand(p);
    } else if (r.state == RUN_CANCELLED && p->end == END_UPGRADED && (p->is_mended || p->mend_ms == 0)) {
        start(p);
    }
    bool is_over = r.state == RUN_AWAITING_RAISE || (r.state == RUN_CANCELLED && p->end != END_UPGRADED);
    return is_over && (p->mend_ms == 0 || p->is_mended);
}

static void let_end(struct play *p)
{
    int64_t until = p->w->now_ms + END_MS;
    struct run r = {.n_steps = 0};
    while (world_fault(p->w) == NULL && !operate(p)) {
        if (!world_run(p->w, p->w->now_ms + LOOK_MS) || p->w->now_ms < until)
            continue;
        get_run(p, &r);
        world_fail(p->w, "no end in %d hours, the run is %s: %s", END_MS / 3600000, run_state_name(r.state), r.error);
    }
}

/* ---- the end --------------------------------------------------------------------------------------------------- */

static void judge_nodes(struct play *p, const struct tables *t)
{
    struct node n = {0};
    while (node_next(t, &n)) {
        const char *wanted = p->end == END_UPGRADED      ? "trixie"
                             : p->end == END_ROLLED_BACK ? "bookworm"
                                                         : n.facts.release;
        if (n.state != NODE_ACTIVE || !str_eq(n.facts.release, wanted))
            world_fail(p->w, "%s is %s and runs %s at the end", n.name, node_state_name(n.state), n.facts.release);
    }
}

static void judge_vms(struct play *p, const struct tables *t)
{
    struct vm v;
    for (bool more = vm_next(t, NULL, &v); more; more = vm_next(t, v.name, &v)) {
        const struct guest *g = world_guest(p->w, v.name);
        if (v.state != VM_RUNNING || guest_host(p->w, v.name) == p->w->n)
            world_fail(p->w, "VM %s does not run at the end", v.name);
        else if (g->starts != 1 + g->killed)
            world_fail(p->w, "VM %s was started %u times, and lost %u times", v.name, g->starts, g->killed);
    }
}

static void judge(struct play *p)
{
    struct run r;
    mend(p);
    if (!settle(p, SETTLE_MS) || !get_run(p, &r))
        return;
    const struct tables *t = world_tables(p->w);
    if (p->end == END_ROLLED_BACK) {
        AUTO(json_freep) struct json *j = run_json(t, &r, 0);
        if (!json_get_bool(j, "rolled_back", false))
            world_fail(p->w, "it was not rolled back: %s", r.error);
    }
    judge_nodes(p, t);
    judge_vms(p, t);
    checker_end(p->w->check, db_applied_index(core_db(p->w->nodes[world_leader(p->w)].core)));
}

static void show(void *ctx, const char *line)
{
    (void)ctx;
    printf("%s\n", line);
}

bool matrix_run(uint64_t number, const struct sim_options *options)
{
    struct play p = {.retries = 0};
    char text[160];
    read_case(&p, number);
    if (!is_case(&p))
        return true;
    write_case(&p, text, sizeof(text));
    struct world_params params = {.n = p.n,
                                  .seed = number,
                                  .release = "bookworm",
                                  .options = options,
                                  .net = {.delay_ms_max = 5, .notice_ms_max = 500},
                                  .line = options->is_verbose ? show : NULL};
    p.w = world_new(&params);
    set_up(&p);
    if (world_fault(p.w) == NULL && !start(&p))
        world_fail(p.w, "the upgrade was not started");
    reach(&p);
    if (world_fault(p.w) == NULL) {
        world_log(p.w, "!", "%s", p.kind->name);
        p.kind->happens(&p);
        let_end(&p);
    }
    if (world_fault(p.w) == NULL)
        judge(&p);
    const char *fault = world_fault(p.w);
    if (fault != NULL && options->is_verbose)
        world_describe(p.w);
    if (fault != NULL || options->is_verbose)
        printf("case %lu (%s), at %.3f s: %s\n", (unsigned long)number, text, (double)p.w->now_ms / 1000.0,
               fault != NULL ? fault : "well");
    world_free(p.w);
    return fault == NULL;
}
