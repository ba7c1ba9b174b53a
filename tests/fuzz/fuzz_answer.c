/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Headers and body of what answers in the place of the blob service, line by line as libcurl hands them in. The first
 * byte chooses the call and who asks. Whatever it says: a write is DONE only by a 201 of the service with an ETag, and
 * surely not written only by a 4xx of it that is no time-out; nothing but plain ASCII gets into a word that is kept. */
#include "tests/fuzz/fuzz.h"
#include "witness/io/answer.h"

static void check_word(const char *s)
{
    for (; *s; s++)
        assert(*s >= 0x21 && *s <= 0x7e);
}

static void check_answer(const struct answer *a)
{
    assert(a->status >= 0 && a->status <= 999);
    assert(!a->complete || a->status >= 200);
    assert(a->retry_after_ms >= 0 && a->server_ms >= 0);
    check_word(a->code);
    check_word(a->etag.s);
}

static void check_verdict(const struct answer *a, const struct verdict *v, bool is_write)
{
    assert((v->outcome == WITNESS_DONE) == (v->cause == WITNESS_CAUSE_NONE));
    assert(v->cause >= WITNESS_CAUSE_NONE && v->cause < WITNESS_CAUSE_MAX);
    assert(v->outcome != WITNESS_DONE || (a->from_service && a->etag.s[0] && a->status == (is_write ? 201 : 200)));
    assert(v->outcome != WITNESS_UNREACHABLE); /* there was an answer */
    bool is_refusal = a->from_service && a->status >= 400 && a->status < 500 && a->status != 408 && a->status != 429;
    assert(!is_write || !witness_surely_not_written(v->outcome) || is_refusal);
    assert(v->next == ANSWER_FINAL || v->outcome != WITNESS_DONE);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, data + size};
    uint8_t choice = input_u8(&in);
    struct witness_call call = {.op = (enum witness_op)(WITNESS_CREATE + (choice & 3)), .sequence_min = 5};
    struct credentials credentials = {.kind = (enum credentials_kind)(CREDENTIALS_KEYS + (choice >> 2 & 3) % 3),
                                      .sas = "se=2026-01-02T03:04Z&sig=x"};
    struct answer_context x = {&call, &credentials, (choice & 16) != 0, 1800000000000};
    struct answer a = {.sent = true};
    struct slice rest = input_rest(&in);
    while (rest.len > 0 && !a.complete) {
        const uint8_t *end = memchr(rest.p, '\n', rest.len);
        size_t n = end ? (size_t)(end - rest.p) + 1 : rest.len;
        uint8_t *line = input_block((struct slice){rest.p, n});
        answer_header(&a, (char *)line, n);
        free(line);
        check_answer(&a);
        rest = (struct slice){rest.p + n, rest.len - n};
    }
    if (!a.complete)
        return 0;
    a.body_too_big = rest.len > sizeof(a.body);
    a.body_complete = !a.body_too_big;
    a.body_len = a.body_too_big ? sizeof(a.body) : rest.len;
    if (a.body_len)
        memcpy(a.body, rest.p, a.body_len);
    struct verdict v = answer_judge(&a, &x);
    check_verdict(&a, &v, answer_is_write(&call));
    return 0;
}
