# PID 1 of a guest: prepare the system, run /dmcopy/boot/payload, tell the host its exit code.
# Shared by the host at every boot, so a change needs no new image.
fail() { echo "dmcopy: $*" >/dev/console; echo o >/proc/sysrq-trigger; sleep 60; }

mkdir -p /dev/pts /dev/shm
mount -t devpts -o gid=5,mode=620,ptmxmode=666 devpts /dev/pts
mount -t tmpfs -o mode=1777 tmpfs /dev/shm
mount -t tmpfs -o mode=755 tmpfs /run
mount -t tmpfs -o mode=1777 tmpfs /tmp
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t debugfs debugfs /sys/kernel/debug
mount -t tracefs tracefs /sys/kernel/tracing
mkdir -p /run/lock/lvm /run/lvm /run/dmcopy /run/udev
ln -sf /proc/self/mounts /etc/mtab
ln -sf /proc/self/fd /dev/fd
ulimit -n 65536
ulimit -l unlimited
hostname dmcopy
ip link set lo up

for tag in /sys/bus/virtio/drivers/9pnet_virtio/virtio*/mount_tag; do
	share=$(tr -d '\0' <"$tag")
	[ "$share" = boot ] && continue # mounted: this script lies there
	mode=ro
	[ "$share" = out ] && mode=rw
	mount -t 9p -o trans=virtio,version=9p2000.L,$mode,msize=512000 "$share" "/dmcopy/$share" || fail "cannot mount share $share"
done

modprobe -a virtio_console virtio_scsi nvme sd_mod sg loop dm_mod configfs
mount -t configfs configfs /sys/kernel/config

/usr/lib/systemd/systemd-udevd --daemon --resolve-names=never || fail "udevd does not start"
# Only what tests look at: a full trigger would load drivers for every device of the emulated machine.
udevadm trigger --action=add --type=devices --subsystem-match=block --subsystem-match=nvme --subsystem-match=nvme-subsystem \
	--subsystem-match=virtio-ports --subsystem-match=misc --subsystem-match=scsi --subsystem-match=scsi_generic \
	--subsystem-match=mem
udevadm settle --timeout=60 || fail "udev does not settle"

port() {
	for entry in /sys/class/virtio-ports/*; do
		read -r name <"$entry/name" && [ "$name" = "dmcopy.$1" ] && echo "/dev/${entry##*/}" && return
	done
}
control=$(port control)
[ -n "$control" ] || fail "no control port"
exec 3>"$control"
echo ready >&3
. /dmcopy/boot/environment
sh /dmcopy/boot/payload <"$(port stdin)" >"$(port stdout)" 2>"$(port stderr)" 3>&-
echo "exit $?" >&3
# The host ends QEMU when it has read that. Should it be gone, nothing is left to do here either.
sleep 60
echo o >/proc/sysrq-trigger
sleep 60
