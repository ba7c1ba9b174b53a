/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The hypervisors. A domain XML is one line in here: "NAME UUID MACHINE MEMORY_KIB [TRAIT]". Calls take virtual time; a
 * hung hypervisor performs what it was asked, in order, when it goes on, though the callers have given up by then. */
#include "tests/sim/world.h"

#include <assert.h>
#include <inttypes.h>

enum {
    LOOK_MS = 20,
    START_MS = 800,
    SHUTDOWN_MS = 2000,
    MIGRATE_MS = 3000,
    PASS_MS = 2000,
    CALL_TIMEOUT_MS = 15000, /* of a call to a hung hypervisor */
    TELL_MS = 30,
};

/* ---- domains --------------------------------------------------------------------------------------------------- */

struct domain *host_find(struct host *h, const char *name)
{
    for (size_t i = 0; i < h->n; i++)
        if (str_eq(h->domains[i].name, name))
            return &h->domains[i];
    return NULL;
}

bool host_is_empty(const struct host *h)
{
    for (size_t i = 0; i < h->n; i++)
        if (h->domains[i].state != VM_DOMAIN_OFF || h->domains[i].starting != 0)
            return false;
    return true;
}

static void forget(struct host *h, struct domain *d)
{
    *d = h->domains[--h->n];
}

static struct domain *define(struct host *h, const char *name, const struct uuid *uuid, const char *machine)
{
    struct domain *d = host_find(h, name);
    if (d == NULL) {
        assert(h->n < WORLD_VMS_MAX);
        d = &h->domains[h->n++];
        *d = (struct domain){.uuid = *uuid};
        STR_COPY(d->name, name);
    }
    STR_COPY(d->machine, machine);
    return d;
}

struct guest *world_guest(struct world *w, const char *name)
{
    for (size_t i = 0; i < w->n_guests; i++)
        if (str_eq(w->guests[i].name, name))
            return &w->guests[i];
    assert(w->n_guests < WORLD_VMS_MAX);
    struct guest *g = &w->guests[w->n_guests++];
    STR_COPY(g->name, name);
    return g;
}

static bool runs_on(const struct world *w, const char *name, size_t node)
{
    const struct domain *d = host_find((struct host *)&w->nodes[node].host, name);
    return d != NULL && (d->state == VM_DOMAIN_RUNNING || d->state == VM_DOMAIN_PAUSED);
}

size_t guest_host(const struct world *w, const char *name)
{
    for (size_t i = 0; i < w->n; i++)
        if (runs_on(w, name, i))
            return i;
    return w->n;
}

static void tell_agent(struct world *w, struct errand *j)
{
    if (w->nodes[j->node].boot == j->boot)
        world_deliver(w, j->node, &(struct core_event){.type = EV_VM_CHANGED});
}

static void changed(struct world *w, size_t node)
{
    struct errand *j = world_later(w, TELL_MS, tell_agent);
    j->node = node;
    j->boot = w->nodes[node].boot;
}

/* The one way for a domain to begin to run: it runs nowhere else, whatever its agent, its network or its clock do. */
static void set_running(struct world *w, size_t node, struct domain *d)
{
    for (size_t i = 0; i < w->n; i++)
        if (i != node && runs_on(w, d->name, i))
            world_fail(w, "VM %s runs on %s and on %s", d->name, w->nodes[i].name, w->nodes[node].name);
    d->state = VM_DOMAIN_RUNNING;
    d->crashed = false;
    changed(w, node);
}

static void boot_domain(struct world *w, size_t node, struct domain *d)
{
    struct guest *g = world_guest(w, d->name);
    struct uuid op = world_start_under_way(w, d->name);
    set_running(w, node, d);
    g->starts++;
    /* A guest that powered itself off, and nobody could say so before it counted as lost. */
    bool is_hidden = (!uuid_is_nil(&op) && uuid_eq(&g->off_in, &op)) || w->nodes[node].note.fenced ||
                     world_start_is_failover(w, d->name);
    g->killed += g->is_off_unseen && is_hidden;
    g->is_off_unseen = false;
    g->killed += g->saved_to[0] && !g->is_save_used; /* what was saved is given up */
    g->saved_to[0] = '\0';
    if (g->starts > g->asked + g->killed)
        world_fail(w, "VM %s was restarted on %s: started %u times, asked for %u times, lost to power %u times",
                   d->name, w->nodes[node].name, g->starts, g->asked, g->killed);
}

/* ---- migration ------------------------------------------------------------------------------------------------- */

static void answer_caller(struct world *w, size_t node, const struct domain *d, const struct error *e)
{
    struct errand *j = world_outcome(w, node, d->out.life, d->out.id, EV_VM);
    if (e != NULL)
        j->vm.error = *e;
}

static void drop_incoming(struct world *w, size_t target, uint64_t serial)
{
    struct host *h = &w->nodes[target].host;
    for (size_t i = h->n; i-- > 0;)
        if (h->domains[i].state == VM_DOMAIN_INCOMING && h->domains[i].in == serial) {
            forget(h, &h->domains[i]);
            changed(w, target);
        }
}

static void end_migration(struct world *w, size_t node, struct domain *d, const struct error *e)
{
    size_t target = d->out.target;
    uint64_t serial = d->out.serial;
    struct error lost = {0};
    error_set(&lost, ERR_IO, "the connection was lost");
    answer_caller(w, node, d, e == NULL && world_chance(w, w->lost_outcomes) ? &lost : e);
    d->out.serial = 0;
    if (e != NULL) {
        drop_incoming(w, target, serial);
        changed(w, node);
        return;
    }
    struct domain copy = *d, *there = host_find(&w->nodes[target].host, d->name);
    forget(&w->nodes[node].host, d);
    changed(w, node);
    assert(there != NULL && there->in == serial);
    there->uuid = copy.uuid;
    there->in = 0;
    set_running(w, target, there);
}

static void migration_ends(struct world *w, struct errand *j)
{
    struct domain *d = host_find(&w->nodes[j->node].host, j->a.vm.name);
    struct error e = {0};
    if (d == NULL || d->out.serial != j->number)
        return;
    struct guest *g = world_guest(w, d->name);
    if (g->dirty_ms > d->out.downtime_ms && !d->out.is_postcopy) { /* and once more over its memory */
        world_again(w, j, PASS_MS);
        return;
    }
    const struct domain *there = host_find(&w->nodes[d->out.target].host, d->name);
    if (!world_reaches(w, j->node, d->out.target) || there == NULL || there->in != j->number)
        error_set(&e, ERR_IO, "the connection to the target was lost");
    else if (g->failing_moves > 0 || world_chance(w, w->move_fails))
        error_set(&e, ERR_FAILED, "operation failed: guest CPU doesn't match specification");
    if (e.code == ERR_FAILED && g->failing_moves > 0)
        g->failing_moves--;
    end_migration(w, j->node, d, e.code ? &e : NULL);
}

static int check_migration(struct world *w, const struct errand *j, const struct domain *d, size_t target,
                           struct error *e)
{
    const struct sim_node *t = &w->nodes[target];
    if (d == NULL || d->state == VM_DOMAIN_OFF)
        return error_set(e, ERR_NOT_FOUND, "no such domain");
    if (d->out.serial != 0 || d->state != VM_DOMAIN_RUNNING)
        return error_set(e, ERR_AGAIN, "another job runs on the domain");
    if (target == w->n || !world_reaches(w, j->node, target) || t->host.hung_until_ms > w->now_ms)
        return error_set(e, ERR_IO, "cannot connect to the target");
    if (strstr(world_machines(t->release), d->machine) == NULL)
        return error_set(e, ERR_FAILED, "the target's QEMU does not know %s", d->machine);
    const struct domain *there = host_find(&w->nodes[target].host, d->name);
    if (there != NULL && (there->state != VM_DOMAIN_OFF || there->starting != 0))
        return error_set(e, ERR_FAILED, "the domain is active on the target");
    return 0;
}

static void migrate(struct world *w, struct errand *j)
{
    struct domain *d = host_find(&w->nodes[j->node].host, j->a.vm.name);
    size_t target = world_find(w, j->a.vm.target);
    if (check_migration(w, j, d, target, &j->vm.error)) {
        world_answer(w, j, EV_VM, LOOK_MS);
        return;
    }
    backups_check_idle(w, d->name, "moved");
    int64_t took = world_delay(w, MIGRATE_MS, 3 * MIGRATE_MS);
    d->out.serial = ++w->last_migration;
    d->out.id = j->a.id;
    d->out.life = j->life;
    d->out.target = target;
    d->out.begin_ms = w->now_ms;
    d->out.end_ms = w->now_ms + took;
    d->out.downtime_ms = 300;
    d->out.may_postcopy = j->a.vm.postcopy;
    d->out.is_postcopy = false;
    struct domain *there = define(&w->nodes[target].host, d->name, &d->uuid, d->machine);
    there->state = VM_DOMAIN_INCOMING;
    there->in = d->out.serial;
    changed(w, target);
    j->number = d->out.serial;
    j->run = migration_ends;
    world_again(w, j, took);
}

static void steer(struct world *w, struct errand *j)
{
    struct domain *d = host_find(&w->nodes[j->node].host, j->a.vm.name);
    if (d != NULL && d->out.serial != 0 && j->a.vm.verb == VM_CALL_DOWNTIME)
        d->out.downtime_ms = j->a.vm.downtime_ms;
    else if (d != NULL && d->out.serial != 0 && d->out.may_postcopy)
        d->out.is_postcopy = true;
    else if (d != NULL && d->out.serial != 0)
        world_fail(w, "post-copy of VM %s, which does not allow it", d->name);
    world_answer(w, j, EV_VM, LOOK_MS);
}

static void cancel(struct world *w, struct errand *j)
{
    struct domain *d = host_find(&w->nodes[j->node].host, j->a.vm.name);
    struct error e = {0};
    error_set(&e, ERR_FAILED, "the migration was cancelled");
    if (d == NULL || d->out.serial == 0)
        error_set(&j->vm.error, ERR_NOT_FOUND, "no migration runs");
    else
        end_migration(w, j->node, d, &e);
    world_answer(w, j, EV_VM, LOOK_MS);
}

/* ---- the other calls ------------------------------------------------------------------------------------------- */

static unsigned percent(const struct world *w, const struct domain *d)
{
    int64_t all = d->out.end_ms - d->out.begin_ms;
    int64_t done = w->now_ms - d->out.begin_ms;
    return all > 0 ? (unsigned)(100 * (done < all ? done : all) / all) : 0;
}

static void list(struct world *w, struct errand *j)
{
    const struct host *h = &w->nodes[j->node].host;
    j->vm.domains = xcalloc(h->n + 1, sizeof(struct vm_domain));
    j->vm.n_domains = h->n;
    for (size_t i = 0; i < h->n; i++) {
        const struct domain *d = &h->domains[i];
        struct vm_domain *o = &j->vm.domains[i];
        *o = (struct vm_domain){.uuid = d->uuid, .state = d->state, .migrating = d->out.serial != 0};
        o->crashed = d->state == VM_DOMAIN_OFF && d->crashed;
        o->percent = (uint8_t)(o->migrating ? percent(w, d) : 0);
        o->passes = o->migrating ? 1 + (uint32_t)((w->now_ms - d->out.begin_ms) / PASS_MS) : 0;
        o->managed_save = d->managed_save;
        o->memory_snapshot = d->memory_snapshot;
        STR_COPY(o->name, d->name);
    }
    world_answer(w, j, EV_VM, world_delay(w, LOOK_MS, 10 * LOOK_MS));
}

static int read_xml(const char *xml, struct vm_facts *ret, struct error *e)
{
    char uuid[UUID_STR_SIZE], trait[16] = "";
    struct vm_facts f = {.vcpus = 1, .disks = 1};
    if (sscanf(xml, "%63s %36s %63s %" SCNu64 " %15s", f.name, uuid, f.machine, &f.memory_kib, trait) < 4 ||
        uuid_parse(uuid, &f.uuid))
        return error_set(e, ERR_USAGE, "the XML does not parse");
    f.has_host_device = str_eq(trait, "device");
    f.has_local_disk = str_eq(trait, "disk");
    *ret = f;
    return 0;
}

static void parse(struct world *w, struct errand *j)
{
    struct vm_facts *f = &j->vm.facts;
    char xml[VM_NAME_MAX + UUID_STR_SIZE + VM_MACHINE_MAX + 32];
    if (read_xml(j->a.vm.xml, f, &j->vm.error) == 0) {
        if (j->a.vm.machine[0])
            STR_COPY(f->machine, j->a.vm.machine);
        snprintf(xml, sizeof(xml), "%s %s %s %" PRIu64, f->name, uuid_str(&f->uuid).s, f->machine, f->memory_kib);
        f->xml = xstrdup(xml);
    }
    world_answer(w, j, EV_VM, LOOK_MS);
}

static void give_up(struct world *w, struct errand *j)
{
    error_set(&j->vm.error, ERR_TIMEOUT, "the hypervisor does not answer");
    world_answer(w, j, EV_VM, 0);
}

/* The caller hears that it took too long; what it asked for is done all the same. */
static void caller_gives_up(struct world *w, struct errand *j)
{
    if (j->life == 0)
        return;
    struct errand *caller = world_later(w, CALL_TIMEOUT_MS, give_up);
    caller->node = j->node;
    caller->life = j->life;
    caller->a.id = j->a.id;
    j->life = 0;
}

/* Once: the guest has changed its disk since. */
static void restore_domain(struct world *w, size_t node, struct domain *d)
{
    struct guest *g = world_guest(w, d->name);
    if (g->is_save_used)
        world_fail(w, "VM %s went on from %s for a second time, on %s", d->name, g->saved_to, w->nodes[node].name);
    g->is_save_used = true;
    set_running(w, node, d);
}

static void begin_domain(struct world *w, const struct errand *j, struct domain *d)
{
    backups_check_idle(w, d->name, "started");
    if (j->a.vm.path[0])
        restore_domain(w, j->node, d);
    else
        boot_domain(w, j->node, d);
}

static void slow_start_ends(struct world *w, struct errand *j)
{
    struct domain *d = host_find(&w->nodes[j->node].host, j->a.vm.name);
    if (d == NULL || d->starting != j->number)
        return; /* it was powered off meanwhile */
    d->starting = 0;
    begin_domain(w, j, d);
}

static void start_slowly(struct world *w, struct errand *j, struct domain *d)
{
    d->starting = j->number = ++w->last_migration;
    caller_gives_up(w, j);
    j->run = slow_start_ends;
    world_again(w, j, world_delay(w, CALL_TIMEOUT_MS, 3 * CALL_TIMEOUT_MS));
}

static void start(struct world *w, struct errand *j)
{
    struct vm_facts f;
    struct sim_node *s = &w->nodes[j->node];
    struct domain *d = host_find(&s->host, j->a.vm.name);
    if (d != NULL && d->starting != 0) {
        world_again(w, j, START_MS); /* one job at a time on a domain */
        return;
    }
    if (read_xml(j->a.vm.xml, &f, &j->vm.error) == 0) {
        if (d != NULL && d->state == VM_DOMAIN_INCOMING) {
            error_set(&j->vm.error, ERR_FAILED, "the domain is being received");
        } else if (strstr(world_machines(s->release), f.machine) == NULL) {
            error_set(&j->vm.error, ERR_FAILED, "unsupported machine type %s", f.machine);
        } else if (j->a.vm.path[0] && !str_eq(world_guest(w, f.name)->saved_to, j->a.vm.path)) {
            error_set(&j->vm.error, ERR_CONDITION, "what was saved cannot be read");
        } else if (d == NULL || d->state == VM_DOMAIN_OFF) {
            d = define(&s->host, f.name, &f.uuid, f.machine);
            if (world_chance(w, w->slow_starts)) {
                start_slowly(w, j, d);
                return;
            }
            begin_domain(w, j, d);
        }
    }
    world_answer(w, j, EV_VM, LOOK_MS);
}

static void power_off(struct world *w, struct errand *j)
{
    struct domain *d = host_find(&w->nodes[j->node].host, j->a.vm.name);
    if (d == NULL) {
        error_set(&j->vm.error, ERR_NOT_FOUND, "no such domain");
    } else if (j->a.vm.verb == VM_CALL_SHUTDOWN && d->state != VM_DOMAIN_OFF && world_guest(w, d->name)->deaf) {
        world_guest(w, d->name)->deaf--;
        error_set(&j->vm.error, ERR_TIMEOUT, "it was asked to power off and still runs");
    } else if (d->state != VM_DOMAIN_OFF || d->starting != 0) {
        struct error e = {0};
        struct guest *g = world_guest(w, d->name);
        g->killed += j->a.vm.verb == VM_CALL_SHUTDOWN && world_stop_is_drain(w, d->name); /* and comes back */
        g->killed += j->a.vm.urgent && d->state != VM_DOMAIN_INCOMING; /* its node is cut off: as if power was lost */
        d->starting = 0;
        if (!j->a.vm.urgent)
            backups_check_idle(w, d->name, "stopped");
        backups_guest_gone(w, j->node, d->name);
        error_set(&e, ERR_FAILED, "the domain was powered off");
        if (d->out.serial != 0)
            end_migration(w, j->node, d, &e);
        d->state = VM_DOMAIN_OFF;
        changed(w, j->node);
    }
    world_answer(w, j, EV_VM, LOOK_MS);
}

static void save(struct world *w, struct errand *j)
{
    struct domain *d = host_find(&w->nodes[j->node].host, j->a.vm.name);
    struct guest *g = world_guest(w, j->a.vm.name);
    bool is_on = d != NULL && d->state == VM_DOMAIN_RUNNING && d->out.serial == 0;
    if (!is_on && !str_eq(g->saved_to, j->a.vm.path)) {
        error_set(&j->vm.error, ERR_CONDITION, "it is off, and was not saved");
    } else if (is_on) {
        STR_COPY(g->saved_to, j->a.vm.path);
        g->is_save_used = false;
        backups_check_idle(w, d->name, "saved");
        d->state = VM_DOMAIN_OFF;
        changed(w, j->node);
    }
    world_answer(w, j, EV_VM, LOOK_MS);
}

static void undefine(struct world *w, struct errand *j)
{
    struct host *h = &w->nodes[j->node].host;
    struct domain *d = host_find(h, j->a.vm.name);
    if (d != NULL && (d->state != VM_DOMAIN_OFF || d->starting != 0))
        error_set(&j->vm.error, ERR_CONDITION, "the domain is active");
    else if (d != NULL)
        forget(h, d);
    world_answer(w, j, EV_VM, LOOK_MS);
}

static const struct {
    void (*run)(struct world *w, struct errand *j);
    int64_t takes_ms;
} calls[] = {
    [VM_CALL_LIST] = {list, 0},           [VM_CALL_PARSE] = {parse, 0},
    [VM_CALL_START] = {start, START_MS},  [VM_CALL_SHUTDOWN] = {power_off, SHUTDOWN_MS},
    [VM_CALL_DESTROY] = {power_off, 0},   [VM_CALL_MIGRATE] = {migrate, 0},
    [VM_CALL_CANCEL] = {cancel, 0},       [VM_CALL_UNDEFINE] = {undefine, 0},
    [VM_CALL_SAVE] = {save, SHUTDOWN_MS}, [VM_CALL_DOWNTIME] = {steer, 0},
    [VM_CALL_POSTCOPY] = {steer, 0},
};

/* The host does it now; whoever asked for it may be gone. */
static void perform(struct world *w, struct errand *j)
{
    const struct sim_node *s = &w->nodes[j->node];
    if (s->boot != j->boot || !s->powered)
        return;
    if (s->host.hung_until_ms <= w->now_ms) {
        calls[j->a.vm.verb].run(w, j);
        return;
    }
    caller_gives_up(w, j);
    world_again(w, j, s->host.hung_until_ms - w->now_ms);
}

void host_call(struct world *w, struct errand *j)
{
    int64_t takes = calls[j->a.vm.verb].takes_ms;
    j->run = perform;
    world_again(w, j, takes > 0 ? world_delay(w, takes, 3 * takes) : 0);
}

/* ---- what happens to it ---------------------------------------------------------------------------------------- */

static void lose_incoming(struct world *w, size_t node)
{
    struct host *h = &w->nodes[node].host;
    for (size_t i = h->n; i-- > 0;)
        if (h->domains[i].state == VM_DOMAIN_INCOMING)
            forget(h, &h->domains[i]);
}

void host_power_lost(struct world *w, size_t node)
{
    struct host *h = &w->nodes[node].host;
    lose_incoming(w, node);
    for (size_t i = 0; i < h->n; i++) {
        struct domain *d = &h->domains[i];
        if (d->out.serial != 0)
            drop_incoming(w, d->out.target, d->out.serial);
        d->out.serial = d->starting = 0;
        struct guest *g = world_guest(w, d->name);
        if (d->state != VM_DOMAIN_OFF || g->is_off_unseen) /* nobody will ever know that it was off by then */
            g->killed++;
        g->is_off_unseen = false;
        d->state = VM_DOMAIN_OFF;
    }
    h->hung_until_ms = 0;
}

void guest_crash(struct world *w, const char *name)
{
    size_t node = guest_host(w, name);
    if (node == w->n)
        return;
    struct domain *d = host_find(&w->nodes[node].host, name);
    struct error e = {0};
    error_set(&e, ERR_FAILED, "the domain ended");
    if (d->out.serial != 0)
        end_migration(w, node, d, &e);
    d->state = VM_DOMAIN_OFF;
    d->crashed = true;
    backups_guest_gone(w, node, name);
    world_guest(w, name)->killed++;
    changed(w, node);
}

void guest_off(struct world *w, const char *name)
{
    size_t node = guest_host(w, name);
    struct error e = {0};
    if (node == w->n)
        return;
    struct domain *d = host_find(&w->nodes[node].host, name);
    error_set(&e, ERR_FAILED, "the domain ended");
    if (d->out.serial != 0)
        end_migration(w, node, d, &e);
    d->state = VM_DOMAIN_OFF;
    world_guest(w, name)->killed += world_stop_is_drain(w, name); /* as if that had been heard: it comes back */
    backups_guest_gone(w, node, name);
    world_guest(w, name)->is_off_unseen = true;
    world_guest(w, name)->off_in = world_start_under_way(w, name);
    changed(w, node);
}
