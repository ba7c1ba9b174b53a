/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/sim/check.h"

#include <stdarg.h>
#include <stdio.h>

#include "tests/sim/blob.h"

enum { REQUESTS_MAX = 20000, TERMS_MAX = 20000, VARIANTS_MAX = 32, TAGS_MAX = 64, RINGS_MAX = 4000 };

struct variant { /* of an entry at one index: what some log held */
    uint64_t term, content, term_before;
};

struct at_index {
    struct variant variant[VARIANTS_MAX];
    size_t n;
    bool is_committed, has_hash;
    uint64_t term, content; /* committed */
    uint64_t committed_in;  /* the term of the leader that committed it */
    struct hash hash;
};

struct shadow { /* of a node, since its start */
    uint64_t commit, applied, term, led;
    uint64_t *terms; /* of its log, by index */
    size_t n, cap;
    struct db_config config; /* in force after its last step: one step of a core may commit, and then change it */
    struct uuid replica;     /* its newest acknowledgement, before a restart too */
    uint64_t acked, acked_term;
    struct uuid voter, voted_for; /* its newest vote, before a restart too */
    uint64_t voted_term;
};

struct checker { /* of one epoch */
    struct checker *next; /* of another one; the first is epoch 0's, and has the fault */
    uint64_t epoch;
    bool has_begun; /* its forced entry is committed */
    const struct sim_options *options;
    char fault[256];
    struct at_index **at; /* by index */
    size_t n_at;
    uint64_t commit;
    struct db_config config;
    struct uuid leaders[TERMS_MAX];
    uint64_t applied_at[REQUESTS_MAX], committed_at[REQUESTS_MAX];
    bool is_acknowledged[REQUESTS_MAX];
    uint64_t n_requests;
    struct shadow shadow[NET_NODES_MAX];
    struct { /* what a node's replica said to whom */
        struct uuid from, to;
    } votes[TERMS_MAX][NET_NODES_MAX];
    const struct blob *blob;
    struct db_tag tags[TAGS_MAX]; /* the last one of each of the last terms in which one was written */
    size_t n_tags;
    uint64_t counted; /* the last entry that needed the witness to be committed */
    struct uuid counted_by;
    uint64_t n_counted;
    struct { /* a ring */
        uint16_t nodes; /* that were on it, bit by bit */
        bool is_said;   /* by a leader with a majority */
    } rings[RINGS_MAX];
    struct uuid replicas[NET_NODES_MAX];
};

struct checker *checker_new(const struct sim_options *options)
{
    struct checker *c = xcalloc(1, sizeof(*c));
    c->options = options;
    return c;
}

static void free_epoch(struct checker *c)
{
    for (size_t i = 0; i < c->n_at; i++)
        free(c->at[i]);
    for (size_t i = 0; i < NET_NODES_MAX; i++)
        free(c->shadow[i].terms);
    free(c->at);
    free(c);
}

void checker_free(struct checker *c)
{
    while (c != NULL) {
        struct checker *next = c->next;
        free_epoch(c);
        c = next;
    }
}

static struct checker *find_epoch(struct checker *c, uint64_t term)
{
    while (c != NULL && c->epoch != db_epoch_of(term))
        c = c->next;
    return c;
}

/* Of the last one that has begun for good. */
static const struct checker *newest(const struct checker *c)
{
    const struct checker *best = c;
    for (; c != NULL; c = c->next)
        if (c->has_begun && c->epoch > best->epoch)
            best = c;
    return best;
}

const char *checker_fault(const struct checker *c)
{
    for (; c != NULL; c = c->next)
        if (c->fault[0] != '\0')
            return c->fault;
    return NULL;
}

void checker_fail(struct checker *c, const char *fmt, ...)
{
    va_list ap;
    if (c->fault[0] != '\0')
        return; /* the first one counts */
    va_start(ap, fmt);
    vsnprintf(c->fault, sizeof(c->fault), fmt, ap);
    va_end(ap);
}

struct uuid request_uuid(uint64_t number)
{
    struct uuid id = {{0}};
    memcpy(id.b, &number, sizeof(number));
    id.b[15] = 0x5a;
    return id;
}

uint64_t request_number(const struct uuid *id)
{
    uint64_t number;
    memcpy(&number, id->b, sizeof(number));
    return id->b[15] == 0x5a && number < REQUESTS_MAX ? number : 0;
}

static struct at_index *at(struct checker *c, uint64_t index)
{
    if (index >= c->n_at) {
        size_t n = (size_t)index + 256;
        c->at = xrealloc(c->at, n, sizeof(struct at_index *));
        memset(&c->at[c->n_at], 0, (n - c->n_at) * sizeof(struct at_index *));
        c->n_at = n;
    }
    if (c->at[index] == NULL)
        c->at[index] = xcalloc(1, sizeof(struct at_index));
    return c->at[index];
}

static uint64_t fnv(uint64_t h, const void *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        h = (h ^ ((const uint8_t *)p)[i]) * 0x100000001b3;
    return h;
}

static uint64_t content_of(const struct entry *e)
{
    uint64_t h = fnv(0xcbf29ce484222325, e->request_id.b, sizeof(e->request_id.b));
    h = fnv(h, &e->kind, sizeof(e->kind));
    return fnv(h, e->payload.p, e->payload.len);
}

void checker_started(struct checker *c, size_t node)
{
    for (; c != NULL; c = c->next) {
        struct shadow *s = &c->shadow[node];
        s->commit = s->applied = s->term = s->led = 0;
        s->n = 0;
        s->config = (struct db_config){.n = 0};
    }
}

/* ---- epochs ---------------------------------------------------------------------------------------------------- */

/* Up to where that log is what is committed. */
static uint64_t common_prefix(const struct checker *c, const struct db *db)
{
    uint64_t index = db->log.base_index, term = 0;
    while (index < c->commit && db_log_term(&db->log, index + 1, &term) && term == c->at[index + 1]->term)
        index++;
    return index;
}

static void drop_above(struct checker *c, uint64_t index)
{
    for (size_t i = 0; i < REQUESTS_MAX; i++) {
        if (c->committed_at[i] > index) {
            c->committed_at[i] = 0;
            c->is_acknowledged[i] = false;
        }
        if (c->applied_at[i] > index)
            c->applied_at[i] = 0;
    }
    c->n_at = c->n_at > index + 1 ? (size_t)index + 1 : c->n_at;
    c->commit = index;
}

static void copy_history(struct checker *c, const struct checker *from)
{
    c->at = xcalloc(c->n_at + 1, sizeof(*c->at));
    for (size_t i = 0; i < c->n_at; i++)
        if (from->at[i] != NULL)
            c->at[i] = xmemdup(from->at[i], sizeof(*c->at[i]));
}

static struct db_config config_at(const struct db *db, uint64_t index)
{
    struct db_config config = db->base_config;
    for (size_t i = 0; i < db->log.n && db->log.e[i].index <= index; i++)
        if (db_is_config_kind(db->log.e[i].kind))
            (void)db_config_apply(&config, &db->log.e[i], NULL);
    return config;
}

/* One of that epoch that did not get to its disk is forgotten. */
static void forget_epoch(struct checker *c, uint64_t term)
{
    for (; c->next != NULL; c = c->next)
        if (c->next->epoch == db_epoch_of(term)) {
            struct checker *gone = c->next;
            c->next = gone->next;
            free_epoch(gone);
            return;
        }
}

/* What that node had before it forced, by its log: its disk may have been ahead of what was seen of it. */
static struct checker *epoch_before(struct checker *c, const struct db *db)
{
    uint64_t term = db->log.base_term;
    for (size_t i = 0; i < db->log.n; i++)
        if (db_epoch_of(db->log.e[i].term) < db_epoch_of(db->term))
            term = db->log.e[i].term;
    struct checker *found = find_epoch(c, term);
    return found != NULL ? found : c;
}

void checker_forced(struct checker *c, size_t node, const struct db *db)
{
    forget_epoch(c, db->term);
    struct checker *from = epoch_before(c, db), *fork = xmalloc(sizeof(*fork));
    *fork = *from;
    fork->epoch = db_epoch_of(db->term);
    fork->has_begun = false;
    fork->counted = 0;
    drop_above(fork, common_prefix(from, db));
    copy_history(fork, from);
    fork->config = config_at(db, fork->commit);
    for (size_t i = 0; i < NET_NODES_MAX; i++)
        fork->shadow[i] = (struct shadow){0};
    fork->shadow[node] = from->shadow[node];
    fork->shadow[node].terms = xcalloc(from->shadow[node].cap + 1, sizeof(uint64_t));
    memcpy(fork->shadow[node].terms, from->shadow[node].terms, from->shadow[node].n * sizeof(uint64_t));
    memset(fork->leaders, 0, sizeof(fork->leaders));
    memset(fork->votes, 0, sizeof(fork->votes));
    fork->next = c->next;
    c->next = fork;
}

void checker_restored(struct checker *c, const struct db_image *image)
{
    struct at_index *a = at(c, image->base_index);
    a->is_committed = true;
    a->term = image->base_term;
    c->commit = image->base_index;
    c->config = image->base_config;
}

/* ---- matching -------------------------------------------------------------------------------------------------- */

static void check_entry(struct checker *c, const struct entry *e, uint64_t term_before)
{
    struct at_index *a = at(c, e->index);
    uint64_t content = content_of(e);
    for (size_t i = 0; i < a->n; i++) {
        if (a->variant[i].term != e->term)
            continue;
        if (a->variant[i].content != content || a->variant[i].term_before != term_before)
            checker_fail(c, "matching: two entries of index %lu term %lu", (unsigned long)e->index,
                         (unsigned long)e->term);
        return;
    }
    if (a->n == VARIANTS_MAX)
        checker_fail(c, "matching: too many terms at index %lu", (unsigned long)e->index);
    else
        a->variant[a->n++] = (struct variant){.term = e->term, .content = content, .term_before = term_before};
}

/* "It takes effect on append (and reverts on truncation)." */
static void check_config(struct checker *c, const struct db *db)
{
    AUTO(buf_done) struct buf have = {0};
    AUTO(buf_done) struct buf want = {0};
    struct db_config config = db->base_config;
    for (size_t i = 0; i < db->log.n; i++)
        if (db_is_config_kind(db->log.e[i].kind))
            (void)db_config_apply(&config, &db->log.e[i], NULL);
    db_config_encode(&config, &want);
    db_config_encode(&db->config, &have);
    if (have.len != want.len || memcmp(have.p, want.p, want.len) != 0)
        checker_fail(c, "changes: the configuration in force is not that of the log");
}

/* From the end of the log back to where it is as it was. */
static void check_log(struct checker *c, struct shadow *s, const struct db *db)
{
    uint64_t last = db_log_last(&db->log);
    bool is_cut = last + 1 < s->n;
    if (last + 1 > s->cap) {
        s->cap = (size_t)last + 256;
        s->terms = xrealloc(s->terms, s->cap, sizeof(*s->terms));
    }
    for (uint64_t i = last; i > db->log.base_index; i--) {
        const struct entry *e = db_log_at(&db->log, i);
        uint64_t before = 0;
        if (i < s->n && s->terms[i] == e->term)
            break;
        (void)db_log_term(&db->log, i - 1, &before);
        check_entry(c, e, before);
        is_cut |= i < s->n;
        s->terms[i] = e->term;
    }
    if (s->n < db->log.base_index + 1) /* a gap that a snapshot made */
        for (uint64_t i = s->n; i <= db->log.base_index; i++)
            s->terms[i] = UINT64_MAX;
    s->n = (size_t)last + 1;
    if (is_cut && !c->options->only_results)
        check_config(c, db);
}

/* ---- the witness ----------------------------------------------------------------------------------------------- */

void checker_witness(struct checker *c, const struct blob *blob)
{
    c->blob = blob;
}

/* The tag that db wrote as leader or candidate of its term; NULL: none has landed. */
static const struct db_tag *own_tag(const struct checker *c, const struct db *db)
{
    for (size_t i = 0; i < c->n_tags; i++)
        if (c->tags[i].term == db->term && uuid_eq(&c->tags[i].leader, &db->p.self) &&
            uuid_eq(&c->tags[i].witness, &db->config.witness))
            return &c->tags[i];
    return NULL;
}

void checker_tag_written(struct checker *all, const struct db_tag *old, const struct db_tag *tag)
{
    struct checker *c = find_epoch(all, tag->term);
    struct db_tag *last = NULL;
    if (tag->sequence != old->sequence + 1)
        checker_fail(c, "tag: sequence %lu follows %lu", (unsigned long)tag->sequence, (unsigned long)old->sequence);
    if (tag->term < old->term)
        checker_fail(c, "tag: its term falls from %lu to %lu", (unsigned long)old->term, (unsigned long)tag->term);
    if (tag->term == old->term && !uuid_eq(&tag->leader, &old->leader))
        checker_fail(c, "tag: two leaders of term %lu", (unsigned long)tag->term);
    for (size_t i = 0; i < c->n_tags; i++)
        if (c->tags[i].term == tag->term && uuid_eq(&c->tags[i].witness, &tag->witness))
            last = &c->tags[i];
    if (last != NULL) {
        *last = *tag;
        return;
    }
    if (c->n_tags == TAGS_MAX)
        memmove(&c->tags[0], &c->tags[1], --c->n_tags * sizeof(c->tags[0]));
    c->tags[c->n_tags++] = *tag;
}

/* ---- leaders --------------------------------------------------------------------------------------------------- */

static void check_holds(struct checker *c, const struct db *db, uint64_t index)
{
    uint64_t term = 0;
    if (index == 0)
        return;
    if (!db_log_term(&db->log, index, &term) || term != c->at[index]->term)
        checker_fail(c, "completeness: the leader of term %lu lacks the committed entry %lu", (unsigned long)db->term,
                     (unsigned long)index);
}

/* What was committed by then: a leader that was elected, and hears of it only now, may have a successor already. */
static uint64_t committed_by(const struct checker *c, uint64_t term)
{
    uint64_t index = c->commit;
    while (index > 0 && (c->at[index] == NULL || c->at[index]->committed_in > term))
        index--;
    return index;
}

/* Of the tables that are by term: an epoch's begin at 0. */
static uint64_t slot_of(uint64_t term)
{
    return term % DB_EPOCH_TERMS;
}

static void check_elected(struct checker *c, const struct db *db)
{
    const struct db_replica *self = db_config_find(&db->config, &db->p.self); /* its own vote leaves in this step */
    unsigned weight = self != NULL ? self->weight : 0;
    unsigned witness = own_tag(c, db) != NULL ? db->config.witness_weight : 0;
    if (c->options->only_results)
        return;
    for (size_t i = 0; i < NET_NODES_MAX; i++) {
        const struct db_replica *r = db_config_find(&db->config, &c->votes[slot_of(db->term)][i].from);
        if (r != NULL && r != self && uuid_eq(&c->votes[slot_of(db->term)][i].to, &db->p.self))
            weight += r->weight;
    }
    c->n_counted += !db_config_is_quorum(&db->config, weight);
    if (!db_config_is_quorum(&db->config, weight + witness))
        checker_fail(c, "elected: the leader of term %lu has %u votes of %u", (unsigned long)db->term, weight,
                     db_config_total(&db->config));
}

static void check_leader(struct checker *c, struct shadow *s, const struct db *db)
{
    if (db->role != DB_LEADER || s->led == db->term || slot_of(db->term) >= TERMS_MAX)
        return;
    s->led = db->term;
    check_elected(c, db);
    struct uuid *known = &c->leaders[slot_of(db->term)];
    if (!uuid_is_nil(known) && !uuid_eq(known, &db->p.self))
        checker_fail(c, "one leader: two in term %lu", (unsigned long)db->term);
    *known = db->p.self;
    check_holds(c, db, committed_by(c, db->term));
}

/* "Only entries of the leader's own term are counted; earlier ones follow." */
static void check_counted(struct checker *c, const struct shadow *s, const struct db *db)
{
    uint64_t term = 0;
    if (c->options->only_results || db->role != DB_LEADER || db->commit <= s->commit || s->led != db->term)
        return;
    if (db_log_term(&db->log, db->commit, &term) && term != db->term)
        checker_fail(c, "counted: entry %lu of term %lu, by the leader of term %lu", (unsigned long)db->commit,
                     (unsigned long)term, (unsigned long)db->term);
}

/* "Equal to the leader's log": what a follower commits by an append was found equal in this term. */
static void check_followed(struct checker *c, const struct shadow *s, const struct db *db)
{
    bool is_new = s->n == 0; /* since its start: it begins with what it has applied */
    bool follows = db->role == DB_FOLLOWER && db->leader_known;
    if (!c->options->only_results && follows && !is_new && db->commit > s->commit && db->commit > db->verified)
        checker_fail(c, "counted: entry %lu is committed by a follower that knows up to %lu to be equal",
                     (unsigned long)db->commit, (unsigned long)db->verified);
}

/* ---- commits --------------------------------------------------------------------------------------------------- */

static bool has_on_disk(const struct disk *d, uint64_t index, uint64_t term)
{
    const struct db_image *image = &d->image;
    if (index <= image->base_index)
        return true;
    if (index > image->base_index + image->n_entries)
        return false;
    return image->entries[index - image->base_index - 1].term == term;
}

static unsigned weight_on_disk(const struct db_config *config, const struct entry *e, const struct checker_node *nodes,
                               size_t n)
{
    unsigned weight = 0;
    for (size_t i = 0; i < n; i++) {
        const struct db_replica *r = db_config_find(config, &nodes[i].replica);
        if (r != NULL && has_on_disk(nodes[i].disk, e->index, e->term))
            weight += r->weight;
    }
    return weight;
}

static bool members_have(const struct db_tag *tag, const struct entry *e, const struct checker_node *nodes, size_t n)
{
    for (size_t m = 0; m < tag->n_members; m++) {
        bool has = false;
        for (size_t i = 0; i < n; i++)
            has |= uuid_eq(&nodes[i].replica, &tag->members[m]) && has_on_disk(nodes[i].disk, e->index, e->term);
        if (!has)
            return false;
    }
    return true;
}

/* Does the witness hold an entry of this leader: have all members of its tag it, and of any that may replace it? */
static bool witness_has(const struct checker *c, const struct db *db, const struct entry *e,
                        const struct checker_node *nodes, size_t n)
{
    const struct db_tag *tag = own_tag(c, db);
    struct db_tag late;
    if (tag == NULL || !members_have(tag, e, nodes, n))
        return false;
    for (size_t i = 0; blob_under_way(c->blob, i, &late); i++)
        if (late.term == db->term && uuid_eq(&late.leader, &db->p.self) && uuid_eq(&late.witness, &tag->witness) &&
            !members_have(&late, e, nodes, n))
            return false;
    return true;
}

/* "Every member holds all commits that counted the witness." A member whose disk was lost is nobody any
 * more, and one that took over the state of a later epoch does not speak in this one. */
static void check_members(struct checker *c, const struct checker_node *nodes, size_t n)
{
    const struct db_tag *tag = c->blob != NULL ? blob_tag(c->blob, &c->counted_by) : NULL;
    if (tag == NULL || c->counted == 0 || blob_is_rolled_back(c->blob) || c->options->only_results)
        return;
    if (db_epoch_of(tag->term) != c->epoch)
        return;
    const struct entry e = {.index = c->counted, .term = c->at[c->counted]->term};
    for (size_t m = 0; m < tag->n_members; m++)
        for (size_t i = 0; i < n; i++)
            if (uuid_eq(&nodes[i].replica, &tag->members[m]) && !has_on_disk(nodes[i].disk, e.index, e.term) &&
                db_epoch_of(nodes[i].disk->image.term) == c->epoch)
                checker_fail(c, "members: node %zu lacks entry %lu, which the witness counted for", i + 1,
                             (unsigned long)e.index);
}

/* Who follows a later epoch gave up what it had acknowledged in this one, and the acknowledgement may still come. */
static bool has_later(const struct checker *c, const struct checker_node *nodes, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (db_epoch_of(nodes[i].disk->image.term) > c->epoch)
            return true;
    return false;
}

static void check_on_disk(struct checker *c, const struct shadow *s, const struct db *db, const struct entry *e,
                          const struct checker_node *nodes, size_t n)
{
    if (c->options->only_results || has_later(c, nodes, n))
        return;
    unsigned weight = weight_on_disk(&db->config, e, nodes, n), before = weight_on_disk(&s->config, e, nodes, n);
    if (db_config_is_quorum(&db->config, weight) || db_config_is_quorum(&s->config, before))
        return;
    if (witness_has(c, db, e, nodes, n)) {
        weight += db->config.witness_weight;
        before += s->config.witness_weight;
        c->counted = e->index;
        c->counted_by = db->config.witness;
        c->n_counted++;
    }
    if (!db_config_is_quorum(&db->config, weight) && !db_config_is_quorum(&s->config, before))
        checker_fail(c, "on disk: entry %lu is committed with weight %u of %u on disk", (unsigned long)e->index, weight,
                     db_config_total(&db->config));
}

static void record_commit(struct checker *c, const struct db *db, const struct entry *e)
{
    struct at_index *a = at(c, e->index);
    a->is_committed = true;
    a->term = e->term;
    a->committed_in = db->term;
    a->content = content_of(e);
    if (e->index != c->commit + 1)
        checker_fail(c, "one prefix: entry %lu is committed after %lu", (unsigned long)e->index,
                     (unsigned long)c->commit);
    c->commit = e->index;
    uint64_t number = request_number(&e->request_id);
    if (number != 0 && c->committed_at[number] == 0)
        c->committed_at[number] = e->index;
    if (db_is_config_kind(e->kind))
        (void)db_config_apply(&c->config, e, NULL);
    c->has_begun |= e->kind == ENTRY_FORCE && db_epoch_of(e->term) == c->epoch;
}

static void check_new_commit(struct checker *c, const struct shadow *s, const struct db *db, const struct entry *e,
                             const struct checker_node *nodes, size_t n)
{
    record_commit(c, db, e);
    if (db->role == DB_LEADER)
        check_on_disk(c, s, db, e, nodes, n);
    for (size_t i = 0; i < n; i++)
        if (nodes[i].db != NULL && nodes[i].db->role == DB_LEADER && nodes[i].db->term > db->term &&
            db_epoch_of(nodes[i].db->term) == c->epoch)
            check_holds(c, nodes[i].db, e->index);
}

static void check_commits(struct checker *c, struct shadow *s, const struct db *db, const struct checker_node *nodes,
                          size_t n)
{
    for (uint64_t i = s->commit + 1; i <= db->commit; i++) {
        const struct entry *e = db_log_at(&db->log, i);
        if (e == NULL)
            continue; /* came with a snapshot */
        struct at_index *a = at(c, i);
        if (!a->is_committed)
            check_new_commit(c, s, db, e, nodes, n);
        else if (a->term != e->term || a->content != content_of(e))
            checker_fail(c, "one prefix: two entries are committed at index %lu", (unsigned long)i);
    }
    if (db->commit < s->commit)
        checker_fail(c, "one prefix: the commit index fell to %lu", (unsigned long)db->commit);
    s->commit = db->commit;
}

static void check_state(struct checker *c, struct shadow *s, const struct db *db)
{
    if (db->quarantined || s->applied == db->applied)
        return;
    s->applied = db->applied;
    struct at_index *a = at(c, db->applied);
    struct hash hash = tables_hash(db->tables);
    if (a->has_hash && !hash_eq(&hash, &a->hash))
        checker_fail(c, "equal state: two states at index %lu", (unsigned long)db->applied);
    a->has_hash = true;
    a->hash = hash;
}

/* "At most one is uncommitted, and the previous one and an entry of the leader's own term are committed before it." */
static void check_changes(struct checker *c, const struct db *db)
{
    uint64_t term = 0;
    unsigned n = 0;
    if (c->options->only_results || db->role != DB_LEADER || db->config_index <= db->commit)
        return;
    for (uint64_t i = db->commit + 1; i <= db_log_last(&db->log); i++) {
        const struct entry *e = db_log_at(&db->log, i);
        bool is_founder = e->index <= 2; /* the first replica and its vote */
        if (!db_is_config_kind(e->kind) || is_founder || e->kind == ENTRY_FORCE)
            continue;
        n++;
        if (e->term == db->term && (!db_log_term(&db->log, db->commit, &term) || term != db->term))
            checker_fail(c, "changes: entry %lu comes before a commit of term %lu", (unsigned long)i,
                         (unsigned long)db->term);
    }
    if (n > 1)
        checker_fail(c, "changes: %u are not committed", n);
}

/* What was acknowledged to a leader stays as long as that leader's term lasts. */
static void check_kept(struct checker *c, const struct shadow *s, const struct db *db)
{
    bool is_same = uuid_eq(&s->replica, &db->p.self) && s->acked_term == db->term;
    if (is_same && db_log_last(&db->log) < s->acked)
        checker_fail(c, "said: entries up to %lu were acknowledged, the log ends at %lu", (unsigned long)s->acked,
                     (unsigned long)db_log_last(&db->log));
}

/* ---- verdicts -------------------------------------------------------------------------------------------------- */

static void note_rings(struct checker *c, const struct checker_node *nodes, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint64_t noticed = nodes[i].db != NULL ? nodes[i].db->verdict.ring.seq : 0;
        assert(nodes[i].ring < RINGS_MAX && noticed < RINGS_MAX);
        c->replicas[i] = nodes[i].replica;
        c->rings[nodes[i].ring].nodes |= (uint16_t)(1U << i);
        c->rings[noticed].nodes |= (uint16_t)(1U << i);
    }
}

static unsigned weight_on_ring(const struct checker *c, uint64_t ring, const struct db_config *config)
{
    unsigned weight = 0;
    for (size_t i = 0; i < NET_NODES_MAX; i++) {
        const struct db_replica *r = db_config_find(config, &c->replicas[i]);
        if (r != NULL && (c->rings[ring].nodes >> i & 1) != 0)
            weight += r->weight;
    }
    return weight;
}

static void check_said_verdict(struct checker *c, const struct db *db, uint64_t ring)
{
    if (ring == 0 || c->rings[ring].is_said)
        return;
    unsigned weight = weight_on_ring(c, ring, &db->config);
    if (!db_config_is_quorum(&db->config, weight + (db->w.is_known ? db->config.witness_weight : 0)))
        checker_fail(c, "verdict: ring %lu is said to live, with weight %u of %u", (unsigned long)ring, weight,
                     db_config_total(&db->config));
    c->rings[ring].is_said = true;
}

/* Of all epochs: what was said of a ring before a force holds on. Two rings may cast only where quorum was forced. */
static void check_verdicts(struct checker *all, size_t node, const struct checker_node *nodes, size_t n)
{
    struct db_ring ring, other;
    const struct checker *epoch = find_epoch(all, nodes[node].db->term);
    note_rings(all, nodes, n);
    check_said_verdict(all, nodes[node].db, db_verdict_said(nodes[node].db).seq);
    if (db_verdict(nodes[node].db, &ring) != DB_VERDICT_YES)
        return;
    if (!all->rings[ring.seq].is_said)
        checker_fail(all, "verdict: node %zu casts on ring %lu, of which no leader said so", node + 1,
                     (unsigned long)ring.seq);
    for (size_t i = 0; i < n && ring.seq == nodes[node].ring; i++) {
        bool casts = nodes[i].db != NULL && db_verdict(nodes[i].db, &other) == DB_VERDICT_YES &&
                     find_epoch(all, nodes[i].db->term) == epoch;
        if (casts && other.seq == nodes[i].ring && other.seq != ring.seq)
            checker_fail(all, "verdict: node %zu casts on ring %lu, node %zu on ring %lu", node + 1,
                         (unsigned long)ring.seq, i + 1, (unsigned long)other.seq);
    }
}

void checker_step(struct checker *all, size_t node, const struct checker_node *nodes, size_t n)
{
    const struct db *db = nodes[node].db;
    struct checker *c = find_epoch(all, db->term);
    if (c == NULL) {
        checker_fail(all, "epochs: node %zu is of one that nobody forced", node + 1);
        return;
    }
    struct shadow *s = &c->shadow[node];
    if (db->term < s->term || db->term < nodes[node].disk->image.term)
        checker_fail(c, "the term fell to %lu", (unsigned long)db->term);
    s->term = db->term;
    check_followed(c, s, db);
    check_log(c, s, db);
    check_counted(c, s, db);
    check_commits(c, s, db, nodes, n);
    check_leader(c, s, db);
    check_state(c, s, db);
    s->config = db->config;
    check_changes(c, db);
    check_kept(c, s, db);
    check_members(c, nodes, n);
    if (!c->options->only_results)
        check_verdicts(all, node, nodes, n);
}

/* ---- what is said ---------------------------------------------------------------------------------------------- */

static void check_said(struct checker *c, const struct db_image *image, const struct db_msg *m)
{
    bool is_vote = m->type == DB_MSG_VOTE_REPLY && m->yes, is_request = m->type == DB_MSG_VOTE;
    const struct uuid *candidate = is_vote ? &m->to : &m->from;
    if ((is_vote || is_request) && (image->term != m->term || !uuid_eq(&image->voted_for, candidate)))
        checker_fail(c, "said: a vote in term %lu is not on disk", (unsigned long)m->term);
    if (m->type == DB_MSG_ACK && m->match > image->base_index + image->n_entries)
        checker_fail(c, "said: entries up to %lu are acknowledged and not on disk", (unsigned long)m->match);
}

/* Its own candidature is a vote, too. */
static void check_one_vote(struct checker *c, struct shadow *s, const struct db_msg *m)
{
    const struct uuid *candidate = m->type == DB_MSG_VOTE ? &m->from : &m->to;
    if (m->type != DB_MSG_VOTE && (m->type != DB_MSG_VOTE_REPLY || !m->yes))
        return;
    if (uuid_eq(&s->voter, &m->from) && s->voted_term == m->term && !uuid_eq(&s->voted_for, candidate))
        checker_fail(c, "one vote: a replica votes for two in term %lu", (unsigned long)m->term);
    s->voter = m->from;
    s->voted_term = m->term;
    s->voted_for = *candidate;
}

static void note_acknowledged(struct shadow *s, const struct db_msg *m)
{
    if (!uuid_eq(&s->replica, &m->from) || s->acked_term != m->term)
        s->acked = 0;
    s->replica = m->from;
    s->acked_term = m->term;
    s->acked = m->match > s->acked ? m->match : s->acked;
}

static void note_vote(struct checker *c, const struct checker_node *node, const struct db_msg *m)
{
    bool is_own = m->type == DB_MSG_VOTE;
    if ((!is_own && (m->type != DB_MSG_VOTE_REPLY || !m->yes)) || slot_of(m->term) >= TERMS_MAX)
        return;
    size_t i = node->db->p.nodeid - 1;
    c->votes[slot_of(m->term)][i].from = m->from;
    c->votes[slot_of(m->term)][i].to = is_own ? m->from : m->to;
}

void checker_sends(struct checker *all, const struct checker_node *node, struct slice bytes)
{
    struct db_msg m;
    struct checker *c = find_epoch(all, node->db->term);
    if (c == NULL || c->options->only_results || db_msg_decode(bytes, &m) != 0)
        return;
    check_said(c, &node->disk->image, &m);
    check_said_verdict(all, node->db, m.type == DB_MSG_APPEND ? m.ring.seq : 0);
    check_one_vote(c, &c->shadow[node->db->p.nodeid - 1], &m);
    note_vote(c, node, &m);
    if (m.type == DB_MSG_ACK)
        note_acknowledged(&c->shadow[node->db->p.nodeid - 1], &m);
    db_msg_done(&m);
}

void checker_applies(struct checker *all, uint64_t term, const struct entry *e)
{
    struct checker *c = find_epoch(all, term);
    uint64_t number = request_number(&e->request_id);
    if (number == 0 || c == NULL)
        return;
    if (c->applied_at[number] != 0 && c->applied_at[number] != e->index)
        checker_fail(c, "once: request %lu is applied at %lu and at %lu", (unsigned long)number,
                     (unsigned long)c->applied_at[number], (unsigned long)e->index);
    c->applied_at[number] = e->index;
}

void checker_acknowledged(struct checker *all, uint64_t term, const struct uuid *request_id)
{
    struct checker *c = find_epoch(all, term);
    uint64_t number = request_number(request_id);
    if (number == 0 || c == NULL)
        return;
    if (c->committed_at[number] == 0)
        checker_fail(c, "acknowledged: request %lu has an outcome and is not committed", (unsigned long)number);
    c->is_acknowledged[number] = true;
    c->n_requests = number > c->n_requests ? number : c->n_requests;
}

void checker_end(struct checker *all, uint64_t applied)
{
    const struct checker *c = newest(all);
    for (uint64_t i = 1; i <= c->n_requests; i++)
        if (c->is_acknowledged[i] && c->committed_at[i] > applied)
            checker_fail(all, "acknowledged: request %lu was lost", (unsigned long)i);
}

bool checker_is_said(const struct checker *c, uint64_t ring)
{
    return ring < RINGS_MAX && c->rings[ring].is_said;
}

const struct db_config *checker_config(const struct checker *c)
{
    return &newest(c)->config;
}

uint64_t checker_counted(const struct checker *c)
{
    return newest(c)->n_counted;
}

uint64_t checker_commit(const struct checker *c)
{
    return newest(c)->commit;
}
