/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Says what this node's corosync tells its clients of the quorum, whoever decides it: a line at once, and one for each
 * change of the membership or of the verdict, until the connection ends.
 *
 *     NANOSECONDS QUORATE MEMBERS       of CLOCK_MONOTONIC, 0 or 1, nodes in the membership */
#include <corosync/quorum.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <time.h>

static void tell(quorum_handle_t handle, uint32_t quorate, uint64_t ring, uint32_t n, uint32_t *nodes)
{
    struct timespec now;
    (void)handle, (void)ring, (void)nodes;
    clock_gettime(CLOCK_MONOTONIC, &now);
    printf("%" PRId64 " %d %" PRIu32 "\n", (int64_t)now.tv_sec * 1000000000 + now.tv_nsec, quorate != 0, n);
    fflush(stdout);
}

int main(void)
{
    quorum_callbacks_t callbacks = {.quorum_notify_fn = tell};
    quorum_handle_t handle;
    uint32_t type;
    if (quorum_initialize(&handle, &callbacks, &type) != CS_OK || type != QUORUM_SET ||
        quorum_trackstart(handle, CS_TRACK_CURRENT | CS_TRACK_CHANGES) != CS_OK) {
        fputs("corosync tells nothing of a quorum\n", stderr);
        return 1;
    }
    cs_error_t err = quorum_dispatch(handle, CS_DISPATCH_BLOCKING);
    fprintf(stderr, "corosync ended the connection: error %d\n", (int)err);
    return 1;
}
