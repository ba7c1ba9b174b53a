#!/usr/bin/env bats
# Cuts, kills and freezes at corosync's token of 300 ms; RINGMASTER_TEST_LONG=1: 1,000 of them. ../chaos says what is
# proved. The seed is the same every time: a run that differs from the last one shall do so for what changed.

@test "no write is lost and no two halves go on through cuts, kills and freezes" {
    local cycles=60
    [[ -z ${RINGMASTER_TEST_LONG:-} ]] || cycles=1000
    "$BATS_TEST_DIRNAME/../chaos" --seed 1 --cycles $cycles >&3 2>&1
}
