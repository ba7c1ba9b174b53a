/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Calendar expressions: what is taken has a next time, which is later, and whose next is later again. */
#include "common/calendar.h"
#include "tests/fuzz/fuzz.h"

static void walk(const struct calendar *c, int64_t at_ms)
{
    for (int i = 0; i < 3; i++) {
        int64_t next_ms;
        if (calendar_next(c, at_ms, &next_ms))
            return;
        assert(next_ms > at_ms && next_ms % 1000 == 0);
        at_ms = next_ms;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = input_text((struct slice){data, size});
    struct calendar c;
    struct error e = {0};
    int64_t first_ms;
    int err = calendar_parse(text, &c, &e);
    if (err) {
        assert(err == ERR_USAGE && e.code == err && e.text[0]);
    } else {
        assert(calendar_next(&c, -1, &first_ms) == 0);
        walk(&c, -1);
        walk(&c, 1764000000000 + (int64_t)size * 1000003);
    }
    free(text);
    return 0;
}
