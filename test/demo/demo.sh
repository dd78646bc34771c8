#!/bin/bash
# Runs in a guest, as root: shows what dmcopy does, and checks every claim that
# it makes. The argument is how to show progress: tty or plain.
set -euo pipefail
progress=${1:-plain}
mib=256 # of the volume that is copied

heading() { printf '\n\033[1m%s\033[0m\n\n' "$*"; }
say() { printf '%s\n' "$*"; }

# show prints a command and runs it.
show() {
	printf '\033[36m$ %s\033[0m\n' "$*"
	"$@"
	echo
}

# claim TEXT COMMAND… checks what was just said.
claims=0
claim() {
	local text=$1
	shift
	if ! "$@" >/dev/null 2>&1; then
		printf '\033[31m✘ does not hold: %s\033[0m\n' "$text"
		exit 1
	fi
	printf '\033[32m✔ %s\033[0m\n' "$text"
	claims=$((claims + 1))
}

# disk SERIAL: the namespace, whatever number it got in this boot. Paths below
# native multipath are hidden.
disk() {
	local block
	for block in /sys/block/nvme*n*; do
		[ "$(<"$block/hidden")" = 0 ] && [ "$(tr -d ' ' <"$block/device/serial")" = "$1" ] && echo "/dev/${block##*/}" && return
	done
	return 1
}

# traffic DISK: sectors that this machine has read from and written to it.
traffic() {
	udevadm settle
	awk -v name="${1##*/}" '$3 == name { print $6, $10 }' /proc/diskstats
}

# crossed DISK COMMAND…: runs it, and sets $read and $written to the sectors
# that crossed this machine meanwhile.
crossed() {
	local disk=$1 before after
	shift
	before=($(traffic "$disk"))
	show "$@" | tee /tmp/report
	after=($(traffic "$disk"))
	read=$((after[0] - before[0])) written=$((after[1] - before[1]))
}

row() { printf '  %-26s %12d %12d %10.1f\n' "$1" "$2" "$3" "$(awk "BEGIN { print ($2 + $3) / 2048 }")"; }

# quietly runs what only prepares, and shows what it said if it fails.
quietly() { "$@" >/tmp/said 2>&1 || { cat /tmp/said; exit 1; }; }

fill() { dd if=/dev/urandom of="$1" bs=4M count=$(($2 / 4)) oflag=direct conv=nocreat status=none; }

sum() { dd if="$1" bs=4M count=$(($2 / 4)) iflag=direct status=none | sha256sum; }
same() {
	local one two
	one=$(sum "$1" "$3") && two=$(sum "$2" "$3") && [ "$one" = "$two" ]
}

fast=$(disk fast)
other=$(disk other)

heading '1  Two volumes on one NVMe namespace'
say 'One volume is full of random data. The other one is in four pieces all over the disk.'
echo
quietly vgcreate -y vg "$fast"
quietly lvcreate -y -Wn -Zn -n home -L ${mib}M vg
quietly lvcreate -y -Wn -Zn -n clone -L ${mib}M vg "$fast:300-315" "$fast:200-215" "$fast:400-415" "$fast:100-115"
fill /dev/vg/home $mib
show lvs -o lv_name,lv_size,seg_count,seg_pe_ranges
show dmcopy tree vg/home vg/clone "$other"

heading '2  What would happen'
show dmcopy domains "$fast" "$other"
show dmcopy plan vg/home vg/clone

heading '3  The disk copies by itself'
crossed "$fast" dmcopy copy --progress "$progress" vg/home vg/clone
offload_read=$read offload_written=$written
claim 'everything was offloaded, nothing went through this machine' \
	awk '/^  offloaded / { all = / 100 %/ } /^  (host|zeroed|skipped) / { other = 1 } END { exit !all || other }' /tmp/report
claim 'the clone is equal to the original (SHA-256 of both, read past the page cache)' same /dev/vg/home /dev/vg/clone $mib

heading '4  The same through this machine, for contrast'
fill /dev/vg/clone $mib
crossed "$fast" dmcopy copy --progress "$progress" --offload never vg/home vg/clone
claim 'now everything went through this machine' grep -E '^  host .* 100 %' /tmp/report
claim 'the clone is equal again' same /dev/vg/home /dev/vg/clone $mib
echo
say "Sectors of ${fast##*/} that the kernel of this machine has read and written for it (/proc/diskstats):"
printf '  %-26s %12s %12s %10s\n' '' read written MiB
row 'copied by the disk' "$offload_read" "$offload_written"
row 'copied by this machine' "$read" "$written"
all=$((mib * 2048))
echo
claim 'copied by the disk, less than 1 % of the data crossed this machine' test $(((offload_read + offload_written) * 100)) -lt $all
claim 'copied by this machine, all of it did, twice' test "$read" -ge $all -a "$written" -ge $all

heading '5  What cannot be offloaded, and why'
say 'An encrypted volume: its blocks lie on the same disk, but a disk that copied them would copy ciphertext.'
echo
quietly lvcreate -y -Wn -Zn -n private -L 48M vg
quietly lvcreate -y -Wn -Zn -n public -L 48M vg
head -c 32 /dev/urandom >/run/key
quietly cryptsetup luksFormat --batch-mode --pbkdf pbkdf2 --pbkdf-force-iterations 1000 --key-file /run/key /dev/vg/private
quietly cryptsetup open --key-file /run/key /dev/vg/private opened
fill /dev/mapper/opened 32
show dmcopy copy --progress none /dev/mapper/opened vg/public | tee /tmp/report
claim 'it went through this machine, and the report says why' grep -F '(layer:crypt)' /tmp/report
claim 'the copy is equal' same /dev/mapper/opened /dev/vg/public 32
status=0
dmcopy copy --offload require /dev/mapper/opened vg/public 2>/tmp/refusal || status=$?
claim 'with --offload=require it is not begun: exit code 5' test $status = 5
cat /tmp/refusal

heading "All $claims claims hold."
say 'The disks of this guest are emulated by QEMU, whose Copy command reads and writes on the host. The demo'
say 'proves that the bytes are right and which way they went. It says nothing about the speed of real hardware.'
