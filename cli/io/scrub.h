/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Takes secrets out of text that others will read. Nothing that is gathered is meant to hold one; this is for the day
 * on which some program logs what it should not.
 *
 * Known secrets: the bytes of the files that it was shown, as they are, in hex, in base64, and the lines of those that
 * are text. Unknown ones, by their shape: PEM private keys; "secret": "…" of JSON; NAME = VALUE where NAME speaks of a
 * password, secret, token or key; passwd='…' of domain XML. */
#pragma once

#include "common/buf.h"

enum { SCRUB_FILE_MAX = 64 * 1024 };

struct scrub;
struct scrub *scrub_new(void);
void scrub_free(struct scrub *s); /* wipes; NULL is fine */
/* A file that is not there, or whose content is too short to be a secret, teaches nothing. */
void scrub_learn_file(struct scrub *s, const char *path);
void scrub_learn(struct scrub *s, const void *secret, size_t len);
/* Replaces every secret by SCRUB_MARK. */
#define SCRUB_MARK "[secret removed]"
void scrub_text(const struct scrub *s, struct buf *text);
