// Package initiator attaches a test target to the kernel of a guest, with open-iscsi.
package initiator

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/dmcopy/dmcopy/test/target/iscsi"
	"github.com/dmcopy/dmcopy/test/vm"
)

// name of this initiator.
const name = "iqn.2026-01.org.dmcopy:guest"

// Attach logs in to the target and returns its disks, in the order of its units. The end of the test logs out.
//
// Commands that the target does not answer are taken back by the kernel after their timeout, and a connection that
// breaks is made again.
func Attach(t testing.TB, s *iscsi.Server) (disks []string) {
	t.Helper()
	var units []int
	for unit := range s.Units() {
		units = append(units, unit)
	}
	return AttachUnits(t, s.Name(), s.Address().String(), units...)
}

// AttachUnits logs in to any target, called target at an address with a port, and returns the disks of the units that have
// these numbers. The end of the test logs out.
func AttachUnits(t testing.TB, target, portal string, units ...int) (disks []string) {
	t.Helper()
	daemon(t)
	record := func(arguments ...string) {
		t.Helper()
		vm.Run(t, "iscsiadm", append([]string{"-m", "node", "-T", target, "-p", portal}, arguments...)...)
	}
	record("-o", "new")
	t.Cleanup(func() { record("-o", "delete") })
	record("-o", "update", "-n", "node.startup", "-v", "manual")
	record("--login")
	t.Cleanup(func() { record("--logout") })
	for _, unit := range units {
		var disk string
		vm.Eventually(t, fmt.Sprintf("disk of unit %d", unit), func() (err error) {
			disk, err = find(target, unit)
			return err
		})
		disks = append(disks, disk)
	}
	vm.Settle(t)
	return disks
}

// daemon starts iscsid, once a guest.
func daemon(t testing.TB) {
	t.Helper()
	vm.Run(t, "modprobe", "iscsi_tcp")
	if _, err := vm.TryRun("pidof", "iscsid"); err == nil {
		return
	}
	for path, text := range map[string]string{
		"/etc/iscsi/initiatorname.iscsi": "InitiatorName=" + name + "\n",
		"/etc/iscsi/iscsid.conf":         configuration,
	} {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	vm.Run(t, "iscsid")
}

// configuration: no authentication, no questions whether the target is still there, quick recovery.
const configuration = `node.startup = manual
node.session.timeo.replacement_timeout = 20
node.conn[0].timeo.noop_out_interval = 0
node.conn[0].timeo.noop_out_timeout = 0
node.session.err_timeo.abort_timeout = 15
node.session.err_timeo.lu_reset_timeout = 30
node.session.err_timeo.tgt_reset_timeout = 30
node.session.initial_login_retry_max = 8
node.session.cmds_max = 128
node.session.queue_depth = 32
node.session.iscsi.InitialR2T = No
node.session.iscsi.ImmediateData = Yes
node.session.scan = auto
`

// find looks for the disk of a unit among the sessions with a target.
func find(target string, unit int) (string, error) {
	sessions, err := filepath.Glob("/sys/class/iscsi_session/session*")
	if err != nil {
		return "", err
	}
	for _, session := range sessions {
		text, err := os.ReadFile(filepath.Join(session, "targetname"))
		if err != nil || strings.TrimSpace(string(text)) != target {
			continue
		}
		disks, err := filepath.Glob(filepath.Join(session, "device/target*/*:"+strconv.Itoa(unit)+"/block/sd*"))
		if err != nil {
			return "", err
		}
		if len(disks) == 1 {
			return "/dev/" + filepath.Base(disks[0]), nil
		}
	}
	return "", fmt.Errorf("no disk of unit %d of %s yet", unit, target)
}
