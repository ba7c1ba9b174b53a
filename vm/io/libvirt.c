/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Threads: the host's own runs libvirt's event loop, opens the connection and closes it; callers borrow a reference of
 * the connection for one call. A caller never waits for the host's thread, and keepalive messages make every call on a
 * dead libvirtd return; a migration and a shutdown have deadlines of their own.
 *
 * Migration (source, peer to peer):
 *   control   qemu+tls://ADDRESS/system, the target's libvirtd checked against its certificate (SAN ip:ADDRESS)
 *   RAM       tcp://ADDRESS with VIR_MIGRATE_TLS, checked against the target's node name (SAN dns:NODE); the target
 *             listens on that address alone
 *   PERSIST_DEST and UNDEFINE_SOURCE: the definition goes with the VM */
#include "vm/io/libvirt.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "vm/io/domxml.h"
#include "vm/io/virt.h"

enum {
    LOOP_MS = 250, /* how often the host's thread looks whether it is to stop or to reconnect */
    REOPEN_MS = 1000,
    CONNECT_WAIT_MS = 5000, /* how long a call waits for a connection */
    KEEPALIVE_S = 5,
    KEEPALIVE_COUNT = 4,
    POLL_MS = 200,
    POWER_BUTTON_MS = 10 * 1000, /* pressed again: a guest that is booting does not hear the first */
    SHUTDOWN_MS = 120 * 1000,
    MIGRATE_MS = 600 * 1000,
    SAVE_MS = 600 * 1000,
    STOP_WAIT_S = 5,
    JOB_TRIES = 20,
    JOB_AGAIN_US = 50 * 1000,
};

struct vm_host {
    void (*changed)(void *ctx);
    void *ctx;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t opened; /* CLOCK_MONOTONIC */
    virConnectPtr conn;    /* NULL: none */
    bool lost, stopping;
    int timer;
    int64_t next_open_ms; /* of the host's thread alone */
};

/* ---- time */

static int64_t now_ms(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static struct timespec timespec_of(int64_t ms)
{
    return (struct timespec){.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
}

static void sleep_ms(int64_t ms)
{
    const struct timespec ts = timespec_of(ms);
    nanosleep(&ts, NULL);
}

/* ---- the host's thread */

static int on_lifecycle(virConnectPtr conn, virDomainPtr dom, int event, int detail, void *opaque)
{
    (void)conn, (void)dom, (void)event, (void)detail;
    const struct vm_host *h = opaque;
    h->changed(h->ctx);
    return 0;
}

static void on_close(virConnectPtr conn, int reason, void *opaque)
{
    (void)conn, (void)reason;
    struct vm_host *h = opaque;
    pthread_mutex_lock(&h->lock);
    h->lost = true;
    pthread_mutex_unlock(&h->lock);
}

static void on_timer(int timer, void *opaque)
{
    (void)timer, (void)opaque; /* it only makes virEventRunDefaultImpl return */
}

static bool prepare_conn(struct vm_host *h, virConnectPtr conn)
{
    return virConnectSetKeepAlive(conn, KEEPALIVE_S, KEEPALIVE_COUNT) >= 0 &&
           virConnectRegisterCloseCallback(conn, on_close, h, NULL) == 0 &&
           virConnectDomainEventRegisterAny(conn, NULL, VIR_DOMAIN_EVENT_ID_LIFECYCLE,
                                            VIR_DOMAIN_EVENT_CALLBACK(on_lifecycle), h, NULL) >= 0;
}

static void open_conn(struct vm_host *h)
{
    if (now_ms() < h->next_open_ms)
        return;
    virConnectPtr conn = virConnectOpen("qemu:///system");
    if (conn && !prepare_conn(h, conn)) {
        virConnectClose(conn);
        conn = NULL;
    }
    h->next_open_ms = now_ms() + REOPEN_MS;
    if (!conn)
        return;
    pthread_mutex_lock(&h->lock);
    h->conn = conn;
    h->lost = false;
    pthread_cond_broadcast(&h->opened);
    pthread_mutex_unlock(&h->lock);
    h->changed(h->ctx);
}

static void close_conn(struct vm_host *h)
{
    pthread_mutex_lock(&h->lock);
    virConnectPtr conn = h->conn;
    h->conn = NULL;
    pthread_mutex_unlock(&h->lock);
    if (!conn)
        return;
    virConnectUnregisterCloseCallback(conn, on_close);
    virConnectClose(conn); /* callers under way hold references of their own */
}

static bool is_stopping(struct vm_host *h, bool *ret_lost)
{
    pthread_mutex_lock(&h->lock);
    bool stopping = h->stopping;
    *ret_lost = !h->conn || h->lost || virConnectIsAlive(h->conn) != 1;
    pthread_mutex_unlock(&h->lock);
    return stopping;
}

static void *host_main(void *opaque)
{
    struct vm_host *h = opaque;
    bool lost;
    while (!is_stopping(h, &lost)) {
        if (lost) {
            close_conn(h);
            open_conn(h);
        }
        if (virEventRunDefaultImpl() < 0)
            sleep_ms(LOOP_MS);
    }
    close_conn(h);
    return NULL;
}

static void host_free(struct vm_host *h)
{
    pthread_cond_destroy(&h->opened);
    pthread_mutex_destroy(&h->lock);
    free(h);
}

int vm_host_start(void (*changed)(void *ctx), void *ctx, struct vm_host **ret, struct error *e)
{
    if (virInitialize() < 0 || virEventRegisterDefaultImpl() < 0)
        return virt_fail(e, "starting", "libvirt's event loop");
    virt_quiet();
    struct vm_host *h = xcalloc(1, sizeof(*h));
    h->changed = changed;
    h->ctx = ctx;
    h->timer = virEventAddTimeout(LOOP_MS, on_timer, NULL, NULL);
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_mutex_init(&h->lock, NULL);
    pthread_cond_init(&h->opened, &attr);
    pthread_condattr_destroy(&attr);
    if (h->timer < 0 || pthread_create(&h->thread, NULL, host_main, h)) {
        host_free(h);
        return error_set(e, ERR_FAILED, "the thread of libvirt's event loop does not start");
    }
    *ret = h;
    return 0;
}

void vm_host_stop(struct vm_host *h)
{
    if (!h)
        return;
    pthread_mutex_lock(&h->lock);
    h->stopping = true;
    pthread_cond_broadcast(&h->opened);
    pthread_mutex_unlock(&h->lock);
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += STOP_WAIT_S;
    if (pthread_timedjoin_np(h->thread, NULL, &until))
        return; /* it hangs in libvirt: the process is about to end, leave it what it uses */
    virEventRemoveTimeout(h->timer);
    host_free(h);
}

/* A reference of the connection, after waiting for it; the caller closes it. NULL: none, and *e says so. */
static virConnectPtr borrow_conn(struct vm_host *h, struct error *e)
{
    const struct timespec until = timespec_of(now_ms() + CONNECT_WAIT_MS);
    pthread_mutex_lock(&h->lock);
    int err = 0;
    while ((!h->conn || h->lost) && !h->stopping && !err)
        err = pthread_cond_timedwait(&h->opened, &h->lock, &until);
    virConnectPtr conn = h->stopping || h->lost ? NULL : h->conn;
    if (conn && virConnectRef(conn) < 0)
        conn = NULL;
    pthread_mutex_unlock(&h->lock);
    if (!conn) {
        error_set(e, ERR_AGAIN, "libvirtd on this host does not answer");
        error_set_remedy(e, "systemctl status libvirtd");
    }
    return conn;
}

/* ---- LIST */

static enum vm_domain_state state_of(int state, bool active, bool incoming)
{
    if (!active)
        return VM_DOMAIN_OFF;
    if (incoming && state != VIR_DOMAIN_RUNNING)
        return VM_DOMAIN_INCOMING;
    switch (state) {
    case VIR_DOMAIN_RUNNING:
    case VIR_DOMAIN_BLOCKED:
    case VIR_DOMAIN_SHUTDOWN: /* going off, still on */
    case VIR_DOMAIN_PMSUSPENDED: return VM_DOMAIN_RUNNING;
    default: return VM_DOMAIN_PAUSED; /* active, but its CPUs stand still: paused, crashed and kept, starting up */
    }
}

static uint8_t percent_of(virTypedParameterPtr p, int n)
{
    unsigned long long total = 0, left = 0;
    if (virTypedParamsGetULLong(p, n, VIR_DOMAIN_JOB_DATA_TOTAL, &total) != 1 || total == 0 ||
        virTypedParamsGetULLong(p, n, VIR_DOMAIN_JOB_DATA_REMAINING, &left) != 1 || left > total)
        return 0;
    return (uint8_t)((total - left) / (total / 100 + 1));
}

/* Looks for a migration under way. A failure must not pass for "none": the domain would be moved twice, or count as
 * staying here while it goes. */
static int look_at_job(virDomainPtr dom, struct vm_domain *d, bool *ret_incoming, struct error *e)
{
    int type = VIR_DOMAIN_JOB_NONE, n = 0, operation = VIR_DOMAIN_JOB_OPERATION_UNKNOWN;
    virTypedParameterPtr params = NULL;
    int err = virDomainGetJobStats(dom, &type, &params, &n, 0);
    /* libvirt 9.0 says so while a backup job begins or ends: "backup job data missing". */
    for (int i = 0; err < 0 && virt_last_error_is(VIR_ERR_INTERNAL_ERROR) && i < JOB_TRIES; i++) {
        usleep(JOB_AGAIN_US);
        err = virDomainGetJobStats(dom, &type, &params, &n, 0);
    }
    if (err < 0) {
        /* "Only on the source host": INVALID in libvirt 9.0 (and it just went off), UNSUPPORTED in 11.3. */
        *ret_incoming =
            virt_last_error_is(VIR_ERR_OPERATION_INVALID) || virt_last_error_is(VIR_ERR_OPERATION_UNSUPPORTED);
        return *ret_incoming || virt_last_error_is(VIR_ERR_NO_SUPPORT)
                   ? 0
                   : virt_fail(e, "looking at the migration of VM", d->name);
    }
    if (type != VIR_DOMAIN_JOB_NONE)
        virTypedParamsGetInt(params, n, VIR_DOMAIN_JOB_OPERATION, &operation);
    *ret_incoming = operation == VIR_DOMAIN_JOB_OPERATION_MIGRATION_IN;
    d->migrating = operation == VIR_DOMAIN_JOB_OPERATION_MIGRATION_OUT;
    if (d->migrating) {
        unsigned long long passes = 0;
        virTypedParamsGetULLong(params, n, VIR_DOMAIN_JOB_MEMORY_ITERATION, &passes);
        d->passes = passes < UINT32_MAX ? (uint32_t)passes : UINT32_MAX;
        d->percent = percent_of(params, n);
    }
    virTypedParamsFree(params, n);
    return 0;
}

/* A domain that goes while it is looked at (a migration's end) gives errors of several kinds, or one without a reason.
 */
static bool is_gone(virDomainPtr dom, const struct uuid *uuid)
{
    virDomainPtr again = virDomainLookupByUUID(virDomainGetConnect(dom), uuid->b);
    if (again)
        virDomainFree(again);
    return !again && virt_last_error_is(VIR_ERR_NO_DOMAIN);
}

static int look_at_saves(virDomainPtr dom, struct vm_domain *d, struct error *e)
{
    int saved = virDomainHasManagedSaveImage(dom, 0);
    int snapshots = virDomainSnapshotNum(dom, VIR_DOMAIN_SNAPSHOT_LIST_ACTIVE);
    if (saved < 0 || snapshots < 0)
        return virt_fail(e, "looking for saved memory of VM", d->name);
    d->managed_save = saved;
    d->memory_snapshot = snapshots > 0;
    return 0;
}

/* 0, or an error; ERR_NOT_FOUND: not to be listed. */
static int look_at_domain(virDomainPtr dom, struct vm_domain *ret, struct error *e)
{
    struct vm_domain d = {0};
    const char *name = virDomainGetName(dom);
    int state, reason, err = 0;
    bool incoming = false;
    if (!name || !STR_COPY(d.name, name) || virDomainGetUUID(dom, d.uuid.b) < 0)
        return ERR_NOT_FOUND; /* a name longer than any of the cluster's */
    int active = virDomainIsActive(dom);
    if (active < 0 || virDomainGetState(dom, &state, &reason, 0) < 0)
        err = virt_fail(e, "looking at VM", d.name);
    else if (active)
        err = look_at_job(dom, &d, &incoming, e);
    if (!err)
        err = look_at_saves(dom, &d, e);
    if (err)
        return is_gone(dom, &d.uuid) ? ERR_NOT_FOUND : err;
    d.state = state_of(state, active, incoming);
    d.crashed = d.state == VM_DOMAIN_OFF && state == VIR_DOMAIN_SHUTOFF &&
                (reason == VIR_DOMAIN_SHUTOFF_CRASHED || reason == VIR_DOMAIN_SHUTOFF_DAEMON);
    *ret = d;
    return 0;
}

static void call_list(virConnectPtr conn, struct vm_outcome *ret)
{
    virDomainPtr *doms = NULL;
    int n = virConnectListAllDomains(conn, &doms, 0);
    if (n < 0) {
        virt_fail(&ret->error, "listing", "domains");
        return;
    }
    ret->domains = xcalloc((size_t)n, sizeof(ret->domains[0]));
    for (int i = 0; i < n; i++) {
        struct error e = {0};
        int err = ret->error.code ? 0 : look_at_domain(doms[i], &ret->domains[ret->n_domains], &e);
        if (!err && !ret->error.code)
            ret->n_domains++;
        else if (err && err != ERR_NOT_FOUND)
            ret->error = e;
        virDomainFree(doms[i]);
    }
    free(doms);
    if (ret->error.code)
        ret->n_domains = 0;
}

/* ---- PARSE */

static int read_machines(virConnectPtr conn, struct machine_types *ret, struct error *e)
{
    AUTO(freep) char *capabilities = virConnectGetCapabilities(conn);
    if (!capabilities)
        return virt_fail(e, "reading", "libvirt's capabilities");
    return machine_types_parse(capabilities, ret, e);
}

static struct uuid random_uuid(void)
{
    struct uuid u;
    if (getrandom(u.b, sizeof(u.b), 0) != sizeof(u.b))
        abort();
    u.b[6] = (uint8_t)((u.b[6] & 0x0f) | 0x40); /* RFC 4122: version 4, variant 1 */
    u.b[8] = (uint8_t)((u.b[8] & 0x3f) | 0x80);
    return u;
}

/* libvirt makes a QEMU command line of the XML without running it: what it cannot start it refuses here. */
static int check_by_libvirt(virConnectPtr conn, const struct vm_facts *f, struct error *e)
{
    AUTO(freep) char *argv = virConnectDomainXMLToNative(conn, "qemu-argv", f->xml, 0);
    if (argv)
        return 0;
    int err = virt_fail(e, "checking the XML of VM", f->name);
    return err == ERR_FAILED ? error_set(e, ERR_USAGE, "VM %s: %s", f->name, virGetLastErrorMessage()) : err;
}

static void call_parse(virConnectPtr conn, const struct vm_call *c, struct vm_outcome *ret)
{
    AUTO(machine_types_done) struct machine_types machines = {0};
    const struct uuid uuid = random_uuid();
    struct vm_facts f = {0};
    if (read_machines(conn, &machines, &ret->error) ||
        domxml_parse(c->xml, c->machine, &machines, &uuid, &f, &ret->error))
        return;
    if (check_by_libvirt(conn, &f, &ret->error))
        free(f.xml);
    else
        ret->facts = f;
}

/* ---- START, SHUTDOWN, DESTROY, UNDEFINE */

/* NULL: no such domain (error code 0), or an error. */
static virDomainPtr find(virConnectPtr conn, const char *name, struct error *e)
{
    virDomainPtr dom = virDomainLookupByName(conn, name);
    if (!dom && !virt_last_error_is(VIR_ERR_NO_DOMAIN))
        virt_fail(e, "looking for VM", name);
    return dom;
}

/* This process may have stood still since it was asked, and the VM be another node's by now. */
static bool is_too_late(const struct vm_call *c, struct vm_outcome *ret)
{
    if (c->until_ms == 0 || now_ms() < c->until_ms)
        return false;
    error_set(&ret->error, ERR_AGAIN, "VM %s: it is too late for that call: it waited, or this node was cut off",
              c->name);
    return true;
}

/* libvirt writes this first once a file is whole; until then it says "LibvirtQemudPart". */
static bool is_whole(const char *path)
{
    static const char magic[] = "LibvirtQemudSave";
    char begin[sizeof(magic) - 1];
    FILE *f = fopen(path, "re");
    bool is = f && fread(begin, 1, sizeof(begin), f) == sizeof(begin) && memcmp(begin, magic, sizeof(begin)) == 0;
    if (f)
        fclose(f);
    return is;
}

/* A call failed and *e says why: but its answer may have been lost, or somebody else was first. */
static void forgive(virDomainPtr dom, int wanted, struct error *e)
{
    if (virDomainIsActive(dom) == wanted)
        *e = (struct error){0};
}

/* The definition is there, so that the guest outlives its power-off as one of this host. */
static void restore(virConnectPtr conn, virDomainPtr dom, const struct vm_call *c, struct vm_outcome *ret)
{
    if (!is_whole(c->path)) {
        error_set(&ret->error, ERR_CONDITION, "VM %s: what was saved to %.200s cannot be read on this host", c->name,
                  c->path);
        error_set_remedy(&ret->error, "mount the folder of the setting vm.save_path on every node");
        return;
    }
    if (virDomainRestoreFlags(conn, c->path, NULL, VIR_DOMAIN_SAVE_RUNNING) < 0) {
        virt_fail(&ret->error, "restoring VM", c->name);
        forgive(dom, 1, &ret->error);
    }
    if (!ret->error.code)
        unlink(c->path); /* it is of no use any more; where this service may not write it stays */
}

static void call_start(virConnectPtr conn, const struct vm_call *c, struct vm_outcome *ret)
{
    AUTO(virt_unref_domain) virDomainPtr dom = find(conn, c->name, &ret->error);
    if (ret->error.code || (dom && virDomainIsActive(dom) == 1))
        return;
    virt_unref_domain(&dom);
    dom = virDomainDefineXMLFlags(conn, c->xml, 0);
    if (!dom) {
        virt_fail(&ret->error, "defining VM", c->name);
        return;
    }
    if (is_too_late(c, ret))
        return;
    if (c->path[0]) {
        restore(conn, dom, c, ret);
    } else if (virDomainCreate(dom) < 0) {
        virt_fail(&ret->error, "starting VM", c->name);
        forgive(dom, 1, &ret->error);
    }
}

static int64_t deadline_of(const struct vm_call *c, int64_t default_ms)
{
    return now_ms() + (c->timeout_ms > 0 ? c->timeout_ms : default_ms);
}

/* True: it is off. False: it is not, or *e says why that is not known. Each look has its own connection: libvirtd may
 * be restarted meanwhile. */
static bool press_power_button(struct vm_host *h, const char *name, bool press, struct error *e)
{
    AUTO(virt_unref_conn) virConnectPtr conn = borrow_conn(h, e);
    AUTO(virt_unref_domain) virDomainPtr dom = conn ? find(conn, name, e) : NULL;
    if (e->code)
        return false;
    int active = dom ? virDomainIsActive(dom) : 0;
    if (active == 1 && press && virDomainShutdownFlags(dom, VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN) < 0) {
        virt_fail(e, "shutting down VM", name);
        active = virDomainIsActive(dom); /* it may have gone off at that moment */
    }
    if (active < 0)
        virt_fail(e, "looking at VM", name);
    return active == 0;
}

static void call_shutdown(struct vm_host *h, const struct vm_call *c, struct vm_outcome *ret)
{
    const int64_t deadline = deadline_of(c, SHUTDOWN_MS);
    int64_t next_press_ms = 0;
    struct error e;
    for (;;) {
        int64_t now = now_ms();
        bool press = now >= next_press_ms;
        if (press)
            next_press_ms = now + POWER_BUTTON_MS;
        e = (struct error){0};
        if (press_power_button(h, c->name, press, &e))
            return;
        if (e.code == ERR_FAILED || now_ms() >= deadline)
            break;
        sleep_ms(POLL_MS);
    }
    if (!e.code) {
        error_set(&e, ERR_TIMEOUT, "VM %s was asked to power off and still runs", c->name);
        error_set_remedy(&e, "clusterctl vm stop %s --hard", c->name);
    }
    ret->error = e;
}

static void call_destroy(virConnectPtr conn, const struct vm_call *c, struct vm_outcome *ret)
{
    AUTO(virt_unref_domain) virDomainPtr dom = find(conn, c->name, &ret->error);
    if (dom && virDomainDestroy(dom) < 0 && !virt_last_error_is(VIR_ERR_NO_DOMAIN)) {
        virt_fail(&ret->error, "powering off VM", c->name);
        forgive(dom, 0, &ret->error);
    }
}

static void call_undefine(virConnectPtr conn, const struct vm_call *c, struct vm_outcome *ret)
{
    static const unsigned flags = VIR_DOMAIN_UNDEFINE_MANAGED_SAVE | VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA |
                                  VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA | VIR_DOMAIN_UNDEFINE_KEEP_NVRAM |
                                  VIR_DOMAIN_UNDEFINE_KEEP_TPM;
    AUTO(virt_unref_domain) virDomainPtr dom = find(conn, c->name, &ret->error);
    if (!dom)
        return;
    if (virDomainIsActive(dom) != 0)
        error_set(&ret->error, ERR_CONDITION, "VM %s is not off: it stays defined", c->name);
    else if (virDomainUndefineFlags(dom, flags) < 0 && !virt_last_error_is(VIR_ERR_NO_DOMAIN))
        virt_fail(&ret->error, "undefining VM", c->name);
}

/* ---- SAVE, MIGRATE, CANCEL */

/* libvirt's calls have no time-out: another thread aborts the job at the deadline. */
struct migration {
    virDomainPtr dom;
    int64_t deadline_ms;
    pthread_mutex_t lock;
    pthread_cond_t ended; /* CLOCK_MONOTONIC */
    bool is_over, aborted;
};

static void *watch_migration(void *opaque)
{
    struct migration *m = opaque;
    pthread_mutex_lock(&m->lock);
    while (!m->is_over) {
        const struct timespec until = timespec_of(m->deadline_ms);
        if (pthread_cond_timedwait(&m->ended, &m->lock, &until) == 0 || m->is_over)
            continue;
        m->aborted = true;
        m->deadline_ms = now_ms() + REOPEN_MS; /* until it is over: the job may not have begun at the first */
        pthread_mutex_unlock(&m->lock);
        virDomainAbortJob(m->dom);
        pthread_mutex_lock(&m->lock);
    }
    pthread_mutex_unlock(&m->lock);
    return NULL;
}

static void migration_init(struct migration *m)
{
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_mutex_init(&m->lock, NULL);
    pthread_cond_init(&m->ended, &attr);
    pthread_condattr_destroy(&attr);
}

static void migration_end(struct migration *m, pthread_t watcher)
{
    pthread_mutex_lock(&m->lock);
    m->is_over = true;
    pthread_cond_signal(&m->ended);
    pthread_mutex_unlock(&m->lock);
    pthread_join(watcher, NULL);
    pthread_cond_destroy(&m->ended);
    pthread_mutex_destroy(&m->lock);
}

static int save(virDomainPtr dom, const struct vm_call *c)
{
#ifdef VIR_DOMAIN_SAVE_PARAM_IMAGE_FORMAT /* libvirt 11.2 */
    if (c->sparse) {
        virTypedParameterPtr p = NULL;
        int n = 0, max = 0;
        int err = virTypedParamsAddString(&p, &n, &max, VIR_DOMAIN_SAVE_PARAM_FILE, c->path);
        err = err ? err : virTypedParamsAddString(&p, &n, &max, VIR_DOMAIN_SAVE_PARAM_IMAGE_FORMAT, "sparse");
        err = err ? err : virDomainSaveParams(dom, p, n, VIR_DOMAIN_SAVE_RUNNING);
        virTypedParamsFree(p, n);
        return err;
    }
#endif
    return virDomainSaveFlags(dom, c->path, NULL, VIR_DOMAIN_SAVE_RUNNING);
}

static void call_save(virConnectPtr conn, const struct vm_call *c, struct vm_outcome *ret)
{
    AUTO(virt_unref_domain) virDomainPtr dom = find(conn, c->name, &ret->error);
    if (ret->error.code)
        return;
    if (!dom || virDomainIsActive(dom) == 0) {
        if (!is_whole(c->path))
            error_set(&ret->error, ERR_CONDITION, "VM %s is off, and was not saved to %.200s", c->name, c->path);
        return;
    }
    struct migration m = {.dom = dom, .deadline_ms = deadline_of(c, SAVE_MS)};
    pthread_t watcher;
    migration_init(&m);
    if (pthread_create(&watcher, NULL, watch_migration, &m)) {
        error_set(&ret->error, ERR_AGAIN, "VM %s: no thread for saving it", c->name);
        return;
    }
    if (save(dom, c) < 0)
        virt_fail(&ret->error, "saving VM", c->name);
    migration_end(&m, watcher);
}

static int migrate(virDomainPtr dom, const struct vm_call *c)
{
    unsigned flags = VIR_MIGRATE_PEER2PEER | VIR_MIGRATE_LIVE | VIR_MIGRATE_PERSIST_DEST | VIR_MIGRATE_UNDEFINE_SOURCE |
                     VIR_MIGRATE_TLS;
    if (c->auto_converge)
        flags |= VIR_MIGRATE_AUTO_CONVERGE;
    if (c->postcopy)
        flags |= VIR_MIGRATE_POSTCOPY;
    const char *open = strchr(c->target_address, ':') ? "[" : "", *close = *open ? "]" : ""; /* IPv6 */
    char control[ADDRESS_MAX + 32], ram[ADDRESS_MAX + 16];
    snprintf(control, sizeof(control), "qemu+tls://%s%s%s/system", open, c->target_address, close);
    snprintf(ram, sizeof(ram), "tcp://%s%s%s", open, c->target_address, close);
    virTypedParameterPtr p = NULL;
    int n = 0, max = 0;
    int err = virTypedParamsAddString(&p, &n, &max, VIR_MIGRATE_PARAM_URI, ram);
    err = err ? err : virTypedParamsAddString(&p, &n, &max, VIR_MIGRATE_PARAM_LISTEN_ADDRESS, c->target_address);
    err = err ? err : virTypedParamsAddString(&p, &n, &max, VIR_MIGRATE_PARAM_TLS_DESTINATION, c->target);
    if (!err && c->bandwidth_mib)
        err = virTypedParamsAddULLong(&p, &n, &max, VIR_MIGRATE_PARAM_BANDWIDTH, c->bandwidth_mib);
    err = err ? err : virDomainMigrateToURI3(dom, control, p, (unsigned)n, flags);
    virTypedParamsFree(p, n);
    return err;
}

static void call_migrate(virConnectPtr conn, const struct vm_call *c, struct vm_outcome *ret)
{
    AUTO(virt_unref_domain) virDomainPtr dom = find(conn, c->name, &ret->error);
    if (!dom && !ret->error.code)
        error_set(&ret->error, ERR_NOT_FOUND, "VM %s is not on this host", c->name);
    if (!dom || is_too_late(c, ret))
        return;
    struct migration m = {.dom = dom, .deadline_ms = deadline_of(c, MIGRATE_MS)};
    pthread_t watcher;
    migration_init(&m);
    if (pthread_create(&watcher, NULL, watch_migration, &m)) {
        error_set(&ret->error, ERR_AGAIN, "VM %s: no thread for its migration", c->name);
        return;
    }
    if (migrate(dom, c) < 0)
        virt_fail(&ret->error, "moving VM", c->name);
    migration_end(&m, watcher);
    if (ret->error.code && m.aborted)
        error_set(&ret->error, ERR_TIMEOUT, "moving VM %s to %s: not done in time, cancelled", c->name, c->target);
}

static void call_cancel(virConnectPtr conn, const struct vm_call *c, struct vm_outcome *ret)
{
    AUTO(virt_unref_domain) virDomainPtr dom = find(conn, c->name, &ret->error);
    if (dom && virDomainAbortJob(dom) < 0 && !virt_last_error_is(VIR_ERR_OPERATION_INVALID) &&
        !virt_last_error_is(VIR_ERR_NO_DOMAIN))
        virt_fail(&ret->error, "cancelling the move of VM", c->name);
}

/* There may be no migration any more. */
static void call_steer(virConnectPtr conn, const struct vm_call *c, struct vm_outcome *ret)
{
    AUTO(virt_unref_domain) virDomainPtr dom = find(conn, c->name, &ret->error);
    if (!dom)
        return;
    int err = c->verb == VM_CALL_POSTCOPY ? virDomainMigrateStartPostCopy(dom, 0)
                                          : virDomainMigrateSetMaxDowntime(dom, c->downtime_ms, 0);
    if (err < 0 && !virt_last_error_is(VIR_ERR_OPERATION_INVALID) && !virt_last_error_is(VIR_ERR_NO_DOMAIN))
        virt_fail(&ret->error, "steering the move of VM", c->name);
}

void vm_host_call(struct vm_host *h, const struct vm_call *c, struct vm_outcome *ret)
{
    *ret = (struct vm_outcome){0};
    if (c->verb == VM_CALL_SHUTDOWN) {
        call_shutdown(h, c, ret);
        return;
    }
    AUTO(virt_unref_conn) virConnectPtr conn = borrow_conn(h, &ret->error);
    if (!conn)
        return;
    switch (c->verb) {
    case VM_CALL_LIST: call_list(conn, ret); break;
    case VM_CALL_PARSE: call_parse(conn, c, ret); break;
    case VM_CALL_START: call_start(conn, c, ret); break;
    case VM_CALL_DESTROY: call_destroy(conn, c, ret); break;
    case VM_CALL_SAVE: call_save(conn, c, ret); break;
    case VM_CALL_MIGRATE: call_migrate(conn, c, ret); break;
    case VM_CALL_CANCEL: call_cancel(conn, c, ret); break;
    case VM_CALL_DOWNTIME:
    case VM_CALL_POSTCOPY: call_steer(conn, c, ret); break;
    case VM_CALL_UNDEFINE: call_undefine(conn, c, ret); break;
    case VM_CALL_SHUTDOWN: break;
    }
}

/* ---- facts */

/* What the host has, not what its NUMA nodes had at boot (virNodeInfo): memory may be added while it runs. */
static bool read_memory(virConnectPtr conn, uint64_t *ret_kib)
{
    virNodeMemoryStats stats[16];
    const int all = VIR_NODE_MEMORY_STATS_ALL_CELLS, max = (int)(sizeof(stats) / sizeof(stats[0]));
    int n = 0; /* asked for first: libvirt takes no other number than its own */
    if (virNodeGetMemoryStats(conn, all, NULL, &n, 0) < 0 || n > max ||
        virNodeGetMemoryStats(conn, all, stats, &n, 0) < 0)
        return false;
    for (int i = 0; i < n; i++) {
        if (str_eq(stats[i].field, VIR_NODE_MEMORY_STATS_TOTAL))
            *ret_kib = stats[i].value;
    }
    return true;
}

int libvirt_host_facts(struct host_facts *f, struct error *e)
{
    AUTO(virt_unref_conn) virConnectPtr conn = virConnectOpenReadOnly("qemu:///system");
    if (!conn) {
        error_set(e, ERR_AGAIN, "libvirtd on this host does not answer: %s", virGetLastErrorMessage());
        error_set_remedy(e, "systemctl status libvirtd");
        return ERR_AGAIN;
    }
    virConnectSetKeepAlive(conn, KEEPALIVE_S, KEEPALIVE_COUNT); /* without an event loop: an error, and no keepalive */
    unsigned long qemu, libvirt;
    uint64_t memory_kib = 0;
    virNodeInfo node;
    AUTO(machine_types_done) struct machine_types machines = {0};
    if (virConnectGetVersion(conn, &qemu) < 0 || virConnectGetLibVersion(conn, &libvirt) < 0 ||
        virNodeGetInfo(conn, &node) < 0 || !read_memory(conn, &memory_kib))
        return virt_fail(e, "asking for the versions of", "libvirt and QEMU");
    int err = read_machines(conn, &machines, e);
    if (err)
        return err;
    f->qemu_version = (uint32_t)qemu;
    f->libvirt_version = (uint32_t)libvirt;
    f->memory_kib = memory_kib ? memory_kib : node.memory;
    f->cpus = node.cpus;
    free(f->machines);
    f->machines = machine_types_list(&machines, MACHINE_TYPES_MAX);
    return 0;
}
