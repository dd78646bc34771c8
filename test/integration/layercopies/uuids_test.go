package layercopies

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/dmcopy/dmcopy/test/copying"
	"github.com/dmcopy/dmcopy/test/vm"
)

// TestEqualUUIDs makes what has a UUID with its own tool, copies it, and runs the command
// that the warning names: afterwards source and destination are told apart.
func TestEqualUUIDs(t *testing.T) {
	b := newBench(t)
	const size = 320 * mib // xfs wants 300
	src, dst := b.part(size), b.part(size)
	for _, c := range []struct {
		kind string
		make []string
	}{
		{"ext4", []string{"mkfs.ext4", "-q", "-F", src}},
		{"xfs", []string{"mkfs.xfs", "-q", "-f", src}},
		{"btrfs", []string{"mkfs.btrfs", "-q", "-f", src}},
		{"swap", []string{"mkswap", "--uuid", "0b3d2f5e-8a4c-4f43-9d0e-5f6b7c8d9e0f", src}},
		{"crypto_LUKS", []string{"bash", "-c", "echo secret | cryptsetup luksFormat --batch-mode --pbkdf pbkdf2 --iter-time 1 " + src + " -"}},
		{"crypto_LUKS", []string{"bash", "-c", "echo secret | cryptsetup luksFormat --batch-mode --type luks1 --iter-time 1 " + src + " -"}},
		{"LVM2_member", []string{"bash", "-c", "pvcreate -qq -y -ff " + src + " && vgcreate -qq copied " + src}},
	} {
		t.Run(c.kind, func(t *testing.T) {
			for _, path := range []string{src, dst} {
				vm.Run(t, "wipefs", "--all", "--quiet", path)
			}
			vm.Run(t, c.make[0], c.make[1:]...)
			_, says, code := copying.Program(t, src, dst)
			if code != 0 {
				t.Fatalf("exit code %d: %s", code, says)
			}
			was := uuidOf(t, src, c.kind)
			if copied := uuidOf(t, dst, c.kind); copied != was {
				t.Fatalf("%s is %s, and its copy %s", src, was, copied)
			}
			_, command, told := strings.Cut(says, " "+was+"): before you use both on one machine, give one of them another UUID: ")
			if !told {
				t.Fatalf("blkid prints %s %s; dmcopy says %s", c.kind, was, says)
			}
			command = strings.ReplaceAll(strings.TrimSpace(command), `"$(uuidgen)"`, "1b3d2f5e-8a4c-4f43-9d0e-5f6b7c8d9e0f")
			cmd := exec.Command("bash", "-c", command)
			cmd.Stdin = strings.NewReader("y\ny\n")
			if c.kind == "crypto_LUKS" {
				cmd.Stdin = strings.NewReader("YES\n")
			}
			if text, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%s: %v: %s", command, err, text)
			}
			now, source := uuidOf(t, dst, c.kind), uuidOf(t, src, c.kind)
			if now == was || source != was {
				t.Errorf("after %q: %s is %s, its copy %s", command, src, source, now)
			}
			if c.kind == "LVM2_member" {
				vm.Run(t, "bash", "-c", "vgremove -qq -y -f copied copied1; pvremove -qq -y -ff "+src+" "+dst)
			}
		})
	}
}

// uuidOf is what blkid prints, past its cache.
func uuidOf(t *testing.T, path, kind string) string {
	t.Helper()
	fields := strings.Fields(vm.Run(t, "blkid", "--probe", "--output", "export", path))
	var uuid, is string
	for _, f := range fields {
		if v, ok := strings.CutPrefix(f, "UUID="); ok {
			uuid = v
		}
		if v, ok := strings.CutPrefix(f, "TYPE="); ok {
			is = v
		}
	}
	if is != kind || uuid == "" {
		t.Fatalf("%s: blkid prints %v", path, fields)
	}
	return uuid
}
