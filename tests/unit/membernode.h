/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A node below a folder of its own, on the loopback, with services that only count. */
#pragma once

#include "agent/core.h"
#include "agent/io/joinmsg.h"
#include "agent/io/membership.h"
#include "agent/io/paths.h"
#include "agent/io/tls.h"
#include "tests/unit/tempdir.h"

#define TEST_CONF "totem {\n    version: 2\n}\n"

static inline int membernode_service(struct error *e)
{
    (void)e;
    return 0;
}

static inline struct membership_env membernode_env(const struct tempdir *d)
{
    return (struct membership_env){d->path, 0, membernode_service, membernode_service};
}

static inline struct host_facts membernode_facts(const char *name)
{
    struct host_facts f = {.port = 7700,
                           .qemu_version = 7002000,
                           .libvirt_version = 9000000,
                           .memory_kib = 4096,
                           .cpus = 2,
                           .machines = (char *)(uintptr_t) "pc-i440fx-7.2 pc-q35-7.2"};
    STR_COPY(f.hostname, name);
    STR_COPY(f.address, "127.0.0.1");
    STR_COPY(f.release, "bookworm");
    STR_COPY(f.boot_id, "b");
    return f;
}

/* A member, and a TLS server of it; what its core would do is in the ops. */
struct membernode {
    struct tempdir dir;
    struct membership_outcome founded;
    struct tls_server *server;
};

static inline void membernode_found(struct membernode *n, const char *cluster)
{
    n->dir = tempdir_make();
    struct membership_env env = membernode_env(&n->dir);
    struct host_facts facts = membernode_facts("n1");
    membership_found_in(&env, cluster, TEST_CONF, &facts, &n->founded);
    assert_string_equal(n->founded.error.text, "");
}

static inline void membernode_serve(struct membernode *n, const struct tls_server_ops *ops, void *ctx)
{
    struct error e = {0};
    int err = tls_server_start_in(n->dir.path, &n->founded.identity, 0, ops, ctx, &n->server, &e);
    assert_string_equal(e.text, "");
    assert_int_equal(err, 0);
}

static inline void membernode_done(struct membernode *n)
{
    tls_server_stop(n->server);
    buf_done(&n->founded.sealed_ca_key);
    tempdir_done(&n->dir);
}

/* A token for n2, whose peers are one that does not answer and this node. */
static inline struct token_outcome membernode_token(struct membernode *n)
{
    struct token_outcome t;
    char peers[64];
    snprintf(peers, sizeof(peers), "127.0.0.1:1 127.0.0.1:%u", tls_server_port(n->server));
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    token_make_in(n->dir.path, &n->founded.identity, "n2", "127.0.0.1", peers, (int64_t)now.tv_sec * 1000, 3600000, &t);
    assert_string_equal(t.error.text, "");
    return t;
}

static inline void token_outcome_free(struct token_outcome *t)
{
    pki_wipe_str(&t->text);
    buf_done(&t->sealed_text);
}

/* The action that the core makes of a request that it admits. */
static inline struct core_action membernode_issue(struct membernode *n, const struct join_request *r)
{
    struct core_action a = {.type = ACT_ISSUE, .nodeid = 2, .text = (char *)(uintptr_t)TEST_CONF, .join = *r};
    a.sealed_ca_key = n->founded.sealed_ca_key;
    return a;
}
