/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A table is an array of pointers to rows, sorted by key; a row stays where it is until it is deleted, so borrowed keys
 * and values survive changes of other rows. Beside it stands a sorted array of the keys that changed: whether such a
 * key was put or deleted is read off the rows when the changes are taken.
 *
 * Row hash:  SHA-256 of u16 table, str key, value (wire-coded; the value without a length, it is the rest).
 * Encoding:  u32 count of rows, then per row u16 table, str key, bytes value; ascending by (table, key), so the same
 *            content always gives the same bytes. Tables of a newer release are kept as long as they are below
 * TABLE_MAX. */
#include "common/table.h"

#include <assert.h>

#include "common/err.h"

struct row {
    struct hash hash;
    uint8_t *value; /* never NULL, also when empty */
    size_t len;
    char key[];
};

struct table {
    struct row **rows;
    size_t n, cap;
    char **changed;
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
    for (size_t i = 0; i < table->n; i++)
        row_free(table->rows[i]);
    for (size_t i = 0; i < table->n_changed; i++)
        free(table->changed[i]);
    free(table->rows);
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

/* The position of the first row with a key not below `key`; strcmp compares bytes as unsigned. */
static size_t row_position(const struct table *table, const char *key, bool *ret_found)
{
    size_t low = 0, high = table->n;
    *ret_found = false;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = strcmp(table->rows[middle]->key, key);
        if (order == 0)
            *ret_found = true;
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static size_t change_position(const struct table *table, const char *key, bool *ret_found)
{
    size_t low = 0, high = table->n_changed;
    *ret_found = false;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = strcmp(table->changed[middle], key);
        if (order == 0)
            *ret_found = true;
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static struct row *row_find(const struct table *table, const char *key)
{
    bool found;
    size_t i = row_position(table, key, &found);
    return found ? table->rows[i] : NULL;
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
    size_t i = 0;
    if (after) {
        bool found;
        i = row_position(rows, after, &found);
        if (found)
            i++;
    }
    if (i == rows->n)
        return false;
    *ret = row_view(table, rows->rows[i]);
    return true;
}

bool tables_last(const struct tables *t, enum table_id table, struct table_row *ret)
{
    const struct table *rows = const_table_of(t, table);
    if (rows->n == 0)
        return false;
    *ret = row_view(table, rows->rows[rows->n - 1]);
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

static void mark_changed(struct table *table, const char *key)
{
    bool found;
    size_t i = change_position(table, key, &found);
    if (found)
        return;
    table->changed = gap_open(table->changed, table->n_changed, &table->cap_changed, i);
    table->changed[i] = xstrdup(key);
    table->n_changed++;
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

static void row_insert(struct tables *t, enum table_id id, size_t i, const char *key, struct slice value)
{
    struct table *table = table_of(t, id);
    struct row *row = row_new(key);
    row_fill(t, id, row, value);
    table->rows = gap_open(table->rows, table->n, &table->cap, i);
    table->rows[i] = row;
    table->n++;
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
    size_t i = row_position(table, key, &found);
    if (!found) {
        row_insert(t, id, i, key, value);
    } else {
        struct row *row = table->rows[i];
        if (row_holds(row, value))
            return;
        hash_sub(&t->hash, &row->hash);
        row_fill(t, id, row, value);
    }
    mark_changed(table, key);
}

bool tables_del(struct tables *t, enum table_id id, const char *key)
{
    struct table *table = table_of(t, id);
    bool found;
    size_t i = row_position(table, key, &found);
    if (!found)
        return false;
    struct row *row = table->rows[i];
    mark_changed(table, key);
    table->n--;
    memmove(&table->rows[i], &table->rows[i + 1], (table->n - i) * sizeof(table->rows[0]));
    hash_sub(&t->hash, &row->hash);
    row_free(row); /* last: key may be borrowed from it */
    return true;
}

struct hash tables_hash(const struct tables *t)
{
    return t->hash;
}

/* One block: the key, its terminator, the value. */
static struct table_row change_copy(enum table_id id, const struct table *table, const char *key)
{
    const struct row *row = row_find(table, key);
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

static void take_table(struct table *table, enum table_id id, struct table_changes *out)
{
    for (size_t i = 0; i < table->n_changed; i++) {
        out->rows[out->n++] = change_copy(id, table, table->changed[i]);
        free(table->changed[i]);
    }
    table->n_changed = 0;
}

void tables_take_changes(struct tables *t, struct table_changes *ret)
{
    size_t n = 0;
    for (size_t i = 0; i < TABLE_MAX; i++)
        n += t->tables[i].n_changed;
    struct table_changes out = {.rows = n ? xcalloc(n, sizeof(out.rows[0])) : NULL};
    for (size_t i = 0; i < TABLE_MAX; i++)
        take_table(&t->tables[i], (enum table_id)i, &out);
    assert(out.n == n);
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
    for (size_t i = 0; i < TABLE_MAX; i++) {
        for (size_t k = 0; k < t->tables[i].n; k++) {
            const struct row *row = t->tables[i].rows[k];
            wire_put_u16(b, (uint16_t)i);
            wire_put_str(b, row->key);
            wire_put_bytes(b, row->value, row->len);
        }
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
    const struct table *table = &t->tables[id];
    if (table->n > 0 && strcmp(table->rows[table->n - 1]->key, key) >= 0)
        return ERR_MALFORMED;
    row_insert(t, (enum table_id)id, table->n, key, value);
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
