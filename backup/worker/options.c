/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <getopt.h>
#include <stdlib.h>

#include "backup/worker/worker.h"

enum { RESERVE_BYTES = 256 << 20 };

enum option_id {
    OPT_KEY_FILE = 256,
    OPT_VM,
    OPT_DISK,
    OPT_BITMAP,
    OPT_BITMAP_LOST,
    OPT_TRACKING,
    OPT_PARENT,
    OPT_POINT,
    OPT_ENGINE,
    OPT_CONSISTENCY,
    OPT_NOTE,
    OPT_DOMAIN,
    OPT_NVRAM,
    OPT_FORMAT,
    OPT_RESERVE,
    OPT_SPEC,
    OPT_LIMIT,
    OPT_KEEP_LAST,
    OPT_KEEP_DAILY,
    OPT_KEEP_WEEKLY,
    OPT_KEEP_MONTHLY,
    OPT_KEEP_YEARLY,
    OPT_FOLD,
    OPT_DRY_RUN,
};

static const struct option long_options[] = {
    {"key-file", required_argument, NULL, OPT_KEY_FILE},
    {"vm", required_argument, NULL, OPT_VM},
    {"disk", required_argument, NULL, OPT_DISK},
    {"bitmap", required_argument, NULL, OPT_BITMAP},
    {"bitmap-lost", required_argument, NULL, OPT_BITMAP_LOST},
    {"tracking", required_argument, NULL, OPT_TRACKING},
    {"parent", required_argument, NULL, OPT_PARENT},
    {"point", required_argument, NULL, OPT_POINT},
    {"engine", required_argument, NULL, OPT_ENGINE},
    {"consistency", required_argument, NULL, OPT_CONSISTENCY},
    {"note", required_argument, NULL, OPT_NOTE},
    {"domain-xml", required_argument, NULL, OPT_DOMAIN},
    {"nvram", required_argument, NULL, OPT_NVRAM},
    {"format", required_argument, NULL, OPT_FORMAT},
    {"reserve", required_argument, NULL, OPT_RESERVE},
    {"spec", required_argument, NULL, OPT_SPEC},
    {"limit", required_argument, NULL, OPT_LIMIT},
    {"keep-last", required_argument, NULL, OPT_KEEP_LAST},
    {"keep-daily", required_argument, NULL, OPT_KEEP_DAILY},
    {"keep-weekly", required_argument, NULL, OPT_KEEP_WEEKLY},
    {"keep-monthly", required_argument, NULL, OPT_KEEP_MONTHLY},
    {"keep-yearly", required_argument, NULL, OPT_KEEP_YEARLY},
    {"fold", no_argument, NULL, OPT_FOLD},
    {"dry-run", no_argument, NULL, OPT_DRY_RUN},
    {NULL, 0, NULL, 0},
};

static int bad(struct error *e, const char *option, const char *value, const char *wanted)
{
    return error_set(e, ERR_USAGE, "%s %.100s: it is to be %s", option, value, wanted);
}

static int number(const char *option, const char *text, uint64_t max, uint64_t *ret, struct error *e)
{
    char *end;
    errno = 0;
    unsigned long long n = strtoull(text, &end, 10);
    if (errno || end == text || *end != '\0' || text[0] == '-' || n > max)
        return bad(e, option, text, "a whole number");
    *ret = n;
    return 0;
}

static int count(const char *option, const char *text, uint32_t *ret, struct error *e)
{
    uint64_t n;
    int err = number(option, text, 100000, &n, e);
    if (!err)
        *ret = (uint32_t)n;
    return err;
}

/* NAME or NAME=VALUE of a disk that --disk named before, or of a new one. */
static int find_disk(struct options *o, const char *text, bool add, struct disk_option **ret, const char **ret_value,
                     struct error *e)
{
    char name[LAYOUT_DISK_MAX] = {0};
    size_t len = strcspn(text, "=");
    if (len >= sizeof(name))
        return bad(e, "disk", text, "NAME=…, where NAME is the target as in the domain XML");
    memcpy(name, text, len);
    if (!layout_disk_ok(name))
        return bad(e, "disk", text, "NAME=…, where NAME is the target as in the domain XML");
    *ret_value = text[len] == '=' ? text + len + 1 : NULL;
    for (size_t i = 0; i < o->n_disks; i++)
        if (str_eq(o->disks[i].name, name)) {
            *ret = &o->disks[i];
            return add ? bad(e, "--disk", text, "named once") : 0;
        }
    if (!add || o->n_disks == REFPOINT_DISKS_MAX)
        return bad(e, "disk", text, add ? "one of at most 64" : "one that --disk named before");
    *ret = &o->disks[o->n_disks++];
    STR_COPY((*ret)->name, name);
    return 0;
}

static int disk_option(struct options *o, enum option_id id, const char *text, struct error *e)
{
    struct disk_option *d = NULL;
    const char *value = NULL;
    int err = find_disk(o, text, id == OPT_DISK, &d, &value, e);
    if (err)
        return err;
    if (id == OPT_BITMAP_LOST) {
        d->bitmap_lost = true;
        return 0;
    }
    if (!value || value[0] == '\0')
        return bad(e, "disk", text, "NAME=VALUE");
    if (id == OPT_DISK)
        d->value = value;
    else if (id == OPT_BITMAP)
        d->bitmap = value;
    else if (uuid_parse(value, &d->tracking) < 0 || uuid_is_nil(&d->tracking))
        return bad(e, "--tracking", text, "NAME=UUID");
    return 0;
}

static int path(const char *option, const char *text, const char **ret, struct error *e)
{
    *ret = text;
    return text[0] != '\0' ? 0 : bad(e, option, text, "a path");
}

static int keep_option(struct options *o, enum option_id id, const char *text, struct error *e)
{
    switch (id) {
    case OPT_KEEP_LAST: return count("--keep-last", text, &o->keep.last, e);
    case OPT_KEEP_DAILY: return count("--keep-daily", text, &o->keep.daily, e);
    case OPT_KEEP_WEEKLY: return count("--keep-weekly", text, &o->keep.weekly, e);
    case OPT_KEEP_MONTHLY: return count("--keep-monthly", text, &o->keep.monthly, e);
    default: return count("--keep-yearly", text, &o->keep.yearly, e);
    }
}

static int take(struct options *o, enum option_id id, const char *text, struct error *e)
{
    switch (id) {
    case OPT_KEY_FILE: return path("--key-file", text, &o->key_file, e);
    case OPT_VM: o->vm = text; return 0;
    case OPT_DISK:
    case OPT_BITMAP:
    case OPT_BITMAP_LOST:
    case OPT_TRACKING: return disk_option(o, id, text, e);
    case OPT_PARENT: return uuid_parse(text, &o->parent) < 0 ? bad(e, "--parent", text, "a UUID") : 0;
    case OPT_POINT: o->point = text; return 0;
    case OPT_ENGINE:
        o->engine = text;
        return str_eq(text, "auto") || engine_by_name(text) ? 0
                                                            : bad(e, "--engine", text, "auto, bitmap, rescan or full");
    case OPT_CONSISTENCY:
        o->application = str_eq(text, "application");
        return o->application || str_eq(text, "crash") ? 0 : bad(e, "--consistency", text, "application or crash");
    case OPT_NOTE: o->note = text; return 0;
    case OPT_DOMAIN: return path("--domain-xml", text, &o->domain_xml, e);
    case OPT_NVRAM: return path("--nvram", text, &o->nvram, e);
    case OPT_FORMAT: o->format = text; return 0;
    case OPT_RESERVE: return number("--reserve", text, UINT64_C(1) << 60, &o->reserve_bytes, e);
    case OPT_LIMIT: return number("--limit", text, UINT64_C(1) << 50, &o->limit_bytes, e);
    case OPT_SPEC: return path("--spec", text, &o->spec, e);
    case OPT_FOLD: o->keep.fold = true; return 0;
    case OPT_DRY_RUN: o->dry_run = true; return 0;
    default: return keep_option(o, id, text, e);
    }
}

int options_parse(int argc, char **argv, struct options *ret, struct error *e)
{
    struct options *o = ret;
    *o = (struct options){.reserve_bytes = RESERVE_BYTES};
    opterr = 0;
    optind = 1;
    for (int c; (c = getopt_long(argc, argv, "", long_options, NULL)) != -1;) {
        if (c < OPT_KEY_FILE)
            return error_set(e, ERR_USAGE, "unknown option, or one without its value: %.100s", argv[optind - 1]);
        int err = take(o, (enum option_id)c, optarg, e);
        if (err)
            return err;
    }
    if (o->spec)
        return optind == argc ? 0 : error_set(e, ERR_USAGE, "all is in the file of --spec, the repository too");
    if (optind + 1 != argc || argv[optind][0] == '\0')
        return error_set(e, ERR_USAGE, "one repository is to be named, by its folder");
    o->repository = argv[optind];
    return o->key_file ? 0 : error_set(e, ERR_USAGE, "--key-file is missing");
}
