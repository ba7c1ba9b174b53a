/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One run of clusterctl: what it asks, and how it reports. */
#pragma once

#include "cli/verb.h"
#include "common/proto.h"

struct call {
    const struct cli_env *env;
    const struct invocation *i;
    struct json *answer;  /* the newest one; owned */
    const char *wire;     /* of the newest request; borrowed */
    struct uuid_str id;   /* of the newest request */
    int64_t events_since; /* the last event before the newest change; -1: unknown */
    int64_t timeout_ms;   /* of the next requests, which poll; 0: the usual one */
    int64_t began_ms;     /* from when --wait=SECONDS counts: the request, not the question before it */
};

/* argv -> requests -> text and exit code; the whole program. */
int cli_run(const struct cli_env *env, int argc, char *const *argv);

/* Asks; takes args (may be NULL). 0 whatever the agent's answer says (it is c->answer), or why there is none. */
int call_ask(struct call *c, const char *wire, struct json *args, struct error *e);
/* The same on the side, for progress: the newest answer stays. NULL if there is no good answer; the caller frees. */
struct json *call_peek(struct call *c, const char *wire, struct json *args);
/* The exit code that the newest answer gives. */
int call_code(const struct call *c);
/* What the newest answer's status says; code 0: good. */
struct error call_status(const struct call *c);
/* Asks what a destructive verb asks, unless --yes. 0, or why it must not be done. */
int call_confirm(struct call *c, const char *question, struct error *e);

/* Ends of a run; each gives the exit code. */
int call_fail(struct call *c, const struct error *e); /* no answer, or none that counts */
int call_report(struct call *c);                      /* prints the newest answer */
int call_wait(struct call *c);                        /* prints it, waits if that was asked for, prints the end */
int call_plain(struct call *c);                       /* a verb without a run of its own */

/* Remembers the newest event before a change whose progress will be followed. */
void call_note_events(struct call *c);
void call_text(struct call *c, enum stream stream, const struct page *p);
struct page call_page(const struct call *c, enum stream stream);
