/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the nouns' files lend to one another and to the live view. */
#pragma once

#include "cli/verb.h"

void page_nodes(struct page *p, const struct json *nodes);
void page_vms(struct page *p, const struct json *vms);
void page_jobs(struct page *p, const struct json *jobs);
void page_tasks(struct page *p, const struct json *tasks);
/* A line an event: when, of what, what. */
void page_event(struct page *p, const struct json *event, bool clock_only);
/* One line: "1 (Debian 12: …)", and "MIXED for 3 days". */
void page_level_line(struct page *p, const struct json *level);
/* One line: "to trixie: running, 1 of 3 nodes done, 4m 12s". */
void page_run_line(struct page *p, const struct json *run);
void page_run(struct page *p, const struct json *run);
/* A line that names the command by which an ended upgrade goes on, where there is one. */
void page_run_next(struct page *p, const struct json *run);
void page_plan(struct page *p, const struct json *plan);
bool run_is_over(const struct json *run); /* no run counts as one that is over */

/* One line: "folder /srv/witness, 1 vote, sequence 7, answered 12s ago". */
void page_witness_line(struct page *p, const struct json *witness);

/* Answers that name a job: "… goes on as job ID". Otherwise "done". */
void render_job(struct page *p, const struct invocation *i, const struct json *data);
void render_done(struct page *p, const struct invocation *i, const struct json *data);
/* {name: first argument} */
int build_name(const struct invocation *i, const char *file, struct json *args, struct error *e);
void set_option_str(const struct invocation *i, enum opt o, const char *key, struct json *args);
