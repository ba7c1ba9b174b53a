/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "common/log.h"

#include <assert.h>
#include <stdarg.h>

#include "common/text.h"

enum { LINE_MAX_BYTES = 1000 };

/* What came from outside must not be able to start a line of its own or drive a terminal. */
static void blank_controls(char *line)
{
    for (char *c = line; *c; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            *c = ' ';
}

void log_at(const struct log_sink *sink, enum log_level level, const char *fmt, ...)
{
    if (!sink || level > sink->max)
        return;
    assert(sink->write);
    char line[LINE_MAX_BYTES + 1];
    va_list ap;
    va_start(ap, fmt);
    text_vformat(line, sizeof(line), fmt, ap);
    va_end(ap);
    blank_controls(line);
    sink->write(sink->ctx, level, line);
}
