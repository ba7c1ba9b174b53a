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
    timeout "${RINGMASTER_TEST_LONG:+30}180" "$BATS_TEST_DIRNAME/../backup-worker" "$@"
}

@test "a full and an increment restore to what the disks were when they began" {
    scenario full_and_increment
}

@test "QEMU was killed: a rescan, which says why, then by bitmap again" {
    scenario qemu_killed
}

@test "QEMU was killed before the point was settled: the bitmap that was never stored is no hindrance" {
    scenario qemu_killed_between
}

@test "one disk's bitmap is missing: the other's is used, and deleted in its time" {
    scenario one_bitmap_missing
}

@test "QEMU was killed and the machine started on another node: no bitmap stays behind" {
    scenario killed_and_moved
}

@test "an image that has no bitmaps is backed up without a checkpoint" {
    scenario old_image
}

@test "the worker was killed: settle removes what it left, and the next one goes by bitmap" {
    scenario worker_killed
}

@test "the worker was killed: the next one needs no settle" {
    scenario worker_killed_run_again
}

@test "the worker is killed, or told of an error, at any of its calls" {
    scenario hurt_anywhere
}

@test "a backup that is cancelled leaves nothing but the old checkpoint" {
    scenario cancelled
}

@test "a machine that powers off in its midst: the old checkpoint stays and holds" {
    scenario powered_off
}

@test "two backups of one machine at once: the second says so" {
    scenario two_at_once
}

@test "the backup job of another program is left alone" {
    scenario foreign_job
}

@test "a machine that is off is rescanned, and cannot be started meanwhile" {
    scenario off
}

@test "a raw disk of a machine that was started meanwhile spoils the backup" {
    scenario off_and_started
}

@test "a new and a resized disk are full, the others are not" {
    scenario new_and_resized
}

@test "after a migration the target's next one goes by bitmap" {
    scenario migrated
}

@test "the guest's agent freezes its file systems, and settle thaws what a killed run left; it powers off by itself" {
    scenario guest_agent
}

@test "nobody answers for the guest: the backup is made, and says why it is no better" {
    scenario no_guest_agent
}

@test "the NVRAM goes along" {
    scenario nvram
}

@test "no room for scratch files: the backup ends, the guest goes on" {
    scenario scratch_full
}

@test "libvirtd is restarted in its midst: the backup goes on" {
    scenario libvirtd_restarted
}
