/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What lies in a repository: names, manifests, reference points, image headers. */
#include "tests/unit/unit.h"

#include "backup/layout.h"
#include "backup/manifest.h"
#include "backup/qcow2.h"
#include "backup/refpoint.h"

static const struct slice key = {(const uint8_t *)"0123456789abcdef0123456789abcdef", 32};

/* RFC 4231, cases 2, 3 and 6. */
static void test_hmac(void **state)
{
    (void)state;
    static const uint8_t aa[131] = {[0 ... 130] = 0xaa}, dd[50] = {[0 ... 49] = 0xdd};
    const struct {
        struct slice key, data;
        const char *mac;
    } cases[] = {
        {{(const uint8_t *)"Jefe", 4},
         {(const uint8_t *)"what do ya want for nothing?", 28},
         "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"},
        {{aa, 20}, {dd, 50}, "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe"},
        {{aa, 131},
         {(const uint8_t *)"Test Using Larger Than Block-Size Key - Hash Key First", 54},
         "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct slice parts[] = {{cases[i].data.p, 5}, {cases[i].data.p + 5, cases[i].data.len - 5}};
        struct hash h = hash_hmac(cases[i].key, parts, 2);
        assert_string_equal(hash_str(&h).s, cases[i].mac);
    }
}

static void test_names(void **state)
{
    (void)state;
    assert_string_equal(layout_name(LAYOUT_IMAGE, "vda", 7).s, "vda-000007.qcow2");
    assert_string_equal(layout_name(LAYOUT_REFPOINT, NULL, 999999).s, "refpoint-999999.json");
    for (enum layout_kind k = LAYOUT_IMAGE; k <= LAYOUT_REFPOINT; k++) {
        struct layout_file f;
        assert_true(layout_parse(layout_name(k, "sdb", 42).s, &f));
        assert_int_equal(f.kind, k);
        assert_int_equal(f.sequence, 42);
        assert_string_equal(f.disk, k <= LAYOUT_MANIFEST ? "sdb" : "");
    }
    static const char *const foreign[] = {"",
                                          "lock",
                                          "vda-000007.qcow2.partial",
                                          "vda-7.qcow2",
                                          "-000001.qcow2",
                                          "vda-000000.qcow2",
                                          "domain-000001.qcow2",
                                          "vda-000001.xml",
                                          "../a-000001.qcow2",
                                          "vda-000001",
                                          "vda-0000010.qcow2"};
    for (size_t i = 0; i < sizeof(foreign) / sizeof(foreign[0]); i++) {
        struct layout_file f;
        assert_false(layout_parse(foreign[i], &f));
    }
    assert_true(layout_vm_ok("web-1.example"));
    static const char *const bad[] = {"", ".", "..", ".x", "-x", "a/b", "a b", "a\nb"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_false(layout_vm_ok(bad[i]));
        assert_false(layout_disk_ok(bad[i]));
        assert_false(qcow2_name_is_plain(bad[i]));
    }
    assert_false(layout_disk_ok("refpoint"));
}

static void round_trip(uint32_t n, uint32_t every)
{
    struct manifest_digest *in = xcalloc(n, sizeof(*in)), *out = xcalloc(n, sizeof(*out));
    for (uint32_t i = 0; every && i < n; i += every)
        in[i].b[15] = 1;
    struct buf b = {0};
    manifest_page_encode(in, n, &b);
    assert_int_equal(manifest_page_size(b.p, n), b.len);
    assert_int_equal(manifest_page_decode(buf_slice(&b), n, out), 0);
    assert_memory_equal(in, out, n * sizeof(*in));
    assert_int_equal(manifest_page_decode((struct slice){b.p, b.len - 1}, n, out), ERR_MALFORMED);
    if (every > 1) { /* a bit behind the page's end, and one that was lost */
        b.p[4] ^= 1;
        assert_int_equal(manifest_page_decode(buf_slice(&b), n, out), ERR_MALFORMED);
    }
    buf_done(&b);
    free(in);
    free(out);
}

static void test_manifest_pages(void **state)
{
    (void)state;
    for (uint32_t every = 0; every < 5; every++) {
        round_trip(1, every > 0);
        round_trip(17, every);
        round_trip(MANIFEST_PAGE_BLOCKS, every);
    }
    /* 1 TiB of data takes 256 MiB and a little. */
    assert_int_equal(manifest_pages(UINT64_C(1) << 40) * MANIFEST_PAGE_BLOCKS * MANIFEST_DIGEST, 256 << 20);
    assert_int_equal(manifest_pages(MANIFEST_PAGE_BYTES + 512), 2);
    assert_int_equal(manifest_page_blocks(MANIFEST_PAGE_BYTES + 512, 1), 1);
}

static void test_manifest_header(void **state)
{
    (void)state;
    struct manifest_header h = {.point = {{1}}, .tracking = {{2}}, .disk_bytes = 512 * 3}, got;
    uint8_t bytes[MANIFEST_HEADER_SIZE];
    struct error e = {0};
    manifest_header_encode(&h, bytes);
    assert_int_equal(manifest_header_decode((struct slice){bytes, sizeof(bytes)}, &got, &e), 0);
    assert_memory_equal(&got, &h, sizeof(h));
    for (size_t i = 0; i < sizeof(bytes); i++) {
        if (i >= 24 && i < 64) /* size and ids: the trailer's to protect */
            continue;
        bytes[i] ^= 0x80;
        assert_true(manifest_header_decode((struct slice){bytes, sizeof(bytes)}, &got, &e) < 0);
        bytes[i] ^= 0x80;
    }
    h.disk_bytes = MANIFEST_DISK_MAX + 512;
    manifest_header_encode(&h, bytes);
    assert_int_equal(manifest_header_decode((struct slice){bytes, sizeof(bytes)}, &got, &e), ERR_MALFORMED);
}

static void test_block_digest(void **state)
{
    (void)state;
    uint8_t *block = xcalloc(1, MANIFEST_BLOCK);
    struct manifest_digest d = manifest_block_digest(block);
    assert_true(manifest_digest_is_zero(&d));
    for (size_t at = 0; at < MANIFEST_BLOCK; at += MANIFEST_BLOCK - 1) {
        block[at] = 1;
        struct hash h = hash_of(block, MANIFEST_BLOCK);
        d = manifest_block_digest(block);
        assert_memory_equal(d.b, h.b, MANIFEST_DIGEST);
        block[at] = 0;
    }
    free(block);
}

static struct refpoint example(void)
{
    struct refpoint p = {
        .uuid = {{1}}, .vm = "web", .sequence = 3, .engine = "bitmap", .n_disks = 2, .has_domain = true};
    for (size_t i = 0; i < 2; i++) {
        p.disks[i] = (struct refpoint_disk){.tracking = {{9}}, .bytes = 1 << 20, .reason = "asked for"};
        STR_COPY(p.disks[i].name, i ? "vdb" : "vda");
        STR_COPY(p.disks[i].engine, i ? "full" : "bitmap");
    }
    return p;
}

static void test_refpoint(void **state)
{
    (void)state;
    struct refpoint p = example(), got;
    struct buf b = {0};
    struct error e = {0};
    refpoint_encode(&p, key, &b);
    assert_int_equal(refpoint_decode(buf_slice(&b), key, &got, &e), 0);
    assert_string_equal(got.disks[1].name, "vdb");
    assert_true(got.has_domain && !got.has_nvram && uuid_is_nil(&got.parent));
    assert_string_equal(refpoint_engine(&got), "full");
    for (size_t i = 0; i < b.len; i++) {
        b.p[i] ^= 1;
        assert_true(refpoint_decode(buf_slice(&b), key, &got, &e) < 0);
        b.p[i] ^= 1;
    }
    struct slice other = {key.p, key.len - 1};
    assert_int_equal(refpoint_decode(buf_slice(&b), other, &got, &e), ERR_MALFORMED);
    buf_done(&b);
    p.disks[1] = p.disks[0]; /* twice the same disk */
    refpoint_encode(&p, key, &b);
    assert_int_equal(refpoint_decode(buf_slice(&b), key, &got, &e), ERR_MALFORMED);
    buf_done(&b);
}

static void test_qcow2_tail(void **state)
{
    (void)state;
    for (uint64_t used = 1; used < 200000; used = used * 3 + 1) {
        struct qcow2_tail t = qcow2_tail_of(UINT64_C(1) << 40, used);
        assert_int_equal(t.l1, used);
        assert_true(t.n_blocks * QCOW2_REFCOUNTS >= t.end);
        assert_true(t.n_blocks == 1 || (t.n_blocks - 1) * QCOW2_REFCOUNTS < t.end);
        assert_int_equal(t.end, used + t.l1_clusters + t.n_blocks + t.table_clusters);
    }
}

static void test_qcow2_header(void **state)
{
    (void)state;
    struct qcow2_tail t = qcow2_tail_of(1 << 20, 5);
    struct qcow2_header h = {.disk_bytes = 1 << 20,
                             .l1_offset = t.l1 * QCOW2_CLUSTER,
                             .l1_entries = 1,
                             .refcount_offset = t.table * QCOW2_CLUSTER,
                             .refcount_clusters = 1,
                             .backing = "vda-000001.qcow2"},
                        got;
    uint8_t *cluster = xmalloc(QCOW2_CLUSTER);
    struct slice bytes = {cluster, QCOW2_CLUSTER};
    struct error e = {0};
    qcow2_header_encode(&h, cluster);
    assert_int_equal(qcow2_header_decode(bytes, t.end * QCOW2_CLUSTER, &got, &e), 0);
    assert_string_equal(got.backing, h.backing);
    assert_int_equal(qcow2_header_decode(bytes, (t.end + 1) * QCOW2_CLUSTER, &got, &e), ERR_MALFORMED);
    for (size_t i = 0; i < QCOW2_CLUSTER; i++) {
        /* The size within what fits, the structure's digest, the name within what is a plain name: the digest of the
         * structure covers these. */
        if ((i >= 24 && i < 32) || (i >= 112 && i < 144) || (i >= 168 && i < 168 + strlen(h.backing)))
            continue;
        cluster[i] ^= 1;
        assert_true(qcow2_header_decode(bytes, t.end * QCOW2_CLUSTER, &got, &e) < 0);
        cluster[i] ^= 1;
    }
    /* As many clusters as the disk can have, and one more. */
    for (uint64_t more = 0; more < 2; more++) {
        t = qcow2_tail_of(h.disk_bytes, qcow2_used_max(h.disk_bytes));
        h.l1_offset = (t.l1 + more) * QCOW2_CLUSTER;
        h.refcount_offset = (t.table + more) * QCOW2_CLUSTER;
        qcow2_header_encode(&h, cluster);
        assert_int_equal(qcow2_header_decode(bytes, (t.end + more) * QCOW2_CLUSTER, &got, &e),
                         more ? ERR_MALFORMED : 0);
    }
    memcpy(cluster + 168, "../../etc/passwd", 16);
    assert_int_equal(qcow2_header_decode(bytes, t.end * QCOW2_CLUSTER, &got, &e), ERR_CONDITION);
    memcpy(cluster + 168, "nbd:unix:/tmp/xx", 16);
    assert_int_equal(qcow2_header_decode(bytes, t.end * QCOW2_CLUSTER, &got, &e), ERR_CONDITION);
    free(cluster);
}

static void test_qcow2_entries(void **state)
{
    (void)state;
    uint64_t file = 4 * QCOW2_CLUSTER;
    assert_int_equal(qcow2_entry_offset(QCOW2_COPIED | QCOW2_CLUSTER, file), QCOW2_CLUSTER);
    assert_int_equal(qcow2_entry_offset(QCOW2_CLUSTER, file), 0);
    assert_int_equal(qcow2_entry_offset(QCOW2_COPIED, file), 0);
    assert_int_equal(qcow2_entry_offset(QCOW2_COPIED | (QCOW2_CLUSTER + 512), file), 0);
    assert_int_equal(qcow2_entry_offset(QCOW2_COPIED | (uint64_t)file, file), 0);
    assert_int_equal(qcow2_entry_offset(QCOW2_COPIED | (UINT64_C(1) << 62) | QCOW2_CLUSTER, file), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hmac),           cmocka_unit_test(test_names),
        cmocka_unit_test(test_manifest_pages), cmocka_unit_test(test_manifest_header),
        cmocka_unit_test(test_block_digest),   cmocka_unit_test(test_refpoint),
        cmocka_unit_test(test_qcow2_tail),     cmocka_unit_test(test_qcow2_header),
        cmocka_unit_test(test_qcow2_entries),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
