/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a client says to the agent: bytes to JSON to request_take(). Each line is a request: as it is when it begins
 * with '{' and holds "api_version", else VERB {ARGS}. A line "-" first: the agent is in no cluster. Every request is
 * answered once. */
#include <stdio.h>

#include "tests/fuzz/fuzz_core.h"

enum { LINES_MAX = 16, VERB_SIZE = 40 };

static void ask_raw(struct fuzz_core *f, struct slice line)
{
    struct json *request = NULL;
    AUTO(freep) uint8_t *text = input_block(line);
    if (json_parse((const char *)text, line.len, &request, NULL) == 0 && json_is_object(request))
        fuzz_ask(f, request);
    json_free(request);
}

static void ask_shaped(struct fuzz_core *f, struct slice line)
{
    struct json *args = NULL;
    char verb[VERB_SIZE];
    AUTO(freep) char *text = input_text(line);
    size_t n = strcspn(text, " ");
    snprintf(verb, sizeof(verb), "%.*s", (int)n, text);
    const char *rest = text + n;
    if (json_parse(rest, strlen(rest), &args, NULL) == 0 || !*rest)
        fuzz_ask_verb(f, verb, args);
}

static bool next_line(struct input *in, struct slice *ret)
{
    size_t left = (size_t)(in->end - in->p);
    const uint8_t *end = left ? memchr(in->p, '\n', left) : NULL;
    if (!left)
        return false;
    *ret = input_take(in, end ? (size_t)(end - in->p) : left);
    (void)input_take(in, end ? 1 : 0);
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, data + size};
    struct fuzz_core f;
    struct slice line;
    bool is_outside = size > 1 && data[0] == '-' && data[1] == '\n';
    fuzz_start(&f, is_outside ? NULL : fuzz_tables(), "10");
    for (unsigned n = 0; n < LINES_MAX && next_line(&in, &line); n++) {
        if (line.len && line.p[0] == '{')
            ask_raw(&f, line);
        else
            ask_shaped(&f, line);
        fuzz_write(&f);
    }
    fuzz_run(&f, 1000);
    if (f.n_answered < f.n_asked)
        fuzz_run(&f, 20000);
    assert(f.stopped || f.n_answered == f.n_asked);
    fuzz_end(&f);
    return 0;
}
