/* SPDX-License-Identifier: GPL-2.0-or-later */
/* placement CASES SEED: for each of so many random cases a line "RATIO MOVES BEST_MOVES": the highest memory share of
 * any node by vm/plan.c over that by exhaustive search, and the moves of both. A case in which the plan leaves a VM
 * without a place, or breaks a group or a preference, that the search does not, has the ratio inf. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/buf.h"
#include "tests/unit/plan_reference.h"

static double ratio(const struct reference_score *own, const struct reference_score *best)
{
    bool same_rules = own->without_high == best->without_high && own->without == best->without &&
                      own->conflicts == best->conflicts && own->not_preferred == best->not_preferred;
    if (!same_rules)
        return INFINITY;
    return best->share > 0 ? own->share / best->share : 1;
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        fprintf(stderr, "usage: placement CASES SEED\n");
        return 64;
    }
    uint64_t cases = strtoull(argv[1], NULL, 10), seed = strtoull(argv[2], NULL, 10);
    for (uint64_t i = 0; i < cases; i++) {
        struct reference_case c;
        struct reference_score own = {0};
        size_t at[REFERENCE_VMS_MAX] = {0};
        reference_case_make(&c, seed + i);
        plan_solve(&c.p, at);
        if (!reference_judge(&c.p, at, &own)) {
            fprintf(stderr, "case %" PRIu64 ": the plan exceeds a bound\n", seed + i);
            return 1;
        }
        struct reference_score best = reference_solve(&c.p);
        printf("%.6f %zu %zu\n", ratio(&own, &best), own.moves, best.moves);
    }
    return 0;
}
