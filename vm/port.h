/* SPDX-License-Identifier: GPL-2.0-or-later */
/* VM port: what the agent asks of a hypervisor host, as values. The adapter (vm/io/libvirt.c) performs a call off the
 * loop and answers with an outcome; the simulator answers the same calls. All verbs are idempotent: what already is so
 * is success. */
#pragma once

#include "common/buf.h"
#include "common/err.h"
#include "common/uuid.h"

/* VM_XML_MAX: an entry holds the XML and a few names. */
enum { VM_XML_MAX = 240 * 1024 };
enum { VM_PATH_MAX = 256 };
enum { VM_NAME_MAX = 64, VM_MACHINE_MAX = 64, NODE_NAME_MAX = 64, ADDRESS_MAX = 64 };
/* Letters, digits, '.', '_' and '-', not first '.' or '-'. Its length is not looked at. */
bool vm_name_ok(const char *name);

enum vm_verb {
    VM_CALL_LIST = 1, /* all domains of this host */
    VM_CALL_PARSE,    /* check a domain XML, extract its facts; nothing changes. The machine type is made canonical */
    VM_CALL_START,    /* define from xml (or redefine) and start, from what was saved to path if there is one; running
                         already: success */
    VM_CALL_SHUTDOWN, /* ask the guest to power off and wait until it is off, up to timeout_ms: else ERR_TIMEOUT */
    VM_CALL_DESTROY,  /* power off hard */
    VM_CALL_MIGRATE,  /* live, peer to peer, TLS for control and RAM, persistent there and undefined here */
    VM_CALL_CANCEL,   /* cancel the migration of that VM, if one runs */
    VM_CALL_SAVE,     /* write the guest's memory to path and end it. Off already: success only if path is whole */
    VM_CALL_DOWNTIME, /* the migration of that VM may stop it for so long at its end; none runs: success */
    VM_CALL_POSTCOPY, /* the migration of that VM, which was begun with postcopy, goes on at its target */
    VM_CALL_UNDEFINE, /* forget a domain that is not running; not there: success */
};

struct vm_call {
    enum vm_verb verb;
    char name[VM_NAME_MAX];
    char *xml; /* PARSE, START; owned by the call */
    char machine[VM_MACHINE_MAX];        /* PARSE: it is to get this machine type; "": what its XML says */
    char path[VM_PATH_MAX];              /* SAVE; START: to go on from there, or "" */
    char target[NODE_NAME_MAX];          /* MIGRATE: node name, as in its certificate */
    char target_address[ADDRESS_MAX];    /* MIGRATE */
    bool sparse;                         /* SAVE: in the format that libvirt 11.3 reads, and no earlier one */
    bool auto_converge;                  /* MIGRATE */
    bool postcopy;                       /* MIGRATE: POSTCOPY may follow */
    uint32_t bandwidth_mib;              /* MIGRATE: a second at most; 0: no limit */
    uint32_t downtime_ms;                /* DOWNTIME */
    bool paused_ok;
    int64_t timeout_ms; /* SHUTDOWN, SAVE, MIGRATE */
    int64_t until_ms;   /* START, MIGRATE: must not begin later than this, monotonic; 0: no limit. ERR_AGAIN then */
    bool urgent;        /* never behind other calls */
};
void vm_call_done(struct vm_call *c);

enum vm_domain_state { VM_DOMAIN_OFF = 0, VM_DOMAIN_RUNNING = 1, VM_DOMAIN_PAUSED = 2, VM_DOMAIN_INCOMING = 3 };

struct vm_domain {
    char name[VM_NAME_MAX];
    struct uuid uuid;
    enum vm_domain_state state;
    bool crashed;   /* OFF, and not by its guest or by anybody's call: its QEMU ended */
    bool migrating; /* a job runs on it, outgoing */
    uint8_t percent; /* of that job, 0…100 */
    uint32_t passes; /* of that job over the VM's memory; the first is 1 */
    bool managed_save;    /* libvirt keeps its memory in a file: its next start goes on from there */
    bool memory_snapshot; /* it has a snapshot that was taken while it ran, with its memory */
};

/* What a domain XML says. */
struct vm_facts {
    char name[VM_NAME_MAX];
    struct uuid uuid;                /* nil in the XML: the adapter made a random one, and xml has it */
    char machine[VM_MACHINE_MAX];    /* canonical, e.g. pc-q35-7.2 */
    uint64_t memory_kib;
    uint32_t vcpus;
    uint32_t disks;
    bool has_host_device; /* pinned to its host: PCI, USB or mediated device */
    bool has_local_disk;  /* a disk that the adapter knows to be local (block device, file on a local file system …) */
    bool has_data_store;  /* a disk whose data lie in a raw file of their own: libvirt before 10.10 would not see it */
    char *xml;            /* canonical inactive XML to keep; owned */
};

struct vm_outcome {
    struct error error;        /* code 0: done. ERR_NOT_FOUND: no such domain here */
    struct vm_domain *domains; /* LIST; owned */
    size_t n_domains;
    struct vm_facts facts; /* PARSE */
};
void vm_outcome_done(struct vm_outcome *o);
