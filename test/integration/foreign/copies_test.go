package foreign

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/dmcopy/dmcopy/test/copying"
	"github.com/dmcopy/dmcopy/test/target/initiator"
	"github.com/dmcopy/dmcopy/test/vm"
)

// Programs that were written without ours have our target copy by EXTENDED COPY.
func TestExtendedCopy(t *testing.T) {
	const size = 16 * mib
	for _, c := range []struct {
		name    string
		command func(from, to string) []string
	}{
		{"sg_xcopy", func(from, to string) []string {
			return []string{"sg_xcopy", "if=" + from, "of=" + to, "bs=512", fmt.Sprintf("count=%d", size/512)}
		}},
		{"sg_xcopy, sent to the source", func(from, to string) []string {
			return []string{"sg_xcopy", "--on_src", "if=" + from, "of=" + to, "bs=512", fmt.Sprintf("count=%d", size/512)}
		}},
		{"sg_xcopy, by identifier", func(from, to string) []string {
			return []string{"sg_xcopy", "id_usage=hold", "if=" + from, "of=" + to, "bs=512", fmt.Sprintf("count=%d", size/512)}
		}},
		{"ddpt", func(from, to string) []string {
			return []string{"ddpt", "if=" + from, "of=" + to, "bs=512", "iflag=xcopy", fmt.Sprintf("count=%d", size/512)}
		}},
		{"ddpt, in small segments", func(from, to string) []string {
			// Without lists of its own, it would copy the first segment again and again.
			all := fmt.Sprintf("0,%d", size/512)
			return []string{"ddpt", "if=" + from, "of=" + to, "bs=512", "bpt=1777", "oflag=xcopy", "skip=" + all, "seek=" + all}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			made, disks := twoDisks(t, size)
			words := c.command(disks[0], disks[1])
			var out string
			through := vm.Crossed(t, func() { out = vm.Run(t, words[0], words[1:]...) }, disks...)
			vm.CheckStamp(t, disks[1], 1, 0, 0, size)
			commands := made.Count("extended-copy")
			t.Logf("%d commands, %d sectors through the host\n%s", commands, through, out)
			if commands == 0 || through > size/512/10 {
				t.Errorf("%d commands, %d sectors through the host", commands, through)
			}
		})
	}
}

// ddpt 0.97 begins the range descriptors of POPULATE TOKEN and WRITE USING TOKEN one byte early, at byte 15 and 535 instead of
// 16 and 536 (SBC-3, tables 64 and 106; FreeBSD's sys/cam/scsi/scsi_all.h agrees with the standard). What it calls 256 blocks from block 0 is
// 65536 blocks to a target that reads the list as it is written. So it proves that our target follows the standard, and nothing
// of what it is made for. There is no other program in Debian that makes token copies.
func TestTokensOfDdpt(t *testing.T) {
	const size = 32 * mib // 65536 blocks
	made, disks := twoDisks(t, size)
	out, err := vm.TryRun("timeout", "60", "ddpt", "-vvv", "if="+disks[0], "of="+disks[1], "bs=512", "skip=0,256", "seek=0,256", "--odx")
	t.Logf("%s\n%v", out, err)
	for _, e := range made.Log() {
		if e.CDB[0] == 0x83 || e.CDB[0] == 0x84 {
			t.Logf("%s unit %d % x: %v %v %v", e.Name(), e.Unit, e.CDB, e.Ended, e.Status, e.Sense)
		}
	}
	if made.Count("populate-token") == 0 || made.Count("write-using-token") == 0 {
		t.Fatal("it has made no token copy")
	}
	vm.Run(t, "blockdev", "--flushbufs", disks[1])
	vm.CheckStamp(t, disks[1], 1, 0, 0, size)
}

// server is a target that is not ours, and not the kernel's.
type server struct {
	name    string
	lun     int // of its first disk
	start   func(t *testing.T, dir string, disks [2]string)
	address string
	iqn     string
}

// dmcopy copies within and between the disks of other targets: by whatever they offer, and the bytes are right.
func TestOtherTargets(t *testing.T) {
	for _, s := range []server{
		{name: "tgt", lun: 1, address: "127.0.0.1:3260", iqn: "iqn.2026-01.org.dmcopy:tgt", start: startTgt},
		{name: "istgt", lun: 0, address: "127.0.0.1:3261", iqn: "iqn.2026-01.org.dmcopy:istgt", start: startIstgt},
	} {
		t.Run(s.name, func(t *testing.T) {
			const size = 16 * mib
			dir := t.TempDir()
			disks := [2]string{filepath.Join(dir, "0"), filepath.Join(dir, "1")}
			for _, path := range disks {
				if err := os.WriteFile(path, make([]byte, size), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			s.start(t, dir, disks)
			attached := initiator.AttachUnits(t, s.iqn, s.address, s.lun, s.lun+1)
			for i, disk := range attached {
				vm.Stamp(t, disk, uint64(i+1), 0, size)
			}
			vm.Settle(t)
			report, says, code := copying.Program(t, "copy", attached[0], attached[1])
			if code != 0 {
				t.Fatalf("exit code %d: %s", code, says)
			}
			t.Logf("%+v", report)
			vm.CheckStamp(t, attached[1], 1, 0, 0, size)
			// Within a disk.
			report, says, code = copying.Program(t, "copy", "--range", "0:8M:4M", attached[0], attached[0])
			if code != 0 {
				t.Fatalf("exit code %d: %s", code, says)
			}
			t.Logf("%+v", report)
			vm.CheckStamp(t, attached[0], 1, 8*mib, 0, 4*mib)
		})
	}
}

// startTgt serves the disks by the user space target of Linux, as units 1 and 2.
func startTgt(t *testing.T, _ string, disks [2]string) {
	vm.Run(t, "tgtd", "--iscsi", "portal=127.0.0.1:3260")
	admin := func(words ...string) error {
		_, err := vm.TryRun("tgtadm", append([]string{"--lld", "iscsi"}, words...)...)
		return err
	}
	t.Cleanup(func() {
		for _, words := range [][]string{
			{"--op", "delete", "--mode", "target", "--tid", "1", "--force"},
			{"--op", "delete", "--mode", "system"},
		} {
			if err := admin(words...); err != nil {
				t.Log(err)
			}
		}
	})
	vm.Eventually(t, "tgtd", func() error { return admin("--op", "show", "--mode", "system") })
	must := func(words ...string) {
		t.Helper()
		if err := admin(words...); err != nil {
			t.Fatal(err)
		}
	}
	must("--op", "new", "--mode", "target", "--tid", "1", "-T", "iqn.2026-01.org.dmcopy:tgt")
	for i, disk := range disks {
		must("--op", "new", "--mode", "logicalunit", "--tid", "1", "--lun", fmt.Sprint(i+1), "-b", disk)
	}
	must("--op", "bind", "--mode", "target", "--tid", "1", "-I", "ALL")
}

func startIstgt(t *testing.T, dir string, disks [2]string) {
	configuration := filepath.Join(dir, "istgt.conf")
	text := fmt.Sprintf(`[Global]
  NodeBase "iqn.2026-01.org.dmcopy"
  PidFile %[1]s/pid
  AuthFile %[1]s/auth
  MediaDirectory %[1]s
  LogFacility "local7"
  DiscoveryAuthMethod None
[UnitControl]
  AuthMethod None
  AuthGroup None
  Portal UC1 127.0.0.1:3262
  Netmask 127.0.0.1
[PortalGroup1]
  Portal DA1 127.0.0.1:3261
[InitiatorGroup1]
  InitiatorName "ALL"
  Netmask 127.0.0.1
[LogicalUnit1]
  TargetName istgt
  Mapping PortalGroup1 InitiatorGroup1
  AuthMethod None
  UnitType Disk
  LUN0 Storage %[2]s Auto
  LUN1 Storage %[3]s Auto
`, dir, disks[0], disks[1])
	for path, text := range map[string]string{configuration: text, filepath.Join(dir, "auth"): ""} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	vm.Run(t, "istgt", "-c", configuration)
	t.Cleanup(func() { vm.Run(t, "pkill", "istgt") })
}
