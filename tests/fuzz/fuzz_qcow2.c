/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The header of an image in a repository. What is taken leads nowhere else, lies within the file, and is exactly what
 * the encoder gives for it. Input: u16 clusters of the file, then the beginning of cluster 0; the rest of it is zeros.
 */
#include "backup/qcow2.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, data + size};
    uint64_t clusters = input_u8(&in);
    clusters |= (uint64_t)input_u8(&in) << 8;
    struct slice rest = input_rest(&in);
    uint8_t *cluster = xcalloc(1, QCOW2_CLUSTER), *again = xmalloc(QCOW2_CLUSTER);
    memcpy(cluster, rest.p, rest.len < QCOW2_CLUSTER ? rest.len : QCOW2_CLUSTER);
    struct qcow2_header h = {0};
    struct error e = {0};
    struct slice s = {cluster, rest.len == 0 ? 0 : QCOW2_CLUSTER};
    int err = qcow2_header_decode(s, clusters * QCOW2_CLUSTER, &h, &e);
    assert(err == 0 || err == ERR_MALFORMED || err == ERR_CONDITION);
    if (err == 0) {
        qcow2_header_encode(&h, again);
        assert(memcmp(again, cluster, QCOW2_CLUSTER) == 0);
        assert(h.backing[0] == '\0' || qcow2_name_is_plain(h.backing));
        assert(!strchr(h.backing, '/') && h.disk_bytes <= QCOW2_DISK_MAX);
        assert(h.l1_offset + (uint64_t)h.l1_entries * 8 <= clusters * QCOW2_CLUSTER);
    }
    free(again);
    free(cluster);
    return 0;
}
