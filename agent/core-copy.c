/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The database copy that every member makes before a level is raised, and the way back to it.
 *
 *   a snapshot's bytes (agent/db/snapshot.c), [32]SHA-256 of them
 *
 * The snapshot is of the copy's entry: the tables as it left them, its index and term, and the voting configuration. It
 * names no node, so each node's file is the same, and any of them will do for a node whose own was lost. */
#include "agent/core-internal.h"

#include <stdio.h>

void core_copy_encode(const struct db *db, const struct tables *t, const struct entry *e, struct buf *ret)
{
    db_snapshot_encode_at(db, t, e->index, e->term, ret);
    const struct slice bytes = buf_slice(ret);
    struct hash hash = hash_sha256(&bytes, 1);
    buf_add(ret, hash.b, HASH_SIZE);
}

/* While the entry is being applied: a moment later other entries may have been. What a start applies, before there is a
 * database, is missed: this node will ask for another copy. */
void core_copy_take(struct core *c, const struct tables *t, const struct entry *e)
{
    struct level_state s;
    if (!c->db || level_get(t, &s) || s.copy_index != e->index)
        return;
    buf_done(&c->copy_bytes);
    core_copy_encode(c->db, t, e, &c->copy_bytes);
    c->copy_of = e->index;
}

static bool is_member(const struct level_state *s, const char *node)
{
    for (size_t i = 0; i < s->n; i++)
        if (str_eq(s->members[i].node, node))
            return true;
    return false;
}

/* What was taken goes to the disk, if it is still wanted: a node that was away passes through raises of the past. */
void core_copy_step(struct core *c)
{
    struct level_state s;
    struct pending *p;
    if (c->copy_of == 0)
        return;
    bool is_wanted = level_get(db_tables(c->db), &s) == 0 && s.fence && s.copy_index == c->copy_of &&
                     is_member(&s, c->identity.node);
    if (is_wanted) {
        char name[LEVEL_COPY_NAME_MAX];
        level_copy_name(&s, name);
        struct core_action *a = core_act_for(c, ACT_COPY, FOR_COPY, &p);
        a->text = xstrdup(name);
        a->bytes = c->copy_bytes;
        c->copy_bytes = (struct buf){0};
        p->db_call = c->copy_of;
        c->copy.under_way = c->copy_of;
    }
    buf_done(&c->copy_bytes);
    c->copy_of = 0;
}

void core_copy_ended(struct core *c, const struct pending *p, const struct error *e)
{
    if (e->code) {
        log_warn(c->log, "database copy: %s", e->text);
        c->copy.failed = p->db_call;
        c->copy.error = *e;
    } else {
        log_notice(c->log, "the database was copied, as it was at %llu", (unsigned long long)p->db_call);
        c->copy.done = p->db_call;
    }
    c->look = true;
}

/* ---- the way back ---- */

/* What ran since nobody knows: nothing is started by itself, what is found running counts again. */
static void edit(struct tables *t)
{
    struct level_state s;
    if (level_get(t, &s))
        return;
    int64_t time_ms = s.copy_ms;
    level_restored(t);
    vm_restored(t, time_ms);
}

static int check_level(const struct tables *t, struct error *e)
{
    int err = core_check_tables(t, e);
    return err ? err : level_check_known(t, e);
}

int core_restore(const struct db_image *image, const struct identity *id, struct slice copy, struct db_batch **ret,
                 struct error *e)
{
    struct slice snapshot = {copy.p, copy.len > HASH_SIZE ? copy.len - HASH_SIZE : 0};
    struct hash hash = hash_sha256(&snapshot, 1);
    if (snapshot.len == 0 || memcmp(hash.b, copy.p + snapshot.len, HASH_SIZE) != 0)
        return error_set(e, ERR_MALFORMED, "it is no database copy, or a damaged one");
    return db_restore_batch(image, &id->cluster, &id->replica, snapshot, check_level, edit, ret, e);
}
