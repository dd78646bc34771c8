// Package sysblocktest builds trees that look like the sys, dev and proc of a
// machine, for tests.
package sysblocktest

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dmcopy/dmcopy/internal/sysblock"
	"github.com/dmcopy/dmcopy/remap"
)

// Machine is a tree in a temporary directory.
type Machine struct {
	t    testing.TB
	root string
	dirs map[string]string // of devices by kernel name, below root
	devs map[string]remap.Dev
}

// New makes a machine without devices.
func New(t testing.TB) *Machine {
	m := &Machine{t: t, root: t.TempDir(), dirs: make(map[string]string), devs: make(map[string]remap.Dev)}
	m.File("proc/sys/kernel/osrelease", "6.12.0-test")
	m.File("proc/self/mountinfo", "")
	m.dir("sys/dev/block")
	m.dir("sys/class/block")
	m.dir("dev")
	return m
}

// FS is the root of the machine.
func (m *Machine) FS() sysblock.FS { return sysblock.FS(m.root) }

// Dev returns the number of a device.
func (m *Machine) Dev(name string) remap.Dev {
	m.t.Helper()
	dev, ok := m.devs[name]
	if !ok {
		m.t.Fatalf("the machine has no device %s", name)
	}
	return dev
}

// File writes a file, with a newline as sysfs has it.
func (m *Machine) File(path, content string) {
	m.t.Helper()
	m.dir(filepath.Dir(path))
	if content != "" {
		content += "\n"
	}
	if err := os.WriteFile(m.path(path), []byte(content), 0o644); err != nil {
		m.t.Fatal(err)
	}
}

// Link makes a link to another path of the machine.
func (m *Machine) Link(path, target string) {
	m.t.Helper()
	m.dir(filepath.Dir(path))
	relative, err := filepath.Rel(m.path(filepath.Dir(path)), m.path(target))
	if err == nil {
		err = os.Symlink(relative, m.path(path))
	}
	if err != nil {
		m.t.Fatal(err)
	}
}

// Set writes an attribute of a device: Set("sda", "ro", "1").
func (m *Machine) Set(name, attr, value string) {
	m.t.Helper()
	m.File(m.dirs[name]+"/"+attr, value)
}

// Unset removes an attribute of a device, file or directory.
func (m *Machine) Unset(name, attr string) {
	m.t.Helper()
	if err := os.RemoveAll(m.path(m.dirs[name] + "/" + attr)); err != nil {
		m.t.Fatal(err)
	}
}

// Remove removes a device.
func (m *Machine) Remove(name string) {
	m.t.Helper()
	for _, path := range []string{"sys/dev/block/" + m.Dev(name).String(), "sys/class/block/" + name, m.dirs[name]} {
		if err := os.RemoveAll(m.path(path)); err != nil {
			m.t.Fatal(err)
		}
	}
}

// Disk adds a disk of some sectors that nothing else is told of.
func (m *Machine) Disk(name, dev string, sectors int64) {
	m.t.Helper()
	m.disk("sys/devices/virtual/block/"+name, name, dev, sectors)
}

func (m *Machine) disk(dir, name, dev string, sectors int64) {
	m.t.Helper()
	m.block(dir, name, dev, sectors)
	m.Set(name, "diskseq", fmt.Sprint(len(m.devs)))
	m.Set(name, "queue/logical_block_size", "512")
	m.Set(name, "queue/physical_block_size", "4096")
	m.Set(name, "queue/zoned", "none")
	m.Set(name, "queue/write_cache", "write back")
	m.dir(dir + "/slaves")
}

// block adds what disks and partitions have in common.
func (m *Machine) block(dir, name, dev string, sectors int64) {
	m.t.Helper()
	number, err := remap.ParseDev(dev)
	if err != nil {
		m.t.Fatal(err)
	}
	m.dirs[name], m.devs[name] = dir, number
	m.Set(name, "dev", dev)
	m.Set(name, "size", fmt.Sprint(sectors))
	m.Set(name, "ro", "0")
	m.dir(dir + "/holders")
	m.Link("sys/dev/block/"+dev, dir)
	m.Link("sys/class/block/"+name, dir)
}

// Part adds a partition.
func (m *Machine) Part(disk, name, dev string, number int, start, sectors int64) {
	m.t.Helper()
	m.block(m.dirs[disk]+"/"+name, name, dev, sectors)
	m.Set(name, "partition", fmt.Sprint(number))
	m.Set(name, "start", fmt.Sprint(start))
}

// Stacked adds a disk that is made of others.
func (m *Machine) Stacked(name, dev string, sectors int64, slaves ...string) {
	m.t.Helper()
	m.Disk(name, dev, sectors)
	m.Hold(name, slaves...)
}

// Hold makes devices slaves of another one.
func (m *Machine) Hold(name string, slaves ...string) {
	m.t.Helper()
	for _, slave := range slaves {
		m.Link(m.dirs[name]+"/slaves/"+slave, m.dirs[slave])
		m.Link(m.dirs[slave]+"/holders/"+name, m.dirs[name])
	}
}

// Release takes devices from the slaves of another one.
func (m *Machine) Release(name string, slaves ...string) {
	m.t.Helper()
	for _, slave := range slaves {
		m.Unset(name, "slaves/"+slave)
		m.Unset(slave, "holders/"+name)
	}
}

// Mapped adds a device of device-mapper.
func (m *Machine) Mapped(name, dev, mapped string, sectors int64, slaves ...string) {
	m.t.Helper()
	m.Stacked(name, dev, sectors, slaves...)
	m.Set(name, "dm/name", mapped)
}

// bus puts a disk below a device on a bus.
func (m *Machine) bus(name, device, bus string) {
	m.t.Helper()
	m.Link(m.dirs[name]+"/device", device)
	if _, err := os.Lstat(m.path(device + "/subsystem")); err != nil {
		m.dir("sys/bus/" + bus)
		m.Link(device+"/subsystem", "sys/bus/"+bus)
	}
}

// OnBus adds a disk below a device on a bus, with attributes of that device
// such as "wwid=naa.5000".
func (m *Machine) OnBus(name, dev, bus string, sectors int64, attrs ...string) {
	m.t.Helper()
	device := "sys/devices/pci0/" + bus + "/" + name
	m.disk(device+"/block/"+name, name, dev, sectors)
	m.bus(name, device, bus)
	for _, attr := range attrs {
		key, value, _ := strings.Cut(attr, "=")
		m.File(device+"/"+key, value)
	}
}

// NVMe adds a namespace of controller nvme<ctrl>.
func (m *Machine) NVMe(ctrl, nsid int, dev string, sectors int64) string {
	m.t.Helper()
	device := fmt.Sprintf("sys/devices/pci0/nvme/nvme%d", ctrl)
	name := fmt.Sprintf("nvme%dn%d", ctrl, nsid)
	m.disk(device+"/"+name, name, dev, sectors)
	m.File(device+"/subsysnqn", fmt.Sprintf("nqn.test:%d", ctrl))
	m.File(device+"/serial", fmt.Sprintf("serial%d     ", ctrl))
	m.File(device+"/model", "Test Disk    ")
	m.bus(name, device, "nvme")
	m.namespace(name, device, nsid)
	return name
}

// Multipath adds a head of native multipath with its controllers.
func (m *Machine) Multipath(subsys, nsid int, dev string, sectors int64, controllers ...string) string {
	m.t.Helper()
	device := fmt.Sprintf("sys/devices/virtual/nvme-subsystem/nvme-subsys%d", subsys)
	name := fmt.Sprintf("nvme%dn%d", subsys, nsid)
	m.disk(device+"/"+name, name, dev, sectors)
	m.File(device+"/subsysnqn", fmt.Sprintf("nqn.test:%d", subsys))
	m.File(device+"/serial", fmt.Sprintf("serial%d", subsys))
	m.File(device+"/model", "Test Disk")
	for _, controller := range controllers {
		m.dir("sys/devices/pci0/nvme/" + controller)
		m.Link(device+"/"+controller, "sys/devices/pci0/nvme/"+controller)
	}
	m.bus(name, device, "nvme-subsystem")
	m.namespace(name, device, nsid)
	return name
}

func (m *Machine) namespace(name, device string, nsid int) {
	m.t.Helper()
	m.Set(name, "nsid", fmt.Sprint(nsid))
	m.Set(name, "wwid", "uuid.0000-"+name)
	m.Set(name, "eui", "00 00 00 00 00 00 00 01")
	generic := "ng" + strings.TrimPrefix(name, "nvme")
	m.dir(device + "/" + generic)
	m.Link(device+"/"+generic+"/device", device)
	m.Link("sys/class/nvme-generic/"+generic, device+"/"+generic)
}

// Process adds a process with one thread, in a mount namespace and below a root that
// others may share, which sees these mounts. It is called by its number and "test", as
// is its program, "bin/test".
func (m *Machine) Process(pid int, namespace, root, mountinfo string) {
	m.t.Helper()
	process := fmt.Sprintf("proc/%d", pid)
	m.File(process+"/comm", "test")
	task := fmt.Sprintf("%s/task/%d", process, pid)
	m.File(task+"/mountinfo", mountinfo)
	m.symlink(task+"/ns/mnt", namespace)
	m.symlink(task+"/root", root)
	m.dir(process + "/fd")
	m.dir(process + "/root")
	m.File("bin/test", "")
	m.Link(process+"/exe", "bin/test")
}

// Self puts this process in a mount namespace, below a root.
func (m *Machine) Self(namespace, root string) {
	m.t.Helper()
	m.symlink("proc/self/ns/mnt", namespace)
	m.symlink("proc/self/root", root)
}

// Opens has a process open a file of the machine by a descriptor, on a mount.
func (m *Machine) Opens(pid, fd int, path string, mount int) {
	m.t.Helper()
	m.symlink(fmt.Sprintf("proc/%d/fd/%d", pid, fd), m.path(path))
	m.File(fmt.Sprintf("proc/%d/fdinfo/%d", pid, fd), fmt.Sprintf("pos:\t0\nflags:\t0100002\nmnt_id:\t%d\nino:\t1", mount))
}

// OpensInThread is [Machine.Opens] for a thread that has descriptors of its own.
func (m *Machine) OpensInThread(pid, tid, fd int, path string, mount int) {
	m.t.Helper()
	m.Opens(pid, fd, path, mount)
	for _, kind := range []string{"fd", "fdinfo"} {
		thread := fmt.Sprintf("proc/%d/task/%d/%s", pid, tid, kind)
		m.dir(thread)
		if err := os.Rename(m.path(fmt.Sprintf("proc/%d/%s/%d", pid, kind, fd)), m.path(fmt.Sprintf("%s/%d", thread, fd))); err != nil {
			m.t.Fatal(err)
		}
	}
}

// OpensNode has a process open a node of this very machine for writing.
func (m *Machine) OpensNode(pid, fd int, node string) {
	m.t.Helper()
	m.symlink(fmt.Sprintf("proc/%d/fd/%d", pid, fd), node)
}

// Loop makes a loop device of a file of the machine. There is no node to ask it.
func (m *Machine) Loop(name, dev, path string) {
	m.t.Helper()
	m.Disk(name, dev, 2048)
	m.Set(name, "loop/backing_file", path)
	m.Set(name, "loop/offset", "0")
	m.Set(name, "loop/sizelimit", "0")
}

func (m *Machine) symlink(path, target string) {
	m.t.Helper()
	m.dir(filepath.Dir(path))
	if err := os.Symlink(target, m.path(path)); err != nil {
		m.t.Fatal(err)
	}
}

func (m *Machine) path(path string) string { return filepath.Join(m.root, path) }

func (m *Machine) dir(path string) {
	m.t.Helper()
	if err := os.MkdirAll(m.path(path), 0o755); err != nil {
		m.t.Fatal(err)
	}
}
