/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Domain and capabilities XML, on libxml2: nothing is fetched, no DTD and no entity is accepted, size and depth are
 * bounded. No libvirt in here. */
#pragma once

#include "vm/port.h"

struct machine_type {
    char name[VM_MACHINE_MAX];      /* as it may stand in a domain XML, e.g. "q35" */
    char canonical[VM_MACHINE_MAX]; /* e.g. "pc-q35-7.2"; the same as name, if that is no alias */
};
struct machine_types { /* of the host's own architecture */
    char arch[VM_MACHINE_MAX];
    struct machine_type *types; /* owned */
    size_t n;
};
void machine_types_done(struct machine_types *m);
/* From libvirt's capabilities XML. ERR_MALFORMED, or ERR_CONDITION: it has no machine for the host's architecture. */
int machine_types_parse(const char *capabilities, struct machine_types *ret, struct error *e);
/* The canonical names, sorted, each once, space separated, cut after the last whole one below size_max; the caller
 * frees. */
char *machine_types_list(const struct machine_types *m, size_t size_max);

/* Checks a domain XML and takes its facts. ret->xml is the same document with the canonical machine type and a UUID:
 * random_uuid if it had none. machine: the type that it is to get; "": its own. 0, or ERR_USAGE with what is wrong. */
int domxml_parse(const char *xml, const char *machine, const struct machine_types *machines,
                 const struct uuid *random_uuid, struct vm_facts *ret, struct error *e);
