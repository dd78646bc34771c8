package vm

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"testing"
)

// NoUdev ends udevd for the rest of the guest's life: its rules look at everything that is built, and assemble what they find,
// such as arrays of members that a test has just taken away. The tools make device nodes themselves then.
func NoUdev(t testing.TB) {
	t.Helper()
	const socket = "/run/udev/control" // by which libraries tell that it runs
	if _, err := os.Stat(socket); errors.Is(err, fs.ErrNotExist) {
		return // an earlier test has done so
	}
	for _, name := range []string{"DM_DISABLE_UDEV", "MDADM_NO_UDEV"} {
		if err := os.Setenv(name, "1"); err != nil {
			t.Fatal(err)
		}
	}
	Settle(t)
	Run(t, "udevadm", "control", "--exit")
	Eventually(t, "end of udevd", func() error {
		if running, err := TryRun("pidof", "systemd-udevd", "udevd", "udevadm"); err == nil {
			return fmt.Errorf("still running: %s", running)
		}
		return nil
	})
	if err := os.Remove(socket); err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
}
