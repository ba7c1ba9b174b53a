# What runs in a guest with an agent: a writer on /dev/vda, an ext4, which says each count on the console when it is on
# disk, and Debian's qemu-ga. Its shutdown is a power-off.
export PATH=/bin LD_LIBRARY_PATH=/lib64
/bin/busybox --install -s /bin
mount -t sysfs sys /sys
printf '#!/bin/sh\nsync\nsleep 0.3\nbusybox umount /mnt\npoweroff -f\n' > /sbin/shutdown
chmod 755 /sbin/shutdown
mount -t ext4 /dev/vda /mnt
(
    n=0
    while [ ! -e /run/stop ]; do
        n=$((n + 1))
        echo $n > /mnt/counter
        sync
        echo "count $n"
        usleep 100000
    done
) &
for port in /sys/class/virtio-ports/*; do
    [ "$(cat $port/name)" != org.qemu.guest_agent.0 ] || exec /qemu-ga --path=/dev/${port##*/} --statedir=/run
done
