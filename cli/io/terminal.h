/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The terminal, the clocks, interruption and randomness: what else clusterctl needs of the system. */
#pragma once

#include "common/buf.h"
#include "common/uuid.h"

bool terminal_is_output(void);    /* the standard output is one that can be redrawn */
bool terminal_can_ask(void);      /* both the standard input and the standard error are terminals */
bool terminal_has_colour(int fd); /* fd is a terminal, TERM is not "dumb", and NO_COLOR (no-color.org) is unset */
size_t terminal_width(void);      /* of the standard output; 0: no terminal */
size_t terminal_height(void);

/* Asks on the standard error; true: the line that was read begins with y or Y. */
bool terminal_ask(const char *question);

/* From here on SIGINT, SIGTERM and SIGHUP do not end the process, but wait until they are looked for. */
void interrupt_hold(void);
bool interrupt_pending(void);
bool interrupt_sleep(int64_t ms); /* false: interrupted */

int64_t clock_monotonic_ms(void);
int64_t clock_wall_ms(void);
bool user_is_root(void);
void host_name(char *dst, size_t size); /* without a slash */
struct uuid new_request_id(void);                      /* uuid_at */
bool write_text(int fd, const char *text, size_t len); /* false: not all of it could be written */
void core_dump_forbid(void);                           /* this process will hold a secret */
