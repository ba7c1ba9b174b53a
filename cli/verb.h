/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The verb table and the way from argv to a request: pure, but for getopt_long's own state.
 *
 * Each noun's file holds the rows of its verbs: what they take, their help, how a request is made of them (`build`) and
 * how an answer becomes text (`render`). What does not fit into a row has a `run` of its own. */
#pragma once

#include "cli/print.h"

enum opt {
    OPT_NONE,
    /* Everywhere. */
    OPT_OUTPUT,
    OPT_WAIT,
    OPT_FOLLOW,
    OPT_DRY_RUN,
    OPT_YES,
    OPT_HELP,
    OPT_VERSION,
    /* Where the verb takes them. */
    OPT_ACCOUNT,
    OPT_ADDRESS,
    OPT_AFFINITY,
    OPT_APPROVE_EACH,
    OPT_ARGUMENT,
    OPT_CA_FILE,
    OPT_CALENDAR,
    OPT_CLEAR,
    OPT_CLIENT_ID,
    OPT_COMMAND,
    OPT_CONSISTENCY,
    OPT_CONTAINER,
    OPT_ENDPOINT,
    OPT_ENGINE,
    OPT_FAILBACK,
    OPT_FILE,
    OPT_FORCE,
    OPT_GROUP,
    OPT_HARD,
    OPT_HOME,
    OPT_IGNORE,
    OPT_KEEP,
    OPT_KEEP_SLOT,
    OPT_KEY_FILE,
    OPT_KEY2_FILE,
    OPT_LIMIT,
    OPT_MANAGED_IDENTITY,
    OPT_MAX_UNAVAILABLE,
    OPT_METADATA,
    OPT_NAME,
    OPT_NODE,
    OPT_ORDER,
    OPT_OUTDATED,
    OPT_PATH,
    OPT_POLICY,
    OPT_POSTCOPY,
    OPT_PREFERRED,
    OPT_PRIORITY,
    OPT_PROXY,
    OPT_REPOSITORY,
    OPT_SAS_FILE,
    OPT_SINCE,
    OPT_SITE,
    OPT_TARGET,
    OPT_TIMEOUT,
    OPT_TO,
    OPT_TOKEN_FILE,
    OPT_VALID,
    OPT_VOTE,
    OPT_WATCH,
    OPT_XML,
    OPT_COUNT,
};
#define OPT_BIT(o) (UINT64_C(1) << (o))
_Static_assert(OPT_COUNT <= 64, "a bit for each");

enum { ARGS_MAX = 3, REPEATED_MAX = 32 };

struct verb;
struct call;

struct invocation {
    const struct verb *verb; /* NULL: help, version or an error */
    const char *noun;        /* as far as it was understood; "" */
    bool set[OPT_COUNT];
    const char *value[OPT_COUNT]; /* borrowed from argv */
    const char *args[ARGS_MAX];
    size_t n_args;
    const char *arguments[REPEATED_MAX]; /* of --argument, which may be given again and again */
    size_t n_arguments;
    bool json;
    bool metrics;    /* --output openmetrics */
    bool wait;       /* --wait or --follow */
    int64_t wait_ms; /* how long at most; -1: no limit */
};

/* What --wait waits for. */
enum goal_kind {
    GOAL_NONE,
    GOAL_JOB,     /* the job that the answer names */
    GOAL_JOB_END, /* the same, and it is well whichever way it ended */
    GOAL_RUN,     /* the upgrade: until it awaits the raise or needs somebody */
    GOAL_RUN_END, /* the upgrade's abort: until it is over */
    GOAL_MEMBER,  /* this node is a voting member */
    GOAL_QUORUM,  /* this node sees a quorum and a leader */
};

enum {
    VERB_READS = 1,  /* changes nothing: --dry-run is what it does anyway */
    VERB_DRY = 2,    /* --dry-run is passed on, or has its own way */
    VERB_SECRET = 4, /* a secret passes through: no core dump */
    VERB_LONG = 8,   /* the agent may take minutes to answer */
    VERB_METRICS = 16, /* --output openmetrics */
};

#define VERB_ARGS(n) .args_min = (n), .args_max = (n)

struct verb {
    const char *words;    /* "cluster config set" */
    const char *wire;     /* the protocol's name; NULL: several requests, see run */
    const char *synopsis; /* of arguments and own options */
    const char *brief;    /* one line of help */
    const char *more;     /* lines of help, each with a newline; may be NULL */
    size_t args_min, args_max; /* the same: VERB_ARGS(n) */
    uint64_t options; /* OPT_BIT() of its own ones */
    unsigned flags;
    enum opt file; /* the option that names the file whose text build gets; OPT_NONE */
    enum goal_kind goal;
    /* Fills args; file: the text, or NULL. 0 or ERR_USAGE. NULL: no arguments. */
    int (*build)(const struct invocation *i, const char *file, struct json *args, struct error *e);
    /* The question that a destructive verb asks; false: this invocation is harmless. NULL: never asks. */
    bool (*question)(const struct invocation *i, struct buf *ret);
    /* Text of an answer's data, which may be empty, or miss what an error kept the agent from saying. */
    void (*render)(struct page *p, const struct invocation *i, const struct json *data);
    /* The exit code of a good answer; NULL: 0. */
    int (*code)(const struct json *data);
    /* Instead of asking once; gives the exit code. */
    int (*run)(struct call *c);
};

/* One table a noun, in the order of the help; each ends with words == NULL. */
extern const struct verb status_verbs[], check_verbs[], events_verbs[], bundle_verbs[], version_verbs[];
extern const struct verb cluster_verbs[], node_verbs[], vm_verbs[], level_verbs[], upgrade_verbs[], job_verbs[];
extern const struct verb quorum_verbs[], witness_verbs[], task_verbs[];
extern const struct verb repository_verbs[], backup_verbs[], reference_verbs[];

/* argv[0] is the program. *ret is filled as far as argv was understood, also when it is refused: an error is answered
 * in the format that was asked for. 0 or ERR_USAGE. */
int invocation_parse(int argc, char *const *argv, struct invocation *ret, struct error *e);
/* The request's arguments; the caller frees. */
int invocation_build(const struct invocation *i, const char *file, struct json **ret_args, struct error *e);
/* A number from an option; `otherwise` when it is not set. */
int invocation_int(const struct invocation *i, enum opt o, int64_t min, int64_t max, int64_t otherwise, int64_t *ret,
                   struct error *e);
const char *option_name(enum opt o);
const struct verb *verb_find(const char *words); /* NULL: no such verb */
const struct verb *verb_next(const struct verb *v); /* all of them, in the order of the help: NULL begins and ends */
const char *noun_find(const char *word);         /* "": no such noun */
bool noun_has_verbs(const char *noun);           /* false: it is a verb itself, like `status` */

/* The help of the program, of a noun or of a verb. */
void help_print(struct page *p, const struct invocation *i);
