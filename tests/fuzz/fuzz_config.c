/* SPDX-License-Identifier: GPL-2.0-or-later */
/* ringmaster.conf: read from a file in memory. What is refused names a line, what is taken holds its promises. */
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/io/config.h"
#include "tests/fuzz/fuzz.h"

static void check(const struct config *c)
{
    assert(config_is_node_name(c->node));
    assert(c->port > 0);
    assert(c->log_level >= LOG_ERROR_ && c->log_level <= LOG_DEBUG_);
    assert(memchr(c->address, '\0', sizeof(c->address)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char path[64];
    int fd = memfd_create("ringmaster.conf", MFD_CLOEXEC);
    assert(fd >= 0 && fchmod(fd, 0600) == 0);
    assert(write(fd, data, size) == (ssize_t)size && lseek(fd, 0, SEEK_SET) == 0);
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    struct config c = {.node = "n1"};
    struct error e = {0};
    int err = config_load(path, true, &c, &e);
    close(fd);
    if (err)
        assert(e.code == err && (err == ERR_USAGE || err == ERR_IO) && e.text[0]);
    else
        check(&c);
    return 0;
}
