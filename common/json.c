/* SPDX-License-Identifier: GPL-2.0-or-later */
/* struct json is jansson's json_t behind another name. jansson's hash seed is random, but its objects keep their
 * members in insertion order, so what is printed is the same on every node. */
#include <jansson.h>

/* Before our header gives its name another meaning. */
static json_t *jansson_real(double v)
{
    return json_real(v);
}

#undef json_is_object /* macros of jansson that are functions of ours */
#undef json_is_array
#undef json_is_null

#include "common/json.h"
#include "common/text.h"

#include <assert.h>
#include <math.h>

static json_t *in(const struct json *j)
{
    return (json_t *)j;
}

/* What jansson made; it fails only without memory. */
static struct json *out(json_t *j)
{
    if (!j)
        abort();
    return (struct json *)j;
}

static bool has_type(const struct json *j, json_type type)
{
    return j && json_typeof(in(j)) == type;
}

struct json *json_object_new(void)
{
    return out(json_object());
}

struct json *json_array_new(void)
{
    return out(json_array());
}

static bool is_utf8(const char *s, size_t len)
{
    for (size_t i = 0, n; i < len; i += n) {
        n = text_utf8_len(s + i, len - i);
        if (n == 0)
            return false;
    }
    return true;
}

/* A copy with '?' for every byte that belongs to no well-formed sequence. */
static char *utf8_repaired(const char *s, size_t len)
{
    char *copy = xmemdup(s, len + 1);
    for (size_t i = 0; i < len;) {
        size_t n = text_utf8_len(copy + i, len - i);
        if (n == 0)
            copy[i] = '?';
        i += n ? n : 1;
    }
    return copy;
}

struct json *json_str_new(const char *s)
{
    if (!s)
        return json_null_new();
    size_t len = strlen(s);
    if (is_utf8(s, len))
        return out(json_stringn_nocheck(s, len));
    AUTO(freep) char *repaired = utf8_repaired(s, len);
    return out(json_stringn_nocheck(repaired, len));
}

struct json *json_int_new(int64_t v)
{
    return out(json_integer(v));
}

struct json *json_real_new(double v)
{
    return isfinite(v) ? out(jansson_real(v)) : json_null_new();
}

struct json *json_bool_new(bool v)
{
    return out(json_boolean(v));
}

struct json *json_null_new(void)
{
    return out(json_null());
}

struct date {
    int64_t year, month, day;
};

/* Days since 1970-01-01 to a date of the proleptic Gregorian calendar, by eras of 400 years that start on 1 March
 * (Howard Hinnant, "chrono-compatible low-level date algorithms", civil_from_days). gmtime_r would read TZ. */
static struct date date_from_days(int64_t days)
{
    days += 719468; /* from 0000-03-01 */
    int64_t era = days / 146097;
    int64_t day_of_era = days % 146097;
    int64_t year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    int64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    int64_t shifted = (5 * day_of_year + 2) / 153; /* 0: March */
    int64_t month = shifted < 10 ? shifted + 3 : shifted - 9;
    return (struct date){
        .year = era * 400 + year_of_era + (month <= 2),
        .month = month,
        .day = day_of_year - (153 * shifted + 2) / 5 + 1,
    };
}

struct json *json_time_new(int64_t wall_ms)
{
    const int64_t day_ms = 86400000, last_ms = 253402300799999; /* 9999-12-31T23:59:59.999Z */
    if (wall_ms <= 0 || wall_ms > last_ms)
        return json_null_new();
    struct date d = date_from_days(wall_ms / day_ms);
    int64_t ms = wall_ms % day_ms;
    AUTO(buf_done) struct buf b = {0};
    buf_printf(&b, "%04lld-%02lld-%02lldT%02lld:%02lld:%02lld.%03lldZ", (long long)d.year, (long long)d.month,
               (long long)d.day, (long long)(ms / 3600000), (long long)(ms / 60000 % 60), (long long)(ms / 1000 % 60),
               (long long)(ms % 1000));
    return out(json_stringn_nocheck((const char *)b.p, b.len));
}

void json_free(struct json *j)
{
    json_decref(in(j));
}

void json_freep(struct json **j)
{
    json_free(*j);
    *j = NULL;
}

struct json *json_copy(const struct json *j)
{
    return j ? out(json_deep_copy(in(j))) : NULL;
}

void json_set(struct json *obj, const char *key, struct json *value)
{
    assert(json_is_object(obj) && key && value && value != obj);
    assert(is_utf8(key, strlen(key)));
    if (json_object_set_new_nocheck(in(obj), key, in(value)) != 0)
        abort();
}

void json_append(struct json *arr, struct json *value)
{
    assert(json_is_array(arr) && value && value != arr);
    if (json_array_append_new(in(arr), in(value)) != 0)
        abort();
}

bool json_is_object(const struct json *j)
{
    return has_type(j, JSON_OBJECT);
}

bool json_is_array(const struct json *j)
{
    return has_type(j, JSON_ARRAY);
}

bool json_is_str(const struct json *j)
{
    return has_type(j, JSON_STRING);
}

bool json_is_int(const struct json *j)
{
    return has_type(j, JSON_INTEGER);
}

bool json_is_bool(const struct json *j)
{
    return has_type(j, JSON_TRUE) || has_type(j, JSON_FALSE);
}

bool json_is_null(const struct json *j)
{
    return has_type(j, JSON_NULL);
}

const struct json *json_get(const struct json *obj, const char *key)
{
    return (const struct json *)json_object_get(in(obj), key);
}

const struct json *json_path(const struct json *j, const char *path)
{
    const char *member = path;
    while (j) {
        size_t len = strcspn(member, ".");
        j = (const struct json *)json_object_getn(in(j), member, len);
        if (member[len] == '\0')
            return j;
        member += len + 1;
    }
    return NULL;
}

const char *json_str(const struct json *j, const char *otherwise)
{
    return json_is_str(j) ? json_string_value(in(j)) : otherwise;
}

int64_t json_int(const struct json *j, int64_t otherwise)
{
    return json_is_int(j) ? json_integer_value(in(j)) : otherwise;
}

double json_real(const struct json *j, double otherwise)
{
    return json_is_int(j) || has_type(j, JSON_REAL) ? json_number_value(in(j)) : otherwise;
}

bool json_bool(const struct json *j, bool otherwise)
{
    return json_is_bool(j) ? has_type(j, JSON_TRUE) : otherwise;
}

const char *json_get_str(const struct json *obj, const char *key, const char *otherwise)
{
    return json_str(json_get(obj, key), otherwise);
}

int64_t json_get_int(const struct json *obj, const char *key, int64_t otherwise)
{
    return json_int(json_get(obj, key), otherwise);
}

bool json_get_bool(const struct json *obj, const char *key, bool otherwise)
{
    return json_bool(json_get(obj, key), otherwise);
}

size_t json_count(const struct json *arr)
{
    return json_array_size(in(arr));
}

const struct json *json_at(const struct json *arr, size_t i)
{
    return (const struct json *)json_array_get(in(arr), i);
}

bool json_next(const struct json *obj, void **it, const char **ret_key, const struct json **ret_value)
{
    void *next = *it ? json_object_iter_next(in(obj), *it) : json_object_iter(in(obj));
    if (!next)
        return false;
    *it = next;
    *ret_key = json_object_iter_key(next);
    *ret_value = (const struct json *)json_object_iter_value(next);
    return true;
}

/* 15 digits: the most that every double keeps, and 0.1 stays 0.1. */
static char *dump(const struct json *j, size_t flags)
{
    char *text = json_dumps(in(j), JSON_ENCODE_ANY | JSON_REAL_PRECISION(15) | flags);
    if (!text)
        abort();
    return text;
}

char *json_dump(const struct json *j)
{
    assert(j);
    return dump(j, JSON_COMPACT);
}

char *json_dump_pretty(const struct json *j)
{
    assert(j);
    return dump(j, JSON_INDENT(2));
}

static int refuse(const char *text, size_t at, const char *what, struct error *e)
{
    size_t line = 1, column = 1;
    for (size_t i = 0; i < at; i++) {
        column = text[i] == '\n' ? 1 : column + 1;
        line += text[i] == '\n';
    }
    return error_set(e, ERR_MALFORMED, "line %zu, column %zu: %s", line, column, what);
}

/* What jansson leaves open: its own limit of depth is compiled in (2,048), and it skips a NUL byte after a number.
 * Brackets inside strings do not count. */
static int check_text(const char *text, size_t len, struct error *e)
{
    size_t depth = 0;
    bool in_string = false;
    for (size_t i = 0; i < len; i++) {
        char c = text[i];
        if (c == '\0')
            return refuse(text, i, "NUL byte", e);
        if (in_string && c == '\\' && i + 1 < len && text[i + 1] != '\0')
            i++;
        else if (c == '"')
            in_string = !in_string;
        else if (!in_string && (c == '{' || c == '['))
            depth++;
        else if (!in_string && (c == '}' || c == ']') && depth > 0)
            depth--;
        if (depth > JSON_DEPTH_MAX)
            return refuse(text, i, "too many levels", e);
    }
    return 0;
}

int json_parse(const char *text, size_t len, struct json **ret, struct error *e)
{
    int err = check_text(text, len, e);
    if (err)
        return err;
    json_error_t why;
    json_t *j = json_loadb(text ? text : "", len, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &why);
    if (!j)
        return error_set(e, ERR_MALFORMED, "line %d, column %d: %s", why.line, why.column, why.text);
    *ret = (struct json *)j;
    return 0;
}
