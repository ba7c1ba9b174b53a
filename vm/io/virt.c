/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vm/io/virt.h"

/* ---- errors */

static int code_of(const virError *v)
{
    switch (v->code) {
    case VIR_ERR_NO_DOMAIN: return ERR_NOT_FOUND;
    case VIR_ERR_OPERATION_TIMEOUT: return ERR_TIMEOUT;
    case VIR_ERR_RPC:
    case VIR_ERR_NO_CONNECT:
    case VIR_ERR_INVALID_CONN: return ERR_IO;
    default: break;
    }
    /* The connection to libvirtd broke under the call, or could not be made. What QEMU or the target say comes under
     * another domain. */
    return v->domain == VIR_FROM_RPC || v->domain == VIR_FROM_REMOTE ? ERR_IO : ERR_FAILED;
}

int virt_fail(struct error *e, const char *doing, const char *object)
{
    const virError *v = virGetLastError();
    if (!v || v->code == VIR_ERR_OK)
        return error_set(e, ERR_FAILED, "%s %s: libvirt gave no reason", doing, object);
    if (!e)
        return code_of(v);
    error_set(e, code_of(v), "%s %s: %s", doing, object, v->message ? v->message : "libvirt gave no reason");
    for (char *p = e->text; *p; p++) {
        if (*p == '\n') /* between what source, target and QEMU say */
            *p = ' ';
    }
    return e->code;
}

bool virt_last_error_is(int code)
{
    return virGetLastErrorCode() == code;
}

static void on_error(void *ctx, virErrorPtr error)
{
    (void)ctx;
    (void)error;
}

void virt_quiet(void)
{
    virSetErrorFunc(NULL, on_error);
}

/* ---- cleanup */

void virt_unref_conn(virConnectPtr *c)
{
    if (*c)
        virConnectClose(*c);
}

void virt_unref_domain(virDomainPtr *d)
{
    if (*d)
        virDomainFree(*d);
}
