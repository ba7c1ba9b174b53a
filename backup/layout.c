/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "backup/layout.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

static const struct {
    const char *first, *suffix; /* first NULL: the disk's name */
} kinds[] = {
    [LAYOUT_IMAGE] = {NULL, ".qcow2"},  [LAYOUT_MANIFEST] = {NULL, ".manifest"},   [LAYOUT_DOMAIN] = {"domain", ".xml"},
    [LAYOUT_NVRAM] = {"nvram", ".bin"}, [LAYOUT_REFPOINT] = {"refpoint", ".json"},
};

static bool letter_or_digit(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

bool layout_vm_ok(const char *name)
{
    size_t len = strlen(name);
    if (len == 0 || len >= LAYOUT_VM_MAX || name[0] == '.' || name[0] == '-')
        return false;
    for (const char *p = name; *p; p++)
        if (!letter_or_digit(*p) && !strchr("._+-", *p))
            return false;
    return true;
}

bool layout_disk_ok(const char *name)
{
    size_t len = strlen(name);
    if (len == 0 || len >= LAYOUT_DISK_MAX)
        return false;
    for (const char *p = name; *p; p++)
        if (!letter_or_digit(*p))
            return false;
    return strcmp(name, "domain") != 0 && strcmp(name, "nvram") != 0 && strcmp(name, "refpoint") != 0;
}

struct layout_name layout_name(enum layout_kind kind, const char *disk, uint32_t sequence)
{
    const char *first = kinds[kind].first ? kinds[kind].first : disk;
    assert(first && sequence > 0 && sequence <= LAYOUT_SEQUENCE_MAX);
    struct layout_name n;
    int len = snprintf(n.s, sizeof(n.s), "%s-%06u%s", first, (unsigned)sequence, kinds[kind].suffix);
    assert(len > 0 && (size_t)len < sizeof(n.s));
    return n;
}

static bool parse_sequence(const char *digits, uint32_t *ret)
{
    uint32_t n = 0;
    for (int i = 0; i < 6; i++) {
        if (digits[i] < '0' || digits[i] > '9')
            return false;
        n = n * 10 + (uint32_t)(digits[i] - '0');
    }
    *ret = n;
    return n > 0;
}

bool layout_parse(const char *name, struct layout_file *ret)
{
    const char *dash = strchr(name, '-');
    struct layout_file f = {0};
    if (!dash || (size_t)(dash - name) >= sizeof(f.disk) || !parse_sequence(dash + 1, &f.sequence))
        return false;
    char first[LAYOUT_DISK_MAX] = {0};
    memcpy(first, name, (size_t)(dash - name));
    for (enum layout_kind k = LAYOUT_IMAGE; k <= LAYOUT_REFPOINT; k++) {
        bool fits = kinds[k].first ? strcmp(first, kinds[k].first) == 0 : layout_disk_ok(first);
        if (!fits || strcmp(dash + 7, kinds[k].suffix) != 0)
            continue;
        f.kind = k;
        if (!kinds[k].first)
            memcpy(f.disk, first, sizeof(f.disk));
        *ret = f;
        return true;
    }
    return false;
}
