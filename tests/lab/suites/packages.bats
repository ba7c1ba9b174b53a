#!/usr/bin/env bats
# The packages through their life on one node, with virtual machines running on it: installed, upgraded, removed,
# installed again, purged, installed anew; on bookworm, and then on trixie. The tests stand on each other, in order.

load lab
packages=/usr/local/share/ringmaster-lab/packages

setup_file() {
    lab_up --nodes 1
}

teardown_file() {
    lab_down n1
}

on() { # a command line in the node
    "$lab" exec n1 -- sh -ec "$1" < /dev/null
}
running_vms() {
    ctl n1 vm list --output json | /usr/bin/python3 -c \
        "import json,sys; print(sum(v['state'] == 'running' for v in json.load(sys.stdin)['data']['vms']))"
}
wait_for_vms() { # how many
    for _ in $(seq 60); do
        [[ $(running_vms 2> /dev/null) != "$1" ]] || return 0
        sleep 0.5
    done
    ctl n1 status
    return 1
}
# QEMU's processes and when each was started: changed by whatever touches a running VM.
qemu() {
    on 'for pid in $(pidof qemu-system-x86_64); do echo $pid $(cut -d " " -f 22 /proc/$pid/stat); done | sort'
}
keep_qemu() {
    qemu > "$BATS_FILE_TMPDIR/qemu"
    [ -s "$BATS_FILE_TMPDIR/qemu" ]
}
same_qemu() {
    diff "$BATS_FILE_TMPDIR/qemu" <(qemu)
    [ "$(on 'virsh -q list --state-running --name | grep -c .')" -eq "$(wc -l < "$BATS_FILE_TMPDIR/qemu")" ]
}
main_pid() {
    on 'systemctl show -P MainPID ringmasterd'
}
exposure() {
    on 'systemd-analyze security --no-pager ringmasterd' | sed -n 's/.*exposure level[^:]*: \([0-9.]*\) .*/\1/p'
}
install_packages() {
    on "dpkg --install $packages/*.deb"
}
# The installed packages once more, as a higher version whose shipped configuration differs.
upgrade_to() { # version
    on "
        rm -rf /root/new && mkdir /root/new && cd /root/new
        for deb in $packages/*.deb; do
            dpkg-deb -R \$deb tree
            old=\$(sed -n 's/^Version: //p' tree/DEBIAN/control)
            sed -i -e \"/^Version: /s/: .*/: $1/\" -e \"s/(= \$old)/(= $1)/g\" tree/DEBIAN/control
            conf=tree/usr/share/ringmaster/ringmaster.conf
            [ ! -e \$conf ] || echo '# as shipped in $1' >> \$conf
            dpkg-deb -Znone -b tree . && rm -rf tree
        done
        dpkg --install /root/new/*.deb && rm -rf /root/new"
    [ "$(on "dpkg-query -W -f '\${Version} \${db:Status-Status}\n' ringmaster ringmaster-clusterctl | sort -u")" = \
        "$1 installed" ]
}
# What the package, the agent and the admin made of it; not the lab's own, nor the journal.
traces() {
    on 'find / -xdev -path /proc -prune -o -path /sys -prune -o \
            -iname "*ringmaster*" ! -path "/usr/local/*" ! -name "ringmaster-lab*" -print
        find /run /dev/shm -iname "*ringmaster*"
        systemctl list-unit-files "ringmaster*" --no-legend --no-pager | grep -v ringmaster-lab || true'
}
lintian_is_clean() {
    command -v lintian > /dev/null || skip "no lintian"
    local into=$BATS_TEST_TMPDIR/debs
    mkdir "$into"
    "$lab" exec n1 -- tar -C "$packages" -cf - . | tar -C "$into" -xf -
    lintian --fail-on error --allow-root --tag-display-limit 0 "$into"/*.deb
}

@test "bookworm: the packages are installed, the agent is enabled and runs" {
    [ "$(on 'systemctl is-enabled ringmasterd; systemctl is-active ringmasterd' | tr '\n' ' ')" = "enabled active " ]
    on 'getent group ringmaster-admin ringmaster-read'
    [ "$(on 'ringmasterctl --version')" = "$(on 'clusterctl --version')" ]
    on 'cmp /usr/share/ringmaster/ringmaster.conf /etc/ringmaster/ringmaster.conf'
    run on 'dpkg --verify ringmaster ringmaster-clusterctl | grep -v -e /usr/share/doc -e /usr/share/man'
    [ "$output" = "" ] # the images leave documentation out
    [[ $(traces) == *ringmasterd.service*/run/ringmaster*enabled* ]] # so that "no trace" says something later
    wait_for_vms 4
}

@test "bookworm: lintian finds no error" {
    lintian_is_clean
}

@test "bookworm: the running unit's exposure is 2.5 or less" {
    value=$(exposure)
    echo "exposure $value" >&3
    /usr/bin/python3 -c "import sys; sys.exit(not 0 < $value <= 2.5)"
}

@test "bookworm: stop, start and restart of the agent touch no VM" {
    keep_qemu
    on 'systemctl stop ringmasterd'
    same_qemu
    on 'systemctl start ringmasterd && systemctl restart ringmasterd'
    wait_for_vms 4
    same_qemu
}

@test "bookworm: an upgrade restarts the agent, keeps an edited configuration and asks nothing" {
    on 'echo "level=notice" >> /etc/ringmaster/ringmaster.conf; cp /etc/ringmaster/ringmaster.conf /root/edited'
    before=$(main_pid)
    upgrade_to 0.1.0+1
    [ "$(main_pid)" != "$before" ]
    on 'cmp /root/edited /etc/ringmaster/ringmaster.conf'
    wait_for_vms 4
    same_qemu
}

@test "bookworm: an upgrade replaces the configuration that nobody edited" {
    on 'cp /usr/share/ringmaster/ringmaster.conf /etc/ringmaster/ringmaster.conf'
    upgrade_to 0.1.0+2
    on 'grep -q "as shipped in 0.1.0+2" /etc/ringmaster/ringmaster.conf; ls /etc/ringmaster'
    [ "$(on 'ls /etc/ringmaster' | tr '\n' ' ')" = "conf.d ringmaster.conf " ]
    on 'rm /etc/ringmaster/ringmaster.conf'
    upgrade_to 0.1.0+3
    [ "$(on 'ls /etc/ringmaster')" = "conf.d" ] # deleted stays deleted
    wait_for_vms 4
    same_qemu
}

@test "bookworm: a removal stops the agent, and touches neither VMs nor its files" {
    on 'cp /usr/share/ringmaster/ringmaster.conf /etc/ringmaster/ && echo "# mine" > /etc/ringmaster/conf.d/mine.conf'
    on 'dpkg --remove ringmaster ringmaster-clusterctl ringmaster-doc'
    same_qemu
    on 'test -z "$(pidof ringmasterd)$(command -v clusterctl)"; test -e /var/lib/ringmaster/identity.json'
    on 'test -e /etc/ringmaster/ringmaster.conf; test -e /etc/ringmaster/conf.d/mine.conf'
    on 'pidof corosync'
}

@test "bookworm: installed again, the node goes on where it was" {
    install_packages
    wait_for_vms 4
    same_qemu
    "$lab" verify-guests
}

@test "bookworm: a purge touches no VM and leaves nothing of its own" {
    run on 'dpkg --purge ringmaster ringmaster-clusterctl ringmaster-doc'
    [ "$status" -eq 0 ]
    [[ $output == *"stay, as"*/etc/corosync/authkey* ]]
    same_qemu
    run traces
    [ "$output" = "" ]
    on 'test -e /etc/corosync/corosync.conf; pidof corosync' # not its own
}

@test "bookworm: installed anew, a node of a new cluster takes the VMs as they run" {
    install_packages
    [ "$(on 'systemctl is-enabled ringmasterd; systemctl is-active ringmasterd' | tr '\n' ' ')" = "enabled active " ]
    on 'test -e /etc/ringmaster/ringmaster.conf; test ! -e /var/lib/ringmaster/identity.json'
    same_qemu
    ctl n1 cluster init --name again --yes
    for vm in vm1 vm2 vm3 vm4; do
        ctl n1 vm add --xml /shared/$vm.xml --node n1
    done
    wait_for_vms 4 # taken as they run
    same_qemu
    "$lab" verify-guests
}

@test "trixie: the packages are installed, and the running unit's exposure is 2.5 or less" {
    "$lab" rebuild n1 trixie >&3
    [ "$(on 'systemctl is-enabled ringmasterd; systemctl is-active ringmasterd' | tr '\n' ' ')" = "enabled active " ]
    value=$(exposure)
    echo "exposure $value" >&3
    /usr/bin/python3 -c "import sys; sys.exit(not 0 < $value <= 2.5)"
}

@test "trixie: lintian finds no error" {
    lintian_is_clean
}

@test "trixie: upgrade, removal, purge and new installation touch no VM" {
    ctl n1 cluster init --name other --yes
    ctl n1 vm add --xml /shared/vm1.xml --node n1
    ctl n1 vm start vm1 --wait=60
    keep_qemu
    before=$(main_pid)
    upgrade_to 0.1.0+1
    [ "$(main_pid)" != "$before" ]
    wait_for_vms 1
    on 'dpkg --remove ringmaster ringmaster-clusterctl ringmaster-doc'
    same_qemu
    install_packages
    wait_for_vms 1
    on 'dpkg --purge ringmaster ringmaster-clusterctl ringmaster-doc'
    run traces
    [ "$output" = "" ]
    same_qemu
    install_packages
    on 'systemctl is-active ringmasterd'
    same_qemu
}
