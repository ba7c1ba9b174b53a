/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The credentials of an Azure witness, as an admin hands them in. What is taken is of one kind, within its bounds, and
 * fit for a URL or a header. */
#include "tests/fuzz/fuzz.h"
#include "witness/io/credentials.h"

static void check(const struct credentials *c)
{
    assert(c->kind >= CREDENTIALS_KEYS && c->kind <= CREDENTIALS_IDENTITY);
    assert((c->kind == CREDENTIALS_KEYS) == (c->n_keys > 0) && c->n_keys <= ACCOUNT_KEYS_MAX);
    for (size_t i = 0; i < c->n_keys; i++)
        assert(c->keys[i].len >= 16 && c->keys[i].len <= ACCOUNT_KEY_MAX);
    assert((c->kind == CREDENTIALS_SAS) == (c->sas[0] != '\0') &&
           (c->kind == CREDENTIALS_IDENTITY || !c->client_id[0]));
    for (const char *s = c->sas; *s; s++)
        assert(*s > 0x20 && *s < 0x7f && *s != '"' && *s != '#' && *s != '?');
    assert(strspn(c->client_id, "0123456789abcdefABCDEF-") == strlen(c->client_id));
    credentials_sas_end_ms(c);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *text = input_block((struct slice){data, size});
    struct credentials c = {.kind = 0};
    struct error e = {0};
    int err = credentials_parse((struct slice){text, size}, &c, &e);
    free(text);
    if (err)
        assert(err == ERR_USAGE && e.code == err && e.text[0] && c.kind == 0);
    else
        check(&c);
    credentials_wipe(&c);
    return 0;
}
