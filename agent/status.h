/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The report that monitoring and people rely on (pure): built from the tables and the membership.
 *
 * data of `status`:
 *   cluster  {name, uuid} or null (unconfigured)
 *   self     {name, phase: "unconfigured"|"joining"|"member"|"evicted", version}
 *   quorum   {quorate, leader, term, votes_present, votes_total, corosync_quorate, index, stale}
 *   level    {committed, mixed: {since, days, …} or null, fence, …} (level_json)
 *   nodes    [{name, address, state: "online"|"offline"|"draining"|"paused"|"joining"|"evicting"|"absent", release, os,
 *              level, voter, leader, vms, memory_mib, qemu, libvirt, corosync, agent, job}]
 *   vms      [vm_json, with percent while it migrates (missing: unknown) and reported_state]: all, or in a
 *            cluster with more than STATUS_VMS_MAX the first so many that are not simply running or stopped
 *   vm_counts {total, listed: in vms, states: {running, stopped, starting, stopping, migrating, failed, unknown}}
 *   run      run_json or null
 *   jobs     running ones
 *   tasks    [task_json], all
 *   backups  {vms, running, failed, overdue: how many; newest, oldest: when the last good ones ended}
 *   health   [{code, severity: "ok"|"warning"|"critical", object, text, remedy}], worst first */
#pragma once

#include "agent/core.h"

/* What a page, and an answer that is to come at once, can hold; vm.list has all in any case. */
enum { STATUS_VMS_MAX = 200 };

struct json *status_json(struct core *c, bool all_vms);
struct json *status_nodes_json(struct core *c);
struct task;
struct json *status_tasks_json(const struct core *c);
/* state is "unknown" while it runs on a node that is away. */
struct json *status_task_json(const struct core *c, const struct task *k);
struct backup;
struct uuid;
/* Of all VMs that were backed up or are to be, or of one (vm ""). state is "unknown" while it runs on a node that is
 * away; with phase, done_bytes and total_bytes while it runs on this one. */
struct json *status_backups_json(const struct core *c, const char *vm);
struct json *status_backup_json(const struct core *c, const struct backup *k);
int status_backup_percent(const struct core *c, const char *vm, const struct uuid *run); /* -1: unknown */
/* A VM as it may be shown: state is "unknown" while its owner is away, for nobody can know whether it still runs there;
 * reported_state is what was reported last. */
struct vm;
struct vm_view;
struct json *status_vm_json(const struct core *c, const struct vm_view *nodes, const struct vm *v);
