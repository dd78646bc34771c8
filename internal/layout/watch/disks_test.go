package watch

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/remap"
)

// inTurn is a socket with messages in it, each with what the kernel says of it.
func inTurn(all ...received) *Disks {
	return &Disks{&uevents{buf: make([]byte, ueventRoom), receive: func(into []byte) (int, int, unix.Sockaddr, error) {
		if len(all) == 0 {
			return 0, 0, nil, unix.EAGAIN
		}
		r := all[0]
		all = all[1:]
		from := r.from
		if from == nil {
			from = &unix.SockaddrNetlink{}
		}
		return copy(into, r.text), r.flags, from, r.err
	}}}
}

type received struct {
	text  string
	flags int
	from  unix.Sockaddr
	err   error
}

var (
	reset = message("change@/devices/pci0000:00/0000:00:04.0/nvme/nvme0", "ACTION=change", "DEVPATH=/devices/pci0000:00/0000:00:04.0/nvme/nvme0",
		"SUBSYSTEM=nvme", "NVME_TRTYPE=pcie", "NVME_EVENT=connected", "MAJOR=240", "MINOR=0", "DEVNAME=nvme0", "SEQNUM=2100")
	attention = message("change@/devices/pci0000:00/0000:00:05.0/host0/target0:0:0/0:0:0:1", "ACTION=change",
		"DEVPATH=/devices/pci0000:00/0000:00:05.0/host0/target0:0:0/0:0:0:1", "SUBSYSTEM=scsi", "SDEV_UA=INQUIRY_DATA_HAS_CHANGED", "DEVTYPE=scsi_device", "SEQNUM=2101")
)

// TestTakeChanges: what is taken, and when nobody knows what is missing.
func TestTakeChanges(t *testing.T) {
	resume := Change{"block", remap.Dev{Major: 253, Minor: 4}}
	for name, c := range map[string]struct {
		messages []received
		want     []Change
		err      error
	}{
		"nothing":           {},
		"a device":          {[]received{{text: resumed}}, []Change{resume}, nil},
		"twice":             {[]received{{text: resumed}, {err: unix.EINTR}, {text: resumed}}, []Change{resume}, nil},
		"a controller":      {[]received{{text: reset}}, []Change{{Subsystem: "nvme"}}, nil},
		"a unit attention":  {[]received{{text: attention}}, []Change{{Subsystem: "scsi"}}, nil},
		"asked for by udev": {[]received{{text: ueventCases["udev after a close"].text}}, nil, nil},
		"by a program":      {[]received{{text: resumed, from: &unix.SockaddrNetlink{Pid: 300}}}, nil, nil},
		"lost":              {[]received{{err: unix.ENOBUFS}, {text: resumed}}, []Change{resume}, ErrLost},
		"too long":          {[]received{{text: resumed, flags: unix.MSG_TRUNC}}, nil, ErrLost},
		"malformed":         {[]received{{text: malformed["twice"]}, {text: reset}}, []Change{{Subsystem: "nvme"}}, ErrLost},
		"a hidden disk": {[]received{{text: message("add@/devices/virtual/nvme-subsystem/nvme-subsys0/nvme0c0n1", "ACTION=add",
			"DEVPATH=/devices/virtual/nvme-subsystem/nvme-subsys0/nvme0c0n1", "SUBSYSTEM=block", "SEQNUM=7")}}, nil, ErrLost},
		"broken":      {[]received{{text: resumed}, {err: unix.EIO}, {text: reset}}, []Change{resume}, unix.EIO},
		"without end": {slices.Repeat([]received{{text: resumed}}, mostChanges+1), []Change{resume}, ErrLost},
	} {
		if got, err := inTurn(c.messages...).Take(); !slices.Equal(got, c.want) || !errors.Is(err, c.err) {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
}

// TestHeard: where no uevents are sent, nobody relies on them.
func TestHeard(t *testing.T) {
	if err := heard(filepath.Join(t.TempDir(), "net")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no namespace: %v", err)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := heard(file); err == nil {
		t.Error("a file that is no namespace")
	}
}
