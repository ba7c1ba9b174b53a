/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The records in a folder: what the thread of witness/io/file.c does. Everything here may block. */
#pragma once

#include "witness/port.h"

enum { SHARE_DIR_MAX = 256, SHARE_NAME_MAX = 64, SHARE_DETAIL_MAX = 128 };

struct share_place {
    char dir[SHARE_DIR_MAX], name[SHARE_NAME_MAX];
    bool may_be_local;
};

struct share_outcome {
    enum witness_outcome outcome;
    enum witness_cause cause;
    struct witness_record record; /* DONE, REGRESSED */
    struct witness_etag etag;     /* the same */
    char detail[SHARE_DETAIL_MAX];
};

/* is_wanted(ctx) is asked right before a write is published: false leaves it unwritten. */
void share_perform(const struct share_place *place, const struct witness_call *call, bool (*is_wanted)(void *ctx),
                   void *ctx, struct share_outcome *ret);
