/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What an Azure witness proves itself with. As text (a root-only file, a systemd credential, or what the agent has
 * unsealed), a line each, `#` begins a comment:
 *
 *     account key in base64          one or two: while one is renewed, the other keeps the vote
 *     SAS token                      anything with sig=…, with or without its leading ?
 *     identity [CLIENT_ID]           the managed identity of this virtual machine, or one of several
 *
 * One kind only. */
#pragma once

#include "common/buf.h"
#include "common/err.h"

enum { CREDENTIALS_TEXT_MAX = 8192, ACCOUNT_KEY_MAX = 128, SAS_MAX = 2048, CLIENT_ID_MAX = 64, ACCOUNT_KEYS_MAX = 2 };

enum credentials_kind { CREDENTIALS_KEYS = 1, CREDENTIALS_SAS, CREDENTIALS_IDENTITY };

struct account_key {
    uint8_t b[ACCOUNT_KEY_MAX];
    size_t len;
};

struct credentials {
    enum credentials_kind kind;
    struct account_key keys[ACCOUNT_KEYS_MAX];
    size_t n_keys;
    char sas[SAS_MAX];             /* without ? */
    char client_id[CLIENT_ID_MAX]; /* "": the only identity, or the system's */
};
void credentials_wipe(struct credentials *c);

/* ERR_USAGE says which line, and never what it holds. */
int credentials_parse(struct slice text, struct credentials *ret, struct error *e);
/* From a file that belongs to this process's user, and that nobody else may read: else ERR_CONDITION. A name without a
 * slash is one of systemd's credentials (LoadCredential=, LoadCredentialEncrypted=). */
int credentials_load(const char *path, struct credentials *ret, struct error *e);

/* Milliseconds since 1970 at which the SAS ends (its se=); 0: it does not say. */
int64_t credentials_sas_end_ms(const struct credentials *c);
