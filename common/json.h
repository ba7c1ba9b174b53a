/* SPDX-License-Identifier: GPL-2.0-or-later */
/* JSON values (jansson behind it, in json.c only). Every struct json is owned by whoever made it until it is handed to
 * json_set/json_append, which take it over. Getters borrow. Parsing is bounded: JSON_DEPTH_MAX levels, the caller's
 * size. */
#pragma once

#include "common/buf.h"
#include "common/err.h"

enum { JSON_DEPTH_MAX = 64 };

/* libjansson exports functions of these two names as well, and would call ours instead of its own: ours are linked
 * under other names. (json.c includes jansson.h first.) */
#define json_copy rm_json_copy
#define json_real rm_json_real

struct json; /* an object, array, string, integer, number, boolean or null */

struct json *json_object_new(void);
struct json *json_array_new(void);
struct json *json_str_new(const char *s); /* NULL gives null; bytes that are not UTF-8 are replaced by '?' */
struct json *json_int_new(int64_t v);
struct json *json_real_new(double v); /* not finite gives null */
struct json *json_bool_new(bool v);
struct json *json_null_new(void);
struct json *json_time_new(int64_t wall_ms); /* UTC ISO 8601 with milliseconds; 0 gives null */
void json_free(struct json *j);
void json_freep(struct json **j);
struct json *json_copy(const struct json *j); /* deep */

void json_set(struct json *obj, const char *key, struct json *value); /* takes value */
void json_append(struct json *arr, struct json *value);               /* takes value */
static inline void json_set_str(struct json *o, const char *k, const char *v)
{
    json_set(o, k, json_str_new(v));
}
static inline void json_set_int(struct json *o, const char *k, int64_t v)
{
    json_set(o, k, json_int_new(v));
}
static inline void json_set_bool(struct json *o, const char *k, bool v)
{
    json_set(o, k, json_bool_new(v));
}

/* Getters accept NULL and wrong types and then give the default: a reader of foreign JSON checks json_is_… first. */
bool json_is_object(const struct json *j);
bool json_is_array(const struct json *j);
bool json_is_str(const struct json *j);
bool json_is_int(const struct json *j);
bool json_is_bool(const struct json *j);
bool json_is_null(const struct json *j); /* there, and null */
const struct json *json_get(const struct json *obj, const char *key);
/* Dotted path of object members: json_path(j, "data.quorum.quorate"). */
const struct json *json_path(const struct json *j, const char *path);
const char *json_str(const struct json *j, const char *otherwise);
int64_t json_int(const struct json *j, int64_t otherwise);
double json_real(const struct json *j, double otherwise);
bool json_bool(const struct json *j, bool otherwise);
const char *json_get_str(const struct json *obj, const char *key, const char *otherwise);
int64_t json_get_int(const struct json *obj, const char *key, int64_t otherwise);
bool json_get_bool(const struct json *obj, const char *key, bool otherwise);
size_t json_count(const struct json *arr);
const struct json *json_at(const struct json *arr, size_t i);
/* Iterates an object's members in insertion order: start with it = NULL; false at the end. */
bool json_next(const struct json *obj, void **it, const char **ret_key, const struct json **ret_value);

/* One line without spaces, members in insertion order, reals with 15 digits; the caller frees. */
char *json_dump(const struct json *j);
char *json_dump_pretty(const struct json *j);
/* 0 or ERR_MALFORMED with line and column in *e. Duplicate keys, NUL and trailing garbage are refused. */
int json_parse(const char *text, size_t len, struct json **ret, struct error *e);
