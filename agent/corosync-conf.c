/* SPDX-License-Identifier: GPL-2.0-or-later */
/* corosync.conf from the committed slots: one authority for membership (design: replicated database, rule 6).
 *
 * The agent is corosync's quorum device, and its vote alone decides: with 200 expected votes quorum is 101, which no
 * number of nodes (100 at most, one vote each) reaches without the device's 100, and which each node reaches with them.
 * So these figures stand whatever nodes come and go, and all weights are Ringmaster's own. The model's name tells
 * corosync-qdevice that this is not its device. timeout: a vote outlives an agent that starts anew, and no longer;
 * sync_timeout: a ring waits no longer for an agent that is frozen.
 *
 * config_version stays unset. token 1000 with corosync's default coefficient (650 ms a node above two) finds a dead
 * node of three in about 3.6 s (measured; design: quorum and witness); a reload takes other times over as the ring
 * goes on.
 * seqno_unchanged_const: the token rests after so many rounds without a message; by corosync's default of 30 the rounds
 * between two commits take more of the processors than the commits.
 * Braces stand on their own lines: corosync's parser wants it so. */
#include "agent/cluster.h"

enum { TOKEN_MS = 1000, TOKEN_COEFFICIENT_MS = 650 /* corosync's default, a node above two */ };

static void get_times(const struct tables *t, struct corosync_times *ret)
{
    setting_get(t, "corosync.token_ms", ret->token_ms);
    setting_get(t, "corosync.token_coefficient_ms", ret->token_coefficient_ms);
}

static int64_t number_or(const char *value, int64_t otherwise)
{
    return value[0] ? strtol(value, NULL, 10) : otherwise;
}

int64_t corosync_lost_ms(const struct tables *t)
{
    struct corosync_times times;
    get_times(t, &times);
    int64_t n = (int64_t)tables_count(t, TABLE_NODE);
    int64_t more_ms = n > 2 ? (n - 2) * number_or(times.token_coefficient_ms, TOKEN_COEFFICIENT_MS) : 0;
    int64_t token_ms = number_or(times.token_ms, TOKEN_MS) + more_ms;
    return token_ms + token_ms * 12 / 10; /* corosync's default of consensus */
}

static void put_times(struct buf *b, const struct corosync_times *times)
{
    buf_printf(b, "    token: %lld\n", (long long)number_or(times ? times->token_ms : "", TOKEN_MS));
    if (times && times->token_coefficient_ms[0])
        buf_printf(b, "    token_coefficient: %s\n", times->token_coefficient_ms);
}

char *corosync_conf_render(const char *cluster_name, const struct corosync_times *times,
                           const struct corosync_slot *slots, size_t n)
{
    struct buf b = {0};
    buf_printf(&b,
               COROSYNC_CONF_HEAD "totem {\n"
               "    version: 2\n"
               "    cluster_name: %s\n"
               "    transport: knet\n"
               "    crypto_cipher: aes256\n"
               "    crypto_hash: sha256\n",
               cluster_name);
    put_times(&b, times);
    buf_printf(&b,
               "    seqno_unchanged_const: 2\n"
               "}\n"
               "system {\n"
               "    sched_rr: no\n"
               "}\n"
               "quorum {\n"
               "    provider: corosync_votequorum\n"
               "    expected_votes: " DIGITS(COROSYNC_EXPECTED_VOTES) "\n"
               "    device {\n"
               "        model: ringmaster\n"
               "        votes: " DIGITS(COROSYNC_DEVICE_VOTES) "\n"
               "        timeout: 3000\n"
               "        sync_timeout: 1000\n"
               "    }\n"
               "}\n"
               "logging {\n"
               "    to_syslog: yes\n"
               "    timestamp: off\n"
               "}\n"
               "nodelist {\n");
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
    struct corosync_times times;
    get_times(t, &times);
    return corosync_conf_render(c.name, &times, slots, count);
}
