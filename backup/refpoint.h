/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The document of a reference point, refpoint-NNNNNN.json:
 *
 *   {"refpoint": {…}, "hmac": "64 hex digits"}
 *
 * one line, in exactly the form that refpoint_encode() gives. The HMAC-SHA-256, by the repository's key, is over the
 * bytes of the inner object. Its members:
 *
 *   format       1
 *   uuid, vm     of this point; the virtual machine's name
 *   sequence     the number in the names of its files
 *   parent       UUID of the point that its differences were taken from, or null. That point may be gone: it was folded
 *   engine       what found the changes: of all disks the one that had to read most
 *   consistency  "application" or "crash"
 *   note         why not application, or ""
 *   created_ms   UTC; for readers, nothing depends on it but retention by age
 *   disks        name, tracking (UUID), bytes, engine, reason, read_bytes, stored_bytes
 *   domain_xml, nvram   SHA-256 of these files, or null */
#pragma once

#include "backup/layout.h"
#include "common/err.h"
#include "common/hash.h"
#include "common/json.h"
#include "common/uuid.h"

enum {
    REFPOINT_DISKS_MAX = 64,
    REFPOINT_SIZE_MAX = 64 * 1024,
    REFPOINT_REASON_MAX = 160,
    REFPOINT_ENGINE_MAX = 16,
};

struct refpoint_disk {
    char name[LAYOUT_DISK_MAX];
    struct uuid tracking;
    uint64_t bytes;
    char engine[REFPOINT_ENGINE_MAX];
    char reason[REFPOINT_REASON_MAX];
    uint64_t read_bytes, stored_bytes;
};

struct refpoint {
    struct uuid uuid, parent; /* parent nil: none */
    char vm[LAYOUT_VM_MAX];
    uint32_t sequence;
    char engine[REFPOINT_ENGINE_MAX];
    bool application_consistent;
    char note[REFPOINT_REASON_MAX];
    int64_t created_ms;
    bool has_domain, has_nvram;
    struct hash domain, nvram;
    size_t n_disks;
    struct refpoint_disk disks[REFPOINT_DISKS_MAX];
};

/* Of the engines of its disks. */
const char *refpoint_engine(const struct refpoint *p);
const struct refpoint_disk *refpoint_disk(const struct refpoint *p, const char *name); /* NULL: none */

struct json *refpoint_json(const struct refpoint *p); /* the inner object */
/* Of an inner object that comes without an HMAC, from the worker or a row. As refpoint_decode(). */
int refpoint_read(const struct json *inner, struct refpoint *ret, struct error *e);
/* The file's bytes. */
void refpoint_encode(const struct refpoint *p, struct slice key, struct buf *ret);
/* 0; ERR_UNKNOWN_KIND: of a newer release; ERR_MALFORMED, *e says what. */
int refpoint_decode(struct slice bytes, struct slice key, struct refpoint *ret, struct error *e);
