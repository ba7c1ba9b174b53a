/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The VM port on libvirt's API: one connection to qemu:///system, held open and opened again whenever it is lost
 * (libvirtd was restarted, or is not up yet), and a thread of its own for libvirt's event loop, which is global to a
 * process: at most one vm_host exists in it. */
#pragma once

#include "agent/port.h"
#include "vm/port.h"

struct vm_host;

/* changed is called from the host's thread whenever some domain started, stopped or moved, and when the connection was
 * opened: it must not block. Succeeds though libvirtd may not be up. */
int vm_host_start(void (*changed)(void *ctx), void *ctx, struct vm_host **ret, struct error *e);
/* Waits for calls under way no longer than a few seconds. NULL is accepted. */
void vm_host_stop(struct vm_host *h);

/* Performs a call; from any thread but the host's own, several at once. Blocks until it is done, at most as long as the
 * call's timeout_ms says, or as libvirt's keepalive takes to give a dead libvirtd up. *ret needs vm_outcome_done(). The
 * errors that leave open whether the call had an effect are ERR_IO, ERR_TIMEOUT and ERR_AGAIN. */
void vm_host_call(struct vm_host *h, const struct vm_call *call, struct vm_outcome *ret);

/* Fills in qemu_version, libvirt_version, machines (replaced), memory_kib and cpus, over a connection of its own;
 * blocks. ERR_AGAIN: libvirtd does not answer. */
int libvirt_host_facts(struct host_facts *f, struct error *e);
