/* SPDX-License-Identifier: GPL-2.0-or-later */
/* ringmaster-backup, the worker: one process for one piece of work on a repository. What it says is a JSON object on
 * each line of its output, the last one {"event":"done",…} or {"event":"error",…}; an error is on its error output in
 * words, too. Exit status: as clusterctl's (common/err.h). */
#pragma once

#include "backup/engine.h"
#include "backup/io/image.h"
#include "backup/io/manifest-file.h"
#include "backup/io/nbd.h"
#include "backup/refpoint.h"
#include "backup/retention.h"

/* ---- options */

struct disk_option {
    char name[LAYOUT_DISK_MAX];
    const char *value;    /* export: NBD URI; restore: the file to make */
    const char *bitmap;   /* NULL: none */
    bool bitmap_lost;     /* there was one, QEMU ended without storing it */
    bool machine_is_off;  /* so that nobody offers one */
    struct uuid tracking; /* nil: that of the reference, else a new one */
};

/* What hears of an export as it goes on, and may end it. */
struct watch {
    void (*progress)(void *progress_ctx, uint64_t done_bytes, uint64_t total_bytes); /* of all disks so far */
    void *progress_ctx;
    bool (*is_cancelled)(void *ctx);
    void *ctx;
};

struct options {
    const char *repository, *key_file, *vm, *domain_xml, *nvram, *note, *engine, *format, *spec;
    /* In place of those files, where there are such bytes. */
    struct slice key, domain_xml_bytes, nvram_bytes;
    const struct watch *watch; /* NULL: nobody, and progress is told on the output */
    const char *point;         /* restore, verify: UUID or "latest"; export: UUID */
    struct uuid parent;
    bool application, dry_run;
    uint64_t reserve_bytes, limit_bytes; /* to be left free; a second, 0: no limit */
    struct retention_rule keep;
    struct disk_option disks[REFPOINT_DISKS_MAX];
    size_t n_disks;
};
int options_parse(int argc, char **argv, struct options *ret, struct error *e);

/* ---- what it says */

void say(struct json *line); /* takes it over */
struct progress {
    const char *work, *object; /* "export", "restore", "verify", "fold"; the disk */
    uint64_t total_bytes;
    int64_t last_ms;
};
/* At most every half second. */
void progress_at(struct progress *p, uint64_t done_bytes, uint64_t disk_position);
int64_t clock_ms(void);
int64_t wall_ms(void);
struct uuid uuid_random(void);

/* ---- the repository */

struct repository {
    struct folder folder;
    struct buf key; /* a secret */
};
int repository_create(const struct options *o, struct error *e);
int repository_open(const struct options *o, struct repository *ret, struct error *e);
void repository_done(struct repository *r);

enum { CONFIG_MAX = 64 << 20 }; /* bytes of a domain XML, or of an NVRAM */

/* Points of one virtual machine, under the folder's lock. */
struct point {
    struct refpoint *ref; /* NULL: its document is damaged, `damage` says how */
    uint32_t sequence;
    /* Of each disk, in the document's order: the sequence of the older point that its image stands on; 0: on none. */
    uint32_t bases[REFPOINT_DISKS_MAX];
    struct error damage;
};
struct points {
    struct folder folder;
    int lock;
    struct point *list; /* ascending */
    size_t n;
    uint32_t next; /* a number that no file has */
};
/* alone: for writing; rests of killed writers are removed. create: make the folder. ERR_NO_OBJECT, ERR_AGAIN. */
int points_open(const struct repository *r, const char *vm, bool alone, bool create, struct points *ret,
                struct error *e);
void points_done(struct points *p);
/* By UUID, or "latest"; NULL: none. It may be damaged. */
const struct point *points_lookup(const struct points *p, const char *which);
/* The same; ERR_NO_OBJECT, and the damage of a point that is damaged. */
int points_find(const struct points *p, const char *which, const struct point **ret, struct error *e);
const struct point *points_by_sequence(const struct points *p, uint32_t sequence); /* NULL: none */
bool point_stands_on(const struct point *point, uint32_t sequence);
/* A point that this one stands on and that is not there, so that nobody knows on what that one stands; 0: none. */
uint32_t points_missing(const struct points *p, const struct point *point);
/* Reference first, then its files. Nothing may stand on it. */
int points_delete(struct points *p, uint32_t sequence, struct error *e);

/* ---- replay.c: images through their manifest to somewhere */

struct replay {
    const struct image *const *images; /* the newest first */
    size_t n_images;
    const struct manifest *want;
    /* What the images do not have must be as here; NULL: zeros. */
    const struct manifest *below;
    int raw_fd; /* -1: none */
    const struct folder *raw_folder;
    const char *raw_name;
    struct image_writer *image; /* NULL: none */
    /* Into the image by reference, where the file system can: then the data are not read, and so not checked; what was
     * damaged stays damaged, and found by the manifest. */
    bool clone;
    struct progress progress;
    const struct watch *watch; /* NULL: nobody, and progress is told on the output */
    uint64_t before_bytes;     /* of disks that were done before, for who watches */
    uint64_t total_bytes;      /* of all of them */
};
/* Every block is checked before it is written, unless it is cloned. ERR_MALFORMED: damage, *e says of which file. */
int replay_run(struct replay *r, struct error *e);

/* ---- verb-export.c: a new point, in steps */

/* The repository, and the virtual machine's folder in it under its lock: ERR_AGAIN, another is at work. Of *o
 * everything else may be filled in until export_disks(). */
struct export_work;
int export_begin(const struct options *o, struct export_work **ret, struct error *e);
int export_disks(struct export_work *w, struct error *e);
/* Then the point exists. *ret: its document's inner object. */
int export_publish(struct export_work *w, struct json **ret, struct error *e);
/* Removes what was not published. NULL is accepted. */
void export_end(struct export_work *w);

/* ---- verb-restore.c */

/* The point that o->point names (NULL: the newest), under a reader's lock. Only its document is checked here. o is
 * borrowed until restore_close(), and its disks are looked at by restore_disks(). ret_ref may be NULL. */
struct restore;
int restore_open(const struct options *o, struct restore **ret, const struct refpoint **ret_ref, struct error *e);
void restore_close(struct restore *x); /* NULL is accepted */
int restore_disks(struct restore *x, struct error *e);
/* LAYOUT_DOMAIN, LAYOUT_NVRAM, checked; ERR_NO_OBJECT: the point has none. */
int restore_read(const struct restore *x, enum layout_kind kind, struct buf *ret, struct error *e);
/* ERR_CONDITION: something has the name. */
int restore_check_free(const char *path, struct error *e);
/* Where nothing has the name. */
int restore_write(const char *path, struct slice bytes, struct error *e);

/* ---- verb-verify.c */

/* Of o->vm (NULL: of all) all points, or what o->point stands on. ERR_MALFORMED: something is damaged; another error:
 * nothing is known to be, but something could not be read. ret_there (may be NULL): UUIDs of the points. */
int verify_all(const struct options *o, size_t *ret_points, struct json **ret_there, struct error *e);

/* ---- verb-prune.c */

/* By o->keep, BACKUP_GONE_MAX points of o->vm at most. planned hears of the points that stay, by their UUIDs, before
 * the first of the others goes; where it fails none goes. o->watch: may end it in between. */
int prune_vm(const struct options *o, int (*planned)(void *ctx, struct json *staying, struct error *e), void *ctx,
             struct error *e);

/* ---- verbs: 0 or ERR_…, and *ret, what "done" says besides (may stay NULL) */

int verb_init(const struct options *o, struct json **ret, struct error *e);
int verb_export(const struct options *o, struct json **ret, struct error *e);
int verb_rescan(const struct options *o, struct json **ret, struct error *e);
int verb_restore(const struct options *o, struct json **ret, struct error *e);
int verb_verify(const struct options *o, struct json **ret, struct error *e);
int verb_list(const struct options *o, struct json **ret, struct error *e);
int verb_synthesize(const struct options *o, struct json **ret, struct error *e);
int verb_prune(const struct options *o, struct json **ret, struct error *e);
int verb_run(const struct options *o, struct json **ret, struct error *e);
int verb_settle(const struct options *o, struct json **ret, struct error *e);
