#!/usr/bin/env bats
# A virtual machine that cannot leave its node, under each drain policy, and an upgrade of four nodes, two at a time,
# that leaves one of them out for it. The tests stand on each other, in order.

load lab

setup_file() {
    lab_up --nodes 4 --vms 3 --witness file
    # One more guest, whose disk n4 alone has.
    "$lab" exec n4 -- sh -ec 'disk=/var/lib/libvirt/images/local.img
        truncate -s 64M $disk
        sed "/<uuid>/d; s,<name>vm1,<name>local,; s,vm1.console,local.console,; s,/shared/vm1.img,$disk," \
            /shared/vm1.xml > /shared/local.xml'
    ctl n4 vm add --xml /shared/local.xml --node n4
    ctl n4 vm start local --wait=60
    ctl n1 cluster config set vm.save_path /shared
}

teardown_file() {
    lab_down n1 n2 n3 n4
}

console=${LAB_STATE:-/var/lib/ringmaster-lab}/shared/local.console

boots() {
    grep -ac '^rmlab boot ' "$console"
}

counter() {
    grep -ac '^rmlab tick ' "$console"
}

ticks() { # it counts: more lines than before
    local before
    before=$(counter)
    sleep 2
    if [ "$(counter)" -gt "$before" ]; then echo counts; else echo silent; fi
}

local_is() { # state, on n4
    eventually 90 "$1 n4" answers n1 "d['vm']['state'], d['vm']['node']" vm show local
}

node_state() {
    answers n1 "[n['state'] for n in d['nodes'] if n['name'] == 'n4'][0]" status
}

drained_with() { # policy
    ctl n1 vm set local --policy "$1"
    ctl n1 node drain n4 --wait=120
    eventually 30 paused node_state
    [ -z "$("$lab" exec n4 -- virsh -q list --name | grep .)" ]
}

back() {
    ctl n1 node resume n4 --failback
    eventually 60 online node_state
    local_is running
    eventually 30 counts ticks
}

@test "fail: the drain waits, names the VM and what keeps it, and is taken back" {
    eventually 60 counts ticks
    ctl n1 node drain n4
    eventually 30 draining node_state
    why() { answers n1 "any('local' in h['text'] and h['remedy'] for h in d['health'])" status; }
    eventually 60 True why
    ctl n1 node resume n4
    eventually 60 online node_state
    [ "$(boots)" -eq 1 ]
}

@test "shutdown-restart: it is off while its node is drained, and starts again with it" {
    drained_with shutdown-restart
    local_is stopped
    back
    [ "$(boots)" -eq 2 ]
}

@test "save: its memory is kept, and it goes on where it was" {
    drained_with save
    back
    [ "$(boots)" -eq 2 ]
    ! "$lab" exec n4 -- virsh dominfo local | grep -q 'Managed save: *yes'
}

active() { # steps under way
    answers n1 "sum(s['state'] not in ('pending', 'awaiting-approval', 'skipped', 'done') for s in d['run']['steps'])" \
        upgrade status
}

over() {
    answers n1 "d['run']['state'] in ('awaiting-raise', 'paused-error', 'cancelled', 'done')" upgrade status
}

@test "skip-node: an upgrade, two nodes at once behind the canary, leaves its node out and says why" {
    local most=0 now end=$((SECONDS + 600))
    ctl n1 vm set local --policy skip-node
    ctl n1 upgrade start --target trixie --max-unavailable 2 --yes
    while [ $SECONDS -lt $end ] && [ "$(over)" != True ]; do
        now=$(active) || true
        [ "${now:-0}" -le "$most" ] || most=$now
        [ "$most" -le 2 ]
        sleep 0.5
    done
    [ "$most" -eq 2 ]
    eventually 60 "awaiting-raise ['n4'] [1, 1, 1]" answers n1 \
        "d['run']['state'], [s['node'] for s in d['run']['steps'] if s['state'] == 'skipped'],
         [s['attempt'] for s in d['run']['steps'] if s['state'] == 'done']" upgrade status
    run ctl n1 upgrade report
    echo "$output"
    [[ $output == *"left out: n4: VM local"* ]]
    eventually 60 "[('n1', 'trixie'), ('n2', 'trixie'), ('n3', 'trixie'), ('n4', 'bookworm')]" answers n1 \
        "sorted((n['name'], n['release']) for n in d['nodes'])" status
    run ctl n1 level raise --yes
    echo "$output"
    [ "$status" -eq 113 ]
    [[ $output == *n4* ]]
}

@test "no guest restarted but by its policy, and none lost anything" {
    [ "$(boots)" -eq 2 ]
    eventually 30 counts ticks
    "$lab" verify-guests
}
