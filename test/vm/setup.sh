#!/bin/bash
# Prepares a Debian machine for the VM suites: host packages that are missing, and the guest image.
#
#   test/vm/setup.sh [--arch arm64]           do what is missing, print the image directory on stdout
#   test/vm/setup.sh [--arch arm64] --check   do nothing; exit 1 when something is missing
#
# The image lives in ${DMCOPY_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/dmcopy}/vm/<hash of this file>[-arm64]:
#   root.erofs            Debian trixie, read-only, the modules of all kernels in it
#   vmlinuz-K, initrd-K   for K in 6.12 (trixie), 6.1 (bookworm), new (trixie-backports);
#                         of arm64 in arm64 and arm64-16k (trixie, with pages of 4 and of 16 KiB)
#   versions              one "K release" a line
# Nothing in it changes after the build, so any number of guests can share it.
set -euo pipefail
umask 022

guest_suite=trixie
guest_packages=(
	# init and inspection
	udev kmod util-linux mount procps psmisc bsdextrautils less iproute2 strace
	# what dmcopy resolves, and the tools that build it
	lvm2 dmsetup dmeventd mdadm cryptsetup-bin thin-provisioning-tools multipath-tools kpartx
	nvme-cli sg3-utils open-iscsi parted fdisk
	# foreign clients for our test target, and foreign targets for our client
	ddpt tgt istgt
	# file systems
	e2fsprogs f2fs-tools xfsprogs btrfs-progs
)

# What the first stage needs to reach the root file system; everything else is loaded from there.
initrd_modules=(virtio_pci virtio_blk erofs overlay)

# Modules that no guest of ours can use. They are most of the size of a Debian kernel.
pruned_modules=(
	sound
	drivers/{gpu,media,infiniband,iio,hwmon,usb,input,staging,comedi,mtd,bluetooth,isdn,hid,leds,power,platform}
	drivers/{rtc,regulator,pinctrl,gpio,i2c,spi,mfd,video,accel,soundwire,thunderbolt,firewire,android,greybus}
	drivers/{edac,fpga,gnss,mmc,pcmcia,rapidio,ssb,bcma,vfio,w1,watchdog,parport,extcon,memstick,crypto,xen}
	drivers/net/{ethernet,wireless,wwan,usb,can,ieee802154,hamradio,fddi,arcnet,phy,wan,dsa,pcs}
	net/{wireless,mac80211,bluetooth,can,nfc,ieee802154,mac802154,batman-adv,openvswitch,sctp,tipc,rxrpc,ax25,rose,netrom}
	net/{netfilter,sched,ipv4/netfilter,ipv6/netfilter,bridge,wireguard,mpls,dccp,smc,atm,appletalk,sunrpc,ceph}
	fs/{ocfs2,gfs2,afs,ceph,nfs,nfsd,smb,cifs,jfs,ntfs3,orangefs,coda,hfs,hfsplus,ufs,reiserfs,nilfs2,bcachefs,dlm}
)

say() { echo "dmcopy vm: $*" >&2; }
die() { say "$*"; exit 1; }

check_only=
arch=amd64
while [ $# -gt 0 ]; do
	case "$1" in
	--check) check_only=1 ;;
	--arch) arch=${2-}; shift ;;
	*) die "unknown argument $1 (usage: setup.sh [--arch arm64] [--check])" ;;
	esac
	shift
done
# Kernels: name, suite and package.
case "$arch" in
amd64)
	kernels=("6.12 trixie linux-image-amd64" "6.1 bookworm linux-image-amd64" "new trixie-backports linux-image-amd64")
	qemu_program=qemu-system-x86_64 qemu_package=qemu-system-x86
	;;
arm64)
	kernels=("arm64 trixie linux-image-arm64" "arm64-16k trixie linux-image-arm64-16k")
	qemu_program=qemu-system-aarch64 qemu_package=qemu-system-arm
	;;
*) die "no guest image is made for architecture '$arch': amd64 and arm64 are known" ;;
esac

# When the script arrives on stdin (package vm embeds it), its text is handed over in DMCOPY_SETUP_TEXT.
script_text=$(if [ "${DMCOPY_SETUP_TEXT+set}" ]; then printf %s "$DMCOPY_SETUP_TEXT"; else cat "${BASH_SOURCE[0]}"; fi)
hash=$(printf %s "$script_text" | sha256sum | cut -c1-16)
cache=${DMCOPY_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/dmcopy}/vm
image=$cache/$hash
[ "$arch" = amd64 ] || image+=-$arch

[ "$(uname -m)" = x86_64 ] || die "guest images are built on amd64 only, this machine is $(uname -m)"

# ---- host packages --------------------------------------------------------------------------------------------------

qemu_usable() {
	local major
	major=$("$qemu_program" --version 2>/dev/null | sed -n 's/^QEMU emulator version \([0-9]*\)\..*/\1/p')
	# Copy between namespaces (formats 2 and 3) came with QEMU 9.0.
	[ "${major:-0}" -ge 9 ]
}

missing_packages() {
	qemu_usable || echo "$qemu_package"
	command -v mmdebstrap >/dev/null || echo mmdebstrap
	command -v mkfs.erofs >/dev/null || echo erofs-utils
	command -v cpio >/dev/null || echo cpio
	command -v xz >/dev/null || echo xz-utils
	command -v depmod >/dev/null || echo kmod
	[ -e /usr/share/keyrings/debian-archive-keyring.gpg ] || echo debian-archive-keyring
	# Not for guests: libiscsi's tests of targets, for test/target.
	command -v iscsi-test-cu >/dev/null || echo libiscsi-bin
}

# The mirror that this machine uses already; other hosts may be out of reach.
debian_mirror() {
	local found
	found=$(cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources 2>/dev/null |
		grep -v '^[[:space:]]*#' | grep -oE 'https?://[^][:space:]]+' | sed 's,/*$,,' | grep -E '/debian$' | head -n1)
	echo "${found:-http://deb.debian.org/debian}"
}

install_packages() {
	[ "$(id -u)" = 0 ] || die "missing packages: $* (run this script as root once, or install them; QEMU must be 9.0 or newer)"
	command -v apt-get >/dev/null || die "missing packages: $* (no apt-get here to install them)"
	local codename target=()
	codename=$(. /etc/os-release && echo "${VERSION_CODENAME-}")
	if [ "$codename" = bookworm ] && [[ " $* " == *" $qemu_package "* ]]; then
		target=(-t bookworm-backports)
		if ! apt-cache policy | grep -q bookworm-backports; then
			say "adding bookworm-backports in /etc/apt/sources.list.d/dmcopy-backports.sources"
			cat >/etc/apt/sources.list.d/dmcopy-backports.sources <<-END
				# Added by dmcopy's test/vm/setup.sh: QEMU 9 or newer for NVMe Copy between namespaces.
				Types: deb
				URIs: $(debian_mirror)
				Suites: bookworm-backports
				Components: main
				Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
			END
		fi
	fi
	say "installing host packages: $*"
	{
		apt-get update -qq
		DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "${target[@]}" "$@"
	} >&2
	qemu_usable || die "QEMU 9.0 or newer is needed, but this machine offers: $("$qemu_program" --version 2>&1 | head -n1)"
}

# ---- guest image ----------------------------------------------------------------------------------------------------

stage1() {
	cat <<'END'
#!/bin/busybox sh
# First stage: reach the shared read-only root, lay a throw-away overlay over it, go on with the host's init script.
export PATH=/bin
/bin/busybox --install -s /bin
mount -t devtmpfs dev /dev
mount -t proc proc /proc
mount -t sysfs sys /sys
while read -r module; do insmod "$module"; done </modules
for try in 0 1 2 3 4 5 6 7 8 9; do
	for disk in /sys/block/vd*; do
		[ "$(cat "$disk/serial" 2>/dev/null)" = dmcopy-root ] && root=/dev/${disk##*/}
	done
	[ -b "$root" ] && break
	sleep 0.2
done
mount -t erofs -o ro "$root" /lower || exec echo "dmcopy: no root disk"
mount -t tmpfs -o mode=755 tmpfs /upper
mkdir /upper/data /upper/work
mount -t overlay -o lowerdir=/lower,upperdir=/upper/data,workdir=/upper/work overlay /newroot
umount /sys /proc
mount --move /dev /newroot/dev
exec switch_root /newroot /bin/sh /usr/lib/dmcopy/stage2
END
}

stage2() {
	cat <<'END'
# Second stage: mount what every boot needs and run the init script that the host shares.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
modprobe -a 9pnet_virtio 9p
mount -t 9p -o trans=virtio,version=9p2000.L,ro,msize=512000 boot /dmcopy/boot || exec echo "dmcopy: no boot share"
exec /bin/sh /dmcopy/boot/init
END
}

# Defaults otherwise, real locking and udev synchronisation included.
lvm_configuration() {
	cat <<'END'
# A devices file would hide the disks of every new boot.
devices { use_devicesfile = 0 }
# Daemons that systemd starts elsewhere; a test that wants them starts them and says --config.
global { use_lvmpolld = 0 }
activation { monitoring = 0 }
END
}

# The modules of one kernel package, decompressed (software emulation takes seconds for what xz saves) and pruned.
add_kernel() {
	local name=$1 suite=$2 package=$3 work=$4 mirror=$5 tree release
	tree=$work/kernel-$name
	say "kernel $name ($suite)"
	# Default-Release: backports come with the suite they build on, whose older kernel apt would prefer.
	mmdebstrap --quiet --variant=extract --architectures="$arch" --include="$package",busybox-static \
		--aptopt="APT::Default-Release \"$suite\"" --format=directory \
		"$suite" "$tree" "$(sources_for "$suite" "$mirror")" >&2
	release=$(ls "$tree/usr/lib/modules" 2>/dev/null || ls "$tree/lib/modules")
	[ "$(wc -w <<<"$release")" = 1 ] || die "kernel $name: expected one release, got: $release"
	local modules=$tree/usr/lib/modules
	[ -d "$modules" ] || modules=$tree/lib/modules
	modules=$modules/$release
	# Up to 6.x the package ships /boot/vmlinuz-RELEASE, from 7.x on it lies next to the modules.
	local vmlinuz=$tree/boot/vmlinuz-$release
	[ -e "$vmlinuz" ] || vmlinuz=$modules/vmlinuz
	mv "$vmlinuz" "$work/image/vmlinuz-$name"
	for directory in "${pruned_modules[@]}"; do rm -rf "${modules:?}/kernel/$directory"; done
	find "$modules" -name '*.ko.xz' -print0 | xargs -0 -r -n 64 -P "$(nproc)" xz -d
	mkdir -p "$work/root/usr/lib/modules"
	mv "$modules" "$work/root/usr/lib/modules/$release"
	depmod -b "$work/root/usr" -m /lib/modules "$release" 2>/dev/null || depmod -b "$work/root" "$release"
	make_initrd "$name" "$release" "$work" "$(find "$tree" -name busybox -type f -perm -1 | head -n1)"
	echo "$name $release" >>"$work/image/versions"
	rm -rf "$tree"
}

sources_for() {
	local suite=$1 mirror=$2
	case $suite in
	*-backports) echo "deb $mirror ${suite%-backports} main"; echo "deb $mirror $suite main" ;;
	*) echo "deb $mirror $suite main" ;;
	esac
}

make_initrd() {
	local name=$1 release=$2 work=$3 busybox=$4 tree=$3/initrd
	rm -rf "$tree"
	mkdir -p "$tree"/{bin,dev,proc,sys,lower,upper,newroot,m}
	cp "$busybox" "$tree/bin/busybox"
	stage1 >"$tree/init"
	chmod 755 "$tree/init"
	local module
	for module in "${initrd_modules[@]}"; do
		modprobe -d "$work/root" -S "$release" --show-depends "$module" | sed -n 's/^insmod \([^ ]*\).*/\1/p'
	done | awk '!seen[$0]++' | while read -r file; do
		cp "$file" "$tree/m/"
		echo "/m/${file##*/}"
	done >"$tree/modules"
	(cd "$tree" && find . -print0 | cpio --quiet -0 -o -H newc -R 0:0) >"$work/image/initrd-$name"
}

# What the configuration of packages leaves behind that a guest needs.
configure_unpacked() {
	local root=$1
	cp "$root/usr/share/base-passwd/passwd.master" "$root/etc/passwd"
	cp "$root/usr/share/base-passwd/group.master" "$root/etc/group"
	[ -e "$root/usr/bin/awk" ] || ln -s mawk "$root/usr/bin/awk"
	mkdir -p "$root"/{proc,sys,dev,run,tmp,root,mnt,home,usr/local/{bin,sbin}}
}

build() {
	local work=$1 mirror kernel
	mirror=$(debian_mirror)
	mkdir "$work/image"
	say "building the guest image of $arch from $mirror (once, takes some minutes)"
	local variant=essential include=("--include=$(IFS=,; echo "${guest_packages[*]}")")
	if [ "$arch" != "$(dpkg --print-architecture)" ]; then
		# Programs of another architecture do not run here: packages are unpacked, and not configured.
		variant=extract include+=(--include='?essential')
	fi
	mmdebstrap --quiet --variant="$variant" --architectures="$arch" --format=directory \
		"${include[@]}" \
		--dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
		--dpkgopt='path-exclude=/usr/share/locale/*' \
		"$guest_suite" "$work/root" "$(sources_for "$guest_suite" "$mirror")" >&2
	[ "$variant" != extract ] || configure_unpacked "$work/root"
	for kernel in "${kernels[@]}"; do
		add_kernel ${kernel} "$work" "$mirror"
	done
	mkdir -p "$work/root"/{dmcopy/{boot,exe,dir,out},usr/lib/dmcopy,etc/lvm}
	stage2 >"$work/root/usr/lib/dmcopy/stage2"
	echo dmcopy >"$work/root/etc/hostname"
	lvm_configuration >"$work/root/etc/lvm/lvmlocal.conf"
	# Its last rule runs logger for every event of a disk without SCSI identity, to warn a system log that is not there.
	local rules=$work/root/usr/lib/udev/rules.d/55-scsi-sg3_id.rules
	sed -i '/^ENV{ID_SERIAL}!="?\*", ENV{DEVTYPE}=="disk", \\$/,$d' "$rules"
	! grep -q logger "$rules" || die "$rules has changed: it still runs logger"
	rm -rf "$work/root"/var/{cache,lib/apt}/* "$work/root/dev"/*
	mkfs.erofs --quiet "$work/image/root.erofs" "$work/root" >&2
}

# ---------------------------------------------------------------------------------------------------------------------

missing=$(missing_packages)
if [ -n "$check_only" ]; then
	[ -z "$missing" ] || die "missing host packages: $(echo $missing)"
	[ -e "$image/versions" ] || die "missing guest image $image"
	echo "$image"
	exit 0
fi
if [ -n "$missing" ] || [ ! -e "$image/versions" ]; then
	mkdir -p "$cache"
	exec 9>"$cache/lock"
	flock -n 9 || { say "waiting for another setup.sh"; flock 9; }
	# The other one may have done it all.
	missing=$(missing_packages)
	[ -z "$missing" ] || install_packages $missing
	if [ ! -e "$image/versions" ]; then
		work=$(mktemp -d "$cache/build.XXXXXX")
		trap 'rm -rf "$work"' EXIT
		chmod 755 "$work"
		build "$work"
		mv -T "$work/image" "$image"
		say "image ready: $image ($(du -sh "$image" | cut -f1))"
	fi
	exec 9>&-
fi
touch "$image"
# Images of older recipes that nobody has used for a week.
find "$cache" -mindepth 1 -maxdepth 1 -type d -mtime +7 -exec rm -rf {} +
echo "$image"
