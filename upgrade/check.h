/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Shared by the files of the check (check*.c); nobody else includes it. */
#pragma once

#include "common/json.h"
#include "upgrade/run-entry.h"

enum {
    CHECK_CLOCK_WARN_MS = 1000,      /* logs and times of events no longer tell what came first */
    CHECK_CLOCK_FAIL_MS = 60 * 1000, /* certificates and join tokens of the rebuilt node may not be valid yet */
    CHECK_SPACE_WARN_MIB = 1024,
    CHECK_SPACE_FAIL_MIB = 256, /* the database and the journal grow during an upgrade */
};

void finding(struct json *arr, const char *check, const char *result, const char *object, const char *remedy,
             const char *fmt, ...) __attribute__((format(printf, 6, 7)));

bool upgrade_is_majority(unsigned votes, unsigned total);
bool upgrade_has_margin(unsigned votes, unsigned total); /* one vote less is a majority, too */
/* plan.c: what it means that several nodes are away at once. */
void upgrade_check_together(const struct upgrade_view *v, const struct upgrade_options *o, struct json *f);
/* check-hosts.c: what the nodes say of themselves. */
bool check_witness_is_silent(const struct upgrade_view *v); /* it answers no node, and one asked it */
void check_executor(const struct upgrade_view *v, const char *target, struct json *f);
void check_witness(const struct upgrade_view *v, struct json *f);
void check_hosts(const struct upgrade_view *v, const char *target, struct json *f);
/* check-vms.c */
void check_vms(const struct upgrade_view *v, const char *target, struct json *f);
