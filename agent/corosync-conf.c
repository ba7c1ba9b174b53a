/* SPDX-License-Identifier: GPL-2.0-or-later */
/* corosync.conf from the committed slots: one authority for membership (design: replicated database, rule 6).
 * config_version stays unset. token 1000 with corosync's default coefficient finds a dead node of three in about 3.6 s
 * (measured; design: quorum and witness). Braces stand on their own lines: corosync's parser wants it so. */
#include "agent/cluster.h"

char *corosync_conf_render(const char *cluster_name, const struct corosync_slot *slots, size_t n)
{
    struct buf b = {0};
    buf_printf(&b,
               COROSYNC_CONF_HEAD "totem {\n"
               "    version: 2\n"
               "    cluster_name: %s\n"
               "    transport: knet\n"
               "    crypto_cipher: aes256\n"
               "    crypto_hash: sha256\n"
               "    token: 1000\n"
               "}\n"
               "system {\n"
               "    sched_rr: no\n"
               "}\n"
               "quorum {\n"
               "    provider: corosync_votequorum\n"
               "}\n"
               "logging {\n"
               "    to_syslog: yes\n"
               "    timestamp: off\n"
               "}\n"
               "nodelist {\n",
               cluster_name);
    for (size_t i = 0; i < n; i++)
        buf_printf(&b,
                   "    node {\n"
                   "        name: %s\n"
                   "        nodeid: %u\n"
                   "        ring0_addr: %s\n"
                   "    }\n",
                   slots[i].name, slots[i].nodeid, slots[i].address);
    buf_add_str(&b, "}\n");
    return buf_steal_str(&b);
}

char *corosync_conf_of_tables(const struct tables *t)
{
    struct corosync_slot slots[DB_REPLICAS_MAX];
    struct cluster c;
    struct node n = {0};
    size_t count = 0;
    if (cluster_get(t, &c))
        return NULL;
    while (node_next(t, &n)) {
        if (count == DB_REPLICAS_MAX)
            continue;
        slots[count] = (struct corosync_slot){.nodeid = n.nodeid};
        STR_COPY(slots[count].name, n.name);
        STR_COPY(slots[count].address, n.address);
        count++;
    }
    return corosync_conf_render(c.name, slots, count);
}
