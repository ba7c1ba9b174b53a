#!/usr/bin/env bats
# A node is upgraded in place: its own package manager brings it from bookworm to trixie, from a repository without a
# network, it reboots and goes on with the replica that it had. The tests stand on each other, in order.

load lab

setup_file() {
    lab_up --vms 3
}

teardown_file() {
    lab_down n1 n2 n3
}

run_state() {
    answers n1 "d['run']['state']" upgrade status
}
# The node whose step is under way, and how far it is.
current() {
    answers n1 "[(s['node'], s['state']) for s in d['run']['steps'] if s['state'] not in ('pending', 'skipped', 'done')][0][$1]" \
        upgrade status
}
replicas() { # of all nodes
    for n in n1 n2 n3; do "$lab" exec $n -- sed -n 's/.*"replica": *"\([^"]*\)".*/\1/p' /var/lib/ringmaster/identity.json; done
}
has_said() { # in the cluster's journal: how often
    answers n1 "sum('$1' in e['text'] for e in d['events'])" events
}

@test "without package sources nothing is touched, and the run says what is missing" {
    ctl n1 cluster config set upgrade.executor in-place
    replicas > "$BATS_FILE_TMPDIR/replicas"
    [ "$(sort -u "$BATS_FILE_TMPDIR/replicas" | grep -c .)" -eq 3 ]
    ctl n1 upgrade start --target trixie --yes
    eventually 120 paused-error run_state
    run answers n1 "d['run']['error']" upgrade status
    [[ $output == *"no package sources for trixie"* ]]
    ctl n1 upgrade abort --yes
    eventually 60 cancelled run_state
    eventually 30 "[('bookworm', 'online')]" answers n1 "sorted({(n['release'], n['state']) for n in d['nodes']})" status
}

@test "a node upgrades its packages; an abort is too late for it, and ends the run behind it" {
    for n in n1 n2 n3; do "$lab" offer $n trixie >&3; done
    ctl n1 upgrade start --target trixie --yes
    eventually 120 rebuilding current 1
    current 0 > "$BATS_FILE_TMPDIR/node"
    many() { [ "$(has_said ': upgrades ')" -ge 1 ] && echo yes; }
    eventually 180 yes many
    ctl n1 upgrade abort --yes
    eventually 900 cancelled run_state
    node=$(cat "$BATS_FILE_TMPDIR/node")
    "$lab" exec "$node" -- sh -c '. /etc/os-release; [ "$VERSION_CODENAME" = trixie ]'
    eventually 30 "['$node'] None" answers n1 "[n['name'] for n in d['nodes'] if n['release'] == 'trixie'], d['run']['error']" status
}

@test "it is the same replica, and no package is half installed" {
    replicas | diff "$BATS_FILE_TMPDIR/replicas" -
    node=$(cat "$BATS_FILE_TMPDIR/node")
    [ -z "$("$lab" exec "$node" -- dpkg --audit)" ]
    run "$lab" exec "$node" -- sh -c 'dpkg-query -W -f "\${Version}" libvirt-daemon-system; systemctl is-active ringmasterd corosync libvirtd'
    [[ $output == 11.3.*active*active*active* ]]
    "$lab" exec "$node" -- sh -c '[ ! -e /var/lib/ringmaster/op/packages-changed ] && ls /var/log/ringmaster/op-*.log'
}

@test "its VM is home, no guest lost anything, and the cluster is in mixed mode" {
    eventually 30 "[]" answers n1 "[v['name'] for v in d['vms'] if v['node'] != v['home'] or v['state'] != 'running']" vm list
    "$lab" verify-guests
    eventually 30 "1 True {'online'}" answers n1 "d['level']['committed'], bool(d['level']['mixed']), {n['state'] for n in d['nodes']}" status
    ctl n1 level raise --yes && false
    true
}
