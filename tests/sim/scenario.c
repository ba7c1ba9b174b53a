/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The scenario language: one command a line, '#' begins a comment. NODE is n1, n2 … or `leader`;
 * TIME is 500ms, 20s, 5m.
 *
 *   nodes N [RELEASE [KEPT]]          first line: N hosts, without a cluster; KEPT: entries of the log, short of 5,000
 *   guarded-nodes N [RELEASE [KEPT]]  the same, each with a watchdog
 *   witness                           `witness set`, and wait until it is named
 *   cut-witness NODE… | heal-witness  they do not reach it
 *   late-write NODE TIME              it is not told what became of its next write, which lands so much later
 *   freeze NODE TIME                  its agent stands still, and goes on as if nothing had been
 *   form                              init on n1, all others join, the executor is set
 *   request NODE VERB [K=V …] [-> CODE]   ask, wait for the answer; CODE: expected exit code (0); V: "5" is a text
 *   join NODE via NODE [-> CODE]      join-token there, node.join here;  join-again NODE: with the last token
 *   vm VM NODE [MACHINE] [TRAIT]      add it and start it; TRAIT: device (of its host), disk (on its node alone)
 *   run TIME                          let time pass
 *   wait CONDITION TIME               at most that long
 *   catch CONDITION TIME              likewise, and goes on at the very moment at which it holds, not up to 50 ms later
 *   assert CONDITION
 *   at TIME COMMAND                   later; the file goes on at once
 *   repeat N COMMAND
 *   kill NODE | stop-agent NODE | start-agent NODE    SIGKILL (systemd restarts it); for good; again
 *   end-agent NODE                    SIGTERM, as `systemctl stop` sends it
 *   power-off NODE | power-on NODE
 *   partition NODE… / NODE… | heal
 *   hang NODE TIME                    its hypervisor
 *   guest-off VM                      the guest powers itself off
 *   forget NODE                       its agent was stopped and /var/lib/ringmaster removed; the agent is started again
 *   crash VM                          its QEMU ends
 *   fail-copies NODE N                there is no room on its disk for so many database copies
 *   restore-copies                    no agent runs: every node puts its database copy back, and starts its agent
 *   fail-fences NODE N                its fence command fails so often, and leaves it on
 *   dirty VM MS                       its moves end only when it may stand still for so many milliseconds
 *   deaf VM N                         it does not hear so many requests to power off
 *   slow-task TASK TIME               how long its program takes (10 s)
 *   fail-task TASK N                  so many runs of it fail
 *   slow-backup VM TIME               how long its worker takes (8 s)
 *   fail-backups VM N | crash-backups VM N   so many of them fail, or their worker crashes
 *   fail-moves VM N | fail-rebuilds NODE N | slow-rebuilds NODE TIME | no-rejoin NODE | rejoin NODE
 *   wrong-image NODE | right-image NODE   what is installed there is the release that it had
 *
 * CONDITION:
 *   run STATE | step NODE STATE | level N | leader NODE|none | settled
 *   vm VM STATE [NODE]                what the cluster says of it, and where
 *   vm VM on NODE|nowhere             where it really runs
 *   vm VM restarts N                  how often it was booted after the first time
 *   task TASK STATE [NODE]            what the cluster says of it, and where: idle, due, starting, running, blocked
 *   task TASK last RESULT [NODE]      how its last run ended: done, failed, timed-out, lost; none
 *   task TASK on NODE|nowhere         where it really runs
 *   task TASK starts N                how often its program was really begun
 *   backup VM STATE [NODE]            what the cluster says of it, and where: idle, due, starting, running, cancelling
 *   backup VM last RESULT [NODE]      how its last run ended: done, failed, cancelled, lost; none
 *   backup VM engine ENGINE           of its newest reference point: full, bitmap, rescan
 *   backup VM on NODE|nowhere         where its worker really runs
 *   backup VM begun N | backup VM points N   how often one was really begun; how many points there are
 *   node NODE state STATE | node NODE release RELEASE | node NODE rebuilds N
 *   node NODE fencing off|none|watchdog|promise       what it promises
 *   node NODE fencing waiting|fenced                  what the cluster does about it
 *   status NODE PATH VALUE            in the JSON that `clusterctl status` prints there; "none": null or missing
 *   health NODE CODE | no-health NODE CODE
 *
 * A command that fails ends the scenario. At its end the invariants hold and nothing is left to be asserted. The
 * decision log: each node's log at notice and above, the cluster's journal (*), commands (>) and refusals (<). UUIDs
 * are u1, u2 … by their first appearance. */
#include "tests/sim/scenario.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>

#include "agent/cluster.h"
#include "agent/guard.h"
#include "backup/job.h"
#include "task/task.h"
#include "tests/sim/diff.h"
#include "tests/sim/world.h"
#include "upgrade/level.h"
#include "upgrade/run.h"
#include "vm/vm.h"

enum { WORDS_MAX = 24, UUIDS_MAX = 64, ANSWER_MS = 60000, FORM_MS = 120000, LOOK_MS = 50 };

struct scenario {
    struct world *w;
    struct sim_options options;
    bool is_verbose, failed, repeats;
    char fault[512];
    int line;
    struct buf log;
    char uuids[UUIDS_MAX][UUID_STR_SIZE];
    size_t n_uuids;
    char *token; /* the last one */
};

struct words {
    char *w[WORDS_MAX];
    size_t n;
};

static void fail(struct scenario *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void fail(struct scenario *s, const char *fmt, ...)
{
    va_list ap;
    if (s->failed)
        return;
    s->failed = true;
    va_start(ap, fmt);
    vsnprintf(s->fault, sizeof(s->fault), fmt, ap);
    va_end(ap);
}

/* ---- the decision log ------------------------------------------------------------------------------------------ */

static bool is_uuid(const char *p)
{
    for (int i = 0; i < UUID_STR_SIZE - 1; i++) {
        bool dash = i == 8 || i == 13 || i == 18 || i == 23;
        if (dash ? p[i] != '-' : !isxdigit((unsigned char)p[i]))
            return false;
    }
    return true;
}

static size_t uuid_number(struct scenario *s, const char *p)
{
    size_t i = 0;
    while (i < s->n_uuids && strncmp(s->uuids[i], p, UUID_STR_SIZE - 1) != 0)
        i++;
    if (i == s->n_uuids && i < UUIDS_MAX)
        memcpy(s->uuids[s->n_uuids++], p, UUID_STR_SIZE - 1);
    return i + 1;
}

static void take_line(void *ctx, const char *line)
{
    struct scenario *s = ctx;
    struct buf b = {0};
    for (const char *p = line; *p != '\0';) {
        if (is_uuid(p)) {
            buf_printf(&b, "u%zu", uuid_number(s, p));
            p += UUID_STR_SIZE - 1;
        } else {
            buf_add(&b, p++, 1);
        }
    }
    AUTO(freep) char *text = buf_steal_str(&b);
    buf_printf(&s->log, "%s\n", text);
    if (s->is_verbose)
        printf("%s\n", text);
}

/* ---- words ----------------------------------------------------------------------------------------------------- */

static struct words split(char *line)
{
    struct words ret = {.n = 0};
    char *at = NULL;
    line[strcspn(line, "#\n")] = '\0';
    for (char *p = strtok_r(line, " \t", &at); p != NULL && ret.n < WORDS_MAX; p = strtok_r(NULL, " \t", &at))
        ret.w[ret.n++] = p;
    return ret;
}

static const char *word(const struct words *c, size_t i)
{
    return i < c->n ? c->w[i] : "";
}

static bool is(const struct words *c, size_t i, const char *text)
{
    return str_eq(word(c, i), text);
}

static int64_t time_of(struct scenario *s, const char *text)
{
    char *end;
    long v = strtol(text, &end, 10);
    if (v >= 0 && end != text && str_eq(end, "ms"))
        return v;
    if (v >= 0 && end != text && str_eq(end, "s"))
        return v * 1000;
    if (v >= 0 && end != text && str_eq(end, "m"))
        return v * 60000;
    fail(s, "'%s' is no time", text);
    return 0;
}

static unsigned number_of(struct scenario *s, const char *text)
{
    char *end;
    unsigned long v = strtoul(text, &end, 10);
    if (end == text || *end != '\0')
        fail(s, "'%s' is no number", text);
    return (unsigned)v;
}

/* w->n, and failed, when there is none. */
static size_t node_of(struct scenario *s, const char *name)
{
    size_t i = str_eq(name, "leader") ? world_leader(s->w) : world_find(s->w, name);
    if (i == s->w->n)
        fail(s, "there is no %s", str_eq(name, "leader") ? "leader now" : name);
    return i;
}

/* ---- asking ---------------------------------------------------------------------------------------------------- */

static struct json *value_of(const char *text)
{
    char *end, plain[64];
    long v = strtol(text, &end, 10);
    size_t len = strlen(text);
    if (len >= 2 && text[0] == '"' && text[len - 1] == '"') {
        snprintf(plain, sizeof(plain), "%.*s", (int)len - 2, text + 1);
        return json_str_new(plain);
    }
    if (str_eq(text, "true") || str_eq(text, "false"))
        return json_bool_new(str_eq(text, "true"));
    return *text != '\0' && *end == '\0' ? json_int_new(v) : json_str_new(text);
}

static struct json *args_of(struct scenario *s, const struct words *c, size_t from, int *ret_code)
{
    struct json *args = json_object_new();
    *ret_code = 0;
    for (size_t i = from; i < c->n; i++) {
        char *eq = strchr(c->w[i], '=');
        if (is(c, i, "->") && i + 2 == c->n) {
            *ret_code = (int)number_of(s, c->w[++i]);
        } else if (eq != NULL) {
            *eq = '\0';
            json_set(args, c->w[i], value_of(eq + 1));
            *eq = '=';
        } else {
            fail(s, "'%s' is not KEY=VALUE", c->w[i]);
        }
    }
    return args;
}

static struct json *ask(struct scenario *s, size_t node, const char *verb, struct json *args, int expected)
{
    struct json *answer = world_ask_and_wait(s->w, node, verb, args, ANSWER_MS);
    int code = (int)json_int(json_path(answer, "status.code"), -1);
    const char *text = json_str(json_path(answer, "status.message"), "no answer");
    if (code != 0)
        world_log(s->w, "<", "%d %s", code, text);
    if (code != expected)
        fail(s, "%s: answered %d (%s), expected was %d", verb, code, text, expected);
    return answer;
}

static void do_request(struct scenario *s, const struct words *c)
{
    int expected;
    size_t node = node_of(s, word(c, 1));
    struct json *args = args_of(s, c, 3, &expected);
    if (s->failed)
        json_free(args);
    else
        json_free(ask(s, node, word(c, 2), args, expected));
}

static int expected_code(struct scenario *s, const struct words *c)
{
    return c->n >= 2 && str_eq(c->w[c->n - 2], "->") ? (int)number_of(s, c->w[c->n - 1]) : 0;
}

static void do_join_again(struct scenario *s, const struct words *c)
{
    size_t node = node_of(s, word(c, 1));
    struct json *args = json_object_new();
    json_set_str(args, "token", s->token);
    if (s->failed || s->token == NULL)
        json_free(args);
    else
        json_free(ask(s, node, "node.join", args, expected_code(s, c)));
}

static void do_join(struct scenario *s, const struct words *c)
{
    size_t via = node_of(s, word(c, 3));
    struct json *args = json_object_new();
    json_set_str(args, "node", word(c, 1));
    if (s->failed) {
        json_free(args);
        return;
    }
    AUTO(json_freep) struct json *answer = ask(s, via, "cluster.join-token", args, 0);
    free(s->token);
    s->token = xstrdup(json_str(json_path(answer, "data.token"), NULL));
    do_join_again(s, c);
}

static void do_form(struct scenario *s, const struct words *c)
{
    (void)c;
    if (!world_form(s->w, FORM_MS)) {
        fail(s, "the cluster was not formed");
        return;
    }
    struct json *args = json_object_new();
    json_set_str(args, "name", "upgrade.executor");
    json_set_str(args, "value", "/usr/lib/ringmaster/rebuild");
    json_free(ask(s, 0, "cluster.config.set", args, 0));
}

static bool is_named(const struct scenario *s)
{
    size_t leader = world_leader(s->w);
    if (leader == s->w->n)
        return false;
    const struct db_config *config = db_configuration(core_db(s->w->nodes[leader].core));
    return !uuid_is_nil(&config->witness);
}

static void do_witness(struct scenario *s, const struct words *c)
{
    size_t leader = node_of(s, "leader");
    int64_t until = s->w->now_ms + ANSWER_MS;
    (void)c;
    if (s->failed)
        return;
    struct json *args = json_object_new();
    json_set_str(args, "kind", "file");
    json_set_str(args, "path", "/srv/witness");
    json_free(ask(s, leader, "witness.set", args, 0));
    while (!s->failed && !is_named(s)) {
        if (s->w->now_ms >= until)
            fail(s, "the witness was not named");
        else if (!world_run(s->w, s->w->now_ms + LOOK_MS))
            return;
    }
}

static void do_cut_witness(struct scenario *s, const struct words *c)
{
    for (size_t i = 1; i < c->n && !s->failed; i++) {
        size_t node = node_of(s, c->w[i]);
        if (!s->failed)
            blob_reach(s->w->blob, node, false);
    }
}

static void do_heal_witness(struct scenario *s, const struct words *c)
{
    (void)c;
    for (size_t i = 0; i < s->w->n; i++)
        blob_reach(s->w->blob, i, true);
}

static void do_vm(struct scenario *s, const struct words *c)
{
    size_t leader = node_of(s, "leader");
    if (s->failed)
        return;
    json_free(ask(s, leader, "vm.add",
                  vm_add_args(word(c, 1), word(c, 2), c->n > 3 ? word(c, 3) : "pc-q35-7.2", word(c, 4)), 0));
    struct json *args = json_object_new();
    json_set_str(args, "name", word(c, 1));
    if (s->failed)
        json_free(args);
    else
        json_free(ask(s, leader, "vm.start", args, 0));
}

/* ---- conditions ------------------------------------------------------------------------------------------------ */

/* What is seen instead, for the message. */
struct seen {
    char text[320];
};

static void see(struct seen *seen, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void see(struct seen *seen, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(seen->text, sizeof(seen->text), fmt, ap);
    va_end(ap);
}

static bool is_run(const struct words *c, const struct tables *t, struct seen *seen)
{
    struct run r;
    if (run_newest(t, &r) != 0) {
        see(seen, "there is no run");
        return false;
    }
    see(seen, "the run is %s%s%s", run_state_name(r.state), r.error[0] ? ": " : "", r.error);
    return is(c, 1, run_state_name(r.state));
}

static bool is_step(const struct words *c, const struct tables *t, struct seen *seen)
{
    struct run r;
    struct step s;
    see(seen, "there is no such step");
    for (uint32_t i = run_newest(t, &r) == 0 ? r.n_steps : 0; i-- > 0;) /* the way back is the later one */
        if (step_get(t, &r.id, i, &s) == 0 && is(c, 1, s.node)) {
            see(seen, "the step is %s", step_state_name(s.state));
            return is(c, 2, step_state_name(s.state));
        }
    return false;
}

static bool is_vm_row(const struct words *c, const struct tables *t, struct seen *seen)
{
    struct vm v;
    see(seen, "there is no such VM");
    if (vm_get(t, word(c, 1), &v) != 0)
        return false;
    see(seen, "it is %s on %s", vm_state_name(&v), v.node);
    return is(c, 2, vm_state_name(&v)) && (c->n < 4 || is(c, 3, v.node));
}

static bool is_vm(struct scenario *s, const struct words *c, const struct tables *t, struct seen *seen)
{
    const struct guest *g = world_guest(s->w, word(c, 1));
    size_t at = guest_host(s->w, word(c, 1));
    if (is(c, 2, "on")) {
        see(seen, "it runs on %s", at < s->w->n ? s->w->nodes[at].name : "no host");
        return is(c, 3, at < s->w->n ? s->w->nodes[at].name : "nowhere");
    }
    if (is(c, 2, "restarts")) {
        unsigned n = number_of(s, word(c, 3));
        see(seen, "it was started %u times", g->starts);
        return g->starts == n + 1;
    }
    return is_vm_row(c, t, seen);
}

/* As `task list` shows it. */
static bool is_task_row(struct scenario *s, const struct words *c, const struct tables *t, struct seen *seen)
{
    struct task k;
    see(seen, "there is no such task");
    if (task_get(t, word(c, 1), &k) != 0)
        return false;
    AUTO(json_freep) struct json *o = task_json(&k, world_wall_ms(s->w, world_leader(s->w)));
    bool is_last = is(c, 2, "last");
    const char *state = json_str(json_path(o, is_last ? "last.result" : "state"), "none"),
               *node = json_str(json_path(o, is_last ? "last.node" : "node"), "none");
    see(seen, "it is %s on %s", state, node);
    size_t at = is_last ? 3 : 2;
    return is(c, at, state) && (c->n <= at + 1 || is(c, at + 1, node));
}

static bool is_task(struct scenario *s, const struct words *c, const struct tables *t, struct seen *seen)
{
    size_t at = task_host(s->w, word(c, 1));
    if (is(c, 2, "on")) {
        see(seen, "it runs on %s", at < s->w->n ? s->w->nodes[at].name : "no host");
        return is(c, 3, at < s->w->n ? s->w->nodes[at].name : "nowhere");
    }
    if (is(c, 2, "starts")) {
        see(seen, "it was begun %u times", world_task(s->w, word(c, 1))->starts);
        return world_task(s->w, word(c, 1))->starts == number_of(s, word(c, 3));
    }
    return t != NULL && is_task_row(s, c, t, seen);
}

/* As `backup list` shows it. */
static bool is_backup_row(struct scenario *s, const struct words *c, const struct tables *t, struct seen *seen)
{
    struct backup b;
    see(seen, "it was never backed up");
    if (backup_get(t, word(c, 1), &b) != 0)
        return false;
    AUTO(json_freep) struct json *o = backup_json(&b, world_wall_ms(s->w, world_leader(s->w)));
    bool is_last = is(c, 2, "last");
    const char *state = json_str(json_path(o, is_last ? "last.result" : "state"), "none"),
               *node = json_str(json_path(o, is_last ? "last.node" : "node"), "none");
    see(seen, "it is %s on %s", state, node);
    size_t at = is_last ? 3 : 2;
    return is(c, at, state) && (c->n <= at + 1 || is(c, at + 1, node));
}

/* All its points, and the newest one's engine. */
static unsigned look_at_points(const struct tables *t, const char *vm, char ret_engine[REFPOINT_ENGINE_MAX])
{
    struct point_row *p = xcalloc(1, sizeof(*p));
    struct backup b = {0};
    char key[TABLE_KEY_MAX] = "";
    unsigned n = 0;
    while (point_next(t, vm, key, p))
        n++;
    if (backup_get(t, vm, &b) == 0 && point_get(t, vm, &b.newest, p) == 0)
        str_copy(ret_engine, REFPOINT_ENGINE_MAX, p->ref.engine);
    free(p);
    return n;
}

static bool is_backup(struct scenario *s, const struct words *c, const struct tables *t, struct seen *seen)
{
    size_t at = backup_host(s->w, word(c, 1));
    char engine[REFPOINT_ENGINE_MAX] = "none";
    if (is(c, 2, "on")) {
        see(seen, "its worker runs on %s", at < s->w->n ? s->w->nodes[at].name : "no host");
        return is(c, 3, at < s->w->n ? s->w->nodes[at].name : "nowhere");
    }
    if (is(c, 2, "begun")) {
        see(seen, "it was begun %u times", world_guest(s->w, word(c, 1))->backups);
        return world_guest(s->w, word(c, 1))->backups == number_of(s, word(c, 3));
    }
    if (t == NULL)
        return false;
    unsigned n = look_at_points(t, word(c, 1), engine);
    see(seen, "there are %u points, the newest of %s", n, engine);
    if (is(c, 2, "points"))
        return n == number_of(s, word(c, 3));
    return is(c, 2, "engine") ? is(c, 3, engine) : is_backup_row(s, c, t, seen);
}

static bool is_node(struct scenario *s, const struct words *c, const struct tables *t, struct seen *seen)
{
    struct node n = {0};
    bool ok = false;
    if (is(c, 2, "rebuilds")) {
        size_t count = bmc_count(s->w, node_of(s, word(c, 1)));
        see(seen, "it was rebuilt %zu times", count);
        return count == number_of(s, word(c, 3));
    }
    if (is(c, 2, "fencing")) {
        struct guard g = {0};
        guard_get(t, word(c, 1), &g);
        see(seen, "it is %s, %s", guard_kind_name(g.kind), fence_state_name(g.state));
        return is(c, 3, guard_kind_name(g.kind)) || is(c, 3, fence_state_name(g.state));
    }
    see(seen, "there is no such node");
    if (node_get(t, word(c, 1), &n) == 0) {
        const char *value = is(c, 2, "state") ? node_state_name(n.state) : n.facts.release;
        see(seen, "it is %s", value);
        ok = is(c, 3, value);
    }
    node_done(&n);
    return ok;
}

static bool is_level(struct scenario *s, const struct words *c, const struct tables *t, struct seen *seen)
{
    struct level_state l = {0};
    level_get(t, &l);
    see(seen, "it is %u", l.fl);
    return l.fl == number_of(s, word(c, 1));
}

static bool is_leader(struct scenario *s, const struct words *c, struct seen *seen)
{
    size_t leader = world_leader(s->w);
    const char *name = leader < s->w->n ? s->w->nodes[leader].name : "none";
    see(seen, "it is %s", name);
    return is(c, 1, name);
}

static struct json *status_of(struct scenario *s, const char *name)
{
    size_t node = node_of(s, name);
    return s->failed ? NULL : world_ask_and_wait(s->w, node, "status", NULL, ANSWER_MS);
}

static bool is_status(struct scenario *s, const struct words *c, struct seen *seen)
{
    AUTO(json_freep) struct json *status = status_of(s, word(c, 1));
    const struct json *v = json_path(status, word(c, 2));
    AUTO(freep) char *text = v != NULL ? json_dump(v) : xstrdup("none");
    see(seen, "it is %s", text);
    return is(c, 3, json_is_str(v) ? json_str(v, "") : str_eq(text, "null") ? "none" : text);
}

static bool is_health(struct scenario *s, const struct words *c, struct seen *seen)
{
    AUTO(json_freep) struct json *status = status_of(s, word(c, 1));
    const struct json *health = json_path(status, "data.health");
    size_t len = 0;
    bool found = false;
    seen->text[0] = '\0';
    for (size_t i = 0; i < json_count(health); i++) {
        const char *code = json_get_str(json_at(health, i), "code", "");
        found = found || is(c, 2, code);
        if (len < sizeof(seen->text) - 1)
            len += (size_t)snprintf(seen->text + len, sizeof(seen->text) - len, "%s ", code);
    }
    return found;
}

static bool holds(struct scenario *s, const struct words *c, struct seen *seen)
{
    const struct tables *t = world_tables(s->w);
    if (is(c, 0, "settled"))
        return world_is_settled(s->w, seen->text, sizeof(seen->text));
    if (is(c, 0, "leader"))
        return is_leader(s, c, seen);
    if (is(c, 0, "status"))
        return is_status(s, c, seen);
    if (is(c, 0, "health"))
        return is_health(s, c, seen);
    if (is(c, 0, "no-health"))
        return !is_health(s, c, seen);
    if (is(c, 0, "vm") && (is(c, 2, "on") || is(c, 2, "restarts")))
        return is_vm(s, c, t, seen);
    if (is(c, 0, "task") && (is(c, 2, "on") || is(c, 2, "starts")))
        return is_task(s, c, t, seen);
    if (is(c, 0, "backup"))
        return is_backup(s, c, t, seen);
    see(seen, "there is no leader");
    if (t == NULL)
        return false;
    if (is(c, 0, "run"))
        return is_run(c, t, seen);
    if (is(c, 0, "step"))
        return is_step(c, t, seen);
    if (is(c, 0, "vm"))
        return is_vm(s, c, t, seen);
    if (is(c, 0, "task"))
        return is_task(s, c, t, seen);
    if (is(c, 0, "node"))
        return is_node(s, c, t, seen);
    if (is(c, 0, "level"))
        return is_level(s, c, t, seen);
    fail(s, "'%s' is no condition", word(c, 0));
    return false;
}

static struct words rest(const struct words *c, size_t from, size_t but)
{
    struct words r = {.n = c->n > from + but ? c->n - from - but : 0};
    memcpy(r.w, c->w + from, r.n * sizeof(r.w[0]));
    return r;
}

static void do_wait(struct scenario *s, const struct words *c)
{
    struct words cond = rest(c, 1, 1);
    struct seen seen = {""};
    int64_t until = s->w->now_ms + time_of(s, word(c, c->n - 1));
    while (!s->failed && !holds(s, &cond, &seen)) {
        if (s->w->now_ms >= until)
            fail(s, "waited in vain: %s", seen.text);
        else if (!world_run(s->w, s->w->now_ms + LOOK_MS))
            return;
    }
}

static void do_catch(struct scenario *s, const struct words *c)
{
    struct words cond = rest(c, 1, 1);
    struct seen seen = {""};
    int64_t until = s->w->now_ms + time_of(s, word(c, c->n - 1));
    while (!s->failed && world_fault(s->w) == NULL && !holds(s, &cond, &seen))
        if (!world_step(s->w, until))
            fail(s, "waited in vain: %s", seen.text);
}

static void do_assert(struct scenario *s, const struct words *c)
{
    struct words cond = rest(c, 1, 0);
    struct seen seen = {""};
    if (!holds(s, &cond, &seen))
        fail(s, "not so: %s", seen.text);
}

/* ---- what happens to nodes ------------------------------------------------------------------------------------- */

static void do_run(struct scenario *s, const struct words *c)
{
    world_run(s->w, s->w->now_ms + time_of(s, word(c, 1)));
}

static void do_heal(struct scenario *s, const struct words *c)
{
    (void)c;
    world_heal(s->w);
}

static void do_partition(struct scenario *s, const struct words *c)
{
    uint8_t side[WORLD_NODES_MAX] = {0}, current = 0;
    for (size_t i = 1; i < c->n; i++) {
        if (is(c, i, "/"))
            current++;
        else
            side[node_of(s, word(c, i)) % WORLD_NODES_MAX] = current;
    }
    world_partition(s->w, side);
}

static void do_guest_off(struct scenario *s, const struct words *c)
{
    guest_off(s->w, word(c, 1));
}

static void do_fail_moves(struct scenario *s, const struct words *c)
{
    world_guest(s->w, word(c, 1))->failing_moves = number_of(s, word(c, 2));
}

static void do_dirty(struct scenario *s, const struct words *c)
{
    world_guest(s->w, word(c, 1))->dirty_ms = number_of(s, word(c, 2));
}

static void do_slow_task(struct scenario *s, const struct words *c)
{
    world_task(s->w, word(c, 1))->ms = time_of(s, word(c, 2));
}

static void do_fail_task(struct scenario *s, const struct words *c)
{
    world_task(s->w, word(c, 1))->failing = number_of(s, word(c, 2));
}

static void do_slow_backup(struct scenario *s, const struct words *c)
{
    world_guest(s->w, word(c, 1))->backup_ms = time_of(s, word(c, 2));
}

static void do_fail_backups(struct scenario *s, const struct words *c)
{
    world_guest(s->w, word(c, 1))->failing_backups = number_of(s, word(c, 2));
}

static void do_crash_backups(struct scenario *s, const struct words *c)
{
    world_guest(s->w, word(c, 1))->crashing_backups = number_of(s, word(c, 2));
}

static void do_crash(struct scenario *s, const struct words *c)
{
    guest_crash(s->w, word(c, 1));
}

static void do_deaf(struct scenario *s, const struct words *c)
{
    world_guest(s->w, word(c, 1))->deaf = number_of(s, word(c, 2));
}

static void do_restore_copies(struct scenario *s, const struct words *c)
{
    (void)c;
    struct error e = {0};
    if (world_restore_copies(s->w, &e))
        fail(s, "no copy was put back: %s", e.text);
}

/* Commands whose first argument is a node. */
static void on_node(struct scenario *s, const struct words *c, size_t node)
{
    struct world *w = s->w;
    if (is(c, 0, "kill"))
        world_kill(w, node);
    else if (is(c, 0, "stop-agent"))
        world_kill_agent_for_good(w, node);
    else if (is(c, 0, "end-agent"))
        world_end_agent(w, node);
    else if (is(c, 0, "start-agent"))
        world_start_agent(w, node);
    else if (is(c, 0, "forget"))
        world_forget(w, node);
    else if (is(c, 0, "power-off"))
        world_power_off(w, node);
    else if (is(c, 0, "power-on"))
        world_power_on(w, node);
    else if (is(c, 0, "late-write"))
        blob_delay_write(w->blob, node, time_of(s, word(c, 2)));
    else if (is(c, 0, "hang"))
        w->nodes[node].host.hung_until_ms = w->now_ms + time_of(s, word(c, 2));
    else if (is(c, 0, "freeze"))
        world_freeze(w, node, time_of(s, word(c, 2)));
    else if (is(c, 0, "slow-rebuilds"))
        w->rebuild_ms[node] = time_of(s, word(c, 2));
    else if (is(c, 0, "fail-rebuilds"))
        w->failing_rebuilds[node] = number_of(s, word(c, 2));
    else if (is(c, 0, "fail-copies"))
        w->nodes[node].failing_copies = number_of(s, word(c, 2));
    else if (is(c, 0, "fail-fences"))
        w->failing_fences[node] = number_of(s, word(c, 2));
    else if (is(c, 0, "wrong-image") || is(c, 0, "right-image"))
        w->wrong_image[node] = is(c, 0, "wrong-image");
    else
        w->no_rejoin[node] = is(c, 0, "no-rejoin");
}

static void do_on_node(struct scenario *s, const struct words *c)
{
    size_t node = node_of(s, word(c, 1));
    if (!s->failed)
        on_node(s, c, node);
}

static void execute(struct scenario *s, struct words *c);

static void run_later(struct world *w, struct errand *j)
{
    struct scenario *s = w->p.ctx;
    struct words c = split(j->a.text);
    execute(s, &c);
}

static void do_at(struct scenario *s, const struct words *c)
{
    struct buf b = {0};
    for (size_t i = 2; i < c->n; i++)
        buf_printf(&b, "%s%s", i > 2 ? " " : "", c->w[i]);
    world_later(s->w, time_of(s, word(c, 1)), run_later)->a.text = buf_steal_str(&b);
}

static void do_repeat(struct scenario *s, const struct words *c)
{
    struct words command = rest(c, 2, 0);
    s->repeats = true;
    for (unsigned n = number_of(s, word(c, 1)); n > 0 && !s->failed; n--)
        execute(s, &command);
    s->repeats = false;
}

static const struct command {
    const char *name;
    size_t n_min; /* words, with itself */
    bool is_shown; /* in the decision log */
    void (*run)(struct scenario *s, const struct words *c);
} commands[] = {
    {"form", 1, true, do_form},
    {"request", 3, true, do_request},
    {"join", 4, true, do_join},
    {"join-again", 2, true, do_join_again},
    {"vm", 3, true, do_vm},
    {"witness", 1, true, do_witness},
    {"cut-witness", 2, true, do_cut_witness},
    {"heal-witness", 1, true, do_heal_witness},
    {"late-write", 3, true, do_on_node},
    {"freeze", 3, true, do_on_node},
    {"run", 2, false, do_run},
    {"wait", 3, false, do_wait},
    {"catch", 3, false, do_catch},
    {"assert", 2, false, do_assert},
    {"at", 3, false, do_at},
    {"repeat", 3, true, do_repeat},
    {"kill", 2, true, do_on_node},
    {"stop-agent", 2, true, do_on_node},
    {"end-agent", 2, true, do_on_node},
    {"start-agent", 2, true, do_on_node},
    {"forget", 2, true, do_on_node},
    {"power-off", 2, true, do_on_node},
    {"power-on", 2, true, do_on_node},
    {"hang", 3, true, do_on_node},
    {"fail-rebuilds", 3, true, do_on_node},
    {"fail-fences", 3, true, do_on_node},
    {"fail-copies", 3, true, do_on_node},
    {"restore-copies", 1, true, do_restore_copies},
    {"slow-rebuilds", 3, true, do_on_node},
    {"no-rejoin", 2, true, do_on_node},
    {"rejoin", 2, true, do_on_node},
    {"wrong-image", 2, true, do_on_node},
    {"right-image", 2, true, do_on_node},
    {"partition", 4, true, do_partition},
    {"heal", 1, true, do_heal},
    {"guest-off", 2, true, do_guest_off},
    {"fail-moves", 3, true, do_fail_moves},
    {"deaf", 3, true, do_deaf},
    {"crash", 2, true, do_crash},
    {"dirty", 3, true, do_dirty},
    {"slow-task", 3, true, do_slow_task},
    {"fail-task", 3, true, do_fail_task},
    {"slow-backup", 3, true, do_slow_backup},
    {"fail-backups", 3, true, do_fail_backups},
    {"crash-backups", 3, true, do_crash_backups},
};

static void show_command(struct scenario *s, const struct words *c)
{
    struct buf b = {0};
    for (size_t i = 0; i < c->n; i++)
        buf_printf(&b, "%s%s", i > 0 ? " " : "", c->w[i]);
    AUTO(freep) char *text = buf_steal_str(&b);
    world_log(s->w, ">", "%s", text);
}

static void execute(struct scenario *s, struct words *c)
{
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        if (!is(c, 0, commands[i].name))
            continue;
        if (c->n < commands[i].n_min) {
            fail(s, "'%s' wants more words", commands[i].name);
            return;
        }
        if (commands[i].is_shown && !s->repeats)
            show_command(s, c);
        commands[i].run(s, c);
        return;
    }
    fail(s, "'%s' is no command", word(c, 0));
}

/* ---- a folder -------------------------------------------------------------------------------------------------- */

/* NULL: cannot be read. */
static char *read_file(const char *dir, const char *name)
{
    char path[1024], chunk[4096];
    struct buf b = {0};
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    FILE *f = fopen(path, "r");
    if (f == NULL)
        return NULL;
    for (size_t n; (n = fread(chunk, 1, sizeof(chunk), f)) > 0;)
        buf_add(&b, chunk, n);
    fclose(f);
    return buf_steal_str(&b);
}

static void make_world(struct scenario *s, const struct words *c)
{
    bool is_guarded = is(c, 0, "guarded-nodes");
    unsigned n = is_guarded || is(c, 0, "nodes") ? number_of(s, word(c, 1)) : 0;
    if (n < 1 || n > WORLD_NODES_MAX) {
        fail(s, "the first command is: nodes 1…%d [RELEASE]", WORLD_NODES_MAX);
        return;
    }
    struct world_params p = {.n = n, .seed = 1, .release = c->n > 2 ? word(c, 2) : "bookworm", .is_exact = true,
                             .has_witness = true,
                             .net = {.delay_ms_max = 1, .notice_ms_max = 1000}, .options = &s->options,
                             .log_kept = c->n > 3 ? number_of(s, word(c, 3)) : 0, .line = take_line, .ctx = s,
                             .has_watchdogs = is_guarded};
    s->w = world_new(&p);
}

static void play(struct scenario *s, char *text)
{
    int last = 0;
    for (char *line = text, *next; line != NULL && !s->failed; line = next) {
        next = strchr(line, '\n');
        if (next != NULL)
            *next++ = '\0';
        s->line = ++last;
        struct words c = split(line);
        if (c.n == 0)
            continue;
        if (s->w == NULL)
            make_world(s, &c);
        else
            execute(s, &c);
        if (s->w != NULL && world_fault(s->w) != NULL)
            fail(s, "%s", world_fault(s->w));
    }
}

static int compare(const struct scenario *s, const char *dir)
{
    AUTO(freep) char *expected = read_file(dir, "expect.log");
    AUTO(freep) char *log = xcalloc(1, s->log.len + 1);
    memcpy(log, s->log.p, s->log.len);
    if (expected == NULL) {
        fprintf(stderr, "%s/expect.log is missing; after reading it: ringmaster-sim --scenario %s --print-log\n", dir,
                dir);
        return 1;
    }
    if (str_eq(expected, log))
        return 0;
    printf("%s: the decision log differs (-expected, +found):\n", dir);
    diff_print(expected, log);
    return 1;
}

static int judge(const struct scenario *s, const char *dir, bool print_log)
{
    if (print_log && !s->is_verbose)
        fwrite(s->log.p, 1, s->log.len, stdout);
    if (s->failed) {
        if (s->w != NULL && s->is_verbose)
            world_describe(s->w);
        fprintf(stderr, "%s/scenario:%d: %s\n", dir, s->line, s->fault);
        return 1;
    }
    return print_log || s->is_verbose ? 0 : compare(s, dir);
}

int scenario_run(const char *dir, bool print_log, bool is_verbose)
{
    struct scenario s = {.is_verbose = is_verbose};
    AUTO(freep) char *text = read_file(dir, "scenario");
    if (text == NULL) {
        fprintf(stderr, "%s/scenario: %s\n", dir, strerror(errno));
        return -ERR_USAGE;
    }
    play(&s, text);
    int status = judge(&s, dir, print_log);
    if (s.w != NULL)
        world_free(s.w);
    buf_done(&s.log);
    free(s.token);
    return status;
}
