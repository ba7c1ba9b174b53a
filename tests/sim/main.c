/* SPDX-License-Identifier: GPL-2.0-or-later */
/* ringmaster-sim --db|--core [--seed S | --seeds A..B] [--verbose] [--only-results]
 * ringmaster-sim --upgrade-matrix [--seed N | --seeds A..B] [--every N] [--verbose]
 * ringmaster-sim --scenario DIR [--print-log | --verbose]
 * --db: databases alone; --core: whole agents. --upgrade-matrix: every failure at every step of an
 * upgrade, a number each; --every: one of so many. --print-log prints what a reader then puts into DIR/expect.log.
 * Exit: 0 no violation, 1 violation, 64 usage. A seed that fails, also by an assertion, is named with the command that
 * replays it. */
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "common/buf.h"
#include "common/err.h"
#include "tests/sim/scenario.h"
#include "tests/sim/sim.h"

/* The only global: a signal handler has no other way to know. */
static char replay_line[96];

static void on_abort(int sig)
{
    if (write(STDERR_FILENO, replay_line, strlen(replay_line)) < 0)
        _exit(2);
    signal(sig, SIG_DFL);
    raise(sig);
}

static int usage(void)
{
    fprintf(stderr, "usage: ringmaster-sim --db|--core [--seed S | --seeds A..B] [--verbose] [--only-results]\n"
                    "       ringmaster-sim --upgrade-matrix [--seed N | --seeds A..B] [--every N] [--verbose]\n"
                    "       ringmaster-sim --scenario DIR [--print-log | --verbose]\n");
    return -ERR_USAGE;
}

static bool run_one(const char *mode, uint64_t seed, const struct sim_options *options)
{
    return str_eq(mode, "db")     ? dbsim_run(seed, options)
           : str_eq(mode, "core") ? coresim_run(seed, options)
                                  : matrix_run(seed, options);
}

static int run(const char *mode, uint64_t first, uint64_t last, uint64_t every, const struct sim_options *options)
{
    uint64_t failed = 0;
    for (uint64_t seed = first; seed <= last; seed += every) {
        snprintf(replay_line, sizeof(replay_line), "replay: ringmaster-sim --%s --seed %lu --verbose\n", mode,
                 (unsigned long)seed);
        if (run_one(mode, seed, options))
            continue;
        failed++;
        printf("%s", replay_line);
        if (failed == 10)
            break;
    }
    printf("%s: seeds %lu..%lu, %lu failed\n", mode, (unsigned long)first, (unsigned long)last, (unsigned long)failed);
    return failed == 0 ? 0 : 1;
}

static bool parse_range(const char *s, uint64_t *ret_first, uint64_t *ret_last)
{
    unsigned long first, last;
    char end;
    int n = sscanf(s, "%lu..%lu%c", &first, &last, &end);
    if (n != 2 || last < first)
        return false;
    *ret_first = first;
    *ret_last = last;
    return true;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        {"db", no_argument, NULL, 'd'},         {"core", no_argument, NULL, 'c'},
        {"seed", required_argument, NULL, 's'}, {"seeds", required_argument, NULL, 'r'},
        {"verbose", no_argument, NULL, 'v'},    {"only-results", no_argument, NULL, 'o'},
        {"scenario", required_argument, NULL, 'S'}, {"print-log", no_argument, NULL, 'p'},
        {"upgrade-matrix", no_argument, NULL, 'm'}, {"every", required_argument, NULL, 'e'},
        {0},
    };
    struct sim_options sim = {0};
    const char *mode = NULL, *scenario = NULL;
    bool print_log = false;
    uint64_t first = 1, last = 100, every = 1;
    for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        switch (c) {
        case 'd': mode = "db"; break;
        case 'c': mode = "core"; break;
        case 's': first = last = strtoull(optarg, NULL, 0); break;
        case 'r':
            if (!parse_range(optarg, &first, &last))
                return usage();
            break;
        case 'm':
            mode = "upgrade-matrix";
            first = 0;
            last = matrix_count() - 1;
            break;
        case 'e': every = strtoull(optarg, NULL, 0); break;
        case 'S': scenario = optarg; break;
        case 'p': print_log = true; break;
        case 'v': sim.is_verbose = true; break;
        case 'o': sim.only_results = true; break;
        default: return usage();
        }
    }
    if ((mode == NULL) == (scenario == NULL) || optind != argc || every == 0)
        return usage();
    setvbuf(stdout, NULL, _IOLBF, 0);
    signal(SIGABRT, on_abort);
    if (scenario != NULL) {
        snprintf(replay_line, sizeof(replay_line), "replay: ringmaster-sim --scenario %.60s\n", scenario);
        return scenario_run(scenario, print_log, sim.is_verbose);
    }
    return run(mode, first, last, every, &sim);
}
