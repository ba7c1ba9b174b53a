/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "common/err.h"

#include <assert.h>
#include <stdarg.h>
#include <string.h>

#include "common/text.h"

int err_exit_code(int err)
{
    switch (err) {
    case 0:
    case ERR_FAILED:
    case ERR_USAGE:
    case ERR_NO_AGENT:
    case ERR_AGAIN:
    case ERR_PERMISSION:
    case ERR_NO_OBJECT:
    case ERR_NO_QUORUM:
    case ERR_NEED_FORCE:
    case ERR_CONDITION:
    case ERR_TIMEOUT: return -err;
    default: /* internal codes mean nothing to an admin's script */ return -ERR_FAILED;
    }
}

static const struct {
    int code;
    const char *name;
} names[] = {
    {0, "OK"},
    {ERR_FAILED, "ERR_FAILED"},
    {ERR_USAGE, "ERR_USAGE"},
    {ERR_NO_AGENT, "ERR_NO_AGENT"},
    {ERR_AGAIN, "ERR_AGAIN"},
    {ERR_PERMISSION, "ERR_PERMISSION"},
    {ERR_NO_OBJECT, "ERR_NO_OBJECT"},
    {ERR_NO_QUORUM, "ERR_NO_QUORUM"},
    {ERR_NEED_FORCE, "ERR_NEED_FORCE"},
    {ERR_CONDITION, "ERR_CONDITION"},
    {ERR_TIMEOUT, "ERR_TIMEOUT"},
    {ERR_MALFORMED, "ERR_MALFORMED"},
    {ERR_IO, "ERR_IO"},
    {ERR_NOT_FOUND, "ERR_NOT_FOUND"},
    {ERR_TOO_BIG, "ERR_TOO_BIG"},
    {ERR_UNKNOWN_KIND, "ERR_UNKNOWN_KIND"},
};

const char *err_name(int err)
{
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (names[i].code == err)
            return names[i].name;
    return "ERR_UNKNOWN";
}

/* Formats aside first: the arguments may point into *e (an error that is wrapped in another text). */
int error_set(struct error *e, int code, const char *fmt, ...)
{
    assert(code < 0);
    if (!e)
        return code;
    struct error fresh = {.code = code};
    va_list ap;
    va_start(ap, fmt);
    text_vformat(fresh.text, sizeof(fresh.text), fmt, ap);
    va_end(ap);
    *e = fresh;
    return code;
}

void error_set_remedy(struct error *e, const char *fmt, ...)
{
    if (!e)
        return;
    char remedy[ERROR_REMEDY_MAX];
    va_list ap;
    va_start(ap, fmt);
    size_t len = text_vformat(remedy, sizeof(remedy), fmt, ap);
    va_end(ap);
    memcpy(e->remedy, remedy, len + 1);
}
