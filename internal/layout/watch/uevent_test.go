package watch

import (
	"errors"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/remap"
)

// message is a uevent as the kernel writes it.
func message(head string, env ...string) string {
	return head + "\x00" + strings.Join(env, "\x00") + "\x00"
}

// resumed is what a resume of 253:4 sends (drivers/md/dm.c, dm_kobject_uevent).
var resumed = message("change@/devices/virtual/block/dm-4", "ACTION=change", "DEVPATH=/devices/virtual/block/dm-4", "SUBSYSTEM=block",
	"DM_COOKIE=6342337", "MAJOR=253", "MINOR=4", "DEVNAME=dm-4", "DEVTYPE=disk", "DISKSEQ=17", "SEQNUM=1953")

var ueventCases = map[string]struct {
	text string
	want uevent
}{
	"a table that was resumed": {resumed, uevent{"change", "block", remap.Dev{Major: 253, Minor: 4}, false}},
	"a disk of another size": {message("change@/devices/pci0000:00/0000:00:04.0/nvme/nvme0/nvme0n1", "ACTION=change",
		"DEVPATH=/devices/pci0000:00/0000:00:04.0/nvme/nvme0/nvme0n1", "SUBSYSTEM=block", "RESIZE=1", "MAJOR=259", "MINOR=0", "SEQNUM=2000"),
		uevent{"change", "block", remap.Dev{Major: 259}, false}},
	"udev after a close": {message("change@/devices/virtual/block/md0", "ACTION=change", "DEVPATH=/devices/virtual/block/md0", "SUBSYSTEM=block",
		"SYNTH_UUID=0", "MAJOR=9", "MINOR=0", "SEQNUM=2001"), uevent{"change", "block", remap.Dev{Major: 9}, true}},
	"no device": {message("add@/module/raid1", "ACTION=add", "DEVPATH=/module/raid1", "SUBSYSTEM=module", "SEQNUM=2002"),
		uevent{"add", "module", remap.Dev{}, false}},
	"no block device": {message("add@/devices/virtual/misc/loop-control", "ACTION=add", "DEVPATH=/devices/virtual/misc/loop-control", "SUBSYSTEM=misc",
		"MAJOR=10", "MINOR=237", "SEQNUM=3"), uevent{"add", "misc", remap.Dev{}, false}},
}

func TestParseUevent(t *testing.T) {
	for name, tc := range ueventCases {
		if got, err := parseUevent([]byte(tc.text)); err != nil || got != tc.want {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

var malformed = map[string]string{
	"nothing":         "",
	"no list":         "change@/devices/virtual/block/dm-4\x00",
	"no end":          strings.TrimSuffix(resumed, "\x00"),
	"one end more":    resumed + "\x00",
	"another head":    strings.Replace(resumed, "change@", "remove@", 1),
	"another path":    strings.Replace(resumed, "dm-4", "dm-5", 1),
	"no action":       message("@/x", "ACTION=", "DEVPATH=/x", "SUBSYSTEM=block", "MAJOR=1", "MINOR=1"),
	"no value":        message("add@/x", "ACTION=add", "DEVPATH=/x", "SUBSYSTEM"),
	"no key":          message("add@/x", "ACTION=add", "DEVPATH=/x", "=block"),
	"twice":           message("add@/x", "ACTION=add", "DEVPATH=/x", "SUBSYSTEM=block", "MAJOR=1", "MINOR=1", "MINOR=2"),
	"no minor":        message("add@/x", "ACTION=add", "DEVPATH=/x", "SUBSYSTEM=block", "MAJOR=1"),
	"no number":       message("add@/x", "ACTION=add", "DEVPATH=/x", "SUBSYSTEM=block", "MAJOR=0x1", "MINOR=1"),
	"udev's own form": "libudev\x00\xfe\xed\xca\xfe",
}

func TestMalformedUevent(t *testing.T) {
	for name, text := range malformed {
		if got, err := parseUevent([]byte(text)); !errors.Is(err, errUevent) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

// TestMatches: what cannot be understood may concern us, what a program says does not.
func TestMatches(t *testing.T) {
	ours := scope{devs: map[remap.Dev]bool{{Major: 253, Minor: 4}: true, {Major: 9}: true}}
	kernel, program := &unix.SockaddrNetlink{}, &unix.SockaddrNetlink{Pid: 300}
	for name, tc := range map[string]struct {
		text  string
		flags int
		from  unix.Sockaddr
		s     scope
		want  bool
	}{
		"ours":               {resumed, 0, kernel, ours, true},
		"not ours":           {resumed, 0, kernel, scope{}, false},
		"asked for by udev":  {ueventCases["udev after a close"].text, 0, kernel, ours, false},
		"no device":          {ueventCases["no device"].text, 0, kernel, ours, false},
		"malformed":          {malformed["twice"], 0, kernel, ours, true},
		"too long":           {resumed, unix.MSG_TRUNC, kernel, scope{}, true},
		"said by a program":  {resumed, 0, program, ours, false},
		"said by who knows":  {resumed, 0, nil, ours, false},
		"another block node": {ueventCases["a disk of another size"].text, 0, kernel, ours, false},
	} {
		if got := tc.s.matches([]byte(tc.text), tc.flags, tc.from); got != tc.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// TestLostUevents: what was lost may have been about us, and what comes after it is
// taken as well.
func TestLostUevents(t *testing.T) {
	for _, tc := range []struct {
		name string
		errs []error
		want bool
		err  error
		left int
	}{
		{"nothing", []error{unix.EAGAIN}, false, nil, 0},
		{"not ours", []error{nil, unix.EINTR, nil, unix.EAGAIN}, false, nil, 0},
		{"lost", []error{unix.ENOBUFS, nil, unix.EAGAIN}, true, nil, 0},
		{"broken", []error{nil, unix.EIO, nil}, false, unix.EIO, 1},
		{"without end", make([]error, 2*atATime), false, nil, atATime},
	} {
		errs := tc.errs
		u := &uevents{buf: make([]byte, ueventRoom), receive: func(into []byte) (int, int, unix.Sockaddr, error) {
			err := errs[0]
			errs = errs[1:]
			return copy(into, resumed), 0, &unix.SockaddrNetlink{}, err
		}}
		if concerned, err := u.event(scope{}); concerned != tc.want || !errors.Is(err, tc.err) || len(errs) != tc.left {
			t.Errorf("%s: %v, %v, %d left", tc.name, concerned, err, len(errs))
		}
	}
}

func FuzzUevent(f *testing.F) {
	for _, tc := range ueventCases {
		f.Add([]byte(tc.text))
	}
	for _, text := range malformed {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, msg []byte) {
		u, err := parseUevent(msg)
		if err != nil {
			if !errors.Is(err, errUevent) || u != (uevent{}) {
				t.Fatalf("%+v, %v", u, err)
			}
			return
		}
		text := string(msg)
		if !strings.HasPrefix(text, u.action+"@") || !strings.Contains(text, "\x00ACTION="+u.action+"\x00") {
			t.Fatalf("action %q", u.action)
		}
		if u.subsystem != "" && !strings.Contains(text, "\x00SUBSYSTEM="+u.subsystem+"\x00") {
			t.Fatalf("subsystem %q", u.subsystem)
		}
		if (u.subsystem == "block") != (strings.Contains(text, "\x00SUBSYSTEM=block\x00")) {
			t.Fatalf("%+v", u)
		}
		if u.subsystem != "block" && !u.dev.IsZero() {
			t.Fatalf("%+v", u)
		}
		if u.synthetic != strings.Contains(text, "\x00SYNTH_UUID=") {
			t.Fatalf("%+v", u)
		}
	})
}
