/* SPDX-License-Identifier: GPL-2.0-or-later */
/* JSON: what parses is dumped and parses again to the same text. */
#include "common/json.h"
#include "tests/fuzz/fuzz.h"

static void walk(const struct json *j, unsigned depth)
{
    assert(depth <= JSON_DEPTH_MAX);
    (void)json_str(j, NULL);
    (void)json_int(j, 0);
    (void)json_real(j, 0);
    (void)json_bool(j, false);
    for (size_t i = 0; json_is_array(j) && i < json_count(j); i++)
        walk(json_at(j, i), depth + 1);
    void *it = NULL;
    const char *key;
    const struct json *value;
    while (json_is_object(j) && json_next(j, &it, &key, &value)) {
        assert(json_get(j, key) == value);
        walk(value, depth + 1);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct json *first = NULL, *second = NULL;
    struct error e = {0};
    if (json_parse((const char *)data, size, &first, &e) != 0) {
        assert(e.code == ERR_MALFORMED && e.text[0] && !first);
        return 0;
    }
    walk(first, 0);
    AUTO(freep) char *text = json_dump(first);
    AUTO(freep) char *pretty = json_dump_pretty(first);
    assert(json_parse(pretty, strlen(pretty), &second, &e) == 0);
    AUTO(freep) char *again = json_dump(second);
    assert(str_eq(text, again));
    json_free(json_copy(first));
    json_free(first);
    json_free(second);
    return 0;
}
