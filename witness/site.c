/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "witness/site.h"

#include <stdio.h>

#include "common/journal.h"

static const char WANTED[] = "wanted"; /* the one row of TABLE_WITNESS that is no witness: its value is a UUID */

const char *witness_kind_name(enum witness_kind k)
{
    return k == WITNESS_AZURE ? "azure" : "file";
}

const char *witness_auth_name(enum witness_auth a)
{
    static const char *const names[] = {"none", "keys", "sas", "identity"};
    return names[a];
}

/* ---- what can be ------------------------------------------------------------------------------------------------ */

/* Lower case letters, digits, and hyphens between them where they are allowed. */
static bool is_name(const char *s, size_t min, size_t max, bool with_hyphen)
{
    size_t n = strlen(s);
    for (size_t i = 0; i < n; i++) {
        bool is_plain = (s[i] >= 'a' && s[i] <= 'z') || (s[i] >= '0' && s[i] <= '9');
        bool is_hyphen = with_hyphen && s[i] == '-' && i > 0 && i + 1 < n && s[i - 1] != '-';
        if (!is_plain && !is_hyphen)
            return false;
    }
    return n >= min && n <= max;
}

static bool is_path(const char *s)
{
    for (const char *p = s; *p; p++)
        if ((unsigned char)*p < ' ')
            return false;
    return s[0] == '/';
}

int witness_site_check(const struct witness_site *s, struct error *e)
{
    if (s->kind == WITNESS_FILE)
        return is_path(s->path) ? 0 : error_set(e, ERR_USAGE, "'%s' is not an absolute path", s->path);
    if (!is_name(s->account, 3, 24, false))
        return error_set(e, ERR_USAGE, "'%s' is no name of a storage account: 3 to 24 lower case letters and digits",
                         s->account);
    if (!is_name(s->container, 3, 63, true))
        return error_set(e, ERR_USAGE,
                         "'%s' is no name of a container: 3 to 63 lower case letters, digits and single hyphens",
                         s->container);
    if (s->ca_file[0] && !is_path(s->ca_file))
        return error_set(e, ERR_USAGE, "'%s' is not an absolute path", s->ca_file);
    return 0;
}

bool witness_site_is_same(const struct witness_site *a, const struct witness_site *b)
{
    return a->kind == b->kind && str_eq(a->account, b->account) && str_eq(a->container, b->container) &&
           str_eq(a->endpoint, b->endpoint) && str_eq(a->path, b->path);
}

void witness_site_text(const struct witness_site *s, char *dst, size_t size)
{
    if (s->kind == WITNESS_FILE)
        snprintf(dst, size, "folder %s", s->path);
    else
        snprintf(dst, size, "container %s of the storage account %s", s->container, s->account);
}

/* ---- rows and payloads ------------------------------------------------------------------------------------------ */

static void site_put(struct buf *b, const struct witness_site *s)
{
    wire_put_u8(b, (uint8_t)s->kind);
    wire_put_str(b, s->account);
    wire_put_str(b, s->container);
    wire_put_str(b, s->endpoint);
    wire_put_str(b, s->proxy);
    wire_put_str(b, s->metadata);
    wire_put_str(b, s->ca_file);
    wire_put_str(b, s->path);
    wire_put_u8(b, (uint8_t)s->auth);
    wire_put_u8(b, s->n_keys);
}

static void site_get(struct wire_reader *r, struct witness_site *ret)
{
    struct witness_site s = {.kind = wire_get_u8(r)};
    WIRE_GET_STR(r, s.account);
    WIRE_GET_STR(r, s.container);
    WIRE_GET_STR(r, s.endpoint);
    WIRE_GET_STR(r, s.proxy);
    WIRE_GET_STR(r, s.metadata);
    WIRE_GET_STR(r, s.ca_file);
    WIRE_GET_STR(r, s.path);
    s.auth = wire_get_u8(r);
    s.n_keys = wire_get_u8(r);
    if ((s.kind != WITNESS_AZURE && s.kind != WITNESS_FILE) || s.auth > WITNESS_AUTH_IDENTITY)
        r->err = ERR_MALFORMED;
    *ret = s;
}

struct secret_name {
    char s[8 + UUID_STR_SIZE];
};

static struct secret_name secret_name(const struct uuid *uuid)
{
    struct secret_name n;
    snprintf(n.s, sizeof(n.s), "witness/%s", uuid_str(uuid).s);
    return n;
}

void witness_entry_set(const struct uuid *uuid, const struct witness_site *site, struct slice sealed, struct buf *b)
{
    wire_put_uuid(b, uuid);
    if (uuid_is_nil(uuid))
        return;
    site_put(b, site);
    wire_put_slice(b, sealed);
}

void witness_entry_forget(const struct uuid *uuid, struct buf *b)
{
    wire_put_uuid(b, uuid);
}

struct uuid witness_wanted(const struct tables *t)
{
    struct slice value;
    if (tables_get(t, TABLE_WITNESS, WANTED, &value))
        return (struct uuid){0};
    struct wire_reader r = wire_reader(value);
    return wire_get_uuid(&r);
}

int witness_site_get(const struct tables *t, const struct uuid *uuid, struct witness_site *ret)
{
    struct slice value;
    if (tables_get(t, TABLE_WITNESS, uuid_str(uuid).s, &value))
        return ERR_NOT_FOUND;
    struct wire_reader r = wire_reader(value);
    site_get(&r, ret);
    return wire_err(&r);
}

struct slice witness_sealed_get(const struct tables *t, const struct uuid *uuid)
{
    struct slice value = {0};
    tables_get(t, TABLE_SECRET, secret_name(uuid).s, &value);
    return value;
}

bool witness_forgotten(const struct tables *t, const struct uuid *named, struct uuid *ret)
{
    struct uuid wanted = witness_wanted(t), u;
    TABLES_FOREACH (t, TABLE_WITNESS, row) {
        if (uuid_parse(row.key, &u) || uuid_eq(&u, &wanted) || uuid_eq(&u, named))
            continue;
        *ret = u;
        return true;
    }
    return false;
}

bool witness_row_is_good(const struct table_row *row)
{
    struct wire_reader r = wire_reader(row->value);
    struct witness_site s;
    struct uuid u;
    if (str_eq(row->key, WANTED)) {
        u = wire_get_uuid(&r);
        return wire_err(&r) == 0 && !uuid_is_nil(&u);
    }
    site_get(&r, &s);
    return uuid_parse(row->key, &u) == 0 && wire_err(&r) == 0;
}

/* ---- applying --------------------------------------------------------------------------------------------------- */

static void note(struct tables *t, const struct entry *e, const struct uuid *uuid, const struct witness_site *s,
                 bool is_same)
{
    char where[512];
    witness_site_text(s, where, sizeof(where));
    journal_event(t, e->time_ms, EVENT_INFO, "", is_same ? "witness %.8s: %s, set anew" : "witness %.8s: %s",
                  uuid_str(uuid).s, where);
}

static void put_site(struct tables *t, const struct uuid *uuid, const struct witness_site *s, struct slice sealed)
{
    AUTO(buf_done) struct buf row = {0}, wanted = {0};
    site_put(&row, s);
    wire_put_uuid(&wanted, uuid);
    tables_put(t, TABLE_WITNESS, uuid_str(uuid).s, buf_slice(&row));
    tables_put(t, TABLE_WITNESS, WANTED, buf_slice(&wanted));
    if (sealed.len)
        tables_put(t, TABLE_SECRET, secret_name(uuid).s, sealed);
    else
        tables_del(t, TABLE_SECRET, secret_name(uuid).s);
}

static void apply_none(struct tables *t, const struct entry *e, struct error *err)
{
    struct uuid wanted = witness_wanted(t);
    if (uuid_is_nil(&wanted)) {
        error_set(err, ERR_NO_OBJECT, "the cluster has no witness");
        return;
    }
    tables_del(t, TABLE_WITNESS, WANTED);
    journal_event(t, e->time_ms, EVENT_INFO, "", "witness %.8s: removed", uuid_str(&wanted).s);
}

static void apply_set(struct tables *t, const struct entry *e, struct error *err)
{
    struct wire_reader r = wire_reader(e->payload);
    struct uuid uuid = wire_get_uuid(&r);
    struct uuid wanted = witness_wanted(t);
    struct witness_site s = {0};
    struct slice sealed = {0};
    if (wire_err(&r) == 0 && uuid_is_nil(&uuid)) {
        apply_none(t, e, err);
        return;
    }
    site_get(&r, &s);
    sealed = wire_get_slice(&r);
    if (wire_err(&r)) {
        error_set(err, ERR_MALFORMED, "log entry %llu: the witness's place does not decode",
                  (unsigned long long)e->index);
        return;
    }
    if (witness_site_check(&s, err))
        return;
    put_site(t, &uuid, &s, sealed);
    note(t, e, &uuid, &s, uuid_eq(&uuid, &wanted));
}

static void apply_forget(struct tables *t, const struct entry *e, struct error *err)
{
    struct wire_reader r = wire_reader(e->payload);
    struct uuid uuid = wire_get_uuid(&r), wanted = witness_wanted(t);
    if (wire_err(&r)) {
        error_set(err, ERR_MALFORMED, "log entry %llu: no witness's name", (unsigned long long)e->index);
        return;
    }
    if (uuid_eq(&uuid, &wanted)) {
        error_set(err, ERR_CONDITION, "witness %.8s is the cluster's", uuid_str(&uuid).s);
        return;
    }
    tables_del(t, TABLE_WITNESS, uuid_str(&uuid).s);
    tables_del(t, TABLE_SECRET, secret_name(&uuid).s);
}

void witness_apply(struct tables *t, const struct entry *e, struct apply_result *ret)
{
    if (e->kind == ENTRY_WITNESS_SET)
        apply_set(t, e, &ret->error);
    else
        apply_forget(t, e, &ret->error);
}
