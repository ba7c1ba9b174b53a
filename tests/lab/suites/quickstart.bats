#!/usr/bin/env bats
# What the README says first: one command, and a whole cluster is upgraded under its running VMs, with nobody killed.

top=$BATS_TEST_DIRNAME/../../..

@test "contrib/quickstart upgrades the whole cluster and proves that no VM restarted" {
    run "$top/contrib/quickstart"
    echo "$output" >&3
    [ "$status" -eq 0 ]
    [[ $output == *"the upgrade is awaiting-raise"* ]]
    [ "$(grep -c "^Witness .*ringmaster-witness of the storage account" <<< "$output")" -eq 2 ] # before and after
    for vm in vm1 vm2 vm3 vm4; do
        grep -Eq "^$vm: counter [0-9]+, 1 boot, ok$" <<< "$output"
    done
}

@test "it leaves nothing behind" {
    run "$top/tests/lab/lab" status
    [ "$status" -ne 0 ]
    [[ $output == *"no lab is up"* ]]
    ! ip netns list | grep -q '^rmlab-n1'
}
