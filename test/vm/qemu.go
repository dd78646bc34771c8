package vm

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
)

// arguments is a QEMU command line under construction.
type arguments []string

func (a *arguments) add(option, format string, values ...any) {
	*a = append(*a, option, fmt.Sprintf(format, values...))
}

func (a *arguments) addJSON(option string, value map[string]any) {
	text, err := json.Marshal(value)
	if err != nil {
		panic(err) // maps of strings and numbers always marshal
	}
	*a = append(*a, option, string(text))
}

// The kernel parameters of every boot. An oops ends the run: a kernel that has oopsed proves nothing any more. Mitigations
// cost time and protect nobody here.
const cmdline = "loglevel=5 panic=-1 oops=panic mitigations=off audit=0 random.trust_cpu=on scsi_mod.scan=sync loop.max_loop=0"

// qemuArguments is everything but the channels. disks are the descriptors of the backing files by the disks' names.
func (m Machine) qemuArguments(img image, accel, runDir string, shares []share, disks map[string]int) arguments {
	cpu := img.arch.cpu
	if accel == accelKVM {
		cpu = "host"
	}
	var a arguments
	a = append(a, "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none")
	a.add("-machine", "%s", img.arch.machine)
	a.add("-accel", "%s", accel)
	a.add("-cpu", "%s", cpu)
	a.add("-smp", "%d", m.CPUs)
	a.add("-m", "%d", m.Memory)
	a.add("-kernel", "%s", filepath.Join(img.dir, "vmlinuz-"+m.Kernel))
	a.add("-initrd", "%s", filepath.Join(img.dir, "initrd-"+m.Kernel))
	a.add("-append", "console=%s %s %s %s", img.arch.console, cmdline, img.arch.cmdline, m.Cmdline)
	a.add("-serial", "file:%s", filepath.Join(runDir, consoleFile))

	// Locking off: many guests read the image at the same time, and nobody writes it.
	a.addJSON("-blockdev", map[string]any{"driver": "file", "node-name": "root", "filename": filepath.Join(img.dir, "root.erofs"),
		"read-only": true, "locking": "off"})
	a.add("-device", "virtio-blk-pci,drive=root,serial=%s", rootSerial)
	for _, s := range shares {
		readonly := "on"
		if s.writable {
			readonly = "off"
		}
		a.add("-fsdev", "local,id=%s,path=%s,security_model=none,readonly=%s,multidevs=remap", s.tag, escape(s.path), readonly)
		a.add("-device", "virtio-9p-pci,fsdev=%s,mount_tag=%s", s.tag, s.tag)
	}
	m.addDisks(&a, img.arch, disks)
	return append(a, m.QEMU...)
}

// escape doubles commas, which separate properties in QEMU's option strings.
func escape(path string) string { return strings.ReplaceAll(path, ",", ",,") }

// addPluggable adds a PCI device that can be unplugged: where the root bus cannot do that, in a port of its own.
func (a *arguments) addPluggable(arch arch, id, properties string) {
	if arch.ports {
		properties += ",bus=" + a.addPort(id)
	}
	a.add("-device", "%s", properties)
}

// addPort adds a port for a device, which the port is named after.
func (a *arguments) addPort(device string) (bus string) {
	bus = portOf(device)
	a.add("-device", "pcie-root-port,id=%s,chassis=%d", bus, len(*a)) // any number that no other port has
	return bus
}

func portOf(device string) string { return "port-" + device }

func (m Machine) addDisks(a *arguments, arch arch, backing map[string]int) {
	controllers := map[string]bool{}
	scsi := false
	for _, d := range m.Disks {
		d.addBackend(a, backing[d.Name()])
		block := fmt.Sprintf("logical_block_size=%d,physical_block_size=%d", d.blockSize(), d.blockSize())
		device := ""
		switch d.bus() {
		case BusNVMe:
			if !controllers[d.Serial] {
				controllers[d.Serial] = true
				m.addControllers(a, arch, d.Serial)
			}
			device = fmt.Sprintf("nvme-ns,bus=%s-c0,nsid=%d,nguid=%s,%s", d.Serial, d.nsid(), d.nguid(), block)
			if d.NoCopy || d.Copy != (CopyLimits{}) {
				device += fmt.Sprintf(",mssrl=%d,mcl=%d,msrc=%d", d.Copy.MSSRL, d.Copy.MCL, d.Copy.MSRC)
			}
		case BusVirtio:
			device = fmt.Sprintf("virtio-blk-pci,serial=%s,%s", d.Serial, block)
		case BusSCSI:
			if !scsi {
				scsi = true
				a.add("-device", "virtio-scsi-pci,id=scsi")
			}
			device = fmt.Sprintf("scsi-hd,bus=scsi.0,serial=%s,device_id=%s,%s", d.Serial, d.Serial, block)
		}
		if d.Properties != "" {
			device += "," + d.Properties
		}
		device += fmt.Sprintf(",id=%s-dev,drive=%s", d.Name(), d.Name())
		if d.bus() == BusVirtio {
			a.addPluggable(arch, d.Name()+"-dev", device)
			continue
		}
		a.add("-device", "%s", device)
	}
}

// nguid gives every namespace an identity of its own, the same in every boot. Linux does not show it in sysfs: it calls all
// identifiers of QEMU's controllers bogus (NVME_QUIRK_BOGUS_NID in drivers/nvme/host/pci.c); Identify does.
func (d Disk) nguid() string {
	sum := sha256.Sum256([]byte(d.Name()))
	return hex.EncodeToString(sum[:16])
}

// spareControllers is how many controllers [PlugController] can add to a subsystem where each needs a port.
const spareControllers = 4

// addControllers adds the NVMe controllers named serial: one of its own, or several in a subsystem.
func (m Machine) addControllers(a *arguments, arch arch, serial string) {
	shared := 0
	for _, d := range m.Disks {
		if d.bus() == BusNVMe && d.Serial == serial {
			shared = max(shared, d.Controllers)
		}
	}
	if shared <= 1 {
		id := serial + "-c0"
		a.addPluggable(arch, id, fmt.Sprintf("nvme,id=%s,serial=%s", id, serial))
		return
	}
	a.add("-device", "nvme-subsys,id=%s-subsys,nqn=%s", serial, serial)
	for i := range shared {
		id := fmt.Sprintf("%s-c%d", serial, i)
		a.addPluggable(arch, id, fmt.Sprintf("nvme,id=%s,serial=%s,subsys=%s-subsys", id, serial, serial))
	}
	for i := shared; arch.ports && i < shared+spareControllers; i++ {
		a.addPort(fmt.Sprintf("%s-c%d", serial, i))
	}
}

// addBackend adds the block nodes of a disk: file, and above it a throttle that is always there, so that a test can slow
// the disk down later. The file has no name, and QEMU reopens it when permissions change: hence the way through /proc to the
// descriptor that it inherited.
func (d Disk) addBackend(a *arguments, backing int) {
	name := d.Name()
	a.addJSON("-object", map[string]any{"qom-type": "throttle-group", "id": name + "-limits",
		"limits": throttleLimits(d.BytesPerSec, d.IOPS)})
	a.addJSON("-blockdev", map[string]any{"driver": "throttle", "node-name": name, "throttle-group": name + "-limits", "discard": "unmap",
		"file": map[string]any{"driver": "file", "node-name": name + "-file", "filename": fmt.Sprintf("/proc/self/fd/%d", backing),
			"discard": "unmap", "detect-zeroes": "off", "locking": "off"}})
}

// throttleLimits is QAPI's ThrottleLimits.
func throttleLimits(bytesPerSec, iops int64) map[string]any {
	return map[string]any{"bps-total": bytesPerSec, "iops-total": iops}
}

// A channel is a virtio-serial port between the guest and the host process; its QEMU side is a socket pair.
type channel string

// The channels of every boot.
const (
	channelStdin   channel = "stdin"   // of the payload
	channelStdout  channel = "stdout"  // of the payload
	channelStderr  channel = "stderr"  // of the payload
	channelControl channel = "control" // the guest's init script tells "ready" and "exit N"
	channelQMP     channel = "qmp"     // JSON lines, relayed to QEMU's monitor
)

var channels = []channel{channelStdin, channelStdout, channelStderr, channelControl, channelQMP}

// port is the name of the channel's port in the guest, see /sys/class/virtio-ports/*/name.
func (c channel) port() string { return "dmcopy." + string(c) }

func (a *arguments) addChannels(fd map[channel]int, monitor int) {
	a.add("-device", "virtio-serial-pci,id=serial")
	for _, c := range channels {
		a.add("-chardev", "socket,id=%s,fd=%d", c, fd[c])
		a.add("-device", "virtserialport,bus=serial.0,chardev=%s,name=%s", c, c.port())
	}
	a.add("-chardev", "socket,id=monitor,fd=%d", monitor)
	a.add("-mon", "chardev=monitor,mode=control")
}
