/* SPDX-License-Identifier: GPL-2.0-or-later */
/* clusterctl witness … */
#include "cli/call.h"
#include "cli/io/file.h"
#include "cli/noun.h"

/* ---- text -------------------------------------------------------------------------------------------------------- */

void page_witness_line(struct page *p, const struct json *w)
{
    const char *error = json_get_str(w, "error", ""), *trouble = json_get_str(w, "trouble", "");
    bool is_bad = json_is_bool(json_get(w, "reachable")) && !json_get_bool(w, "reachable", true);
    int64_t weight = json_get_int(w, "weight", 0);
    page_printf(p, "%s, %lld vote%s, sequence %lld", json_get_str(w, "place", ""), (long long)weight, plural(weight),
                (long long)json_get_int(w, "sequence", 0));
    if (json_get_bool(w, "changing", false))
        page_styled(p, STYLE_WARN, ", being changed");
    if (is_bad)
        page_styled(p, STYLE_BAD, ", not reachable: %s", error);
    else if (json_is_int(json_get(w, "age_seconds")))
        page_printf(p, ", answered %s ago", span_text(json_get_int(w, "age_seconds", 0)).s);
    if (!is_bad && trouble[0])
        page_styled(p, STYLE_WARN, "; %s", trouble);
}

static void page_keys(struct page *p, const struct json *w)
{
    int64_t keys = json_get_int(w, "keys", 0), key = json_get_int(w, "key", 0);
    if (keys > 0 && key > 0)
        page_field(p, "Auth", "%lld account key%s, the %s is accepted", (long long)keys, plural(keys),
                   key == 1 ? "first" : "second");
    else if (keys > 0)
        page_field(p, "Auth", "%lld account key%s", (long long)keys, plural(keys));
    else
        page_field_json(p, "Auth", json_get(w, "auth"));
}

static void page_tag(struct page *p, const struct json *w)
{
    const struct json *members = json_get(w, "members");
    AUTO(buf_done) struct buf names = {0};
    if (!json_is_int(json_get(w, "term")))
        return;
    for (size_t k = 0; k < json_count(members); k++)
        buf_printf(&names, "%s%s", k ? " " : "", json_str(json_at(members, k), "?"));
    buf_add(&names, "", 1);
    page_field(p, "Tag", "term %lld of %s, for: %s", (long long)json_get_int(w, "term", 0),
               json_get_str(w, "leader", "nobody yet"), names.p[0] ? (const char *)names.p : "nobody yet");
}

static void render_show(struct page *p, const struct invocation *i, const struct json *data)
{
    (void)i;
    const struct json *w = json_get(data, "witness");
    if (!json_is_object(w)) {
        page_printf(p, "the cluster has no witness\n");
        return;
    }
    page_styled(p, STYLE_BOLD, "%-10s ", "Witness");
    page_witness_line(p, w);
    page_printf(p, "\n");
    page_field_json(p, "UUID", json_get(w, "uuid"));
    page_field_json(p, "Endpoint", json_get(w, "endpoint"));
    page_field_json(p, "Proxy", json_get(w, "proxy"));
    page_field_json(p, "CA", json_get(w, "ca_file"));
    page_keys(p, w);
    page_tag(p, w);
    const char *remedy = json_get_str(w, "remedy", "");
    if (remedy[0])
        page_field(p, "Remedy", "%s", remedy);
}

static void render_set(struct page *p, const struct invocation *i, const struct json *data)
{
    (void)i;
    const struct json *w = json_get(data, "witness");
    page_printf(p, "witness %.8s: %s, sequence %lld\n", json_get_str(w, "uuid", ""), json_get_str(w, "place", ""),
                (long long)json_get_int(w, "sequence", 0));
    if (json_get_bool(w, "changing", false))
        page_printf(p, "the leader names it now; who votes: clusterctl quorum show\n");
}

static void render_test(struct page *p, const struct invocation *i, const struct json *data)
{
    (void)i;
    const char *node = json_get_str(data, "node", "this node");
    if (!str_eq(json_get_str(data, "outcome", ""), "done")) {
        page_printf(p, "%s: ", node);
        page_styled(p, STYLE_BAD, "%s", json_get_str(data, "cause", json_get_str(data, "outcome", "?")));
        page_printf(p, "\n");
        return;
    }
    page_printf(p, "%s: ", node);
    page_styled(p, STYLE_GOOD, "ok");
    page_printf(p, ", sequence %lld%s\n", (long long)json_get_int(data, "sequence", 0),
                json_get_int(data, "key", 0) == 2 ? ", by the second key: the first is no longer accepted" : "");
}

/* ---- set --------------------------------------------------------------------------------------------------------- */

static int read_secret(const struct invocation *i, enum opt o, struct buf *text, struct error *e)
{
    char *s = NULL;
    int err = i->set[o] ? file_read(i->value[o], true, &s, e) : 0;
    if (err && e->remedy[0])
        error_set_remedy(e, "renew the key that it holds, and keep the new one in a file of mode 0600");
    if (err || !s)
        return err;
    buf_printf(text, "%s\n", s);
    explicit_bzero(s, strlen(s));
    free(s);
    return 0;
}

static int one_way(const struct invocation *i, struct error *e)
{
    int ways = i->set[OPT_KEY_FILE] + i->set[OPT_SAS_FILE] + i->set[OPT_MANAGED_IDENTITY];
    bool is_stray = (i->set[OPT_KEY2_FILE] && !i->set[OPT_KEY_FILE]) ||
                    (i->set[OPT_CLIENT_ID] && !i->set[OPT_MANAGED_IDENTITY]);
    if (ways == 1 && !is_stray)
        return 0;
    error_set(e, ERR_USAGE, is_stray ? "--key2-file goes with --key-file, --client-id with --managed-identity"
                                     : "name one of --key-file, --sas-file and --managed-identity");
    error_set_remedy(e, "clusterctl witness set azure --help");
    return ERR_USAGE;
}

/* A line each, as the agent takes them. */
static int read_credentials(const struct invocation *i, struct buf *text, struct error *e)
{
    int err = one_way(i, e);
    if (!err)
        err = read_secret(i, OPT_KEY_FILE, text, e);
    if (!err)
        err = read_secret(i, OPT_KEY2_FILE, text, e);
    if (!err)
        err = read_secret(i, OPT_SAS_FILE, text, e);
    if (!err && i->set[OPT_MANAGED_IDENTITY])
        buf_printf(text, "identity %s\n", i->set[OPT_CLIENT_ID] ? i->value[OPT_CLIENT_ID] : "");
    return err;
}

static int build_azure(const struct invocation *i, const char *credentials, struct json *args, struct error *e)
{
    if (!i->set[OPT_ACCOUNT])
        return error_set(e, ERR_USAGE, "witness set azure needs --account");
    json_set_str(args, "kind", "azure");
    json_set_str(args, "container", "ringmaster-witness");
    set_option_str(i, OPT_ACCOUNT, "account", args);
    set_option_str(i, OPT_CONTAINER, "container", args);
    set_option_str(i, OPT_ENDPOINT, "endpoint", args);
    set_option_str(i, OPT_PROXY, "proxy", args);
    set_option_str(i, OPT_METADATA, "metadata", args);
    set_option_str(i, OPT_CA_FILE, "ca_file", args);
    json_set_str(args, "credentials", credentials);
    return 0;
}

static int run_azure(struct call *c)
{
    struct error e = {0};
    struct buf text = {0};
    struct json *args = NULL;
    int err = read_credentials(c->i, &text, &e);
    buf_add(&text, "", 1);
    if (!err)
        err = invocation_build(c->i, (const char *)text.p, &args, &e);
    explicit_bzero(text.p, text.len);
    buf_done(&text);
    if (!err)
        err = call_ask(c, c->i->verb->wire, args, &e);
    return err ? call_fail(c, &e) : call_report(c);
}

static int build_file(const struct invocation *i, const char *file, struct json *args, struct error *e)
{
    (void)file;
    if (!i->set[OPT_PATH])
        return error_set(e, ERR_USAGE, "witness set file needs --path");
    json_set_str(args, "kind", "file");
    set_option_str(i, OPT_PATH, "path", args);
    return 0;
}

static bool question_remove(const struct invocation *i, struct buf *ret)
{
    (void)i;
    buf_add_str(ret, "Take the witness's vote away? Of an even number of nodes, half can then do nothing alone.");
    return true;
}

#define REMOVE_MORE "The record stays where it is; the cluster forgets its place and its credentials.\n"

const struct verb witness_verbs[] = {
    {
        .words = "witness show",
        .wire = "witness.show",
        .synopsis = "",
        .brief = "where the witness is, its sequence number, whether it answers",
        .flags = VERB_READS,
        .render = render_show,
    },
    {
        .words = "witness set azure",
        .wire = "witness.set",
        .synopsis = "--account NAME (--key-file FILE [--key2-file FILE] | --sas-file FILE | --managed-identity "
                    "[--client-id ID]) [--container NAME] [--endpoint URL] [--proxy URL] [--ca-file FILE] "
                    "[--metadata URL]",
        .brief = "a blob in an Azure storage account is the witness",
        .more = "  --account NAME        the storage account\n"
                "  --container NAME      is made if it is not there; default: ringmaster-witness\n"
                "  --key-file FILE       an account key; a file that only its owner may open (mode 0600)\n"
                "  --key2-file FILE      the other one: it keeps the vote while the first is renewed\n"
                "  --sas-file FILE       a SAS with read, create and write, instead of a key\n"
                "  --managed-identity    the identity of the virtual machine, instead of a key\n"
                "  --client-id ID        which one, if there are several\n"
                "  --endpoint URL        of another cloud, or of an emulator with its account\n"
                "  --proxy URL           the way there; none of the environment is used\n"
                "  --ca-file FILE        on every node: whose certificates are trusted instead of the system's\n"
                "  --metadata URL        where identities are asked for, if not at http://169.254.169.254\n"
                "The same account and container again: other keys for the same witness, which keeps its vote.\n",
        .options = OPT_BIT(OPT_ACCOUNT) | OPT_BIT(OPT_CONTAINER) | OPT_BIT(OPT_KEY_FILE) | OPT_BIT(OPT_KEY2_FILE) |
                   OPT_BIT(OPT_SAS_FILE) | OPT_BIT(OPT_MANAGED_IDENTITY) | OPT_BIT(OPT_CLIENT_ID) |
                   OPT_BIT(OPT_ENDPOINT) | OPT_BIT(OPT_PROXY) | OPT_BIT(OPT_CA_FILE) | OPT_BIT(OPT_METADATA),
        .flags = VERB_SECRET,
        .build = build_azure,
        .render = render_set,
        .run = run_azure,
    },
    {
        .words = "witness set file",
        .wire = "witness.set",
        .synopsis = "--path FOLDER",
        .brief = "a folder on a share (NFS, SMB) is the witness",
        .more = "  --path FOLDER   mounted on every node, below /srv, /mnt or /media, from a third machine\n",
        .options = OPT_BIT(OPT_PATH),
        .build = build_file,
        .render = render_set,
    },
    {
        .words = "witness set none",
        .wire = "witness.remove",
        .synopsis = "",
        .brief = "no witness: the nodes alone decide",
        .more = REMOVE_MORE,
        .question = question_remove,
        .render = render_done,
    },
    {
        .words = "witness remove",
        .wire = "witness.remove",
        .synopsis = "",
        .brief = "the same as set none",
        .more = REMOVE_MORE,
        .question = question_remove,
        .render = render_done,
    },
    {
        .words = "witness test",
        .wire = "witness.test",
        .synopsis = "",
        .brief = "ask the witness from this node, and name what is in the way",
        .more = "Reads the record once. Exits with 0; 75, 124: it is not reached; 113: it refuses, or is not there.\n",
        .flags = VERB_READS,
        .render = render_test,
    },
    {0},
};
