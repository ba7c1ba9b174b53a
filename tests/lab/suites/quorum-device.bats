#!/usr/bin/env bats
# corosync's own verdict is the agents': every node casts where they have a majority, and nowhere else.

load lab

setup_file() {
    lab_up --no-vms
}

teardown_file() {
    lab_down n1 n2 n3
}

field() { # node, name: of corosync-quorumtool -s
    timeout 20 "$lab" exec "$1" -- corosync-quorumtool -s | sed -n "s/^$2: *//p" | sed 's/ *$//'
}

whole() {
    for n in n1 n2 n3; do
        eventually 60 103 field $n "Total votes"
        eventually 10 Yes field $n Quorate
    done
}

leader() {
    answers n1 "d['quorum']['leader']" status
}

# How often corosync said on this node that it lost its quorum.
losses() {
    "$lab" exec "$1" -- journalctl -q -b -u corosync -o cat | grep -c 'within the non-primary component' || true
}

@test "every node is quorate by the device's votes, and only by them" {
    whole
    for n in n1 n2 n3; do
        [ "$(field $n Quorum)" = 101 ]
        [ "$(field $n Flags)" = "Quorate Qdevice" ]
        "$lab" exec $n -- corosync-quorumtool -s | grep -Eq '^ +0 +100 +ringmaster$'
        [ "$("$lab" exec $n -- corosync-quorumtool -s | grep -Ec '^ +[123] +1 +A,V,NMW ')" = 3 ]
    done
}

@test "a node that is cut off is not quorate for corosync either, the two others are, and all are when it heals" {
    whole
    "$lab" cut n3 site1
    eventually 30 1 field n3 "Total votes"
    eventually 10 No field n3 Quorate
    for n in n1 n2; do
        eventually 30 102 field $n "Total votes"
        eventually 10 Yes field $n Quorate
    done
    "$lab" heal
    whole
}

@test "the leader cut off: the others elect one and are quorate, it is not" {
    whole
    old=$(leader)
    "$lab" cut "$old" site1
    eventually 30 No field "$old" Quorate
    for n in n1 n2 n3; do
        [ $n = "$old" ] || eventually 30 102 field $n "Total votes"
    done
    "$lab" heal
    whole
}

@test "an agent that starts anew, asked to or killed, is no loss of quorum to corosync" {
    whole
    for n in n1 n2 n3; do
        before=$(losses $n)
        "$lab" exec $n -- systemctl restart ringmasterd
        eventually 20 103 field $n "Total votes"
        "$lab" exec $n -- systemctl kill -s KILL ringmasterd
        eventually 20 active "$lab" exec $n -- systemctl is-active ringmasterd
        eventually 20 "$n" "$lab" exec $n -- sh -c 'clusterctl status >/dev/null && hostname'
        [ "$(field $n Quorate)" = Yes ]
        [ "$(losses $n)" = "$before" ]
    done
}

@test "all agents at once start anew: no loss either" {
    whole
    local before=()
    for n in n1 n2 n3; do before+=("$(losses $n)"); done
    for n in n1 n2 n3; do "$lab" exec $n -- systemctl restart ringmasterd & done
    wait
    eventually 60 n1 "$lab" exec n1 -- sh -c 'clusterctl cluster config set upgrade.executor /usr/local/libexec/ringmaster-lab-rebuild >/dev/null && hostname'
    whole
    [ "$(losses n1) $(losses n2) $(losses n3)" = "${before[*]}" ]
}

@test "a frozen agent's vote ends by itself, on its own node alone, and comes back" {
    whole
    before=$(losses n1)
    "$lab" freeze n2 ringmasterd
    eventually 20 No field n2 Quorate
    [ "$(field n1 Quorate)" = Yes ]
    "$lab" thaw n2 ringmasterd
    eventually 20 Yes field n2 Quorate
    whole
    [ "$(losses n1)" = "$before" ]
}

@test "a vote of an agent that froze does not outlive the ring for long" {
    whole
    "$lab" freeze n3 ringmasterd
    "$lab" cut n3 site1
    eventually 30 No field n3 Quorate
    eventually 30 102 field n1 "Total votes"
    "$lab" thaw n3 ringmasterd
    "$lab" heal
    whole
}

@test "a corosync from before the device gets it by a reload, once all nodes cast, and nobody loses the quorum" {
    whole
    # All at once: who starts beside others learns the expected votes of their time.
    for n in n1 n2 n3; do
        "$lab" exec $n -- sh -c 'systemctl stop ringmasterd corosync
            sed "/expected_votes/d;/device {/,/}/d" -i /etc/corosync/corosync.conf'
    done
    for n in n1 n2 n3; do "$lab" exec $n -- systemctl start corosync; done
    for n in n1 n2 n3; do eventually 60 3 field $n "Total votes"; done
    [ "$(field n1 Quorum)" = 2 ]
    local before=()
    for n in n1 n2 n3; do before+=("$(losses $n)"); done
    "$lab" exec n1 -- systemctl start ringmasterd
    eventually 20 n1 "$lab" exec n1 -- sh -c 'clusterctl status 2>&1 | grep -q "older configuration" && hostname'
    "$lab" exec n2 -- systemctl start ringmasterd
    [ "$(field n1 Quorum)" = 2 ]
    "$lab" exec n3 -- systemctl start ringmasterd
    for n in n1 n2 n3; do eventually 60 101 field $n Quorum; done
    whole
    [ "$(losses n1) $(losses n2) $(losses n3)" = "${before[*]}" ]
    eventually 20 n1 "$lab" exec n1 -- sh -c 'clusterctl status | grep -q "older configuration" || hostname'
}

@test "beside another quorum device, or with options that conflict, the agent does not cast and says so" {
    whole
    "$lab" exec n3 -- sh -c 'systemctl stop ringmasterd corosync
        sed -e "/expected_votes/d;/device {/,/}/d" -e "s/provider: .*/&\n    last_man_standing: 1/" -i /etc/corosync/corosync.conf
        systemctl start corosync ringmasterd'
    eventually 40 n3 "$lab" exec n3 -- sh -c 'clusterctl status 2>&1 | grep -q "last_man_standing" && hostname'
    ! "$lab" exec n3 -- corosync-quorumtool -s | grep -E '^ +3 +1 +A,V'
    "$lab" exec n3 -- sh -c 'systemctl restart corosync'
    whole
}
