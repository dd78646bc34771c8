package foreign

import (
	"cmp"
	"encoding/binary"
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
		name     string
		words    []string
		from, to int64 // blocks
		commands int
	}{
		{"sg_xcopy", []string{"sg_xcopy"}, 0, 0, 1},
		{"sg_xcopy, sent to the source", []string{"sg_xcopy", "--on_src"}, 0, 0, 1},
		{"sg_xcopy, by identifier", []string{"sg_xcopy", "id_usage=hold"}, 0, 0, 1},
		{"sg_xcopy, in small segments", []string{"sg_xcopy", "bpt=1777"}, 1000, 50, 18},
		// It sends one segment: of several, each would be the first one again (a_xcopy_lid1_cmd in its ddpt_xcopy.c).
		{"ddpt", []string{"ddpt", "iflag=xcopy"}, 0, 0, 1},
		{"ddpt, sent to the destination", []string{"ddpt", "oflag=xcopy"}, 50, 1000, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			made, disks := twoDisks(t, size)
			n := size/512 - max(c.from, c.to)
			words := append(c.words, "if="+disks[0], "of="+disks[1], "bs=512",
				fmt.Sprint("skip=", c.from), fmt.Sprint("seek=", c.to), fmt.Sprint("count=", n))
			var out string
			through := vm.Crossed(t, func() { out = vm.Run(t, words[0], words[1:]...) }, disks...)
			check(t, made, size, 512, run{c.from, c.to, n})
			if commands := made.Count("extended-copy"); commands != c.commands || through > uint64(n/10) {
				t.Errorf("%d commands, not %d, %d sectors through the host\n%s", commands, c.commands, through, out)
			}
		})
	}
}

// ddpt 0.97 begins the range descriptors of POPULATE TOKEN and WRITE USING TOKEN one byte early, at bytes 15 and 535 of the
// parameter lists instead of 16 and 536 (SBC-3, 5.12 and 5.49; SBC-4 has not moved them; FreeBSD's sys/cam/scsi/scsi_all.h agrees).
// The length of the descriptors, which it has in the right place, lies on the first byte of the first one. To a target
// that reads the list as it is written, each of its positions and counts is 256 times as much.
const ddptFactor = 256

// A program that was written without ours has our target copy by tokens: what can be shown in spite of its fault. Where it
// needs a second token, or has a second write of one, it is lost, for it counts on from what the target says that was
// transferred; and without lists its first count is 0, of which it makes tokens forever. No other program in Debian makes
// token copies.
func TestTokensOfDdpt(t *testing.T) {
	const (
		unit = ddptFactor * 512
		size = 256 * unit // the most that one token stands for
	)
	for _, c := range []struct {
		name           string
		source         string // in place of the first disk
		words          []string
		tokens, writes int
		want           []run
	}{
		{"everything", "", []string{"skip=0,256", "seek=0,256"}, 1, 1, []run{{0, 0, 256}}},
		{"lists", "", []string{"skip=128,32,0,32", "seek=8,16,100,48"}, 1, 1, []run{{128, 8, 16}, {144, 100, 16}, {0, 116, 32}}},
		{"asked for its end", "", []string{"skip=3,200", "seek=50,200", "iflag=immed", "oflag=immed"}, 1, 1, []run{{3, 50, 200}}},
		{"zeroes", "/dev/null", []string{"rtype=zero", "seek=16,32"}, 0, 1, []run{{zeroes, 16, 32}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			made, disks := twoDisks(t, size)
			ddpt(t, append([]string{"--odx", "if=" + cmp.Or(c.source, disks[0]), "of=" + disks[1]}, c.words...)...)
			check(t, made, size, unit, c.want...)
			if tokens, writes := made.Count("populate-token"), made.Count("write-using-token"); tokens != c.tokens || writes != c.writes {
				t.Errorf("%d tokens, %d writes", tokens, writes)
			}
		})
	}
	t.Run("a token that is handed on", func(t *testing.T) {
		made, disks := twoDisks(t, size)
		file := filepath.Join(t.TempDir(), "token")
		ddpt(t, "if="+disks[0], "skip=10,64", "rtf="+file, "conv=rtf_len")
		check(t, made, size, unit)
		// The token, and behind it for how many bytes the target said that it stands. ddpt would write as many of its own blocks as these are.
		token, err := os.ReadFile(file)
		if err != nil || len(token) != 520 || binary.BigEndian.Uint64(token[512:]) != 64*unit {
			t.Fatalf("%v, %x", err, token)
		}
		binary.BigEndian.PutUint64(token[512:], 64*unit/ddptFactor)
		if err := os.WriteFile(file, token, 0o600); err != nil {
			t.Fatal(err)
		}
		ddpt(t, "of="+disks[1], "seek=90,64", "rtf="+file, "conv=rtf_len")
		check(t, made, size, unit, run{10, 90, 64})
	})
}

func ddpt(t *testing.T, words ...string) {
	t.Helper()
	vm.Run(t, "timeout", append([]string{"300", "ddpt", "bs=512"}, words...)...)
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
			report, says, code := copying.Program(t, attached[0], attached[1])
			if code != 0 || report.Total != size {
				t.Fatalf("exit code %d, %+v: %s", code, report, says)
			}
			vm.CheckStamp(t, attached[1], 1, 0, 0, size)
			// Within a disk.
			report, says, code = copying.Program(t, "--range", "0:8M:4M", attached[0], attached[0])
			if code != 0 || report.Total != 4*mib {
				t.Fatalf("exit code %d, %+v: %s", code, report, says)
			}
			vm.CheckStamp(t, attached[0], 1, 0, 0, 8*mib)
			vm.CheckStamp(t, attached[0], 1, 8*mib, 0, 4*mib)
			vm.CheckStamp(t, attached[0], 1, 12*mib, 12*mib, 4*mib)
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
