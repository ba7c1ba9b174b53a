#!/usr/bin/env bats
# The main job on real nodes, in one boot of the lab: form and join, status, VM start and migrate, the whole upgrade with
# the leading agent SIGKILLed during a drain, the raise. The tests stand on each other, in order.

load lab

setup_file() {
    lab_up
}

teardown_file() {
    lab_down n1 n2 n3
}

as_schema() { # schema, what clusterctl printed
    local top=$BATS_TEST_DIRNAME/../../..
    printf '%s\n' "$2" > "$BATS_TEST_TMPDIR/answer"
    /usr/bin/python3 -W ignore "$top/tests/lint/validate-answers.py" "$top/cli/schemas" "$BATS_TEST_TMPDIR/answer" "$1"
}

@test "three nodes form one cluster with a quorum" {
    eventually 30 "True 3 3" answers n2 "d['quorum']['quorate'], d['quorum']['votes_total'], len(d['nodes'])" status
    eventually 30 "['online'] ['bookworm']" answers n3 "sorted({n['state'] for n in d['nodes']}), sorted({n['release'] for n in d['nodes']})" status
}

@test "all replicas hold the same state" {
    eventually 30 alike databases n1 n2 n3
}

@test "the ring is encrypted and corosync agrees about the quorum" {
    "$lab" exec n1 -- corosync-quorumtool -s | grep -q 'Quorate: *Yes'
    "$lab" exec n1 -- grep -q 'crypto_cipher: aes256' /etc/corosync/corosync.conf
}

@test "a second cluster init is refused, and so is a node that nobody knows" {
    run ctl n1 cluster init --name other --yes
    [ "$status" -eq 113 ]
    run ctl n2 node show n9
    [ "$status" -eq 105 ]
}

@test "four VMs run, and status says that failover is disabled" {
    eventually 30 "['running', 'running', 'running', 'running'] True" answers n1 "sorted(v['state'] for v in d['vms']), any(h['code'] == 'FAILOVER_DISABLED' for h in d['health'])" status
}

@test "a VM migrates live to another node and back" {
    from=$(answers n1 "d['vm']['node']" vm show vm1)
    to=n2; [ "$from" != n2 ] || to=n3
    answer=$(ctl n1 vm migrate vm1 $to --output json)
    as_schema vm-migrate "$answer"
    ctl n2 job show "$(/usr/bin/python3 -c 'import json,sys; print(json.load(sys.stdin)["data"]["job"])' <<< "$answer")" --wait=60
    eventually 30 "$to" answers n3 "d['vm']['node']" vm show vm1
    "$lab" exec $to -- virsh -q list --name | grep -qx vm1
    ctl n3 vm migrate vm1 "$from" --wait=60
    "$lab" exec "$from" -- virsh -q list --name | grep -qx vm1
    "$lab" verify-guests
}

@test "a VM is not migrated to a node that does not exist" {
    run ctl n1 vm migrate vm1 n9 --wait=10
    [ "$status" -ne 0 ]
    [[ $output == *n9* ]]
}

@test "a restart of the agents touches no VM" {
    for n in n1 n2 n3; do "$lab" exec $n -- systemctl restart ringmasterd; done
    eventually 60 True answers n1 "d['quorum']['quorate'] and all(n['state'] == 'online' for n in d['nodes'])" status
    "$lab" verify-guests
}

@test "the level cannot be raised before the upgrade" {
    run ctl n1 level raise --yes
    [ "$status" -eq 113 ]
}

@test "the whole upgrade to trixie, the leading agent SIGKILLed during a drain" {
    run ctl n1 upgrade start --target trixie
    [ "$status" -ne 0 ] # asks, and without a terminal refuses
    answer=$(ctl n1 upgrade start --target trixie --yes --output json)
    as_schema upgrade-start "$answer"
    "$BATS_TEST_DIRNAME/../follow-upgrade" --kill-leader draining --timeout 900 >&3
}

@test "no node was re-imaged twice" {
    eventually 30 "[]" answers n1 "[(s['node'], s['state'], s['attempt']) for s in d['run']['steps'] if s['state'] != 'done' or s['attempt'] != 1]" upgrade status
}

@test "SIGKILL at the system calls of a raise, or a disk that fails there: one level everywhere, old or new" {
    local sample=(--kills 2 --errors 1)
    [[ -z ${RINGMASTER_TEST_LONG:-} ]] || sample=()
    "$BATS_TEST_DIRNAME/../hurt" "${sample[@]}" raise-leader raise-follower >&3 2>&1
}

@test "all nodes run trixie, mixed mode is over with the raise" {
    eventually 30 "['trixie'] 1 True" answers n2 "sorted({n['release'] for n in d['nodes']}), d['level']['committed'], bool(d['level']['mixed'])" status
    ctl n2 level raise --yes --wait=60
    eventually 30 "2 False done" answers n3 "d['level']['committed'], bool(d['level']['mixed']), d['run']['state']" status
}

# clusterctl-level(8), WAY BACK.
@test "every node has the same database copy from before the raise, and it is the way back" {
    copy=$(answers n1 "d['level']['copy']" level show)
    [[ $copy == before-level-2.* ]]
    sums=$(for n in n1 n2 n3; do "$lab" exec $n -- sha256sum "/var/lib/ringmaster/$copy"; done | sort -u | wc -l)
    [ "$sums" -eq 1 ]
    [ "$("$lab" exec n2 -- stat -c %a "/var/lib/ringmaster/$copy")" = 600 ]
    run "$lab" exec n1 -- ringmasterd --restore "$copy" # an agent runs
    [ "$status" -ne 0 ]
    for n in n1 n2 n3; do "$lab" exec $n -- systemctl stop ringmasterd; done
    for n in n1 n2 n3; do "$lab" exec $n -- ringmasterd --restore "$copy"; done
    for n in n1 n2 n3; do "$lab" exec $n -- systemctl start ringmasterd; done
    eventually 60 "1 True awaiting-raise" answers n2 \
        "d['level']['committed'], bool(d['level']['mixed']), d['run']['state']" status
    eventually 60 "['running']" answers n3 "sorted({v['state'] for v in d['vms']})" status
    "$lab" verify-guests
    ctl n1 level raise --yes --wait=60
    eventually 30 "2 False done" answers n3 "d['level']['committed'], bool(d['level']['mixed']), d['run']['state']" status
}

@test "no VM restarted, skipped a count or lost a block" {
    "$lab" verify-guests
}

@test "VMs are home again" {
    eventually 30 "[]" answers n1 "[v['name'] for v in d['vms'] if v['node'] != v['home']]" vm list
}

@test "a node that lost power starts its own VMs again, once, and no other VM restarts" {
    verdicts() { "$lab" verify-guests --after-crash n3 | tail -n 4; }
    boots() { grep -ac '^rmlab boot ' "${LAB_STATE:-/var/lib/ringmaster-lab}/shared/$1.console"; }
    own=$(answers n1 "[v['name'] for v in d['vms'] if v['node'] == 'n3'][0]" vm list)
    "$lab" crash n3
    sleep 5
    eventually 30 "['offline'] True" answers n1 "[n['state'] for n in d['nodes'] if n['name'] == 'n3'], d['quorum']['quorate']" status
    "$lab" start n3
    eventually 60 True answers n1 "all(v['state'] == 'running' for v in d['vms']) and all(n['state'] == 'online' for n in d['nodes'])" status
    eventually 120 2 boots "$own"
    sleep 10 # a second start would be seen
    run verdicts
    echo "$output" >&3
    [ "$status" -eq 0 ]
    [[ $output == *"2 boots"* ]]
}

@test "a VM is stopped and started" {
    ctl n1 vm stop vm1 --wait=90
    eventually 30 stopped answers n2 "d['vm']['state']" vm show vm1
    node=$(answers n2 "d['vm']['node']" vm show vm1)
    ! "$lab" exec "$node" -- virsh -q list --name | grep -qx vm1
    ctl n1 vm start vm1 --wait=60
    "$lab" exec "$node" -- virsh -q list --name | grep -qx vm1
}

@test "a VM gets the new level's machine type while it is off, and back until it has started" {
    run ctl n1 vm upgrade-version vm4 --yes
    [ "$status" -eq 113 ]
    ctl n1 vm stop vm4 --wait=90
    ctl n1 vm upgrade-version vm4 --yes
    eventually 30 "pc-q35-10.0 pc-q35-7.2 False" answers n2 "d['vm']['machine'], d['vm']['machine_before'], d['vm']['outdated']" vm show vm4
    ctl n1 vm rollback-version vm4
    eventually 30 "pc-q35-7.2 True" answers n2 "d['vm']['machine'], d['vm']['outdated']" vm show vm4
    ctl n1 vm start vm4 --wait=60
}
