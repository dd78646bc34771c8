package vm

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

var targets atomic.Int32

const (
	nvmet = "/sys/kernel/config/nvmet"
	// firstService and the number of a port make its TCP port.
	firstService = 4420
)

// NVMeTarget exports a block device of the guest through the kernel's NVMe target over TCP on the loopback interface and
// returns the namespace that the guest's own initiator sees. It is an NVMe disk whose controller has no Copy command. The
// end of the test disconnects it.
func NVMeTarget(t testing.TB, backing string) (device string) {
	t.Helper()
	loadTarget(t)
	target := newTarget(t, 1)
	// Made in this order and removed in the opposite one.
	makeConfig(t, filepath.Join(target.subsystem, "namespaces/1"), "device_path", backing, "enable", "1")
	target.connect(t)
	return target.namespace(t, 1)
}

// PassthruController exports the whole controller of an NVMe disk, as a storage node does: the kernel's target hands the
// commands of its initiators on to the controller as they are, Copy among them. It returns the namespace that the guest's own
// initiator sees over TCP on the loopback interface, and the controllers that lead to it, one for each of the paths. The
// same namespace as the storage node itself sees it stays where it was, and is not to be touched. The end of the test
// disconnects all paths that there are then. ok is false where the kernel has none of this (CONFIG_NVME_TARGET_PASSTHRU; Debian's
// 6.1 has not).
func PassthruController(t testing.TB, disk Disk, paths int) (device string, controllers []string, ok bool) {
	t.Helper()
	loadTarget(t)
	target := newTarget(t, paths)
	passthru := filepath.Join(target.subsystem, "passthru")
	if _, err := os.Stat(passthru); os.IsNotExist(err) {
		return "", nil, false
	}
	writeConfig(t, passthru, "device_path", "/dev/"+controllerOf(t, disk), "enable", "1")
	t.Cleanup(func() { writeConfig(t, passthru, "enable", "0") })
	target.connect(t)
	return target.namespace(t, disk.nsid()), target.controllers(t), true
}

// nvmeTarget is a subsystem of the kernel's NVMe target, and its ports.
type nvmeTarget struct {
	nqn, subsystem string
	ports          []int
}

func loadTarget(t testing.TB) {
	t.Helper()
	Run(t, "modprobe", "-a", "nvmet-tcp", "nvme-tcp")
}

// newTarget makes a subsystem, which is to be filled before it is connected.
func newTarget(t testing.TB, ports int) nvmeTarget {
	t.Helper()
	var target nvmeTarget
	for range ports {
		target.ports = append(target.ports, int(targets.Add(1)))
	}
	target.nqn = fmt.Sprintf("dmcopy-target-%d", target.ports[0])
	target.subsystem = filepath.Join(nvmet, "subsystems", target.nqn)
	makeConfig(t, target.subsystem, "attr_allow_any_host", "1", "attr_serial", target.nqn)
	return target
}

// connect opens the ports and connects to each of them.
func (n nvmeTarget) connect(t testing.TB) {
	t.Helper()
	for _, id := range n.ports {
		service := strconv.Itoa(firstService + id)
		port := filepath.Join(nvmet, "ports", strconv.Itoa(id))
		makeConfig(t, port, "addr_trtype", "tcp", "addr_adrfam", "ipv4", "addr_traddr", "127.0.0.1", "addr_trsvcid", service)
		link := filepath.Join(port, "subsystems", n.nqn)
		if err := os.Symlink(n.subsystem, link); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { removeConfig(t, link) })
	}
	t.Cleanup(func() { Run(t, "nvme", "disconnect", "--nqn="+n.nqn) })
	for _, id := range n.ports {
		Run(t, "nvme", "connect", "--transport=tcp", "--traddr=127.0.0.1", "--trsvcid="+strconv.Itoa(firstService+id), "--nqn="+n.nqn)
	}
}

// namespace finds what the initiator made of a namespace, by the name of the subsystem: the serial number may be that of
// another controller.
func (n nvmeTarget) namespace(t testing.TB, nsid uint32) (device string) {
	t.Helper()
	what := fmt.Sprintf("namespace %d of %s", nsid, n.nqn)
	Eventually(t, what, func() (err error) {
		device, err = find(what, "/sys/block/nvme*", func(dir string) bool {
			return attribute(dir, "hidden") != "1" && attribute(dir, "device/subsysnqn") == n.nqn &&
				attribute(dir, "nsid") == strconv.FormatUint(uint64(nsid), 10)
		})
		return err
	})
	return device
}

// controllers names the controllers of the initiator.
func (n nvmeTarget) controllers(t testing.TB) (names []string) {
	t.Helper()
	dirs, err := filepath.Glob("/sys/class/nvme/nvme*")
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range dirs {
		if attribute(dir, "subsysnqn") == n.nqn {
			names = append(names, filepath.Base(dir))
		}
	}
	if len(names) != len(n.ports) {
		t.Fatalf("controllers of %s: %q, want %d", n.nqn, names, len(n.ports))
	}
	return names
}

// LosePath makes the target of PassthruController drop the connection of one controller, commands under way included, and
// refuse others in its place until the end of the test.
func LosePath(t testing.TB, controller string) {
	t.Helper()
	dir := filepath.Join("/sys/class/nvme", controller)
	nqn := attribute(dir, "subsysnqn")
	_, service, _ := strings.Cut(attribute(dir, "address"), "trsvcid=")
	service, _, _ = strings.Cut(service, ",")
	id, err := strconv.Atoi(service)
	if err != nil {
		t.Fatalf("address of %s: %q", controller, attribute(dir, "address"))
	}
	link := filepath.Join(nvmet, "ports", strconv.Itoa(id-firstService), "subsystems", nqn)
	removeConfig(t, link)
	t.Cleanup(func() {
		if err := os.Symlink(filepath.Join(nvmet, "subsystems", nqn), link); err != nil {
			t.Error(err)
		}
	})
}

// controllerOf names the one local controller of an NVMe disk.
func controllerOf(t testing.TB, disk Disk) string {
	t.Helper()
	dirs, err := filepath.Glob("/sys/class/nvme/nvme*")
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range dirs {
		if attribute(dir, "serial") == disk.Serial && attribute(dir, "transport") == "pcie" {
			return filepath.Base(dir)
		}
	}
	t.Fatalf("no local controller with the serial number %s", disk.Serial)
	return ""
}

// makeConfig makes a configfs directory with attributes (name, value, name, value…); the end of the test removes it.
func makeConfig(t testing.TB, dir string, attributes ...string) {
	t.Helper()
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { removeConfig(t, dir) })
	writeConfig(t, dir, attributes...)
}

func writeConfig(t testing.TB, dir string, attributes ...string) {
	t.Helper()
	for i := 0; i < len(attributes); i += 2 {
		if err := os.WriteFile(filepath.Join(dir, attributes[i]), []byte(attributes[i+1]), 0); err != nil {
			t.Fatal(err)
		}
	}
}

func removeConfig(t testing.TB, path string) {
	if err := os.Remove(path); err != nil {
		t.Error(err)
	}
}

// Eventually calls check until it returns nil, and ends the test with its last error after two minutes. For what the
// kernel does on its own time and announces to nobody.
func Eventually(t testing.TB, what string, check func() error) {
	t.Helper()
	deadline := time.Now().Add(2 * time.Minute)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %v", what, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}
