/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Row codecs shared by cluster.c and cluster-apply.c only. Readers of payloads borrow from the payload. */
#pragma once

#include "agent/cluster.h"

void node_encode(const struct node *n, struct buf *b);
void forced_encode(const struct cluster_forced *f, struct buf *b);
void cluster_encode(const struct cluster *c, struct buf *b);
void token_encode(const struct join_token *k, struct buf *b);
void token_read(struct wire_reader *r, struct join_token *ret);
void identity_put(struct buf *b, const struct identity *i);
void identity_get(struct wire_reader *r, struct identity *ret);
int cluster_init_read(struct slice payload, struct cluster_init *ret);   /* facts are owned by ret */
int cluster_join_read(struct slice payload, struct join_request *ret);   /* join_request_done */
int cluster_node_set_read(struct slice payload, struct node_set *ret);
int cluster_admin_read(struct slice payload, struct node_request *ret);
