// Package vm boots Debian guests in QEMU for tests that need a real kernel, real device-mapper and real (emulated) NVMe
// devices. A suite names its machine and hands over in TestMain:
//
//	var machine = vm.Machine{Disks: []vm.Disk{{Serial: "src", NSID: 1, Size: 1 << 30}}}
//
//	func TestMain(m *testing.M) { vm.Main(m, machine) }
//
// On the host, Main boots the machine, runs the same test binary in it as root with the same flags, and passes output and
// exit code through. In the guest, Main runs the tests. Nothing outlives the process: disks are unlinked files, the root
// file system is shared and read-only, QEMU dies with its parent.
package vm

import (
	"errors"
	"fmt"
	"os"
	"regexp"
)

// Kernels that the guest image holds, by the names that [Machine.Kernel] takes.
const (
	KernelDefault = "6.12" // Debian trixie
	KernelOld     = "6.1"  // Debian bookworm
	KernelNew     = "new"  // the newest in trixie-backports

	KernelArm64    = "arm64"     // Debian trixie on arm64, pages of 4 KiB
	KernelArm64Big = "arm64-16k" // the same with pages of 16 KiB
)

// A Machine is one guest. The zero value is a machine without disks.
type Machine struct {
	Memory   int      // MiB; 0 means 2048
	CPUs     int      // 0 means 2
	Kernel   string   // one of the Kernel constants; "" means $DMCOPY_VM_KERNEL, else KernelDefault
	Cmdline  string   // more kernel parameters
	Disks    []Disk   // in any order; namespaces that share a Serial share a controller
	Programs []string // Go main packages of this module, built static on the host, on the guest's PATH
	QEMU     []string // more QEMU arguments, for what Disk cannot say
}

// Bus says how a disk is attached.
type Bus string

// The buses. The zero value of [Disk.Bus] means NVMe.
const (
	BusNVMe   Bus = "nvme"
	BusVirtio Bus = "virtio"
	BusSCSI   Bus = "scsi"
)

// A Disk is one NVMe namespace, virtio-blk disk or virtio-scsi disk, backed by a sparse file that is gone after the run.
type Disk struct {
	Bus       Bus
	Serial    string // of the controller or the disk; letters and digits, at most 20; finds it in the guest
	NSID      uint32 // NVMe only; 0 means 1
	Size      int64  // bytes, a multiple of BlockSize
	BlockSize int    // 512 or 4096 bytes; 0 means 512

	// Copy limits of an NVMe namespace. QEMU cannot take the Copy command away from a controller (ONCS bit 8); NoCopy makes
	// all three limits of the namespace zero, and NVMeTarget gives the guest a controller without Copy.
	Copy   CopyLimits
	NoCopy bool
	// Controllers > 1 puts the namespaces of this Serial into a subsystem with that many controllers, which are paths of one
	// native multipath head. QEMU's controllers claim to be of many (CMIC), so Linux makes a head for a single one as
	// well; [Machine.Cmdline] "nvme_core.multipath=N" gives disks without heads, one for each path.
	Controllers int

	BytesPerSec int64 // limit for all commands together; 0 means none; see Throttle for changes in the guest
	IOPS        int64 // likewise, in commands a second

	Properties string // more properties of the QEMU device, "zoned=on,zoned.zone_size=64M"
}

// CopyLimits are the fields of Identify Namespace that bound an NVMe Copy command. The zero value means QEMU's own
// (MSSRL 128, MCL 128, MSRC 127).
type CopyLimits struct {
	MSSRL uint16 // logical blocks of one source range, counts from 1
	MCL   uint32 // logical blocks of one command, counts from 1
	MSRC  uint8  // source ranges of one command, counts from 0
}

// Name is the name of the disk in QMP: the topmost block node is called NAME, the file node NAME-file, the throttle
// group NAME-limits and the qdev NAME-dev.
func (d Disk) Name() string {
	if d.bus() == BusNVMe {
		return fmt.Sprintf("%s-%d", d.Serial, d.nsid())
	}
	return d.Serial
}

func (d Disk) bus() Bus {
	if d.Bus == "" {
		return BusNVMe
	}
	return d.Bus
}

func (d Disk) nsid() uint32 {
	if d.NSID == 0 {
		return 1
	}
	return d.NSID
}

func (d Disk) blockSize() int {
	if d.BlockSize == 0 {
		return 512
	}
	return d.BlockSize
}

// QEMU's identifiers start with a letter; NVMe and virtio serial numbers have room for 20 bytes.
var serialPattern = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9]{0,19}$`)

func (d Disk) check() error {
	switch {
	case !serialPattern.MatchString(d.Serial):
		return fmt.Errorf("serial %q: must be a letter and up to 19 letters or digits", d.Serial)
	case d.blockSize() != 512 && d.blockSize() != 4096:
		return fmt.Errorf("block size %d: must be 512 or 4096", d.BlockSize)
	case d.Size <= 0 || d.Size%int64(d.blockSize()) != 0:
		return fmt.Errorf("size %d: must be a positive multiple of the block size %d", d.Size, d.blockSize())
	}
	switch d.bus() {
	case BusNVMe:
		if d.NoCopy && d.Copy != (CopyLimits{}) {
			return errors.New("both Copy and NoCopy")
		}
		return nil
	case BusVirtio, BusSCSI:
		if d.NSID != 0 || d.Copy != (CopyLimits{}) || d.NoCopy || d.Controllers != 0 {
			return errors.New("NSID, Copy, NoCopy and Controllers are for NVMe only")
		}
		return nil
	}
	return fmt.Errorf("bus %q: must be nvme, virtio or scsi", d.Bus)
}

// withDefaults checks the machine and fills in what was left open.
func (m Machine) withDefaults() (Machine, error) {
	if m.Memory == 0 {
		m.Memory = 2048
	}
	if m.CPUs == 0 {
		m.CPUs = 2
	}
	if m.Kernel == "" {
		m.Kernel = os.Getenv("DMCOPY_VM_KERNEL")
	}
	if m.Kernel == "" {
		m.Kernel = KernelDefault
	}
	names := map[string]bool{}
	for _, d := range m.Disks {
		if err := d.check(); err != nil {
			return m, fmt.Errorf("disk %s: %w", d.Name(), err)
		}
		if names[d.Name()] {
			return m, fmt.Errorf("disk %s: two disks with this name", d.Name())
		}
		names[d.Name()] = true
	}
	return m, nil
}
