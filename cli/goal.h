/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What --wait waits for: which request tells how it is, and what the answer means. Pure. */
#pragma once

#include "cli/verb.h"

enum { GOAL_ID_MAX = 64 };

struct goal {
    enum goal_kind kind;
    char id[GOAL_ID_MAX]; /* of the job or run; "": any */
};

/* From the answer's data. false: nothing goes on that could be waited for. */
bool goal_of(const struct invocation *i, const struct json *data, struct goal *ret);
/* The request to poll with; the caller frees *ret_args (which may become NULL). */
const char *goal_poll(const struct goal *g, struct json **ret_args);

struct verdict {
    bool ended;
    struct error error; /* of one that ended badly; code 0: well */
    char state[256];    /* for a line of progress: "running", "waits for a quorum" */
};
/* answer: a good one (status.code 0), to the poll. */
void goal_judge(const struct goal *g, const struct json *answer, struct verdict *ret);

struct goal_text {
    char s[160];
};
struct goal_text goal_what(const struct goal *g);     /* "job 1234", "the upgrade" */
struct goal_text goal_comeback(const struct goal *g); /* the command that shows it */
bool goal_goes_on(const struct goal *g);              /* without this command: a job, a run */
