/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "backup/engine.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

__attribute__((format(printf, 2, 3))) static bool no(char *why_not, const char *fmt, ...)
{
    __builtin_va_list ap;
    __builtin_va_start(ap, fmt);
    vsnprintf(why_not, ENGINE_REASON_MAX, fmt, ap);
    __builtin_va_end(ap);
    return false;
}

/* What every engine needs that stores differences. */
static bool has_reference(const struct engine_facts *f, char *why_not)
{
    if (f->asked_full)
        return no(why_not, "asked for");
    if (!f->has_reference)
        return no(why_not, "no reference");
    if (f->reference_is_damaged)
        return no(why_not, "the reference point is damaged");
    if (f->cannot_carry)
        return no(why_not, "%s", f->cannot_carry);
    if (f->disk_bytes != f->reference_bytes)
        return no(why_not, "the disk was resized from %" PRIu64 " to %" PRIu64 " bytes", f->reference_bytes,
                  f->disk_bytes);
    return true;
}

static bool bitmap_can(const struct engine_facts *f, char *why_not)
{
    if (!has_reference(f, why_not))
        return false;
    if (f->asked_rescan)
        return no(why_not, "asked for");
    switch (f->bitmap) {
    case BITMAP_GOOD: return true;
    case BITMAP_NONE: return no(why_not, "no bitmap");
    case BITMAP_OFF: return no(why_not, "the virtual machine is off");
    case BITMAP_INCONSISTENT: return no(why_not, "bitmap inconsistent after a crash");
    case BITMAP_MISSING: return no(why_not, "bitmap missing");
    case BITMAP_FOREIGN: return no(why_not, "the bitmap began at a point that the repository does not have");
    }
    return no(why_not, "no bitmap");
}

static bool full_can(const struct engine_facts *f, char *why_not)
{
    (void)f;
    (void)why_not;
    return true;
}

static const struct engine bitmap = {.name = "bitmap", .incremental = true, .can = bitmap_can};
static const struct engine rescan = {.name = "rescan", .incremental = true, .compares = true, .can = has_reference};
static const struct engine full = {.name = "full", .can = full_can};

const struct engine *const engines[] = {&bitmap, &rescan, &full, NULL};

const struct engine *engine_by_name(const char *name)
{
    for (size_t i = 0; engines[i]; i++)
        if (strcmp(engines[i]->name, name) == 0)
            return engines[i];
    return NULL;
}

struct engine_choice engine_choose(const struct engine_facts *f)
{
    struct engine_choice c = {0};
    for (size_t i = 0; engines[i]; i++) {
        c.engine = engines[i];
        if (c.engine->can(f, c.reason))
            break;
    }
    return c;
}
