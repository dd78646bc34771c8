package vm

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"testing"
	"time"
)

var targets atomic.Int32

// NVMeTarget exports a block device of the guest through the kernel's NVMe target over TCP on the loopback interface and
// returns the namespace that the guest's own initiator sees. It is an NVMe disk whose controller has no Copy command. The
// end of the test disconnects it.
func NVMeTarget(t testing.TB, backing string) (device string) {
	t.Helper()
	Run(t, "modprobe", "-a", "nvmet-tcp", "nvme-tcp")
	id := int(targets.Add(1))
	nqn, service := fmt.Sprintf("dmcopy-target-%d", id), strconv.Itoa(4420+id)

	const nvmet = "/sys/kernel/config/nvmet"
	subsystem := filepath.Join(nvmet, "subsystems", nqn)
	namespace := filepath.Join(subsystem, "namespaces/1")
	port := filepath.Join(nvmet, "ports", strconv.Itoa(id))
	link := filepath.Join(port, "subsystems", nqn)
	// Made in this order and removed in the opposite one.
	makeConfig(t, subsystem, "attr_allow_any_host", "1", "attr_serial", nqn)
	makeConfig(t, namespace, "device_path", backing, "enable", "1")
	makeConfig(t, port, "addr_trtype", "tcp", "addr_adrfam", "ipv4", "addr_traddr", "127.0.0.1", "addr_trsvcid", service)
	if err := os.Symlink(subsystem, link); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { removeConfig(t, link) })
	Run(t, "nvme", "connect", "--transport=tcp", "--traddr=127.0.0.1", "--trsvcid="+service, "--nqn="+nqn)
	t.Cleanup(func() { Run(t, "nvme", "disconnect", "--nqn="+nqn) })
	Eventually(t, "namespace of "+nqn, func() (err error) {
		device, err = NVMe(nqn, 1)
		return err
	})
	return device
}

// makeConfig makes a configfs directory with attributes (name, value, name, value…); the end of the test removes it.
func makeConfig(t testing.TB, dir string, attributes ...string) {
	t.Helper()
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { removeConfig(t, dir) })
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

// Eventually calls check until it returns nil, and ends the test with its last error after half a minute. For what the
// kernel does on its own time and announces to nobody.
func Eventually(t testing.TB, what string, check func() error) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
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
