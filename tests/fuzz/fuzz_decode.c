/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Every decoder of rows, of entries' payloads and of messages, over the wire codec. The first byte chooses the decoder.
 * What decodes and can be encoded decodes again to the same bytes. */
#include "agent/cluster.h"
#include "agent/db/internal.h"
#include "agent/io/pieces.h"
#include "backup/job.h"
#include "task/task.h"
#include "tests/fuzz/fuzz.h"
#include "upgrade/level.h"
#include "upgrade/run-entry.h"
#include "vm/vm-entry.h"
#include "witness/site.h"

static void wire(struct slice s)
{
    struct wire_reader r = wire_reader(s);
    char small[8];
    for (unsigned i = 0; i < 64 && !wire_err(&r); i++)
        switch (wire_get_u8(&r) % 8) {
        case 0: wire_get_u16(&r); break;
        case 1: wire_get_u32(&r); break;
        case 2: wire_get_u64(&r); break;
        case 3: wire_get_i64(&r); break;
        case 4: wire_get_slice(&r); break;
        case 5: wire_get_str(&r, small, sizeof(small)); break;
        case 6: free(wire_get_strdup(&r)); break;
        case 7: assert(wire_get_count(&r, 4) <= s.len / 4); break;
        }
    assert(r.p <= r.end);
    (void)wire_end(&r);
}

static void node(struct slice s)
{
    struct node n = {0};
    if (node_decode(s, &n) == 0)
        node_done(&n);
}

static void facts(struct slice s)
{
    struct wire_reader r = wire_reader(s);
    struct host_facts f = {0}, g = {0};
    facts_get(&r, &f);
    if (wire_err(&r) == 0) {
        AUTO(buf_done) struct buf b = {0};
        facts_put(&b, &f);
        r = wire_reader(buf_slice(&b));
        facts_get(&r, &g);
        assert(wire_err(&r) == 0 && facts_equal(&f, &g));
    }
    host_facts_done(&f);
    host_facts_done(&g);
}

static void job(struct slice s)
{
    struct job j;
    if (job_decode(s, &j) == 0)
        json_free(job_json(&j));
}

static void event(struct slice s)
{
    struct cluster_event e;
    if (cluster_event_decode(s, &e) == 0)
        json_free(cluster_event_json(&e));
}

static void run(struct slice s)
{
    struct run r;
    if (run_decode(s, &r) == 0)
        (void)run_state_name(r.state);
}

static void step(struct slice s)
{
    struct step st;
    char id[HOOK_OP_ID_MAX];
    if (step_decode(s, &st) == 0) {
        (void)step_state_name(st.state);
        step_op_id(&st, id);
    }
}

static void moves(struct slice s)
{
    struct run_move r;
    struct step_move st;
    struct step_report_entry report;
    (void)run_move_decode(s, &r);
    (void)step_move_decode(s, &st);
    (void)step_report_decode(s, &report);
}

static void vm(struct slice s)
{
    struct vm v, again;
    if (vm_decode(s, &v) != 0)
        return;
    AUTO(buf_done) struct buf b = {0}, c = {0};
    json_free(vm_json(&v));
    vm_encode(&v, &b);
    assert(vm_decode(buf_slice(&b), &again) == 0);
    vm_encode(&again, &c);
    assert(b.len == c.len && memcmp(b.p, c.p, b.len) == 0);
}

static void vm_entries(struct slice s)
{
    struct vm_facts f = {0};
    struct vm_op_request op;
    struct vm_report report;
    struct vm_set_request set;
    struct vm_version_request version = {0};
    char name[VM_NAME_MAX];
    if (vm_entry_add_decode(s, &f, name) == 0)
        free(f.xml);
    (void)vm_entry_remove_decode(s, name);
    (void)vm_entry_op_decode(s, &op);
    (void)vm_entry_report_decode(s, &report);
    (void)vm_entry_set_decode(s, &set);
    if (vm_entry_version_decode(s, &version) == 0)
        free(version.xml);
    (void)vm_entry_rollback_decode(s, name);
}

static void settings(struct slice s)
{
    static struct settings_put put;
    if (cluster_settings_read(s, &put) == 0)
        assert(put.n <= SETTINGS_PUT_MAX);
}

static void config(struct slice s)
{
    struct wire_reader r = wire_reader(s);
    struct db_config c = {0};
    db_config_decode(&r, &c);
    if (wire_err(&r) != 0)
        return;
    assert(c.n <= DB_REPLICAS_MAX && db_config_total(&c) <= DB_REPLICAS_MAX + 1);
    AUTO(buf_done) struct buf b = {0};
    db_config_encode(&c, &b);
    assert(b.len <= s.len);
}

static void message(struct slice s)
{
    struct db_msg m = {0};
    struct uuid id = {{1}};
    (void)db_msg_is_for(s, &id);
    if (db_msg_decode(s, &m) != 0)
        return;
    AUTO(buf_done) struct buf b = {0};
    db_msg_encode(&m, &b);
    assert(b.len <= s.len + 36); /* trailing bytes are of a newer release; earlier ones do not send the last 36 */
    db_msg_done(&m);
}

static void tables(struct slice s)
{
    struct wire_reader r = wire_reader(s);
    struct tables *t = NULL;
    if (tables_decode(&r, &t) != 0)
        return;
    AUTO(buf_done) struct buf b = {0};
    tables_encode(t, &b);
    assert(b.len <= s.len && memcmp(b.p, s.p, b.len) == 0);
    tables_free(t);
}

static void pieces(struct slice s)
{
    struct input in = {s.p, s.p + s.len};
    struct pieces p = {0};
    uint8_t op;
    struct slice piece;
    while (input_record(&in, &op, &piece)) {
        struct buf whole = {0};
        if (pieces_take(&p, piece, &whole) == 1)
            assert(whole.len <= PIECES_MESSAGE_MAX);
        buf_done(&whole);
    }
    pieces_done(&p);
}

static void level(struct slice s)
{
    struct level_state l;
    if (level_decode(s, &l) == 0)
        json_free(level_json(&l, 0));
    struct tables *t = tables_new();
    struct cluster c;
    tables_put(t, TABLE_CLUSTER, "cluster", s);
    (void)cluster_get(t, &c);
    tables_free(t);
}

/* As a payload and as a row: what was applied is a good row, and the wanted witness's is there. */
static void witness(struct slice s)
{
    struct tables *t = tables_new();
    struct entry e = {.kind = ENTRY_WITNESS_SET, .payload = s};
    struct apply_result r = {0};
    struct witness_site site;
    char where[512];
    (void)witness_row_is_good(&(struct table_row){TABLE_WITNESS, "wanted", s});
    (void)witness_row_is_good(&(struct table_row){TABLE_WITNESS, "00000000-0000-0000-0000-000000000001", s});
    witness_apply(t, &e, &r);
    TABLES_FOREACH (t, TABLE_WITNESS, row)
        assert(witness_row_is_good(&row));
    struct uuid wanted = witness_wanted(t);
    assert(uuid_is_nil(&wanted) || witness_site_get(t, &wanted, &site) == 0);
    if (!uuid_is_nil(&wanted))
        witness_site_text(&site, where, sizeof(where));
    e.kind = ENTRY_WITNESS_FORGET;
    witness_apply(t, &e, &r);
    assert(uuid_is_nil(&wanted) || witness_site_get(t, &wanted, &site) == 0);
    tables_free(t);
}

static int any_may_run(void *ctx, const char *node, const char *boot_id, bool is_native, struct error *e)
{
    (void)ctx, (void)node, (void)boot_id, (void)is_native, (void)e;
    return 0;
}

static bool any_is_over(void *ctx, const char *node, const char *boot_id)
{
    (void)ctx, (void)node, (void)boot_id;
    return true;
}

/* As every payload and as a row; what is applied is a good row. */
static void task(struct slice s)
{
    const struct task_gate gate = {.may_run = any_may_run, .is_over = any_is_over};
    struct tables *t = tables_new();
    struct task k;
    if (task_decode(s, &k) == 0)
        json_free(task_json(&k, 1764000000000));
    for (unsigned kind = ENTRY_TASK_SET; kind <= ENTRY_TASK_NOTE; kind++) {
        struct entry e = {.kind = (uint16_t)kind, .request_id = {{1}}, .payload = s};
        struct apply_result r = {0};
        task_apply(t, &gate, &e, &r);
    }
    TABLES_FOREACH (t, TABLE_TASK, row)
        assert(task_decode(row.value, &k) == 0 && str_eq(row.key, k.d.name));
    tables_free(t);
}

static bool any_look(void *ctx, const char *vm, struct backup_vm *ret)
{
    (void)ctx, (void)vm;
    *ret = (struct backup_vm){.runs = true, .accepts = true, .node = "n1", .boot_id = "boot"};
    return true;
}

static void backup_rows(const struct tables *t)
{
    struct repository_row r;
    struct backup b;
    struct point_row *p = xcalloc(1, sizeof *p);
    char key[TABLE_KEY_MAX] = "";
    for (bool more = repository_next(t, NULL, &r); more; more = repository_next(t, r.name, &r))
        json_free(repository_row_json(t, &r));
    for (bool more = backup_next(t, NULL, &b); more; more = backup_next(t, b.vm, &b))
        json_free(backup_json(&b, 1764000000000));
    while (point_next(t, NULL, key, p))
        json_free(point_row_json(p));
    free(p);
}

/* The same, on what is there: a repository, and a VM whose backup runs. */
static void backup(struct slice s)
{
    const struct backup_gate gate = {.eye = {NULL, any_look, any_look}, .is_over = any_is_over};
    struct tables *t = tables_new();
    struct backup b;
    struct point_row *p = xcalloc(1, sizeof *p);
    if (backup_decode(s, &b) == 0)
        json_free(backup_json(&b, 1764000000000));
    if (point_decode(s, p) == 0)
        json_free(point_row_json(p));
    free(p);
    for (unsigned kind = ENTRY_REPOSITORY_SET; kind <= ENTRY_POINT_DELETE; kind++) {
        struct entry e = {.kind = (uint16_t)kind, .request_id = {{1}}, .payload = s};
        struct apply_result r = {0};
        backup_apply(t, &gate, &e, &r);
    }
    backup_rows(t);
    tables_free(t);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    void (*const decoders[])(struct slice) = {wire, node,       facts,  job,     event,  run,    step,  moves,
                                              vm,   vm_entries, config, message, tables, pieces, level,
                                              settings,
                                              witness, task, backup};
    struct input in = {data, data + size};
    uint8_t which = input_u8(&in);
    struct slice rest = input_rest(&in);
    AUTO(freep) uint8_t *block = input_block(rest);
    rest.p = block;
    if (which < sizeof(decoders) / sizeof(decoders[0]))
        decoders[which](rest);
    return 0;
}
