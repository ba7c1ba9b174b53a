/* SPDX-License-Identifier: GPL-2.0-or-later */
/* argv -> struct invocation -> arguments of a request. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>

#include "cli/verb.h"

enum { WORDS_MAX = 8, WAIT_SECONDS_MAX = 30 * 24 * 3600 };

static const struct option long_options[] = {
    {"output", required_argument, NULL, 0},
    {"wait", optional_argument, NULL, 0},
    {"follow", no_argument, NULL, 0},
    {"dry-run", no_argument, NULL, 0},
    {"yes", no_argument, NULL, 0},
    {"help", no_argument, NULL, 0},
    {"version", no_argument, NULL, 0},
    {"account", required_argument, NULL, 0},
    {"address", required_argument, NULL, 0},
    {"affinity", required_argument, NULL, 0},
    {"approve-each", no_argument, NULL, 0},
    {"argument", required_argument, NULL, 0},
    {"ca-file", required_argument, NULL, 0},
    {"calendar", required_argument, NULL, 0},
    {"clear", no_argument, NULL, 0},
    {"client-id", required_argument, NULL, 0},
    {"command", required_argument, NULL, 0},
    {"consistency", required_argument, NULL, 0},
    {"container", required_argument, NULL, 0},
    {"endpoint", required_argument, NULL, 0},
    {"engine", required_argument, NULL, 0},
    {"failback", no_argument, NULL, 0},
    {"file", required_argument, NULL, 0},
    {"force", no_argument, NULL, 0},
    {"group", required_argument, NULL, 0},
    {"hard", no_argument, NULL, 0},
    {"home", required_argument, NULL, 0},
    {"ignore", required_argument, NULL, 0},
    {"keep", required_argument, NULL, 0},
    {"keep-slot", no_argument, NULL, 0},
    {"key-file", required_argument, NULL, 0},
    {"key2-file", required_argument, NULL, 0},
    {"limit", required_argument, NULL, 0},
    {"managed-identity", no_argument, NULL, 0},
    {"max-unavailable", required_argument, NULL, 0},
    {"metadata", required_argument, NULL, 0},
    {"name", required_argument, NULL, 0},
    {"node", required_argument, NULL, 0},
    {"order", required_argument, NULL, 0},
    {"outdated", no_argument, NULL, 0},
    {"path", required_argument, NULL, 0},
    {"policy", required_argument, NULL, 0},
    {"postcopy", required_argument, NULL, 0},
    {"preferred", required_argument, NULL, 0},
    {"priority", required_argument, NULL, 0},
    {"proxy", required_argument, NULL, 0},
    {"repository", required_argument, NULL, 0},
    {"sas-file", required_argument, NULL, 0},
    {"since", required_argument, NULL, 0},
    {"site", required_argument, NULL, 0},
    {"target", required_argument, NULL, 0},
    {"timeout", required_argument, NULL, 0},
    {"to", required_argument, NULL, 0},
    {"token-file", required_argument, NULL, 0},
    {"valid", required_argument, NULL, 0},
    {"vote", required_argument, NULL, 0},
    {"watch", no_argument, NULL, 0},
    {"xml", required_argument, NULL, 0},
    {NULL, 0, NULL, 0},
};
_Static_assert(sizeof(long_options) / sizeof(long_options[0]) == OPT_COUNT, "a row for every enum opt but the first");

const char *option_name(enum opt o)
{
    return long_options[o - 1].name;
}

struct parse {
    struct invocation *i;
    const char *words[WORDS_MAX];
    size_t n_words;
    struct error first; /* the first thing that is wrong: the rest is read all the same */
};

#define WRONG(p, ...)                                                                                                  \
    do {                                                                                                               \
        if (!(p)->first.code)                                                                                          \
            error_set(&(p)->first, ERR_USAGE, __VA_ARGS__);                                                            \
    } while (0)

static void take_argument(struct parse *p, const char *value)
{
    p->i->set[OPT_ARGUMENT] = true;
    if (p->i->n_arguments < REPEATED_MAX)
        p->i->arguments[p->i->n_arguments++] = value;
    else
        WRONG(p, "--argument is given more than %d times", REPEATED_MAX);
}

static void take_option(struct parse *p, enum opt o, const char *value)
{
    if (o == OPT_ARGUMENT) {
        take_argument(p, value);
        return;
    }
    if (p->i->set[o] && value && p->i->value[o] && !str_eq(value, p->i->value[o]))
        WRONG(p, "--%s is given twice", option_name(o));
    p->i->set[o] = true;
    p->i->value[o] = value;
}

static void take_word(struct parse *p, const char *word)
{
    if (p->n_words < WORDS_MAX)
        p->words[p->n_words++] = word;
    else
        WRONG(p, "too many arguments: %s", word);
}

/* The argument that getopt_long has just looked at. */
static const char *bad_argument(int argc, char *const *argv)
{
    return optind >= 1 && optind <= argc ? argv[optind - 1] : "";
}

static void read_arguments(struct parse *p, int argc, char *const *argv)
{
    int index = 0, c;
    optind = 0; /* glibc: start anew, also the state that getopt keeps inside */
    opterr = 0;
    while ((c = getopt_long(argc, argv, "-:ho:y", long_options, &index)) != -1) {
        switch (c) {
        case 0: take_option(p, (enum opt)(index + 1), optarg); break;
        case 1: take_word(p, optarg); break;
        case 'h': take_option(p, OPT_HELP, NULL); break;
        case 'o': take_option(p, OPT_OUTPUT, optarg); break;
        case 'y': take_option(p, OPT_YES, NULL); break;
        case ':': WRONG(p, "%s needs a value", bad_argument(argc, argv)); break;
        default: WRONG(p, "unknown option %s", bad_argument(argc, argv)); break;
        }
    }
    while (optind < argc) /* after "--" */
        take_word(p, argv[optind++]);
}

static int parse_int(const char *text, int64_t min, int64_t max, int64_t *ret)
{
    char *end;
    errno = 0;
    long long v = strtoll(text, &end, 10);
    if (errno || end == text || *end != '\0' || text[0] == ' ' || text[0] == '+' || v < min || v > max)
        return ERR_USAGE;
    *ret = v;
    return 0;
}

int invocation_int(const struct invocation *i, enum opt o, int64_t min, int64_t max, int64_t otherwise, int64_t *ret,
                   struct error *e)
{
    if (!i->set[o]) {
        *ret = otherwise;
        return 0;
    }
    if (parse_int(i->value[o], min, max, ret))
        return error_set(e, ERR_USAGE, "--%s takes a number from %lld to %lld, not \"%s\"", option_name(o),
                         (long long)min, (long long)max, i->value[o]);
    return 0;
}

static void take_output(struct parse *p)
{
    const char *output = p->i->value[OPT_OUTPUT];
    if (!output || str_eq(output, "text"))
        return;
    p->i->json = str_eq(output, "json");
    p->i->metrics = str_eq(output, "openmetrics");
    if (!p->i->json && !p->i->metrics)
        WRONG(p, "--output is text or json, of status also openmetrics, not \"%s\"", output);
}

static void take_wait(struct parse *p)
{
    struct invocation *i = p->i;
    int64_t seconds;
    i->wait = i->set[OPT_WAIT] || i->set[OPT_FOLLOW];
    i->wait_ms = -1;
    if (!i->set[OPT_WAIT] || !i->value[OPT_WAIT])
        return;
    if (parse_int(i->value[OPT_WAIT], 0, WAIT_SECONDS_MAX, &seconds))
        WRONG(p, "--wait takes seconds, up to %d, not \"%s\"", WAIT_SECONDS_MAX, i->value[OPT_WAIT]);
    else
        i->wait_ms = seconds * 1000;
}

/* ---- which verb -------------------------------------------------------------------------------------------------- */

/* The verb that the most words name; *ret_used: how many. */
static const struct verb *longest_verb(const struct parse *p, size_t *ret_used)
{
    const struct verb *found = NULL;
    char words[128] = "";
    size_t len = 0;
    for (size_t n = 0; n < p->n_words && n < ARGS_MAX; n++) {
        len += (size_t)snprintf(words + len, sizeof(words) - len, "%s%s", n ? " " : "", p->words[n]);
        if (len >= sizeof(words))
            break;
        const struct verb *v = verb_find(words);
        if (v) {
            found = v;
            *ret_used = n + 1;
        }
    }
    return found;
}

static void take_args(struct parse *p, size_t used)
{
    struct invocation *i = p->i;
    const struct verb *v = i->verb;
    size_t n = p->n_words - used;
    if (n > v->args_max) {
        if (used == 1 && noun_has_verbs(i->noun))
            WRONG(p, "%s has no verb %s", i->noun, p->words[used]);
        else
            WRONG(p, "%s takes no more arguments: %s", v->words, p->words[used + v->args_max]);
        n = v->args_max;
    }
    if (n < v->args_min && !i->set[OPT_HELP])
        WRONG(p, "%s needs more: clusterctl %s %s", v->words, v->words, v->synopsis);
    for (size_t k = 0; k < n; k++) {
        i->args[k] = p->words[used + k];
        if (k == 0 && i->args[k][0] == '\0')
            WRONG(p, "the argument of %s is empty", v->words);
    }
    i->n_args = n;
}

static void check_options(struct parse *p)
{
    const struct invocation *i = p->i;
    for (enum opt o = OPT_ACCOUNT; o < OPT_COUNT; o++)
        if (i->set[o] && !(i->verb->options & OPT_BIT(o)))
            WRONG(p, "%s takes no --%s", i->verb->words, option_name(o));
    if (i->metrics && !(i->verb->flags & VERB_METRICS))
        WRONG(p, "%s has no metrics: --output is text or json", i->verb->words);
    if (i->metrics && i->set[OPT_WATCH])
        WRONG(p, "metrics are a picture of one moment: without --watch");
    if (i->set[OPT_DRY_RUN] && !(i->verb->flags & (VERB_READS | VERB_DRY)))
        WRONG(p, "%s has no dry run", i->verb->words);
}

static void resolve(struct parse *p)
{
    struct invocation *i = p->i;
    size_t used = 0;
    if (p->n_words == 0) {
        if (!i->set[OPT_HELP] && !i->set[OPT_VERSION])
            WRONG(p, "what shall be done?");
        return;
    }
    i->noun = noun_find(p->words[0]);
    if (!i->noun[0]) {
        WRONG(p, "there is no %s", p->words[0]);
        return;
    }
    i->verb = longest_verb(p, &used);
    if (i->verb) {
        take_args(p, used);
        check_options(p);
    } else if (p->n_words == 1 && !i->set[OPT_HELP]) {
        WRONG(p, "%s needs a verb", i->noun);
    } else if (p->n_words > 1) {
        WRONG(p, "%s has no verb %s", i->noun, p->words[1]);
    }
}

int invocation_parse(int argc, char *const *argv, struct invocation *ret, struct error *e)
{
    *ret = (struct invocation){.noun = ""};
    struct parse p = {.i = ret};
    read_arguments(&p, argc, argv);
    take_output(&p);
    take_wait(&p);
    resolve(&p);
    if (!p.first.code)
        return 0;
    const char *words = ret->verb ? ret->verb->words : ret->noun;
    error_set_remedy(&p.first, "clusterctl %s%s--help", words, words[0] ? " " : "");
    *e = p.first;
    return ERR_USAGE;
}

int invocation_build(const struct invocation *i, const char *file, struct json **ret_args, struct error *e)
{
    struct json *args = json_object_new();
    int err = i->verb->build ? i->verb->build(i, file, args, e) : 0;
    if (err) {
        json_free(args);
        if (!e->remedy[0])
            error_set_remedy(e, "clusterctl %s --help", i->verb->words);
        return err;
    }
    *ret_args = args;
    return 0;
}
