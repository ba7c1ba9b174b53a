/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The files of a member, below a prefix ("" on a node). Who writes them: agent/io/membership.c; corosync.conf also
 * agent/io/corosync.c. */
#pragma once

#ifndef RINGMASTER_STATE_DIR
#define RINGMASTER_STATE_DIR "/var/lib/ringmaster"
#endif

#define PATH_IDENTITY RINGMASTER_STATE_DIR "/identity.json"
#define PATH_JOINING RINGMASTER_STATE_DIR "/joining.json"
#define PATH_CLUSTER_KEY RINGMASTER_STATE_DIR "/cluster.key" /* 32 bytes, raw */
#define PATH_CA RINGMASTER_STATE_DIR "/ca.pem"
#define PATH_NODE_CERT RINGMASTER_STATE_DIR "/node.pem"
#define PATH_NODE_KEY RINGMASTER_STATE_DIR "/node.key"

/* What the agent cast last as the quorum device, for the process after this one (agent/io/quorum.h). */
#define PATH_CAST "/run/ringmaster/cast"

#define PATH_COROSYNC_CONF "/etc/corosync/corosync.conf"
#define PATH_COROSYNC_AUTHKEY "/etc/corosync/authkey"
