/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "backup/worker/run.h"

static int settle(struct run *r, struct error *e)
{
    bool on = false, lost = false;
    char phase[16];
    AUTO(freep) char *xml = NULL;
    status_read_phase(r->spec.status, phase, sizeof(phase));
    int err = domain_open(r->spec.vm, &r->domain, e);
    if (err == ERR_NO_OBJECT)
        return 0; /* nothing of it is here */
    if (!err)
        err = domain_is_on(&r->domain, &on, e);
    if (!err && on && (str_eq(phase, "freezing") || str_eq(phase, "failed")))
        (void)domain_thaw(&r->domain, NULL); /* it may have no agent, and need none */
    if (!err)
        err = domain_xml(&r->domain, false, &xml, e);
    if (!err)
        err = domain_facts_parse(xml, &r->facts, e);
    if (!err)
        err = run_tidy(r, e);
    if (!err)
        (void)run_find_parent(r, on, &lost);
    return err;
}

int verb_settle(const struct options *o, struct json **ret, struct error *e)
{
    (void)ret;
    struct run *r = xcalloc(1, sizeof(*r));
    int err = run_open(r, o->spec, true, e);
    if (!err)
        err = settle(r, e);
    run_close(r);
    free(r);
    return err;
}
