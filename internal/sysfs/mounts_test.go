package sysfs

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/dmcopy/dmcopy/remap"
)

func TestParseMounts(t *testing.T) {
	const text = `22 28 0:21 / /proc rw,nosuid shared:5 - proc proc rw
28 1 259:2 / / rw,relatime shared:1 - ext4 /dev/nvme0n1p2 rw,errors=remount-ro
40 28 0:35 /@home /home ro,relatime shared:20 master:2 - btrfs /dev/mapper/vg-home rw,space_cache=v2,subvol=/@home
41 28 259:3 / /mnt/my\040disk\134 ro - xfs /dev/nvme0n1p3 ro,attr2
42 28 0:40 / /var/lib/merged rw - overlay overlay rw,lowerdir=/a,upperdir=/b
43 28 0:41 / /empty rw - tmpfs  rw
`
	want := []Mount{
		{ID: 22, Dev: remap.Dev{Minor: 21}, Source: "proc", Point: "/proc", Type: "proc", Options: "rw"},
		{ID: 28, Dev: remap.Dev{Major: 259, Minor: 2}, Source: "/dev/nvme0n1p2", Point: "/", Type: "ext4", Options: "rw,errors=remount-ro"},
		{ID: 40, Dev: remap.Dev{Minor: 35}, Source: "/dev/mapper/vg-home", Point: "/home", Type: "btrfs", Options: "rw,space_cache=v2,subvol=/@home"},
		{ID: 41, Dev: remap.Dev{Major: 259, Minor: 3}, Source: "/dev/nvme0n1p3", Point: `/mnt/my disk\`, Type: "xfs", Options: "ro,attr2"},
		{ID: 42, Dev: remap.Dev{Minor: 40}, Source: "overlay", Point: "/var/lib/merged", Type: "overlay", Options: "rw,lowerdir=/a,upperdir=/b"},
		{ID: 43, Dev: remap.Dev{Minor: 41}, Source: "", Point: "/empty", Type: "tmpfs", Options: "rw"},
	}
	got, err := ParseMounts(strings.NewReader(text))
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v, %v\nwant %+v", got, err, want)
	}
	for i := range got {
		if is := got[i].ReadOnly(); is != (got[i].ID == 41) {
			t.Errorf("%+v is read-only: %v", got[i], is)
		}
	}
	// What is understood beside what is not.
	if got, err := ParseMounts(strings.NewReader("x\n" + text)); !errors.Is(err, ErrValue) || !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v, %v\nwant %+v", got, err, want)
	}
	for _, line := range []string{"x", "28 1 259:2 / / rw", "28 1 259:2 / / rw - ext4 /dev/x", "28 1 x / / rw - ext4 /dev/x rw", "x 1 259:2 / / rw - ext4 /dev/x rw", "28 1 259:2 / - ext4 /dev/x rw", "28 1 259:2 / / rw - ext4 a b c"} {
		if _, err := ParseMounts(strings.NewReader(line)); !errors.Is(err, ErrValue) {
			t.Errorf("%q: %v", line, err)
		}
	}
}

func TestUnescape(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := rapid.StringMatching(`[a-z \t\n\\#]{0,20}`).Draw(t, "path")
		mangled := strings.NewReplacer(" ", `\040`, "\t", `\011`, "\n", `\012`, `\`, `\134`, "#", `\043`).Replace(want)
		if got := Unescape(mangled); got != want {
			t.Fatalf("%q is unescaped as %q", mangled, got)
		}
	})
}

func FuzzMounts(f *testing.F) {
	f.Add("28 1 259:2 / / rw,relatime shared:1 - ext4 /dev/nvme0n1p2 rw\n")
	f.Add(`41 28 259:3 / /mnt/my\040disk ro - xfs /dev/nvme0n1p3 ro` + "\n")
	f.Fuzz(func(t *testing.T, text string) {
		mounts, err := ParseMounts(strings.NewReader(text))
		if err == nil && len(mounts) > strings.Count(text, "\n")+1 {
			t.Errorf("%d mounts in %q", len(mounts), text)
		}
	})
}

// The parser reads back what the kernel would have written.
func TestMountRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		word := rapid.StringMatching(`[a-z/]{1,10}`)
		want := Mount{
			ID: 1, Dev: remap.Dev{Major: rapid.Uint32Range(0, 4095).Draw(t, "major"), Minor: rapid.Uint32Range(0, 1<<20-1).Draw(t, "minor")},
			Source: word.Draw(t, "source"), Point: word.Draw(t, "point"), Type: word.Draw(t, "type"),
		}
		optional := strings.Join(rapid.SliceOfN(rapid.SampledFrom([]string{"shared:1 ", "master:2 ", "propagate_from:3 ", "unbindable "}), 0, 3).Draw(t, "optional"), "")
		readOnly := rapid.Bool().Draw(t, "ro")
		want.Options = "rw,errors=remount-ro"
		if readOnly {
			want.Options = "ro,relatime"
		}
		line := fmt.Sprintf("1 2 %s / %s rw %s- %s %s %s", want.Dev, want.Point, optional, want.Type, want.Source, want.Options)
		if got, err := parseMount(line); err != nil || got != want || got.ReadOnly() != readOnly {
			t.Fatalf("%q: %+v, %v", line, got, err)
		}
	})
}
