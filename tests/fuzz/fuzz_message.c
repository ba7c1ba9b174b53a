/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Messages from the ring, through core_step() into a real database. The first byte chooses who hears them: bit 0, a
 * leader alone or a follower of two. Records, by operation mod 8:
 *   0 a message as it is   1 a message of n2 whose head is right: u8 type, u8 flags, u8 term, then its body
 *   2 time goes on         3 n2 comes and goes   4 what was written is on disk   5 a join over TLS
 *   6 a snapshot arrives   7 an announcement (mod 32: 15 the progress of migrations, 23 vitals) */
#include "tests/fuzz/fuzz_core.h"

enum { EVENTS_MAX = 48 };

static void hear(struct fuzz_core *f, uint32_t from, const struct buf *b)
{
    AUTO(freep) uint8_t *bytes = input_block(buf_slice(b));
    fuzz_step(f, (struct core_event){.type = EV_MESSAGE, .from_nodeid = from, .bytes = {bytes, b->len}});
}

/* Terms are near the present one: 0 is the one that the replica has. */
static void hear_shaped(struct fuzz_core *f, struct slice s)
{
    struct input in = {s.p, s.p + s.len};
    uint8_t type = input_u8(&in), flags = input_u8(&in), term = input_u8(&in);
    struct uuid cluster = fuzz_uuid(1), from = fuzz_uuid(3), to = flags & 2 ? fuzz_uuid(2) : (struct uuid){0};
    struct slice body = input_rest(&in);
    AUTO(buf_done) struct buf b = {0};
    wire_put_u8(&b, 1);
    wire_put_u8(&b, 'R');
    wire_put_u8(&b, 1);
    wire_put_u8(&b, type);
    wire_put_uuid(&b, &cluster);
    wire_put_uuid(&b, &from);
    wire_put_uuid(&b, &to);
    wire_put_u64(&b, db_term(core_db(f->core)) + term);
    wire_put_u8(&b, flags & 1);
    buf_add(&b, body.p, body.len);
    hear(f, 2, &b);
}

static void join(struct fuzz_core *f, struct slice s)
{
    struct wire_reader r = wire_reader(s);
    struct join_request j = {.token = fuzz_uuid(10), .secret_hash = {{9}}, .replica = fuzz_uuid(3)};
    WIRE_GET_STR(&r, j.node);
    WIRE_GET_STR(&r, j.address);
    facts_get(&r, &j.facts);
    j.csr = wire_get_strdup(&r);
    fuzz_step(f, (struct core_event){.type = EV_TLS_JOIN, .client = ++f->client, .join = &j});
    join_request_done(&j);
}

static void fetched(struct fuzz_core *f, struct slice s)
{
    AUTO(freep) uint8_t *bytes = input_block(s);
    for (uint64_t id = 1; id < 8; id++)
        fuzz_step(f, (struct core_event){.type = EV_FETCHED, .id = id, .bytes = {bytes, s.len}});
}

static void happen(struct fuzz_core *f, uint8_t op, struct slice s)
{
    uint32_t group[] = {1, 2};
    struct buf b = {0};
    switch (op % 8) {
    case 0:
    case 7:
        wire_put_u8(&b, op % 32 == 15 ? 3 : op % 32 == 23 ? 5 : op % 8 == 7 ? 2 : 1);
        buf_add(&b, s.p, s.len);
        hear(f, 2, &b);
        break;
    case 1: hear_shaped(f, s); break;
    case 2: fuzz_run(f, s.len ? s.p[0] * CORE_TICK_MS : CORE_TICK_MS); break;
    case 3: fuzz_step(f, (struct core_event){.type = EV_GROUP, .group = group, .n_group = 1 + (s.len & 1)}); break;
    case 4: fuzz_write(f); break;
    case 5: join(f, s); break;
    case 6: fetched(f, s); break;
    }
    buf_done(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, data + size};
    struct fuzz_core f;
    uint8_t op;
    struct slice s;
    fuzz_start(&f, fuzz_tables(), input_u8(&in) & 1 ? "11" : "10");
    for (unsigned n = 0; n < EVENTS_MAX && !f.stopped && input_record(&in, &op, &s); n++)
        happen(&f, op, s);
    fuzz_look(&f);
    fuzz_end(&f);
    return 0;
}
