/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What every user of libvirt's API needs: its errors as ours, and its references in a scope. */
#pragma once

#include <libvirt/libvirt.h>
#include <libvirt/virterror.h>

#include "common/buf.h"
#include "common/err.h"

/* The calling thread's last libvirt error, after what was being done to what: "starting VM", "web". ERR_NOT_FOUND: no
 * such domain; ERR_IO: the connection broke; ERR_TIMEOUT; ERR_FAILED: what else libvirt, QEMU or the guest's agent
 * said. */
int virt_fail(struct error *e, const char *doing, const char *object);
bool virt_last_error_is(int code); /* VIR_ERR_… */
/* libvirt prints errors to stderr unless told otherwise; they are returned. */
void virt_quiet(void);

void virt_unref_conn(virConnectPtr *c);
void virt_unref_domain(virDomainPtr *d);
