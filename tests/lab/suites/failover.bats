#!/usr/bin/env bats
# Fencing and failover on three nodes that have watchdogs, without a witness. Each test leaves all nodes online and all
# virtual machines running, but the last ones; where they run is what the tests before made of it.

load lab

setup_file() {
    lab_up --nodes 3 --vms 3 --watchdog
    # Shorter rings, and a watchdog that a busy host does not bring to bite.
    ctl n1 cluster config set corosync.token_ms 500
    ctl n1 cluster config set corosync.token_coefficient_ms 0
    ctl n1 cluster config set fence.watchdog_ms 5000
}

teardown_file() {
    lab_down n1 n2 n3
}

teardown() {
    note_failure || return 0
    "$lab" heal # and the rest of it, for the tests that follow
    for n in n1 n2 n3; do
        "$lab" start $n
    done
}

# ---- what libvirt says

runs() { # node: its VMs
    timeout 60 "$lab" exec "$1" -- virsh -q list --name 2>/dev/null | grep . | sort | xargs
}

boots() { # VM: how often it booted
    grep -ac '^rmlab boot ' "${LAB_STATE:-/var/lib/ringmaster-lab}/shared/$1.console"
}

boots_of() { # VMs
    local vm
    for vm; do printf '%s=%s ' "$vm" "$(boots "$vm")"; done
}

once_more() { # what boots_of said before, VMs: each of them has booted once since
    local before=$1 vm before_vm
    shift
    for vm; do
        before_vm=${before##*"$vm="}
        eventually 60 $((${before_vm%% *} + 1)) boots "$vm"
        echo "$vm" >> "$BATS_FILE_TMPDIR/restarts"
    done
}

# ---- what the cluster says

leader() { # asked of any node
    local node found
    for node in n1 n2 n3; do
        found=$(answers $node "d['quorum']['quorate'] and d['quorum']['leader'] or ''" status)
        [[ -z $found ]] || { echo "$found"; return; }
    done
    return 1
}

one_leads() {
    eventually 60 n leader_kind >&2 && leader
}

leader_kind() {
    leader | cut -c1
}

others() { # the nodes but this one
    local node
    for node in n1 n2 n3; do [[ $node = "$1" ]] || echo $node; done | xargs
}

where() { # node that is asked, VM: state and node
    answers "$1" "[v['state'] + ' ' + v['node'] for v in d['vms'] if v['name'] == '$2'][0]" status
}

protection() { # node that is asked: what all nodes have promised, and the wait for them
    answers "$1" "sorted({(n['fencing'] or {}).get('protection', '') for n in d['nodes']}),
        sorted({(n['fencing'] or {}).get('wait_ms', 0) for n in d['nodes']})" status | tr -d '\n'
}

finding() { # node that is asked, code, object: the finding's text
    answers "$1" "[h['text'] for h in d['health'] if h['code'] == '$2' and h['object'] in ('$3', None)][0]" status
}

finds() { # the same, and a part of the text: yes, or what was found
    local text
    text=$(finding "$1" "$2" "$3")
    if [[ $text = *"$4"* ]]; then echo yes; else echo "$text"; fi
}

mark() { # node that is asked: the number of the newest event
    answers "$1" "max(e['seq'] for e in d['events'])" events
}

happened() { # node that is asked, mark, part of a text: how often since
    answers "$1" "sum('''$3''' in e['text'] for e in d['events'] if e['seq'] > $2)" events
}

# The wait as ringmaster-quorum(7) has it: token + consensus + 1 s for an election + budget + watchdog, and a fifth.
wait_ms() { # of the watchdog
    echo $(((500 + 600 + 1000 + 2000 + $1) * 12 / 10))
}

whole() { # all nodes are online and protected as they were, all VMs run
    local node
    for node in n1 n2 n3; do
        eventually 90 "True ['online'] ['running']" answers $node \
            "d['quorum']['quorate'], sorted({n['state'] for n in d['nodes']}), sorted({v['state'] for v in d['vms']})" \
            status
        eventually 60 "['${1:-watchdog}'] [$(wait_ms "${2:-5000}")]" protection $node
    done
}

victim() { # leader: another node that runs a VM
    local node
    for node in $(others "$1"); do
        [[ -z $(runs "$node") ]] || { echo "$node"; return; }
    done
    return 1
}

elsewhere() { # node that is asked, lost node, VMs: how many of them do not run on another node
    local vm at left=0 asked=$1 lost=$2
    shift 2
    for vm; do
        at=$(where "$asked" "$vm")
        [[ $at = "running "* && $at != *" $lost" && " $(runs "${at#running }") " = *" $vm "* ]] || left=$((left + 1))
    done
    echo $left
}

now_ms() {
    date +%s%3N
}

# Since the mark that node was fenced so, so long after this moment; ms, or nothing.
fenced_after() { # node that is asked, mark, node, since when, how
    answers "$1" "[int(__import__('datetime').datetime.fromisoformat(e['time'].replace('Z', '+00:00')).timestamp()
        * 1000) - $4 for e in d['events'] if e['seq'] > $2 and e['text'] == '$3: is fenced: $5'][0]" events
}

nobody_else() { # VM, the nodes that shall not run it
    local vm=$1 node
    shift
    for node; do
        [[ " $(runs "$node") " != *" $vm "* ]] || { echo "$vm runs on $node"; return 1; }
    done
}

# ---- tests

# A VM of its own with that disk, by a QEMU that looks at no locks.
unlocked() { # node, name, disk
    "$lab" exec "$1" -- sh -c "sed '/<uuid>/d; s,<name>vm1,<name>$2,; s,vm1.console,$2.console,; s,vm1.img,$3,
        s,<devices>,&<emulator>/usr/local/libexec/qemu-unlocked</emulator>,' /shared/vm1.xml > /shared/$2.xml
        virsh create /shared/$2.xml" 2>&1
}

@test "a disk that is in use is refused to a second VM by virtlockd, whoever starts it" {
    local at a b n
    for n in n1 n2 n3; do
        "$lab" exec $n -- sh -c 'cat > /usr/local/libexec/qemu-unlocked && chmod 755 /usr/local/libexec/qemu-unlocked' \
            < "$BATS_TEST_DIRNAME/../qemu-unlocked"
    done
    whole
    at=$(where n1 vm1)
    read -r a b <<< "$(others "${at#running }")"
    run unlocked "$a" twin vm1.img
    echo "$output"
    [[ $status -ne 0 && $output = *"Lockspace resource '/shared/vm1.img' is locked"* ]]
    # By hand on both sides, past Ringmaster.
    "$lab" exec "$a" -- qemu-img create -q -f raw /shared/byhand.img 8M
    unlocked "$a" byhand byhand.img
    run unlocked "$b" byhand byhand.img
    echo "$output"
    [[ $status -ne 0 && $output = *"Lockspace resource '/shared/byhand.img' is locked"* ]]
    "$lab" exec "$a" -- virsh destroy byhand
    unlocked "$b" byhand byhand.img
    "$lab" exec "$b" -- virsh destroy byhand
    [[ $(boots_of vm1 vm2 vm3) = "vm1=1 vm2=1 vm3=1 " ]]
    # A VM that moves takes its lock with it.
    ctl n1 vm migrate vm1 "$a" --wait
    run unlocked "$b" twin vm1.img
    [[ $status -ne 0 && $output = *"Lockspace resource '/shared/vm1.img' is locked"* ]]
    ctl n1 vm migrate vm1 "${at#running }" --wait
}

@test "an agent that is stopped touches no VM, and nothing is started elsewhere" {
    local lead node vms end
    lead=$(one_leads)
    node=$(victim "$lead")
    vms=$(runs "$node")
    since=$(mark "$lead")
    "$lab" exec "$node" -- systemctl stop ringmasterd
    eventually 60 "offline off" answers "$lead" \
        "[n['state'] + ' ' + n['fencing']['protection'] for n in d['nodes'] if n['name'] == '$node'][0]" status
    end=$((SECONDS + $(wait_ms 5000) / 1000 + 2)) # longer than any wait would be
    while ((SECONDS < end)); do
        [[ $(runs "$node") = "$vms" ]]
        nobody_else "$vms" $(others "$node")
        sleep 1
    done
    [[ $(happened "$lead" "$since" "is lost") = 0 ]]
    "$lab" exec "$node" -- systemctl start ringmasterd
    whole
    [[ $(runs "$node") = "$vms" && $(boots_of vm1 vm2 vm3) = "vm1=1 vm2=1 vm3=1 " ]]
}

@test "a node loses power: its VMs start elsewhere once its wait is over, the most important first" {
    local lead node own moved before since at_ms took
    lead=$(one_leads)
    node=$(victim "$lead")
    own=$(runs "$node")
    moved=$(runs "$lead")
    ctl "$lead" vm migrate "$moved" "$node" --wait
    ctl "$lead" vm set "$moved" --priority 100
    eventually 60 "$(echo "$own" "$moved" | xargs -n 1 | sort | xargs)" runs "$node"
    before=$(boots_of vm1 vm2 vm3)
    since=$(mark "$lead")
    at_ms=$(now_ms)
    "$lab" crash "$node"
    eventually 120 0 elsewhere "$lead" "$node" "$own" "$moved"
    [[ $(happened "$lead" "$since" "$node: is lost: its VMs start elsewhere 10.9 s after its last word") = 1 ]]
    took=$(fenced_after "$lead" "$since" "$node" "$at_ms" "the wait is over")
    echo "fenced after $took ms"
    [[ $took -ge $(($(wait_ms 5000) - 2000)) ]] # its last word was not much older than its end
    [[ $("$lab" log "$lead" ringmasterd -n 2000 | sed -n "s/.*VM \(.*\) is lost with $node -> start it.*/\1/p" |
        xargs) = "$moved $own" ]]
    "$lab" start "$node"
    whole
    [[ -z $(runs "$node") ]] # it takes none back
    once_more "$before" "$moved" "$own"
    [[ $(happened "$lead" "$since" "$node: was ended by its watchdog or a loss of power, and has booted anew") = 1 ]]
}

@test "the leader is cut off: it ends its VMs before others start them, and takes none back" {
    local lead a b vms vm before since there here
    lead=$(one_leads)
    read -r a b <<< "$(others "$lead")"
    vms=$(runs "$lead")
    [[ -n $vms ]]
    before=$(boots_of vm1 vm2 vm3)
    since=$(mark "$lead")
    # A fence command that does not come back changes nothing: the wait holds.
    for n in n1 n2 n3; do
        "$lab" exec $n -- sh -c 'printf "#!/bin/sh\nexec sleep 600\n" > /root/hangs && chmod 755 /root/hangs'
    done
    ctl "$lead" cluster config set fence.command /root/hangs
    "$lab" cut "$lead" "$a"
    "$lab" cut "$lead" "$b"
    local end=$((SECONDS + 120))
    while ((SECONDS < end)); do
        # The others first: who is seen there, and after that here, runs twice.
        there=" $(runs "$a") $(runs "$b") "
        here=" $(runs "$lead") "
        for vm in $vms; do
            [[ $there != *" $vm "* || $here != *" $vm "* ]] || { echo "$vm runs twice"; false; }
        done
        [[ $(elsewhere "$a" "$lead" $vms) != 0 ]] || break
        sleep 0.2
    done
    ((SECONDS < end))
    [[ $(happened "$a" "$since" "$lead: is fenced: the wait is over") = 1 ]]
    "$lab" log "$lead" ringmasterd -n 2000 | grep "this node is cut off -> destroy it" > /dev/null
    "$lab" heal
    whole
    for vm in $vms; do nobody_else "$vm" "$lead"; done
    once_more "$before" $vms
    ctl "$a" cluster config set fence.command ''
}

@test "the fence command confirms: no wait, also when the leading agent ends at the same moment" {
    local lead node vms vm before since kept
    lead=$(one_leads)
    ctl "$lead" cluster config set fence.command /usr/local/libexec/ringmaster-lab-fence
    ctl "$lead" cluster config set fence.watchdog_ms 600000 # nobody waits for that
    whole watchdog 600000
    node=$(victim "$lead")
    vms=$(runs "$node")
    kept=$(runs "$lead")
    before=$(boots_of vm1 vm2 vm3)
    since=$(mark "$lead")
    "$lab" exec "$lead" -- systemctl kill -s KILL ringmasterd &
    "$lab" crash "$node"
    wait
    eventually 120 0 elsewhere "$lead" "$node" $vms
    [[ $(happened "$lead" "$since" "$node: is fenced: the fence command confirmed it") = 1 ]]
    once_more "$before" $vms
    for vm in $kept; do [[ $before = *"$vm=$(boots "$vm") "* ]]; done
    "$lab" start "$node"
    ctl "$lead" cluster config set fence.watchdog_ms 5000
    ctl "$lead" cluster config set fence.command ''
    whole
}

@test "without watchdogs nothing is started elsewhere, loudly, unless a fence command confirms" {
    local lead node vms vm before n
    for n in n1 n2 n3; do
        "$lab" exec $n -- sh -c "rm /etc/ringmaster/conf.d/watchdog.conf && systemctl restart ringmasterd"
    done
    lead=$(one_leads)
    eventually 60 "['none'] [0]" protection "$lead"
    lead=$(one_leads)
    for n in n1 n2 n3; do
        eventually 60 yes finds "$lead" NO_WATCHDOG $n "nobody can be sure that it is gone"
    done
    eventually 60 yes finds "$lead" FAILOVER_DISABLED "" "are not started elsewhere"
    run ctl "$lead" check
    [[ $status -eq 1 && $output = *WARNING* ]]
    node=$(victim "$lead")
    vms=$(runs "$node")
    before=$(boots_of vm1 vm2 vm3)
    "$lab" crash "$node"
    eventually 60 offline answers "$lead" "[n['state'] for n in d['nodes'] if n['name'] == '$node'][0]" status
    ctl "$lead" cluster config set fence.command /bin/false
    eventually 90 yes finds "$lead" NODE_FENCING "$node" "the fence command did not confirm it"
    [[ $(boots_of vm1 vm2 vm3) = "$before" ]]
    ctl "$lead" cluster config set fence.command /usr/local/libexec/ringmaster-lab-fence
    eventually 120 0 elsewhere "$lead" "$node" $vms
    once_more "$before" $vms
    "$lab" start "$node"
    ctl "$lead" cluster config set fence.command ''
}

@test "failover.unfenced accept: after the wait they are started elsewhere without a watchdog, and it stays loud" {
    local lead node vms before since
    lead=$(one_leads)
    ctl "$lead" cluster config set failover.unfenced accept
    whole promise 0
    eventually 60 yes finds "$lead" NO_WATCHDOG n1 "may run twice"
    [[ -z $(finding "$lead" FAILOVER_DISABLED "") ]]
    node=$(victim "$lead")
    vms=$(runs "$node")
    before=$(boots_of vm1 vm2 vm3)
    since=$(mark "$lead")
    "$lab" crash "$node"
    eventually 120 0 elsewhere "$lead" "$node" $vms
    [[ $(happened "$lead" "$since" "$node: is fenced: the wait is over") = 1 ]]
    once_more "$before" $vms
}

@test "no guest ran twice or restarted without a reason, and none lost what it had written" {
    local vm
    for vm in vm1 vm2 vm3; do # and none restarted but for what happened above
        [[ $(boots $vm) -eq $(($(grep -cx $vm "$BATS_FILE_TMPDIR/restarts") + 1)) ]]
    done
    "$lab" verify-guests --any-restarts
}
