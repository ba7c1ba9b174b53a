#!/usr/bin/env bats
# The pipeline of one backup, run by hand in a node, against its real libvirt and QEMU. Each test has a virtual machine
# of its own, with a repository.

load lab

setup_file() {
    lab_up --nodes 2 --no-vms
}

teardown_file() {
    lab_down n1 n2
}

scenario() {
    LAB_STATE=${LAB_STATE:-} timeout 120 "$BATS_TEST_DIRNAME/../backup-worker" "$@"
}

@test "a full and an increment restore to what the disks were when they began" {
    scenario full_and_increment
}
