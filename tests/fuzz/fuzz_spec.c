/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the agent asks of the backup's worker. The first byte says for which verb, the rest is the file. */
#include "backup/spec.h"
#include "tests/fuzz/fuzz.h"

static void check(const struct spec *s, bool settle)
{
    assert(!uuid_is_nil(&s->run) && layout_vm_ok(s->vm) && s->status[0] == '/');
    assert(settle || (s->key_len >= SPEC_KEY_MIN && s->repository[0] == '/' && s->engine[0] != '\0'));
    assert(s->key_len <= SPEC_KEY_MAX && s->n_keep <= SPEC_KEEP_MAX && s->parent.n_disks <= SPEC_DISKS_MAX);
    assert(uuid_is_nil(&s->parent.point) == !s->parent.checkpoint_xml);
    assert(uuid_is_nil(&s->parent.point) || spec_keeps(s, checkpoint_name(&s->parent.point).s));
    for (size_t i = 0; i < s->n_keep; i++)
        assert(spec_keeps(s, s->keep[i].s) && strncmp(s->keep[i].s, CHECKPOINT_PREFIX, 11) == 0);
    for (size_t i = 0; i < s->parent.n_disks; i++)
        assert(spec_disk(s, s->parent.disks[i].name) == &s->parent.disks[i]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, data + size};
    bool settle = input_u8(&in) == 's';
    struct slice rest = input_rest(&in);
    uint8_t *bytes = input_block(rest);
    struct spec *s = xcalloc(1, sizeof(*s));
    struct error e = {0};
    int err = spec_decode((struct slice){bytes, rest.len}, settle, s, &e);
    assert(err == 0 || (err == ERR_USAGE && e.text[0] != '\0'));
    if (err == 0) {
        check(s, settle);
        spec_done(s);
    }
    free(s);
    free(bytes);
    return 0;
}
