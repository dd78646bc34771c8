package vm

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// Throttle limits a disk of the machine from now on, see [Disk.BytesPerSec] and [Disk.IOPS]. Commands that wait already
// go on under the new limits. Works for every command that moves data, Copy included.
func Throttle(disk Disk, bytesPerSec, iops int64) error {
	return QMP("qom-set", map[string]any{"path": "/objects/" + disk.Name() + "-limits", "property": "limits",
		"value": throttleLimits(bytesPerSec, iops)}, nil)
}

// Slowly limits a disk to so many bytes per second until the test ends or fast is called; 0 is no limit. A Copy counts twice:
// it reads and writes.
func Slowly(t testing.TB, disk Disk, bytesPerSec int64) (fast func()) {
	t.Helper()
	if err := Throttle(disk, bytesPerSec, 0); err != nil {
		t.Fatal(err)
	}
	fast = func() {
		if err := Throttle(disk, 0, 0); err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(fast)
	return fast
}

// A Fault makes commands fail that reach the backing file of a disk, by QEMU's blkdebug driver.
type Fault struct {
	// IOType limits the fault to "read", "write", "flush", "discard" or "write-zeroes"; "" means all.
	IOType string
	// Sector limits the fault to commands that touch this 512-byte sector of the disk; negative means all.
	Sector int64
	// Errno is what the emulated device sees, as a number; 0 means EIO. The device translates it: NVMe reads fail with
	// Unrecovered Read Error (2/81h), writes with Write Fault (2/80h), and ENOSPC or ENOMEM with Internal Error (0/06h).
	Errno int
	// Once lets the fault happen a single time.
	Once bool
}

// SetFaults replaces the faults of a disk; without faults, the disk works again. Commands in flight finish first.
func SetFaults(disk Disk, faults ...Fault) error {
	rules := make([]map[string]any, 0, len(faults))
	for _, f := range faults {
		rule := map[string]any{"event": "none", "once": f.Once}
		if f.IOType != "" {
			rule["iotype"] = f.IOType
		}
		if f.Sector >= 0 {
			rule["sector"] = f.Sector
		}
		if f.Errno != 0 {
			rule["errno"] = f.Errno
		}
		rules = append(rules, rule)
	}
	if err := removeDebug(disk); err != nil || len(rules) == 0 {
		return err
	}
	return insertDebug(disk, rules)
}

// Hold makes the disk hold back the next command that reads ("read") or writes ("write") its backing file, the reading or
// writing half of a Copy included, until release is called; others pass. It takes the place of the disk's faults. Before the
// release, neither Hold nor SetFaults may be called for the disk: QEMU would wait for the command that is held.
func Hold(disk Disk, half string) (release func() error, err error) {
	if half != "read" && half != "write" {
		return nil, fmt.Errorf("hold %q: want read or write", half)
	}
	if err := removeDebug(disk); err != nil {
		return nil, err
	}
	if err := insertDebug(disk, nil); err != nil {
		return nil, err
	}
	if err := qemuIO(disk, "break "+half+"_aio held"); err != nil {
		return nil, err
	}
	return func() error { return qemuIO(disk, "resume held") }, nil
}

// insertDebug puts a blkdebug node with rules above the backing file. Breakpoints need a raw node above that: block
// drivers announce their events to their child, and raw announces reads and writes.
func insertDebug(disk Disk, rules []map[string]any) error {
	name := disk.Name()
	debug := map[string]any{"driver": "blkdebug", "node-name": name + "-fault", "image": name + "-file", "discard": "unmap"}
	if len(rules) > 0 {
		debug["inject-error"] = rules
	}
	err := QMP("blockdev-add", map[string]any{"driver": "raw", "node-name": name + "-raw", "discard": "unmap", "file": debug}, nil)
	if err != nil {
		return err
	}
	return setLower(name, name+"-raw")
}

// removeDebug undoes insertDebug, if it was called.
func removeDebug(disk Disk) error {
	var nodes []struct {
		Name string `json:"node-name"`
	}
	if err := QMP("query-named-block-nodes", map[string]any{"flat": true}, &nodes); err != nil {
		return err
	}
	name := disk.Name()
	for _, n := range nodes {
		if n.Name != name+"-raw" {
			continue
		}
		if err := setLower(name, name+"-file"); err != nil {
			return err
		}
		return QMP("blockdev-del", map[string]any{"node-name": n.Name}, nil)
	}
	return nil
}

// setLower puts a disk's throttle node on top of another node.
func setLower(top, lower string) error {
	return QMP("blockdev-reopen", map[string]any{"options": []map[string]any{
		{"driver": "throttle", "node-name": top, "throttle-group": top + "-limits", "discard": "unmap", "file": lower}}}, nil)
}

// Unplug asks the guest's kernel to give up a virtio disk, a SCSI disk or (with its name "SERIAL-cN") an NVMe controller, as
// if its slot's button had been pressed. It returns before the device is gone; watch sysfs for that.
func Unplug(device string) error { return QMP("device_del", map[string]any{"id": device}, nil) }

// PlugController adds one more controller to the subsystem of an NVMe disk that has Controllers > 1.
func PlugController(serial string, number int) error {
	id := fmt.Sprintf("%s-c%d", serial, number)
	device := map[string]any{"driver": "nvme", "id": id, "serial": serial, "subsys": serial + "-subsys"}
	if archOf(os.Getenv("DMCOPY_VM_KERNEL")).ports {
		device["bus"] = portOf(id)
	}
	return QMP("device_add", device, nil)
}

// qemuIO runs a qemu-io command on a disk; those used here print something only when they fail. It names the device, not
// the node: for a node, QEMU makes a user of its own, and drains the node, held commands included, to get rid of it.
func qemuIO(disk Disk, command string) error {
	out, err := HMP(fmt.Sprintf("qemu-io -d %s-dev %q", disk.Name(), command))
	if out = strings.TrimSpace(out); err == nil && out != "" {
		err = fmt.Errorf("qemu-io %s %q: %s", disk.Name(), command, out)
	}
	return err
}
