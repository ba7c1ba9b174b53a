/* SPDX-License-Identifier: GPL-2.0-or-later */
/* repository.json: {"ringmaster-repository":1,"key":"…"}, the key's HMAC of a fixed text: another key is told at once.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/io/files.h"
#include "agent/io/pki.h"
#include "backup/worker/worker.h"

enum { KEY_MIN = 32, KEY_MAX = 4096, DOCUMENT_MAX = 4096 };
#define DOCUMENT "repository.json"

static struct hash key_mark(struct slice key)
{
    static const char text[] = "ringmaster-repository 1";
    struct slice part = {(const uint8_t *)text, strlen(text)};
    return hash_hmac(key, &part, 1);
}

static int read_key(const char *path, struct buf *ret, struct error *e)
{
    if (strlen(path) >= FILES_PATH_MAX)
        return error_set(e, ERR_USAGE, "the key file's path is too long");
    int err = file_read_secret("", path, KEY_MAX, ret, e);
    if (err == ERR_NOT_FOUND)
        error_set_remedy(e, "copy the repository's key from a safe place to %s, mode 0600", path);
    else if (err == ERR_CONDITION)
        error_set_remedy(e, "make it the user's own and closed to all others: chmod 0600 %s", path);
    if (err)
        return err;
    if (ret->len >= KEY_MIN)
        return 0;
    pki_wipe_buf(ret);
    return error_set(e, ERR_CONDITION, "%s holds less than %d bytes, too few for a key", path, KEY_MIN);
}

/* The one that is there stays. */
static int make_key(const char *path, struct error *e)
{
    uint8_t key[KEY_MIN];
    struct folder f;
    struct layout_name name;
    int err = folder_open_of(path, &f, &name, e);
    if (err)
        return access(path, F_OK) == 0 ? 0 : err;
    if (faccessat(f.fd, name.s, F_OK, 0) == 0 || errno != ENOENT)
        folder_tidy(&f, name.s);
    else if (getrandom(key, sizeof(key), 0) != (ssize_t)sizeof(key))
        err = error_set(e, ERR_FAILED, "no random bytes for a key: %s", strerror(errno));
    else
        err = folder_install(&f, name.s, (struct slice){key, sizeof(key)}, e);
    explicit_bzero(key, sizeof(key));
    folder_done(&f);
    return err;
}

int repository_create(const struct options *o, struct error *e)
{
    struct folder f;
    AUTO(pki_wipe_buf) struct buf key = {0}, document = {0};
    int err = folder_open(NULL, o->repository, true, &f, e);
    if (err)
        return err;
    if (faccessat(f.fd, DOCUMENT, F_OK, 0) == 0) {
        folder_tidy(&f, DOCUMENT);
        folder_done(&f);
        return error_set(e, ERR_CONDITION, "%s is a repository already", o->repository);
    }
    err = make_key(o->key_file, e);
    if (!err)
        err = read_key(o->key_file, &key, e);
    if (!err) {
        struct hash mark = key_mark(buf_slice(&key));
        buf_printf(&document, "{\"ringmaster-repository\":1,\"key\":\"%s\"}\n", hash_str(&mark).s);
        err = folder_install(&f, DOCUMENT, buf_slice(&document), e);
    }
    folder_done(&f);
    return err;
}

static int check_document(const struct repository *r, struct error *e)
{
    AUTO(buf_done) struct buf b = {0};
    AUTO(json_freep) struct json *j = NULL;
    int err = folder_read(&r->folder, DOCUMENT, DOCUMENT_MAX, &b, e);
    if (err == ERR_NOT_FOUND) {
        error_set(e, ERR_NO_OBJECT, "%s is no repository", r->folder.path);
        error_set_remedy(e, "mount it, or make one: ringmaster-backup init");
        return ERR_NO_OBJECT;
    }
    if (!err)
        err = json_parse((const char *)b.p, b.len, &j, e);
    if (err)
        return err;
    if (json_get_int(j, "ringmaster-repository", 0) != 1)
        return error_set(e, ERR_CONDITION, "%s is a repository that this release cannot use", r->folder.path);
    struct hash mark = key_mark(buf_slice(&r->key));
    if (str_eq(json_get_str(j, "key", ""), hash_str(&mark).s))
        return 0;
    error_set(e, ERR_PERMISSION, "the key is not that of the repository %s", r->folder.path);
    error_set_remedy(e, "name the key file with which it was made: --key-file");
    return ERR_PERMISSION;
}

int repository_open(const struct options *o, struct repository *ret, struct error *e)
{
    struct repository r = {.folder = {.fd = -1}};
    int err = folder_open(NULL, o->repository, false, &r.folder, e);
    if (err)
        return err == ERR_NOT_FOUND ? error_set(e, ERR_NO_OBJECT, "there is no repository %s", o->repository) : err;
    if (o->key.len > 0)
        buf_add(&r.key, o->key.p, o->key.len);
    else
        err = read_key(o->key_file, &r.key, e);
    if (!err)
        err = check_document(&r, e);
    if (err) {
        repository_done(&r);
        return err;
    }
    *ret = r;
    return 0;
}

void repository_done(struct repository *r)
{
    folder_done(&r->folder);
    pki_wipe_buf(&r->key);
}
