/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "backup/worker/status.h"

#include "agent/io/files.h"

enum { EVERY_MS = 1000, STATUS_MAX = 1 << 20 };

static struct json *begin(const struct status *s)
{
    struct json *j = json_object_new();
    json_set_str(j, "run", uuid_str(&s->run).s);
    json_set_str(j, "phase", s->phase);
    json_set_int(j, "done_bytes", (int64_t)s->done_bytes);
    json_set_int(j, "total_bytes", (int64_t)s->total_bytes);
    return j;
}

/* Takes j over. */
static int write_out(struct status *s, struct json *j, struct error *e)
{
    struct buf b = {0};
    char *text = json_dump(j);
    buf_printf(&b, "%s\n", text);
    s->last_ms = clock_ms();
    int err = file_install("", s->path, buf_slice(&b), (struct file_mode){.mode = 0600}, e);
    buf_done(&b);
    free(text);
    json_free(j);
    return err;
}

int status_phase(struct status *s, const char *phase, struct error *e)
{
    s->phase = phase;
    return write_out(s, begin(s), e);
}

void status_progress(struct status *s, uint64_t done_bytes, uint64_t total_bytes)
{
    s->done_bytes = done_bytes;
    s->total_bytes = total_bytes;
    if (clock_ms() - s->last_ms >= EVERY_MS)
        (void)write_out(s, begin(s), NULL);
}

int status_done(struct status *s, struct json *members, struct error *e)
{
    void *it = NULL;
    const char *key;
    const struct json *value;
    s->phase = "done";
    struct json *j = begin(s);
    while (json_next(members, &it, &key, &value))
        json_set(j, key, json_copy(value));
    json_free(members);
    return write_out(s, j, e);
}

int status_failed(struct status *s, const struct error *why)
{
    struct json *j, *error = json_object_new();
    json_set_int(error, "code", err_exit_code(why->code));
    json_set_str(error, "text", why->text);
    if (why->code == ERR_MALFORMED)
        json_set_bool(error, "damaged", true);
    s->phase = "failed";
    j = begin(s);
    json_set(j, "error", error);
    return write_out(s, j, NULL);
}

void status_read_phase(const char *path, char *dst, size_t size)
{
    AUTO(buf_done) struct buf b = {0};
    AUTO(json_freep) struct json *j = NULL;
    dst[0] = '\0';
    if (file_read("", path, STATUS_MAX, &b, NULL) == 0 && json_parse((const char *)b.p, b.len, &j, NULL) == 0)
        str_copy(dst, size, json_get_str(j, "phase", ""));
}
