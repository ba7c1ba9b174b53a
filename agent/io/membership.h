/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Forming a cluster, joining one, and what is on a member's disk because of it. Blocking.
 *
 * Order of a join; a crash anywhere in it is mended by doing it again:
 *   1. node.key and joining.json {format, token, replica}: a repeated join with the same token is the same replica with
 *      the same key, so that the cluster admits it once
 *   2. a member is asked, over TLS: it commits the admission and answers with all that a member has
 *   3. corosync is stopped, and kept from starting by itself
 *   4. cluster.key, ca.pem, node.pem; corosync's authkey and corosync.conf; the certificates of libvirt and QEMU
 *   5. libvirtd serves TLS
 *   6. identity.json: from here on this is a member
 *   7. joining.json goes
 * Forming a cluster is the same without 1, 2 and 7. Each file is whole or as before (agent/io/files.h). */
#pragma once

#include <sys/types.h>

#include "agent/port.h"

/* ret is filled in any case; on failure ret->error says why, and the rest is empty. The caller frees what it owns. */
void membership_found(const char *cluster_name, const char *corosync_conf, const struct host_facts *self,
                      struct membership_outcome *ret);
void membership_join(const char *token_text, const struct host_facts *self, struct membership_outcome *ret);

/* A join token for that node. address: of its slot, "" or NULL for a node that brings its own; peers: "ADDRESS:PORT …"
 * of members to ask, IPv6 as [ADDRESS]:PORT; id is the maker's. */
void token_make(const struct identity *id, const char *node, const char *address, const char *peers, int64_t wall_ms,
                int64_t valid_ms, struct token_outcome *ret);

/* ERR_NOT_FOUND: this node is in no cluster. ERR_MALFORMED: the file, which the text names, is damaged. */
int identity_load(struct identity *ret, struct error *e);
/* A member's keys are its own: ERR_CONDITION names the first that others may open. What is missing is found by its
 * user. */
int secrets_check(struct error *e);
/* Of a cluster whose forming was interrupted: nobody was told of it. The keys beside it are overwritten by the next. */
int identity_forget(struct error *e);

/* The same below a prefix and with other hands on the services, for tests. */
struct membership_env {
    const char *prefix;
    gid_t qemu_group; /* may read QEMU's keys; 0: root alone */
    int (*take_corosync)(struct error *e);
    int (*serve_libvirt_tls)(struct error *e);
};
void membership_found_in(const struct membership_env *env, const char *cluster_name, const char *corosync_conf,
                         const struct host_facts *self, struct membership_outcome *ret);
void membership_join_in(const struct membership_env *env, const char *token_text, const struct host_facts *self,
                        struct membership_outcome *ret);
void token_make_in(const char *prefix, const struct identity *id, const char *node, const char *address,
                   const char *peers, int64_t wall_ms, int64_t valid_ms, struct token_outcome *ret);
int identity_load_in(const char *prefix, struct identity *ret, struct error *e);
int secrets_check_in(const char *prefix, struct error *e);
