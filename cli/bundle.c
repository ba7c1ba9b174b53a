/* SPDX-License-Identifier: GPL-2.0-or-later */
/* clusterctl support-bundle: what someone needs who is to find out what happened, and no secret. It is gathered from
 * the lists below and from nothing else; no file of /var/lib/ringmaster is opened, but for what is to be kept out. */
#include <stdio.h>
#include <time.h>

#include "cli/call.h"
#include "cli/io/archive.h"
#include "cli/io/file.h"
#include "cli/io/program.h"
#include "cli/io/scrub.h"
#include "cli/io/terminal.h"
#include "cli/noun.h"
#include "common/proto.h"
#include "config.h"

enum { BUNDLE_ASK_MS = 10 * 1000, COMMAND_MS = 60 * 1000, TEXT_MAX = 32 << 20 };

/* Requests; domain XML (vm.show) may hold passwords, and is not among them. */
static const struct {
    const char *file, *wire;
} requests[] = {
    {"status.json", "status"},
    {"events.json", "events"},
    {"jobs.json", "job.list"},
    {"nodes.json", "node.list"},
    {"settings.json", "cluster.config.show"},
    {"level.json", "level.show"},
    {"quorum.json", "quorum.show"},
    {"witness.json", "witness.show"},
    {"vms.json", "vm.list"},
    {"upgrade.json", "upgrade.status"},
    {"tasks.json", "task.list"},
    {"repositories.json", "repository.list"},
    {"backups.json", "backup.list"},
};

/* Files, by pattern. */
static const char *const files[] = {
    RINGMASTER_CONFIG_DIR "/ringmaster.conf",
    RINGMASTER_CONFIG_DIR "/conf.d/*.conf",
    "/etc/corosync/corosync.conf",
    "/usr/lib/os-release",
    "/var/log/ringmaster/op-*.log",
    "/proc/meminfo",
    "/proc/loadavg",
    "/proc/pressure/*",
};

enum { COMMAND_ARGS = 16 };
static const struct {
    const char *file;
    const char *argv[COMMAND_ARGS];
} commands[] = {
    {"journal.txt",
     {"/usr/bin/journalctl", "--no-pager", "--output=short-iso-precise", "--since=-3d", "--lines=100000",
      "--unit=ringmasterd.service", "--unit=ringmaster-op-*.service", "--unit=corosync.service",
      "--unit=libvirtd.service", "--unit=virtqemud.service"}},
    {"units.txt",
     {"/usr/bin/systemctl", "status", "--no-pager", "--full", "--lines=0", "ringmasterd.service", "corosync.service",
      "libvirtd.service", "libvirtd-tls.socket"}},
    {"packages.txt",
     {"/usr/bin/dpkg-query", "--show", "ringmaster*", "corosync*", "libcorosync*", "libqb*", "libvirt*", "qemu-*",
      "linux-image-*"}},
    {"quorum.txt", {"/usr/sbin/corosync-quorumtool", "-s"}},
    {"rings.txt", {"/usr/sbin/corosync-cfgtool", "-s"}},
    {"domains.txt", {"/usr/bin/virsh", "--readonly", "--connect", "qemu:///system", "list", "--all"}},
    {"virsh-version.txt", {"/usr/bin/virsh", "--readonly", "--connect", "qemu:///system", "version"}},
    {"uname.txt", {"/usr/bin/uname", "-a"}},
    {"disks.txt", {"/usr/bin/df", "-h"}},
    {"time.txt", {"/usr/bin/timedatectl", "--no-pager"}},
    {"modes.txt",
     {"/usr/bin/ls", "-lnR", RINGMASTER_STATE_DIR, RINGMASTER_CONFIG_DIR, "/etc/corosync", "/etc/pki/libvirt",
      "/etc/pki/qemu"}},
};

/* Where secrets live: read in order to be kept out of everything else. */
static const char *const secrets[] = {
    RINGMASTER_STATE_DIR "/cluster.key", RINGMASTER_STATE_DIR "/node.key", RINGMASTER_STATE_DIR "/ca.key",
    RINGMASTER_STATE_DIR "/*.token",     "/etc/corosync/authkey",          "/etc/pki/libvirt/private/*.pem",
    "/etc/pki/libvirt-*/private/*.pem",  "/etc/pki/qemu/*-key.pem",        "/root/*.token",
};

#define N(a) (sizeof(a) / sizeof((a)[0]))

struct bundle {
    struct call *c;
    struct archive *archive;
    struct scrub *scrub;
    struct buf manifest; /* a line a file: where it is from, and why it is not there */
    char name[128];      /* of the folder */
    char node[65];
};

/* ---- gathering ----------------------------------------------------------------------------------------------------
 */

static int add(struct bundle *b, const char *file, struct buf *text, const char *source, struct error *e)
{
    scrub_text(b->scrub, text);
    buf_printf(&b->manifest, "%s: %s\n", file, source);
    return archive_add(b->archive, file, text, e);
}

static void missing(struct bundle *b, const char *file, const char *why)
{
    buf_printf(&b->manifest, "%s: not there: %s\n", file, why);
}

static int add_answers(struct bundle *b, struct error *e)
{
    int err = 0;
    for (size_t i = 0; i < N(requests) && !err; i++) {
        struct error why = {0};
        AUTO(buf_done) struct buf text = {0};
        if (call_ask(b->c, requests[i].wire, NULL, &why)) {
            missing(b, requests[i].file, why.text);
            continue;
        }
        AUTO(freep) char *dump = json_dump_pretty(b->c->answer);
        buf_printf(&text, "%s\n", dump);
        err = add(b, requests[i].file, &text, requests[i].wire, e);
    }
    return err;
}

static char *below(const struct bundle *b, const char *path)
{
    struct buf s = {0};
    buf_printf(&s, "%s%s", b->c->env->root, path);
    return buf_steal_str(&s);
}

/* "/etc/corosync/corosync.conf" -> "etc-corosync-corosync.conf" */
static char *file_name_of(const struct bundle *b, const char *path)
{
    char *name = xstrdup(path + strlen(b->c->env->root) + 1);
    for (char *p = name; *p; p++)
        *p = (char)(*p == '/' ? '-' : *p);
    return name;
}

static int add_file(struct bundle *b, const char *path, struct error *e)
{
    AUTO(buf_done) struct buf text = {0};
    AUTO(freep) char *name = file_name_of(b, path);
    struct error why = {0};
    if (file_read_plain(path, TEXT_MAX, &text, &why)) {
        missing(b, name, why.text);
        return 0;
    }
    return add(b, name, &text, path, e);
}

static int add_files(struct bundle *b, struct error *e)
{
    int err = 0;
    for (size_t i = 0; i < N(files) && !err; i++) {
        AUTO(freep) char *pattern = below(b, files[i]);
        char **found = file_glob(pattern);
        for (size_t k = 0; found[k] && !err; k++)
            err = add_file(b, found[k], e);
        file_glob_free(found);
    }
    return err;
}

static int add_commands(struct bundle *b, struct error *e)
{
    int err = 0;
    for (size_t i = 0; i < N(commands) && !err; i++) {
        const char *argv[COMMAND_ARGS + 1] = {0};
        AUTO(freep) char *program = below(b, commands[i].argv[0]);
        AUTO(buf_done) struct buf text = {0}, source = {0};
        struct error why = {0};
        int status = 0;
        for (size_t k = 0; k < COMMAND_ARGS; k++)
            argv[k] = commands[i].argv[k];
        argv[0] = program;
        int failed = program_capture(argv, COMMAND_MS, TEXT_MAX, &text, &status, &why);
        if (failed == ERR_NOT_FOUND) {
            missing(b, commands[i].file, why.text);
            continue;
        }
        buf_printf(&source, "%s, exit status %d%s%s", program, status, failed ? ", " : "", why.text);
        buf_add(&source, "", 1);
        err = add(b, commands[i].file, &text, (const char *)source.p, e);
    }
    return err;
}

static void learn_secrets(struct bundle *b)
{
    for (size_t i = 0; i < N(secrets); i++) {
        AUTO(freep) char *pattern = below(b, secrets[i]);
        char **found = file_glob(pattern);
        for (size_t k = 0; found[k]; k++)
            scrub_learn_file(b->scrub, found[k]);
        file_glob_free(found);
    }
}

static int gather(struct bundle *b, struct error *e)
{
    learn_secrets(b);
    int err = add_answers(b, e);
    if (!err)
        err = add_files(b, e);
    if (!err)
        err = add_commands(b, e);
    buf_printf(&b->manifest, "clusterctl: %s\n", PACKAGE_STRING);
    if (!err)
        err = archive_add(b->archive, "MANIFEST", &b->manifest, e);
    return err;
}

/* ---- the verb -----------------------------------------------------------------------------------------------------
 */

/* "ringmaster-support-n1-20261122T120000Z" */
static void name_bundle(struct bundle *b)
{
    time_t now = (time_t)(b->c->env->wall_ms(b->c->env->ctx) / 1000);
    struct tm tm;
    char when[32] = "";
    host_name(b->node, sizeof(b->node));
    if (gmtime_r(&now, &tm))
        strftime(when, sizeof(when), "%Y%m%dT%H%M%SZ", &tm);
    snprintf(b->name, sizeof(b->name), "ringmaster-support-%s-%s", b->node, when);
}

static int report_bundle(struct call *c, const char *path)
{
    struct json *data = json_object_new();
    json_set_str(data, "file", path);
    json_set_int(data, "bytes", file_size(path));
    json_free(c->answer);
    c->answer = proto_answer("support-bundle", c->id.s, NULL, data);
    return call_report(c);
}

static int write_bundle(struct call *c, const char *given, struct error *e)
{
    struct bundle b = {.c = c, .scrub = scrub_new()};
    struct buf name = {0};
    name_bundle(&b);
    buf_printf(&name, "%s%s", given ? given : b.name, given ? "" : archive_suffix());
    AUTO(freep) char *path = buf_steal_str(&name);
    int err = archive_begin(b.name, &b.archive, e);
    if (!err) {
        err = gather(&b, e);
        struct error ended = {0};
        if (archive_end(b.archive, err ? NULL : path, &ended) && !err) {
            err = ended.code;
            *e = ended;
        }
    }
    scrub_free(b.scrub);
    buf_done(&b.manifest);
    return err ? err : report_bundle(c, path);
}

static int run_bundle(struct call *c)
{
    struct error e = {0};
    if (!c->env->root[0] && !user_is_root()) {
        error_set(&e, ERR_PERMISSION, "the journal and the configuration can be read by root only");
        error_set_remedy(&e, "run it as root");
        return call_fail(c, &e);
    }
    c->timeout_ms = BUNDLE_ASK_MS;
    int err = write_bundle(c, c->i->set[OPT_FILE] ? c->i->value[OPT_FILE] : NULL, &e);
    return err < 0 ? call_fail(c, &e) : err;
}

static void render_bundle(struct page *p, const struct invocation *i, const struct json *data)
{
    (void)i;
    page_printf(p, "%s (%lld KiB)\n", json_get_str(data, "file", ""),
                (long long)(json_get_int(data, "bytes", 0) + 1023) / 1024);
    page_printf(p, "look through it before you hand it on: it has no keys, but names and addresses\n");
}

const struct verb bundle_verbs[] = {
    {
        .words = "support-bundle",
        .synopsis = "[--file PATH]",
        .brief = "pack what is needed to find out what happened on this node, without any secret",
        .more =
            "  --file PATH   where to: ends in .tar.zst or .tar.gz, and does not exist (the default is a new name\n"
            "                in the current folder)\n"
            "Status, events, jobs, settings, the journal of three days, versions and configuration of this node. The\n"
            "file has mode 0600. Works without an agent, too. For root only.\n",
        .options = OPT_BIT(OPT_FILE),
        .flags = VERB_READS,
        .render = render_bundle,
        .run = run_bundle,
    },
    {0},
};
