#!/usr/bin/env bats
# The lab's faults do what they say, and a cluster of three comes back from each.

load lab

setup_file() {
    lab_up
}

teardown_file() {
    lab_down n1 n2 n3
}

whole() { # all three are online for n1, in one state
    eventually 60 "True 3 ['online']" answers n1 "d['quorum']['quorate'], d['quorum']['votes_present'], sorted({n['state'] for n in d['nodes']})" status
}

reaches() { # from, to: does a datagram arrive?
    "$lab" exec "$2" -- true
    /usr/bin/python3 - "$1" "$2" "$BATS_TEST_DIRNAME/.." <<'PY'
import ctypes, os, socket, sys
sys.dont_write_bytecode = True
sys.path.insert(0, sys.argv[3])
from rmlab import network, state
nodes = state.lab_or_fail()["nodes"]
def at(node):
    with open(network.netns_path(node)) as f:
        if ctypes.CDLL(None, use_errno=True).setns(f.fileno(), 0x40000000) != 0:
            raise OSError(ctypes.get_errno(), "setns")
    return socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
receiver = at(sys.argv[2])
receiver.bind(("", 9))
receiver.settimeout(1)
at(sys.argv[1]).sendto(b"x", (nodes[sys.argv[2]]["address"], 9))
try:
    receiver.recv(1)
except TimeoutError:
    sys.exit(1)
PY
}

# ../hurt says what is proved. A few points, evenly spread; RINGMASTER_TEST_LONG=1: all.
hurt() { # SIGKILLs and errors of each operation
    local sample=(--kills "$1" --errors "$2")
    shift 2
    [[ -z ${RINGMASTER_TEST_LONG:-} ]] || sample=()
    "$BATS_TEST_DIRNAME/../hurt" "${sample[@]}" "$@" >&3 2>&1
}

@test "without a cut every node reaches every other" {
    whole
    reaches n1 n2
    reaches n2 n1
    reaches n3 n1
}

@test "a cut loses packets both ways, one-way it loses one way, and heal mends both" {
    "$lab" cut n1 n2
    ! reaches n1 n2
    ! reaches n2 n1
    reaches n1 n3
    "$lab" status | grep -q '^cut: n1 - n2$'
    "$lab" heal
    reaches n1 n2
    "$lab" cut n3 site1 --one-way
    ! reaches n3 n1
    reaches n1 n3
    reaches n1 n2
    "$lab" heal
    reaches n3 n1
}

@test "what cannot be cut or frozen is refused with a remedy" {
    for words in "cut n1 n9" "cut n1 n1" "cut n1 witness" "freeze n9" "freeze n1 no-such-unit" "thaw n1 no-such-unit"; do
        # shellcheck disable=SC2086
        run "$lab" $words
        [ "$status" -eq 1 ]
        [[ $output == *"remedy: "* ]]
    done
}

@test "a node that is cut off loses the quorum, the others go on, and it is caught up when the cut heals" {
    whole
    "$lab" cut n3 site1
    eventually 30 False answers n3 "d['quorum']['quorate']" status
    eventually 30 "True 2" answers n1 "d['quorum']['quorate'], d['quorum']['votes_present']" status
    "$lab" exec n1 -- clusterctl cluster config set upgrade.executor /usr/local/libexec/ringmaster-lab-rebuild
    "$lab" heal
    whole
    eventually 30 alike databases n1 n3
}

@test "a frozen leader loses the lead and follows when it is thawed" {
    whole
    leader=$(answers n1 "d['quorum']['leader']" status)
    other=n1; [ "$leader" != n1 ] || other=n2
    "$lab" freeze "$leader"
    "$lab" status | grep -q "^$leader .* frozen"
    eventually 40 "True True" answers $other "d['quorum']['quorate'], d['quorum']['leader'] not in ('$leader', '', None)" status
    "$lab" thaw "$leader"
    whole
}

@test "a frozen agent holds nobody up, and follows when it is thawed" {
    whole
    "$lab" freeze n2 ringmasterd
    "$lab" exec n2 -- sh -c 'grep -q "^State:.T" /proc/$(systemctl show -P MainPID ringmasterd)/status'
    "$lab" exec n1 -- clusterctl cluster config set upgrade.executor /usr/local/libexec/ringmaster-lab-rebuild
    "$lab" thaw n2 ringmasterd
    whole
}

@test "a frozen corosync is thawed, and its node comes back" {
    "$lab" freeze n3 corosync
    eventually 40 2 answers n1 "d['quorum']['votes_present']" status
    "$lab" thaw n3 corosync
    whole
}

@test "SIGKILL at the system calls of a commit, or a disk that fails there: nothing acknowledged is lost" {
    hurt 4 1 commit-leader commit-follower
}

@test "SIGKILL at the system calls of a join, or a disk that fails there: it is a member once" {
    hurt 3 1 join
}

@test "SIGKILL at the system calls of a snapshot's installation: it is there as a whole, or not at all" {
    hurt 4 0 snapshot
}

@test "no VM noticed any of it but for the pause" {
    "$lab" verify-guests
}
