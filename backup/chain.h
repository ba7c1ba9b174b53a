/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The images of one disk that lie behind each other, and whether they may carry one more: a point is only written where
 * it can be restored. Pure. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    /* Images, the newest and all that lie behind it. libvirt starts no virtual machine on more than 200, and a machine
     * that is to run at once needs one of its own on top. A restore reads more: LAYOUT_CHAIN_MAX. */
    CHAIN_MAX = 199,
    CHAIN_REASON_MAX = 160,
};

/* Of the disk at one point. */
struct chain_image {
    uint32_t sequence;
    uint32_t base; /* the older point on whose image it stands; 0: on none */
    bool damaged;  /* the point is, or has no such disk of this size */
};

/* images: ascending. False: no image may stand on that of point `reference`, and why_not (CHAIN_REASON_MAX) says why:
 * too many are behind each other, or one of them is damaged or not there. */
bool chain_can_carry(const struct chain_image *images, size_t n, uint32_t reference, char *why_not);
