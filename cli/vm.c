/* SPDX-License-Identifier: GPL-2.0-or-later */
/* clusterctl vm … */
#include "cli/noun.h"

enum { TIMEOUT_SECONDS_MAX = 24 * 3600, PRIORITY_MAX = 1000 };

/* Where it is, or its way: "n1 -> n2 45%", "?%" as long as the node that it leaves is not heard. */
static void cell_place(struct grid *g, size_t column, const struct json *vm)
{
    const char *node = json_get_str(vm, "node", "");
    const char *target = json_get_str(vm, "target", "");
    int64_t percent = json_get_int(vm, "percent", -1);
    if (!target[0])
        grid_cell(g, column, STYLE_PLAIN, node);
    else if (percent >= 0)
        grid_cellf(g, column, STYLE_PLAIN, "%s -> %s %lld%%", node, target, (long long)percent);
    else
        grid_cellf(g, column, STYLE_PLAIN, "%s -> %s ?%%", node, target);
}

void page_vms(struct page *p, const struct json *vms)
{
    static const struct grid_column columns[] = {
        {"VM", 0},
        {"STATE", 0},
        {"NODE", 0},
        {"HOME", 0},
        {"MEMORY", GRID_RIGHT},
        {"CPUS", GRID_RIGHT},
        {"PRIORITY", GRID_RIGHT},
        {"POLICY", 0},
        {"MACHINE", 0},
    };
    struct grid *g = grid_new(columns, sizeof(columns) / sizeof(columns[0]), p->width, p->colour);
    size_t rows = json_count(vms);
    for (size_t k = 0; k < rows; k++) {
        const struct json *vm = json_at(vms, k);
        const char *state = json_get_str(vm, "state", "");
        grid_row(g);
        grid_cell(g, 0, STYLE_PLAIN, json_get_str(vm, "name", ""));
        grid_cell(g, 1, style_of_state(state), state);
        cell_place(g, 2, vm);
        grid_cell(g, 3, STYLE_PLAIN, json_get_str(vm, "home", ""));
        grid_cellf(g, 4, STYLE_PLAIN, "%lld MiB", (long long)json_get_int(vm, "memory_mib", 0));
        grid_cellf(g, 5, STYLE_PLAIN, "%lld", (long long)json_get_int(vm, "vcpus", 0));
        grid_cellf(g, 6, STYLE_PLAIN, "%lld", (long long)json_get_int(vm, "priority", 0));
        grid_cell(g, 7, STYLE_PLAIN, json_get_str(vm, "policy", ""));
        grid_cell(g, 8, STYLE_PLAIN, json_get_str(vm, "machine", ""));
    }
    page_grid(p, g, rows, "no virtual machines");
    for (size_t k = 0; k < rows; k++) {
        const struct json *vm = json_at(vms, k);
        const char *error = json_get_str(vm, "error", "");
        if (error[0])
            page_styled(p, STYLE_WARN, "%s: %s\n", json_get_str(vm, "name", ""), error);
    }
}

static void render_list(struct page *p, const struct invocation *i, const struct json *data)
{
    (void)i;
    page_vms(p, json_get(data, "vms"));
}

static int build_list(const struct invocation *i, const char *file, struct json *args, struct error *e)
{
    (void)file, (void)e;
    if (i->set[OPT_OUTDATED])
        json_set_bool(args, "outdated", true);
    return 0;
}

/* Its machine type, and what more is to be known of its version. */
static void page_version(struct page *p, const struct json *vm)
{
    const char *before = json_get_str(vm, "machine_before", "");
    bool is_old = json_get_bool(vm, "outdated", false), was_upgraded = before[0] != '\0';
    page_field(p, "Machine", "%s%s%s%s", json_get_str(vm, "machine", "-"),
               is_old ? ", older than the functional level's" : "", was_upgraded ? ", not started yet; before: " : "",
               before);
    if (json_get_bool(vm, "managed_save", false))
        page_field(p, "Saved", "its memory, by a managed save: it goes on from there");
    if (json_get_bool(vm, "memory_snapshot", false))
        page_field(p, "Snapshots", "with memory");
}

static void page_vm(struct page *p, const struct json *vm)
{
    static const struct {
        const char *name, *key;
    } fields[] = {
        {"VM", "name"},           {"State", "state"},   {"Node", "node"},         {"Target", "target"},
        {"Home", "home"},         {"Wanted", "wanted"}, {"UUID", "uuid"},         {"Machine", "machine"},
        {"Memory", "memory_mib"}, {"CPUs", "vcpus"},    {"Priority", "priority"}, {"Policy", "policy"},
        {"Preferred", "preferred"}, {"Group", "group"},
        {"Post-copy", "postcopy"}, {"Owed a start", "owed"}, {"Saved to", "saved_to"},
        {"Job", "job"},           {"Error", "error"},
    };
    for (size_t k = 0; k < sizeof(fields) / sizeof(fields[0]); k++) {
        if (str_eq(fields[k].key, "memory_mib"))
            page_field(p, fields[k].name, "%lld MiB", (long long)json_get_int(vm, "memory_mib", 0));
        else if (str_eq(fields[k].key, "machine"))
            page_version(p, vm);
        else
            page_field_json(p, fields[k].name, json_get(vm, fields[k].key));
    }
    if (str_eq(json_get_str(vm, "state", ""), "unknown"))
        page_field(p, "Reported", "%s, before its node went away", json_get_str(vm, "reported_state", "-"));
    if (json_is_str(json_get(vm, "changed")))
        page_field(p, "Changed", "%s", time_text(json_get_str(vm, "changed", NULL), false).s);
}

static void render_show(struct page *p, const struct invocation *i, const struct json *data)
{
    (void)i;
    page_vm(p, json_get(data, "vm"));
    const char *xml = json_get_str(data, "xml", "");
    if (xml[0]) {
        page_heading(p, "Domain XML");
        buf_add_str(&p->text, xml);
        if (xml[strlen(xml) - 1] != '\n')
            page_printf(p, "\n");
    }
}

static void render_vm(struct page *p, const struct invocation *i, const struct json *data)
{
    (void)i;
    page_vm(p, json_get(data, "vm"));
}

static int build_add(const struct invocation *i, const char *file, struct json *args, struct error *e)
{
    if (!i->set[OPT_XML] || !file)
        return error_set(e, ERR_USAGE, "vm add needs --xml FILE, a libvirt domain XML (- is the standard input)");
    json_set_str(args, "xml", file);
    set_option_str(i, OPT_NODE, "node", args);
    return 0;
}

static void render_add(struct page *p, const struct invocation *i, const struct json *data)
{
    (void)i;
    const struct json *vm = json_get(data, "vm");
    const char *name = json_get_str(vm, "name", "");
    page_printf(p, "%s: added on %s, machine %s\n", name, json_get_str(vm, "node", "-"),
                json_get_str(vm, "machine", "-"));
    page_printf(p, "start it with: clusterctl vm start %s\n", name);
}

static bool question_remove(const struct invocation *i, struct buf *ret)
{
    buf_printf(ret, "Take virtual machine %s out of the cluster? Its disks stay.", i->args[0]);
    return true;
}

static int build_start(const struct invocation *i, const char *file, struct json *args, struct error *e)
{
    build_name(i, file, args, e);
    set_option_str(i, OPT_NODE, "node", args);
    return 0;
}

static int build_stop(const struct invocation *i, const char *file, struct json *args, struct error *e)
{
    int64_t seconds;
    int err = invocation_int(i, OPT_TIMEOUT, 1, TIMEOUT_SECONDS_MAX, 0, &seconds, e);
    if (err)
        return err;
    build_name(i, file, args, e);
    if (i->set[OPT_HARD])
        json_set_bool(args, "hard", true);
    if (seconds)
        json_set_int(args, "timeout_ms", seconds * 1000);
    return 0;
}

static bool question_stop(const struct invocation *i, struct buf *ret)
{
    buf_printf(ret, "Turn virtual machine %s off at once, as if its power was cut?", i->args[0]);
    return i->set[OPT_HARD];
}

static int build_migrate(const struct invocation *i, const char *file, struct json *args, struct error *e)
{
    build_name(i, file, args, e);
    if (i->n_args > 1)
        json_set_str(args, "target", i->args[1]);
    return 0;
}

static int build_set(const struct invocation *i, const char *file, struct json *args, struct error *e)
{
    int64_t priority;
    static const enum opt any[] = {OPT_PRIORITY, OPT_POLICY, OPT_HOME, OPT_PREFERRED, OPT_GROUP, OPT_POSTCOPY};
    bool has_one = false;
    for (size_t k = 0; k < sizeof(any) / sizeof(any[0]); k++)
        has_one = has_one || i->set[any[k]];
    if (!has_one)
        return error_set(e, ERR_USAGE, "vm set needs --priority, --policy, --home, --preferred, --group or --postcopy");
    int err = invocation_int(i, OPT_PRIORITY, -PRIORITY_MAX, PRIORITY_MAX, 0, &priority, e);
    if (err)
        return err;
    build_name(i, file, args, e);
    if (i->set[OPT_PRIORITY])
        json_set_int(args, "priority", priority);
    set_option_str(i, OPT_POLICY, "policy", args);
    set_option_str(i, OPT_HOME, "home", args);
    set_option_str(i, OPT_PREFERRED, "preferred", args);
    set_option_str(i, OPT_GROUP, "group", args);
    set_option_str(i, OPT_POSTCOPY, "postcopy", args);
    return 0;
}

static int build_version(const struct invocation *i, const char *file, struct json *args, struct error *e)
{
    build_name(i, file, args, e);
    set_option_str(i, OPT_TO, "machine", args);
    return 0;
}

static bool question_version(const struct invocation *i, struct buf *ret)
{
    buf_printf(ret, "Give virtual machine %s a newer machine type? Its guest will see other virtual hardware.",
               i->args[0]);
    return true;
}

const struct verb vm_verbs[] = {
    {
        .words = "vm list",
        .wire = "vm.list",
        .synopsis = "[--outdated]",
        .brief = "list the virtual machines",
        .more = "  --outdated   those whose machine type is older than the functional level's\n",
        .options = OPT_BIT(OPT_OUTDATED),
        .flags = VERB_READS,
        .build = build_list,
        .render = render_list,
    },
    {
        .words = "vm show",
        .wire = "vm.show",
        .synopsis = "VM",
        .brief = "show one, with its domain XML",
        VERB_ARGS(1),
        .flags = VERB_READS,
        .build = build_name,
        .render = render_show,
    },
    {
        .words = "vm add",
        .wire = "vm.add",
        .synopsis = "--xml FILE [--node NODE]",
        .brief = "make a virtual machine of the cluster from a libvirt domain XML",
        .more = "  --xml FILE    the domain; - is the standard input. Its machine type is stored in canonical form\n"
                "  --node NODE   where it belongs (this node)\n",
        .options = OPT_BIT(OPT_XML) | OPT_BIT(OPT_NODE),
        .file = OPT_XML,
        .build = build_add,
        .render = render_add,
    },
    {
        .words = "vm remove",
        .wire = "vm.remove",
        .synopsis = "VM",
        .brief = "take a virtual machine that is off out of the cluster; its disks stay",
        VERB_ARGS(1),
        .build = build_name,
        .question = question_remove,
        .render = render_done,
    },
    {
        .words = "vm start",
        .wire = "vm.start",
        .synopsis = "VM [--node NODE]",
        .brief = "start it",
        .more = "  --node NODE   where (the node that it belongs to)\n",
        VERB_ARGS(1),
        .options = OPT_BIT(OPT_NODE),
        .goal = GOAL_JOB,
        .build = build_start,
        .render = render_job,
    },
    {
        .words = "vm stop",
        .wire = "vm.stop",
        .synopsis = "VM [--hard] [--timeout SECONDS]",
        .brief = "shut it down",
        .more = "  --hard              turn it off at once\n"
                "  --timeout SECONDS   how long the guest may take; the job fails when it is over\n",
        VERB_ARGS(1),
        .options = OPT_BIT(OPT_HARD) | OPT_BIT(OPT_TIMEOUT),
        .goal = GOAL_JOB,
        .build = build_stop,
        .question = question_stop,
        .render = render_job,
    },
    {
        .words = "vm migrate",
        .wire = "vm.migrate",
        .synopsis = "VM [NODE]",
        .brief = "move it while it runs; without a node to where it fits best",
        .args_min = 1,
        .args_max = 2,
        .goal = GOAL_JOB,
        .build = build_migrate,
        .render = render_job,
    },
    {
        .words = "vm set",
        .wire = "vm.set",
        .synopsis = "VM [--priority N] [--policy POLICY] [--home NODE] [--preferred NODES] [--group NAME] "
                    "[--postcopy on|off]",
        .brief = "change its priority, drain policy, home, or where it is placed",
        .more = "  --priority N      higher moves first (0)\n"
                "  --policy POLICY   when it cannot be moved: fail, shutdown-restart, save or skip-node\n"
                "  --home NODE       where failback brings it\n"
                "  --preferred NODES it goes to one of these, comma separated, where they have room; '' for any\n"
                "  --group NAME      VMs of one group go to different nodes; '' for none\n"
                "  --postcopy on|off a move that does not end goes on at its target, where a fault ends the guest\n",
        VERB_ARGS(1),
        .options = OPT_BIT(OPT_PRIORITY) | OPT_BIT(OPT_POLICY) | OPT_BIT(OPT_HOME) | OPT_BIT(OPT_PREFERRED) |
                   OPT_BIT(OPT_GROUP) | OPT_BIT(OPT_POSTCOPY),
        .build = build_set,
        .render = render_vm,
    },
    {
        .words = "vm upgrade-version",
        .wire = "vm.upgrade-version",
        .synopsis = "VM [--to MACHINE]",
        .brief = "give a virtual machine that is off a newer machine type",
        .more = "  --to MACHINE   the machine type (the functional level's)\n"
                "Until it has started the way back is vm rollback-version.\n",
        VERB_ARGS(1),
        .options = OPT_BIT(OPT_TO),
        .build = build_version,
        .question = question_version,
        .render = render_vm,
    },
    {
        .words = "vm rollback-version",
        .wire = "vm.rollback-version",
        .synopsis = "VM",
        .brief = "give it back the machine type that it ran with, if it has not started since",
        VERB_ARGS(1),
        .build = build_name,
        .render = render_vm,
    },
    {0},
};
