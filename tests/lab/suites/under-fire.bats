#!/usr/bin/env bats
# An upgrade under fire; RINGMASTER_TEST_LONG=1: three in a row, with more shots. ../under-fire says what is proved.
# A failure prints its seed and its shots: `tests/lab/under-fire --shots "…"` repeats it.

@test "an upgrade goes through while the leading agent is SIGKILLed and a node is power-cycled" {
    if [[ -n ${RINGMASTER_TEST_LONG:-} ]]; then
        "$BATS_TEST_DIRNAME/../under-fire" --upgrades 3 --kills 3 --cycles 2 >&3 2>&1
    else
        # The same shots every time: a run that differs from the last one shall do so for what changed.
        "$BATS_TEST_DIRNAME/../under-fire" --seed 7 >&3 2>&1
    fi
}

@test "an upgrade with any fault is done, goes on as its remedy says, or is rolled back" {
    if [[ -n ${RINGMASTER_TEST_LONG:-} ]]; then
        "$BATS_TEST_DIRNAME/../under-fire" --any-fault --upgrades 7 >&3 2>&1
    else
        # The executor fails until the run stops, and the run goes back.
        "$BATS_TEST_DIRNAME/../under-fire" --any-fault --shots "image:n1 0 2" --then rollback >&3 2>&1
    fi
}
