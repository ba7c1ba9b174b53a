/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Log sink. Pure code never logs by itself: it is handed a sink. The daemon's sink writes to the journal, the
 * simulator's into the decision log that the scenarios compare. A line reads "fact -> consequence". */
#pragma once

enum log_level { LOG_ERROR_ = 3, LOG_WARN_ = 4, LOG_NOTICE_ = 5, LOG_INFO_ = 6, LOG_DEBUG_ = 7 };

struct log_sink {
    void (*write)(void *ctx, enum log_level level, const char *line); /* line: no newline, never NULL */
    void *ctx;
    enum log_level max; /* lines above it are dropped before they are formatted */
};

/* sink may be NULL: nothing is written. Lines are cut at 1,000 bytes. */
void log_at(const struct log_sink *sink, enum log_level level, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

#define log_error(sink, ...) log_at(sink, LOG_ERROR_, __VA_ARGS__)
#define log_warn(sink, ...) log_at(sink, LOG_WARN_, __VA_ARGS__)
#define log_notice(sink, ...) log_at(sink, LOG_NOTICE_, __VA_ARGS__)
#define log_info(sink, ...) log_at(sink, LOG_INFO_, __VA_ARGS__)
#define log_debug(sink, ...) log_at(sink, LOG_DEBUG_, __VA_ARGS__)
