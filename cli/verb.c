/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The table of all verbs, and the help that is made of it. */
#include "cli/verb.h"

#include <stdio.h>

static const struct {
    const char *name, *brief;
    const struct verb *verbs;
} nouns[] = {
    {"status", NULL, status_verbs},
    {"check", NULL, check_verbs},
    {"events", NULL, events_verbs},
    {"support-bundle", NULL, bundle_verbs},
    {"version", NULL, version_verbs},
    {"cluster", "the cluster: form it, let nodes join, settings", cluster_verbs},
    {"node", "nodes: drain, resume, evict, join", node_verbs},
    {"vm", "virtual machines", vm_verbs},
    {"quorum", "votes: who has one, and what may still fail", quorum_verbs},
    {"witness", "the cluster's witness: the vote outside of it", witness_verbs},
    {"level", "functional level", level_verbs},
    {"upgrade", "replace the operating system of every node, one after the other", upgrade_verbs},
    {"task", "programs that run on one node, by a calendar or by hand", task_verbs},
    {"repository", "where backups are kept", repository_verbs},
    {"backup", "backups of virtual machines", backup_verbs},
    {"reference", "reference points: from when on changes of a virtual machine are known", reference_verbs},
    {"job", "long operations", job_verbs},
};
enum { N_NOUNS = sizeof(nouns) / sizeof(nouns[0]), HELP_COLUMN = 26 };

#define FOREACH_VERB(v, noun) for (const struct verb *v = nouns[noun].verbs; v->words; v++)

const struct verb *verb_find(const char *words)
{
    for (size_t n = 0; n < N_NOUNS; n++)
        FOREACH_VERB(v, n)
    if (str_eq(v->words, words))
        return v;
    return NULL;
}

const struct verb *verb_next(const struct verb *v)
{
    if (v && v[1].words)
        return v + 1;
    size_t n = 0;
    for (; v && n < N_NOUNS; n++) {
        FOREACH_VERB(w, n)
        if (w == v)
            v = NULL;
    }
    return n < N_NOUNS ? nouns[n].verbs : NULL;
}

const char *noun_find(const char *word)
{
    for (size_t n = 0; n < N_NOUNS; n++)
        if (str_eq(nouns[n].name, word))
            return nouns[n].name;
    return "";
}

bool noun_has_verbs(const char *noun)
{
    for (size_t n = 0; n < N_NOUNS; n++)
        if (str_eq(nouns[n].name, noun))
            return nouns[n].brief != NULL;
    return false;
}

/* ---- help -------------------------------------------------------------------------------------------------------- */

static void help_verb_line(struct page *p, const struct verb *v)
{
    char usage[320];
    int len = snprintf(usage, sizeof(usage), "%s%s%s", v->words, v->synopsis[0] ? " " : "", v->synopsis);
    if (len < HELP_COLUMN)
        page_printf(p, "  %-*s %s\n", HELP_COLUMN, usage, v->brief);
    else
        page_printf(p, "  %s\n  %-*s %s\n", usage, HELP_COLUMN, "", v->brief);
}

static void help_options(struct page *p)
{
    page_heading(p, "Options of every verb");
    page_printf(p, "%s",
                "  -o, --output text|json   what to print (json: a contract for scripts)\n"
                "      --wait[=SECONDS]     wait for the end; exit with 124 when the time is over, the job goes on\n"
                "      --follow             wait, and show the progress; Ctrl-C detaches, the job goes on\n"
                "      --dry-run            say what would be done, change nothing (where a verb has it)\n"
                "  -y, --yes                answer what a destructive verb asks, and accept warnings\n"
                "  -h, --help               this, also after a noun or a verb\n"
                "      --version            the version\n");
}

static void help_program(struct page *p)
{
    page_printf(p, "usage: clusterctl NOUN VERB [ARGUMENT...] [OPTION...]\n");
    for (size_t n = 0; n < N_NOUNS; n++) {
        if (nouns[n].brief)
            page_heading(p, nouns[n].brief);
        else if (n == 0)
            page_heading(p, "at a glance");
        FOREACH_VERB(v, n)
        help_verb_line(p, v);
    }
    help_options(p);
    page_printf(p, "\nExit codes: 0 done, 1 failed, 64 usage, 69 no agent, 75 try again, 77 not permitted, 105 no such"
                   " object,\n106 no quorum, 107 needs --force, 113 a condition is not met, 124 timed out. See"
                   " clusterctl(8).\n");
}

static void help_noun(struct page *p, const char *noun)
{
    page_printf(p, "usage: clusterctl %s VERB [ARGUMENT...] [OPTION...]\n", noun);
    for (size_t n = 0; n < N_NOUNS; n++) {
        if (!str_eq(nouns[n].name, noun))
            continue;
        page_heading(p, nouns[n].brief);
        FOREACH_VERB(v, n)
        help_verb_line(p, v);
    }
    help_options(p);
}

static void help_verb(struct page *p, const struct verb *v)
{
    page_printf(p, "usage: clusterctl %s%s%s [OPTION...]\n\n%s.\n", v->words, v->synopsis[0] ? " " : "", v->synopsis,
                v->brief);
    if (v->more)
        page_printf(p, "\n%s", v->more);
    help_options(p);
}

void help_print(struct page *p, const struct invocation *i)
{
    bool is_noun = i->noun[0] && noun_has_verbs(i->noun);
    if (i->verb && !(is_noun && str_eq(i->verb->words, i->noun)))
        help_verb(p, i->verb);
    else if (is_noun)
        help_noun(p, i->noun);
    else
        help_program(p);
}
