#!/usr/bin/env bats
# Backups by the cluster, with the real worker: a machine without an operating system, whose disk is written through its
# own device, and into a plain file beside. The tests stand on each other, in order.

load lab

setup_file() {
    lab_up --nodes 3 --no-vms
    mkdir -p "$shared/web"
    qemu-img create -q -f qcow2 "$shared/web/vda.qcow2" 64M
    truncate -s 64M "$shared/web/truth"
    domain > "$shared/web/domain.xml"
    ctl n1 vm add --xml /shared/web/domain.xml --node n1
    ctl n1 vm start web --wait=60
}

teardown_file() {
    lab_down n1 n2 n3
}

shared=${LAB_STATE:-/var/lib/ringmaster-lab}/shared

domain() {
    cat << 'END'
<domain type='qemu'>
  <name>web</name>
  <memory unit='MiB'>64</memory>
  <vcpu>1</vcpu>
  <os><type arch='x86_64' machine='pc-q35-7.2'>hvm</type></os>
  <cpu mode='custom' match='exact' check='none'><model fallback='forbid'>qemu64</model></cpu>
  <on_poweroff>destroy</on_poweroff>
  <on_crash>destroy</on_crash>
  <devices>
    <disk type='file' device='disk'>
      <driver name='qemu' type='qcow2' cache='none'/>
      <source file='/shared/web/vda.qcow2'/>
      <target dev='vda' bus='virtio'/>
    </disk>
    <controller type='usb' model='none'/>
    <memballoon model='none'/>
  </devices>
</domain>
END
}

owner() {
    answers n1 "d['vm']['node']" vm show web
}

put() { # byte, MiB from the beginning, how many
    local node io="/machine/peripheral/virtio-disk0/virtio-backend"
    node=$(owner)
    "$lab" exec "$node" -- virsh qemu-monitor-command web --hmp "qemu-io -d $io \"write -P $1 ${2}M ${3}M\""
    "$lab" exec "$node" -- virsh qemu-monitor-command web --hmp "qemu-io -d $io \"flush\""
    head -c "${3}M" /dev/zero | tr '\0' "\\$(printf '%03o' "$1")" |
        dd of="$shared/web/truth" bs=1M seek="$2" conv=notrunc status=none
}

newest() { # expression over the newest point p
    answers n1 "(lambda p: $1)(max(d['points'], key=lambda p: (p['created'], p['sequence'])))" backup list web
}

is_as_it_was() { # is the newest point what the disk is now?
    local image
    image=$shared/backup/web/vda-$(printf '%06d' "$(newest "p['sequence']")").qcow2
    qemu-img compare -s -f qcow2 -F raw "$image" "$shared/web/truth" ||
        qemu-img compare -f qcow2 -F raw "$image" "$shared/web/truth"
}

run_now() { # the engine that is expected
    ctl n1 backup start web --consistency crash --wait=120
    [ "$(newest "p['engine']")" = "$1" ]
    is_as_it_was
}

checkpoints() { # that libvirt knows where it runs
    "$lab" exec "$(owner)" -- virsh checkpoint-list web --name | sed '/^$/d'
}

last() {
    answers n1 "d['backups'][0]['state'], (d['backups'][0]['last'] or {}).get('result')" backup list web
}

qemu() { # its PID
    "$lab" exec "$(owner)" -- cat /run/libvirt/qemu/web.pid
}

is_anew() { # the PID that it had
    local now
    now=$(qemu) || return 0
    [[ $now == "$1" ]] || echo "another $(answers n1 "d['vm']['state']" vm show web)"
}

@test "the first one is full, the next ones read what changed" {
    ctl n1 repository add main --path /shared/backup
    run ctl n2 repository add other --path /shared/backup
    [ "$status" -eq 113 ]
    put 5 1 8
    run_now full
    put 7 3 1
    run_now bitmap
    [ "$(newest "p['read_bytes'] <= 4 * 2**20")" = True ]
    eventually 20 "ringmaster-$(newest "p['uuid']")" checkpoints
    ctl n1 backup list
}

@test "it follows the machine to another node" {
    ctl n1 vm migrate web n2 --wait=120
    [ "$(owner)" = n2 ]
    put 9 12 1
    run_now bitmap
    [ "$(answers n1 "d['backups'][0]['last']['node']" backup list web)" = n2 ]
    eventually 20 "ringmaster-$(newest "p['uuid']")" checkpoints
}

@test "nothing of the key is to be seen" {
    local spec key
    ctl n1 backup start web --consistency crash --limit 1MiB --engine full
    eventually 30 "running done" last
    spec=$("$lab" exec n2 -- sh -c 'cd /run/ringmaster/backup && stat -c "%a %U" . web.spec && cat web.spec')
    [[ $spec == $'700 root\n600 root\n'* ]]
    key=$(sed -n 's/.*"key": *"\([^"]*\)".*/\1/p' <<< "$spec")
    [ ${#key} -ge 44 ]
    ! "$lab" exec n2 -- journalctl -b --no-pager | grep -qF "$key"
    ! "$lab" exec n2 -- sh -c 'cat /proc/[0-9]*/cmdline' | tr '\0' ' ' | grep -qF "$key"
    ! ctl n1 repository list --output json | grep -qF "$key"
    eventually 60 "idle done" last
    ! "$lab" exec n2 -- test -e /run/ringmaster/backup/web.spec
}

@test "it goes on when its agent is restarted" {
    put 11 20 16
    ctl n1 backup start web --consistency crash --limit 2MiB
    eventually 30 "running done" last
    "$lab" exec n2 -- systemctl kill -s KILL ringmasterd
    eventually 90 "idle done" last
    [ "$(newest "p['engine']")" = bitmap ]
    is_as_it_was
}

@test "a worker that is killed is tidied up after, and the next one goes on from the old point" {
    local before
    before=$(newest "p['uuid']")
    put 13 20 16
    ctl n1 backup start web --consistency crash --limit 2MiB
    eventually 30 "running done" last
    sleep 2
    "$lab" exec n2 -- systemctl kill -s KILL ringmaster-backup-web.service
    eventually 60 "idle failed" last
    [ "$(newest "p['uuid']")" = "$before" ]
    [ "$(answers n1 "[h['severity'] for h in d['health'] if h['code'] == 'BACKUP_FAILED']" status)" = "['warning']" ]
    eventually 60 "ringmaster-$before" checkpoints
    run_now bitmap
    [ "$(answers n1 "[h for h in d['health'] if h['code'] == 'BACKUP_FAILED']" status)" = "[]" ]
}

@test "one that is cancelled leaves nothing behind" {
    local before
    before=$(newest "p['uuid']")
    put 15 20 16
    ctl n1 backup start web --consistency crash --limit 2MiB
    eventually 30 "running done" last
    run ctl n1 backup start web
    [ "$status" -eq 75 ]
    ctl n1 backup cancel web --yes
    eventually 60 "idle cancelled" last
    eventually 60 "ringmaster-$before" checkpoints
    [ -z "$(find "$shared/backup" -name '*.partial')" ]
    run_now bitmap
}

@test "a drain cancels it after a while, and the next one goes on from the old point" {
    ctl n1 cluster config set backup.drain_minutes 0
    put 17 20 16
    ctl n1 backup start web --consistency crash --limit 1MiB
    eventually 30 "running done" last
    ctl n1 node drain n2 --yes --wait=120
    [ "$(owner)" != n2 ]
    [ "$(last)" = "idle cancelled" ]
    run_now bitmap
    ctl n1 node resume n2
    ctl n1 cluster config set backup.drain_minutes ""
}

@test "a machine that was off, and one whose QEMU crashed" {
    ctl n1 vm stop web --hard --yes --wait=60
    run ctl n1 backup start web
    [ "$status" -eq 113 ]
    ctl n1 vm start web --wait=60
    put 19 40 1
    run_now bitmap
    local before
    before=$(qemu)
    "$lab" exec "$(owner)" -- kill -KILL "$before"
    eventually 90 "another running" is_anew "$before"
    put 21 42 1
    run_now rescan
    put 23 43 1
    run_now bitmap
}

@test "a schedule does it by itself" {
    local before
    before=$(answers n1 "len(d['points'])" backup list web)
    ctl n1 backup schedule add web --calendar minutely --consistency crash
    eventually 100 True answers n1 "len(d['points']) > $before" backup list web
    ctl n1 backup schedule remove web
    eventually 30 "idle done" last
    is_as_it_was
}

is_like() { # a restored image, and a plain file
    qemu-img compare -f qcow2 -F raw "$shared/$1" "$2"
}

@test "what a backup holds becomes another machine, beside the first" {
    put 31 50 2
    run_now bitmap
    ctl n1 backup restore web --to /shared/again --name web2 --node n3 --wait=120
    is_like again/web2-vda.qcow2 "$shared/web/truth"
    [ "$(stat -c %a "$shared/again")" = 711 ]
    qemu-img check -q "$shared/again/web2-vda.qcow2"
    [ "$(answers n1 "[(j['state'], j['node']) for j in d['jobs'] if j['kind'] == 'restore']" job list)" = "[('done', 'n3')]" ]
    ctl n1 vm add --xml /shared/again/web2.xml --node n3
    ctl n1 vm start web2 --wait=60
    [ "$(answers n1 "d['vm']['state']" vm show web2)" = running ]
    [ "$(answers n1 "d['vm']['uuid'] != '$(answers n1 "d['vm']['uuid']" vm show web)'" vm show web2)" = True ]
    run ctl n1 backup restore web --to /shared/again --name web2 --wait=120
    echo "$output"
    [ "$status" -eq 113 ]
    [[ $output == *"/shared/again/web2"*" is there already"* ]]
    [ "$(last)" = "idle done" ] # it is no failed backup
    put 32 50 1
    run_now bitmap
    ctl n1 vm stop web2 --hard --yes --wait=60
    ctl n1 vm remove web2 --yes
}

@test "an older point is restored as it was, and a damaged one is refused" {
    local older image
    older=$(newest "p['uuid']")
    cp "$shared/web/truth" "$shared/web/older"
    put 33 51 1
    run_now bitmap
    ctl n1 backup restore web "$older" --to /shared/older --wait=120
    is_like older/web-vda.qcow2 "$shared/web/older"
    image=$shared/backup/web/vda-$(printf '%06d' "$(newest "p['sequence']")").qcow2
    flip "$image"
    run ctl n1 backup restore web --to /shared/damaged --wait=120
    echo "$output"
    [ "$status" -eq 1 ]
    [[ $output == *"${image##*/}"* ]]
    [ -z "$(ls "$shared/damaged")" ]
    run ctl n1 backup verify web --wait=120
    echo "$output"
    [ "$status" -eq 1 ]
    [[ $output == *"${image##*/}"* ]]
    "$lab" exec "$(owner)" -- journalctl -b -u ringmaster-backup-web.service -o cat | grep '"damaged"' |
        grep -qF "$(newest "p['uuid']")"
    [ "$(damage)" = "['critical']" ]
    ctl n1 backup verify web "$older" --node n3 --wait=120 # what this one stands on is right
    [ "$(damage)" = "['critical']" ]
    flip "$image"
    ctl n1 backup verify web --wait=120
    [ "$(damage)" = "[]" ]
    [[ $(ctl n1 backup list web) == *"web: verified in main"*"all is right"* ]]
    ctl n1 backup restore web --to /shared/damaged --wait=120
    is_like damaged/web-vda.qcow2 "$shared/web/truth"
}

damage() { # as status says
    answers n1 "[h['severity'] for h in d['health'] if h['code'] == 'BACKUP_DAMAGED']" status
}

flip() { # a bit of the data at the end
    local at byte
    at=$(($(stat -c %s "$1") - 4096))
    byte=$(od -An -tu1 -j "$at" -N 1 "$1")
    printf '%b' "\\x$(printf '%02x' $((byte ^ 1)))" | dd of="$1" bs=1 seek="$at" conv=notrunc status=none
}

points() { # in the list; in the repository
    echo "$(answers n1 "len(d['points'])" reference list web) $(find "$shared/backup/web" -name 'refpoint-*.json' | wc -l)"
}

@test "older ones go by a rule, the chain goes on, and what stays is what it was" {
    [ "$(answers n1 "len(d['points']) > 3" reference list web)" = True ]
    put 21 7 1
    ctl n1 backup start web --consistency crash --keep last=3 --wait=120
    [ "$(points)" = "3 3" ]
    [ "$(newest "p['engine']")" = bitmap ]
    is_as_it_was
    put 22 9 1
    ctl n1 backup start web --consistency crash --keep last=1 --wait=120
    [ "$(points)" = "1 1" ]
    is_as_it_was
    [ -z "$(find "$shared/backup/web" -name '*.partial')" ]
    put 23 1 1
    run_now bitmap
    [ "$(points)" = "2 2" ]
    run ctl n1 backup start web --keep forever
    [ "$status" -eq 64 ]
    [[ $output == *last=48* ]]
}

@test "what was deleted by hand leaves the list with the next one that has a rule" {
    local deleted number
    ctl n1 backup start web --engine full --consistency crash --wait=120
    deleted=$(newest "p['uuid']")
    number=$(newest "p['sequence']")
    ctl n1 backup start web --engine full --consistency crash --wait=120 # nothing stands on the one before
    "$lab" exec n1 -- rm "/shared/backup/web/refpoint-$(printf '%06d' "$number").json"
    [ "$(points)" = "4 3" ]
    run ctl n1 backup verify web --wait=120
    [ "$status" -eq 1 ]
    [[ $output == *"not in the repository"*"$deleted"* ]]
    [ "$(damage)" = "['critical']" ]
    put 25 3 1
    ctl n1 backup start web --consistency crash --keep last=9 --wait=120
    [ "$(points)" = "4 4" ]
    ctl n1 backup verify web --wait=120
    [ "$(damage)" = "[]" ]
    run ctl n1 reference show web "$deleted"
    [ "$status" -eq 105 ]
    is_as_it_was
}

@test "where older ones cannot go the backup is done all the same, and status says why" {
    local number
    number=$(newest "p['sequence']")
    "$lab" exec n1 -- rm "/shared/backup/web/refpoint-$(printf '%06d' $((number - 1))).json" # the newest stands on it
    put 26 5 1
    ctl n1 backup start web --consistency crash --keep last=1 --wait=120
    is_as_it_was
    [[ $(answers n1 "[h['text'] for h in d['health'] if h['code'] == 'BACKUP_RETENTION']" status) == *"stands on point"* ]]
    [ "$(answers n1 "d['backups'][0]['last']['result']" backup list web)" = done ]
}

@test "a machine that was removed comes back" {
    put 27 6 1
    ctl n1 backup start web --engine full --consistency crash --wait=120
    ctl n1 vm stop web --hard --yes --wait=60
    ctl n1 vm remove web --yes
    ctl n2 backup restore web --to /shared/back --wait=120
    is_like back/web-vda.qcow2 "$shared/web/truth"
    [ "$(answers n1 "d['backups']" backup list web)" = "[]" ] # nothing is left of it but the points
    ctl n1 vm add --xml /shared/back/web.xml --node n2
    ctl n1 vm start web --wait=60
    ctl n1 backup start web --consistency crash --wait=120
    is_as_it_was
}
