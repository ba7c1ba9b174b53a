/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A table is pointers to rows, sorted by key, in leaves of a few dozen, so that a change moves few of them; a row stays
 * where it is until it is deleted, so borrowed keys and values survive changes of other rows. The first bytes of a key
 * stand beside its row's pointer: most of a search then reads one leaf, and no row. Beside it stand the keys
 * that changed: whether such a key was put or deleted is read off the rows when the changes are taken.
 *
 * Row hash:  SHA-256 of u16 table, str key, value (wire-coded; the value without a length, it is the rest).
 * Encoding:  u32 count of rows, then per row u16 table, str key, bytes value; ascending by (table, key), so the same
 *            content always gives the same bytes. Tables of a newer release are kept as long as they are below
 * TABLE_MAX. */
#include "common/table.h"

#include <assert.h>

#include "common/err.h"

enum { LEAF_ROWS = 64 };

struct row {
    struct hash hash;
    bool is_changed; /* its key is among the changed ones */
    uint8_t *value; /* never NULL, also when empty */
    size_t len;
    char key[];
};

struct leaf {
    size_t n; /* never 0 */
    uint64_t heads[LEAF_ROWS];
    struct row *rows[LEAF_ROWS];
};

/* What is looked for. */
struct wanted {
    uint64_t head;
    const char *key;
};

/* Of a row, or of the gap before it; i is the leaf's n behind its last one. */
struct place {
    size_t leaf, i;
};

struct table {
    struct leaf **leaves;
    size_t n_leaves, cap_leaves;
    size_t n;
    char **changed; /* in no order; a key that was deleted and put again stands there again */
    size_t n_changed, cap_changed;
};

struct tables {
    struct table tables[TABLE_MAX]; /* [0] stays empty */
    struct hash hash;
};

static bool id_is_valid(unsigned table)
{
    return table > 0 && table < TABLE_MAX;
}

static struct table *table_of(struct tables *t, enum table_id table)
{
    assert(id_is_valid(table));
    return &t->tables[table];
}

static const struct table *const_table_of(const struct tables *t, enum table_id table)
{
    assert(id_is_valid(table));
    return &t->tables[table];
}

struct tables *tables_new(void)
{
    return xcalloc(1, sizeof(struct tables));
}

static void row_free(struct row *row)
{
    free(row->value);
    free(row);
}

static void table_done(struct table *table)
{
    for (size_t k = 0; k < table->n_leaves; k++) {
        for (size_t i = 0; i < table->leaves[k]->n; i++)
            row_free(table->leaves[k]->rows[i]);
        free(table->leaves[k]);
    }
    for (size_t i = 0; i < table->n_changed; i++)
        free(table->changed[i]);
    free(table->leaves);
    free(table->changed);
}

void tables_free(struct tables *t)
{
    if (!t)
        return;
    for (size_t i = 0; i < TABLE_MAX; i++)
        table_done(&t->tables[i]);
    free(t);
}

/* A key's first eight bytes, padded with zeros: ordered as the keys are, equal where these may still differ. */
static uint64_t head_of(const char *key)
{
    uint64_t head = 0;
    for (int shift = 56; shift >= 0 && *key; shift -= 8)
        head |= (uint64_t)(unsigned char)*key++ << shift;
    return head;
}

/* As strcmp of the row's key with the one that is wanted; that compares bytes as unsigned. */
static int order_of(const struct leaf *leaf, size_t i, const struct wanted *w)
{
    if (leaf->heads[i] != w->head)
        return leaf->heads[i] < w->head ? -1 : 1;
    return strcmp(leaf->rows[i]->key, w->key);
}

/* The last leaf that begins at or below it, or the first. */
static size_t leaf_of(const struct table *table, const struct wanted *w)
{
    size_t low = 0, high = table->n_leaves;
    if (high > 0 && order_of(table->leaves[high - 1], 0, w) <= 0) /* keys that count up end there */
        return high - 1;
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (order_of(table->leaves[middle], 0, w) <= 0)
            low = middle;
        else
            high = middle;
    }
    return low;
}

/* Of the first row with a key not below `key`. */
static struct place row_place(const struct table *table, const char *key, bool *ret_found)
{
    const struct wanted w = {head_of(key), key};
    struct place at = {.leaf = leaf_of(table, &w)};
    *ret_found = false;
    if (table->n == 0)
        return at;
    const struct leaf *leaf = table->leaves[at.leaf];
    size_t high = leaf->n;
    while (at.i < high) {
        size_t middle = at.i + (high - at.i) / 2;
        int order = order_of(leaf, middle, &w);
        if (order == 0)
            *ret_found = true;
        if (order < 0)
            at.i = middle + 1;
        else
            high = middle;
    }
    return at;
}

static struct row *row_find(const struct table *table, const char *key)
{
    bool found;
    struct place at = row_place(table, key, &found);
    return found ? table->leaves[at.leaf]->rows[at.i] : NULL;
}

static struct row *row_last(const struct table *table)
{
    const struct leaf *leaf = table->n ? table->leaves[table->n_leaves - 1] : NULL;
    return leaf ? leaf->rows[leaf->n - 1] : NULL;
}

static struct table_row row_view(enum table_id table, const struct row *row)
{
    return (struct table_row){.table = table, .key = row->key, .value = {row->value, row->len}};
}

int tables_get(const struct tables *t, enum table_id table, const char *key, struct slice *ret)
{
    const struct row *row = row_find(const_table_of(t, table), key);
    if (!row)
        return ERR_NOT_FOUND;
    *ret = (struct slice){row->value, row->len};
    return 0;
}

bool tables_has(const struct tables *t, enum table_id table, const char *key)
{
    return row_find(const_table_of(t, table), key) != NULL;
}

bool tables_next(const struct tables *t, enum table_id table, const char *after, struct table_row *ret)
{
    const struct table *rows = const_table_of(t, table);
    struct place at = {0};
    if (after) {
        bool found;
        at = row_place(rows, after, &found);
        at.i += found;
    }
    if (at.leaf < rows->n_leaves && at.i == rows->leaves[at.leaf]->n)
        at = (struct place){.leaf = at.leaf + 1};
    if (at.leaf == rows->n_leaves)
        return false;
    *ret = row_view(table, rows->leaves[at.leaf]->rows[at.i]);
    return true;
}

bool tables_last(const struct tables *t, enum table_id table, struct table_row *ret)
{
    const struct row *row = row_last(const_table_of(t, table));
    if (!row)
        return false;
    *ret = row_view(table, row);
    return true;
}

size_t tables_count(const struct tables *t, enum table_id table)
{
    return const_table_of(t, table)->n;
}

/* Opens a gap at position i of a pointer array with n elements; returns the array, perhaps elsewhere. */
static void *gap_open(void *array, size_t n, size_t *cap, size_t i)
{
    if (n == *cap) {
        *cap = *cap ? 2 * *cap : 8;
        array = xrealloc(array, *cap, sizeof(void *));
    }
    void **at = (void **)array + i;
    memmove(at + 1, at, (n - i) * sizeof(void *));
    return array;
}

static void mark_changed(struct table *table, struct row *row)
{
    if (row->is_changed)
        return;
    row->is_changed = true;
    table->changed = gap_open(table->changed, table->n_changed, &table->cap_changed, table->n_changed);
    table->changed[table->n_changed++] = xstrdup(row->key);
}

static struct leaf *leaf_add(struct table *table, size_t at)
{
    table->leaves = gap_open(table->leaves, table->n_leaves, &table->cap_leaves, at);
    table->n_leaves++;
    return table->leaves[at] = xcalloc(1, sizeof(struct leaf));
}

/* Makes two of a full leaf. What is appended to the last one, as keys that count up are, leaves it full. */
static struct place leaf_split(struct table *table, struct place at)
{
    struct leaf *leaf = table->leaves[at.leaf], *next = leaf_add(table, at.leaf + 1);
    bool is_end = at.leaf + 2 == table->n_leaves && at.i == leaf->n;
    size_t kept = is_end ? leaf->n : leaf->n / 2;
    next->n = leaf->n - kept;
    memcpy(next->rows, leaf->rows + kept, next->n * sizeof(next->rows[0]));
    memcpy(next->heads, leaf->heads + kept, next->n * sizeof(next->heads[0]));
    leaf->n = kept;
    return at.i < kept || (at.i == kept && !is_end) ? at : (struct place){at.leaf + 1, at.i - kept};
}

static struct row *row_new(const char *key)
{
    size_t size = strlen(key) + 1;
    struct row *row = xcalloc(1, sizeof(*row) + size);
    memcpy(row->key, key, size);
    return row;
}

static struct hash row_hash(enum table_id table, const struct row *row)
{
    AUTO(buf_done) struct buf head = {0};
    wire_put_u16(&head, (uint16_t)table);
    wire_put_str(&head, row->key);
    struct slice parts[] = {buf_slice(&head), {row->value, row->len}};
    return hash_sha256(parts, 2);
}

/* Gives the row a value and counts it in the state hash. The old value goes last: the new one may be borrowed from it.
 */
static void row_fill(struct tables *t, enum table_id table, struct row *row, struct slice value)
{
    uint8_t *old = row->value;
    row->value = xmalloc(value.len);
    row->len = value.len;
    if (value.len > 0)
        memcpy(row->value, value.p, value.len);
    free(old);
    row->hash = row_hash(table, row);
    hash_add(&t->hash, &row->hash);
}

static struct row *row_insert(struct tables *t, enum table_id id, struct place at, const char *key, struct slice value)
{
    struct table *table = table_of(t, id);
    struct row *row = row_new(key);
    row_fill(t, id, row, value);
    if (table->n_leaves == 0)
        leaf_add(table, 0);
    else if (table->leaves[at.leaf]->n == LEAF_ROWS)
        at = leaf_split(table, at);
    struct leaf *leaf = table->leaves[at.leaf];
    memmove(&leaf->rows[at.i + 1], &leaf->rows[at.i], (leaf->n - at.i) * sizeof(leaf->rows[0]));
    memmove(&leaf->heads[at.i + 1], &leaf->heads[at.i], (leaf->n - at.i) * sizeof(leaf->heads[0]));
    leaf->rows[at.i] = row;
    leaf->heads[at.i] = head_of(key);
    leaf->n++;
    table->n++;
    return row;
}

static void row_take_out(struct table *table, struct place at)
{
    struct leaf *leaf = table->leaves[at.leaf];
    leaf->n--;
    table->n--;
    memmove(&leaf->rows[at.i], &leaf->rows[at.i + 1], (leaf->n - at.i) * sizeof(leaf->rows[0]));
    memmove(&leaf->heads[at.i], &leaf->heads[at.i + 1], (leaf->n - at.i) * sizeof(leaf->heads[0]));
    if (leaf->n > 0)
        return;
    free(leaf);
    table->n_leaves--;
    memmove(&table->leaves[at.leaf], &table->leaves[at.leaf + 1],
            (table->n_leaves - at.leaf) * sizeof(table->leaves[0]));
}

static bool row_holds(const struct row *row, struct slice value)
{
    return row->len == value.len && (value.len == 0 || memcmp(row->value, value.p, value.len) == 0);
}

void tables_put(struct tables *t, enum table_id id, const char *key, struct slice value)
{
    struct table *table = table_of(t, id);
    size_t key_len = strlen(key);
    assert(key_len > 0 && key_len <= TABLE_KEY_MAX);
    assert(value.len <= TABLE_VALUE_MAX && (value.p || value.len == 0));
    bool found;
    struct place at = row_place(table, key, &found);
    struct row *row = found ? table->leaves[at.leaf]->rows[at.i] : NULL;
    if (!row) {
        row = row_insert(t, id, at, key, value);
    } else {
        if (row_holds(row, value))
            return;
        hash_sub(&t->hash, &row->hash);
        row_fill(t, id, row, value);
    }
    mark_changed(table, row);
}

bool tables_del(struct tables *t, enum table_id id, const char *key)
{
    struct table *table = table_of(t, id);
    bool found;
    struct place at = row_place(table, key, &found);
    if (!found)
        return false;
    struct row *row = table->leaves[at.leaf]->rows[at.i];
    mark_changed(table, row);
    row_take_out(table, at);
    hash_sub(&t->hash, &row->hash);
    row_free(row); /* last: key may be borrowed from it */
    return true;
}

struct hash tables_hash(const struct tables *t)
{
    return t->hash;
}

/* One block: the key, its terminator, the value. */
static struct table_row change_copy(enum table_id id, const struct row *row, const char *key)
{
    size_t key_size = strlen(key) + 1;
    char *block = xmalloc(key_size + (row ? row->len : 0));
    memcpy(block, key, key_size);
    struct table_row copy = {.table = id, .key = block};
    if (row) {
        copy.value = (struct slice){(uint8_t *)block + key_size, row->len};
        memcpy(block + key_size, row->value, row->len);
    }
    return copy;
}

static int by_key(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void take_table(struct table *table, enum table_id id, struct table_changes *out)
{
    if (table->n_changed > 0)
        qsort(table->changed, table->n_changed, sizeof(table->changed[0]), by_key);
    for (size_t i = 0; i < table->n_changed; i++) {
        const char *key = table->changed[i];
        if (i + 1 < table->n_changed && strcmp(key, table->changed[i + 1]) == 0)
            continue;
        struct row *row = row_find(table, key);
        out->rows[out->n++] = change_copy(id, row, key);
        if (row)
            row->is_changed = false;
    }
    for (size_t i = 0; i < table->n_changed; i++)
        free(table->changed[i]);
    table->n_changed = 0;
}

void tables_take_changes(struct tables *t, struct table_changes *ret)
{
    size_t n_max = 0;
    for (size_t i = 0; i < TABLE_MAX; i++)
        n_max += t->tables[i].n_changed;
    struct table_changes out = {.rows = n_max ? xcalloc(n_max, sizeof(out.rows[0])) : NULL};
    for (size_t i = 0; i < TABLE_MAX; i++)
        take_table(&t->tables[i], (enum table_id)i, &out);
    *ret = out;
}

void table_changes_free(struct table_changes *c)
{
    for (size_t i = 0; i < c->n; i++)
        free((char *)c->rows[i].key);
    free(c->rows);
    *c = (struct table_changes){0};
}

void tables_encode(const struct tables *t, struct buf *b)
{
    size_t n = 0;
    for (size_t i = 0; i < TABLE_MAX; i++)
        n += t->tables[i].n;
    assert(n <= UINT32_MAX);
    wire_put_u32(b, (uint32_t)n);
    for (size_t i = 1; i < TABLE_MAX; i++)
        TABLES_FOREACH(t, (enum table_id)i, row)
        {
            wire_put_u16(b, (uint16_t)i);
            wire_put_str(b, row.key);
            wire_put_bytes(b, row.value.p, row.value.len);
        }
}

/* Reads one row, which must stand above all that were read before, and appends it. */
static int decode_row(struct wire_reader *r, struct tables *t, unsigned *last_table)
{
    char key[TABLE_KEY_MAX + 1];
    unsigned id = wire_get_u16(r);
    WIRE_GET_STR(r, key);
    struct slice value = wire_get_slice(r);
    if (wire_err(r) || !id_is_valid(id) || id < *last_table || key[0] == '\0' || value.len > TABLE_VALUE_MAX)
        return ERR_MALFORMED;
    const struct row *last = row_last(&t->tables[id]);
    bool found;
    if (last && strcmp(last->key, key) >= 0)
        return ERR_MALFORMED;
    row_insert(t, (enum table_id)id, row_place(&t->tables[id], key, &found), key, value);
    *last_table = id;
    return 0;
}

int tables_decode(struct wire_reader *r, struct tables **ret)
{
    enum { ROW_SIZE_MIN = 2 + 4 + 1 + 4 };
    struct tables *t = tables_new();
    unsigned last_table = 0;
    uint32_t n = wire_get_count(r, ROW_SIZE_MIN);
    for (uint32_t i = 0; i < n && r->err == 0; i++)
        r->err = decode_row(r, t, &last_table);
    if (r->err) {
        tables_free(t);
        return r->err;
    }
    *ret = t;
    return 0;
}
