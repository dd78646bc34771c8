package copydomain_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/copydomain"
	"github.com/dmcopy/dmcopy/copydomain/blocks"
	"github.com/dmcopy/dmcopy/copydomain/nvme"
	"github.com/dmcopy/dmcopy/copydomain/scsi"
	"github.com/dmcopy/dmcopy/remap"
)

// news are events as a test wants them.
type news struct {
	list   []copydomain.Event
	err    error
	deaf   error // there is nothing to listen to
	opened int
	closed int
}

func (n *news) Take() ([]copydomain.Event, error) {
	list, err := n.list, n.err
	n.list, n.err = nil, nil
	return list, err
}

func (n *news) Close() error { n.closed++; return nil }

func (n *news) open() (copydomain.Events, error) {
	if n.deaf != nil {
		return nil, n.deaf
	}
	n.opened++
	return n, nil
}

func block(dev remap.Dev) copydomain.Event { return copydomain.Event{Subsystem: "block", Dev: dev} }

// TestEpochs: which events end what is known of which leaf.
func TestEpochs(t *testing.T) {
	disk, other := newDisk(0, 512, roomy).node, newDisk(1, 512, roomy).node
	unit := &remap.Node{Dev: remap.Dev{Major: 8}, Leaf: &remap.Leaf{Driver: "scsi"}}
	loop := &remap.Node{Dev: remap.Dev{Major: 7}}
	leaves := []*remap.Node{disk, other, unit, loop}
	for name, c := range map[string]struct {
		events []copydomain.Event
		err    error
		passed [4]bool
		closed int
	}{
		"nothing":                  {},
		"a disk":                   {events: []copydomain.Event{block(disk.Dev)}, passed: [4]bool{true}},
		"a disk, twice":            {events: []copydomain.Event{block(disk.Dev), block(disk.Dev)}, passed: [4]bool{true}},
		"a disk that is not known": {events: []copydomain.Event{block(remap.Dev{Major: 252})}},
		"a loop device":            {events: []copydomain.Event{block(loop.Dev)}, passed: [4]bool{3: true}},
		"a controller":             {events: []copydomain.Event{{Subsystem: "nvme"}}, passed: [4]bool{true, true}},
		"a subsystem":              {events: []copydomain.Event{{Subsystem: "nvme-subsystem"}}, passed: [4]bool{true, true}},
		"a unit attention":         {events: []copydomain.Event{{Subsystem: "scsi"}}, passed: [4]bool{2: true}},
		"a port":                   {events: []copydomain.Event{{Subsystem: "fc_remote_ports"}}, passed: [4]bool{2: true}},
		"a session":                {events: []copydomain.Event{{Subsystem: "iscsi_session"}}, passed: [4]bool{2: true}},
		"something else":           {events: []copydomain.Event{{Subsystem: "net"}, {Subsystem: "bdi"}}},
		"lost":                     {err: copydomain.ErrEventsLost, passed: [4]bool{true, true, true, true}},
		"broken":                   {err: unix.EBADF, passed: [4]bool{true, true, true, true}, closed: 1},
	} {
		t.Run(name, func(t *testing.T) {
			f, n := copydomain.NewOfflineFinder(), &news{}
			f.Follow(copydomain.Sources{Events: n.open})
			var before [4]copydomain.Epoch
			for i, leaf := range leaves {
				before[i] = f.Epoch(leaf)
			}
			n.list, n.err = c.events, c.err
			for i, leaf := range leaves {
				now := f.Epoch(leaf)
				if before[i].Until(now) == c.passed[i] {
					t.Errorf("%v: passed %v, want %v", leaf.Dev, !c.passed[i], c.passed[i])
				}
				// Of the first one it is not known whether anything has happened, but that nothing can be known.
				if passed := before[i].Passed(now); passed != c.passed[i] && !(c.closed > 0 && i == 0) {
					t.Errorf("%v: known to have passed %v, want %v", leaf.Dev, passed, c.passed[i])
				}
			}
			if err := f.Close(); err != nil || n.closed != n.opened || n.opened != 1+c.closed {
				t.Errorf("%v: opened %d times, closed %d times", err, n.opened, n.closed)
			}
		})
	}
}

// TestEpochsUnknown: where nobody can be asked what has happened, nothing counts any more, and nothing is
// known to have happened either.
func TestEpochsUnknown(t *testing.T) {
	leaf := newDisk(0, 512, roomy).node
	f, n := copydomain.NewOfflineFinder(), &news{deaf: unix.EAFNOSUPPORT}
	software, failed := "1.0", error(nil)
	f.Follow(copydomain.Sources{Events: n.open, Software: func(*remap.Node) (string, error) { return software, failed }})
	first := f.Epoch(leaf)
	if now := f.Epoch(leaf); first.Until(now) || now.Until(now) || first.Passed(now) {
		t.Errorf("%+v, then %+v", first, now)
	}
	software = "1.1"
	if now := f.Epoch(leaf); !first.Passed(now) {
		t.Errorf("other software: %+v, then %+v", first, now)
	}
	n.deaf = nil
	heard := f.Epoch(leaf)
	if now := f.Epoch(leaf); first.Until(now) || !heard.Until(now) {
		t.Errorf("listening: %+v, then %+v", heard, now)
	}
	software = "1.2"
	if now := f.Epoch(leaf); heard.Until(now) || !heard.Passed(now) {
		t.Errorf("other software: %+v, then %+v", heard, now)
	}
	failed = unix.EIO
	if now := f.Epoch(leaf); now.Until(now) {
		t.Errorf("software that cannot be read: %+v", now)
	}
}

// TestEpochsForget: the numbers of devices that come and go take no memory for ever.
func TestEpochsForget(t *testing.T) {
	leaf := newDisk(0, 512, roomy).node
	f, n := copydomain.NewOfflineFinder(), &news{}
	f.Follow(copydomain.Sources{Events: n.open})
	n.list = []copydomain.Event{block(leaf.Dev)}
	before := f.Epoch(leaf)
	for minor := range uint32(5000) {
		n.list = append(n.list, block(remap.Dev{Major: 252, Minor: minor}))
	}
	if now := f.Epoch(leaf); before.Until(now) {
		t.Errorf("%+v, then %+v", before, now)
	}
}

// TestIdentifiedAgain: a disk to which something has happened is asked again, through what is open to it,
// and has the limits that it tells then.
func TestIdentifiedAgain(t *testing.T) {
	d := newDisk(0, 512, roomy)
	opened, closed := 0, 0
	f := copydomain.NewFinderWith(func(*remap.Node) (nvme.Transport, error) {
		opened++
		return closing{d.loop, &closed}, nil
	})
	n := &news{}
	f.Follow(copydomain.Sources{Events: n.open})
	limits := func() string { return f.Pair(t.Context(), d.node, d.node).Limits }
	first := limits()
	less := nvme.Limits{RangeBlocks: 8, CommandBlocks: 16, Ranges: 2}
	d.loop.SetReported(1, less)
	if limits() != first || opened != 1 {
		t.Errorf("nothing has happened: %s, opened %d times", limits(), opened)
	}
	n.list = []copydomain.Event{{Subsystem: "nvme"}}
	if limits() != less.String() || opened != 1 || closed != 0 {
		t.Errorf("a controller was reset: %s, opened %d times, closed %d times", limits(), opened, closed)
	}
	// What is open leads nowhere any more.
	d.loop.SetAdminFault(func(*nvme.Command) (nvme.Status, error) { return 0, unix.ENODEV })
	n.list = []copydomain.Event{block(d.node.Dev)}
	if p := f.Pair(t.Context(), d.node, d.node); p.Method != "" || opened != 2 {
		t.Errorf("gone: %+v, opened %d times", p, opened)
	}
	d.loop.SetAdminFault(nil)
	if p := f.Pair(t.Context(), d.node, d.node); p.Method != "" {
		t.Errorf("asked again without a reason: %+v", p)
	}
	n.list = []copydomain.Event{block(d.node.Dev)}
	if p := f.Pair(t.Context(), d.node, d.node); p.Method == "" {
		t.Errorf("back: %+v", p)
	}
	_ = f.Close()
	if closed != opened {
		t.Errorf("opened %d times, closed %d times", opened, closed)
	}
}

// TestIdentifiedUnheard: without events a disk is asked each time, but one that has failed only after a while.
func TestIdentifiedUnheard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDisk(0, 512, roomy)
		asked := 0
		d.loop.SetAdminFault(func(*nvme.Command) (nvme.Status, error) { asked++; return 0, nil })
		opened := 0
		var refuse error
		f := copydomain.NewFinderWith(func(*remap.Node) (nvme.Transport, error) { opened++; return d.loop, refuse })
		f.Follow(copydomain.Sources{Events: (&news{deaf: unix.EPERM}).open})
		f.Pair(t.Context(), d.node, d.node)
		once := asked
		f.Pair(t.Context(), d.node, d.node)
		if once == 0 || asked != 2*once || opened != 1 {
			t.Errorf("asked %d and %d times, opened %d times", once, asked-once, opened)
		}
		refuse = unix.EIO
		gone := d.with(func(n *remap.Node) { n.Print[0]++ })
		for range 3 {
			f.Pair(t.Context(), gone, gone)
		}
		if opened != 2 {
			t.Errorf("opened %d times", opened)
		}
		time.Sleep(11 * time.Minute)
		if f.Pair(t.Context(), gone, gone); opened != 3 {
			t.Errorf("opened %d times later", opened)
		}
	})
}

// TestCommandsMeetChanges: what an answer to a command tells of the leaf ends its epoch.
func TestCommandsMeetChanges(t *testing.T) {
	d := newDisk(0, 512, roomy)
	f := finder(t, d)
	c, err := f.Copier(t.Context(), f.Pair(t.Context(), d.node, d.node), copydomain.CopyOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, fault := range []struct {
		nvme.Fault
		passed bool
	}{
		{nvme.Fault{}, false}, {nvme.Fault{Status: nvme.StatusUnrecoveredRead}, false}, {nvme.Fault{Status: 0x008}, true},
		{nvme.Fault{Status: 0x302 | nvme.StatusDNR}, true}, {nvme.Fault{Status: nvme.StatusHostAborted}, true}, {nvme.Fault{Lost: unix.EINTR}, true},
	} {
		d.loop.SetFault(func(int, *nvme.Command) nvme.Fault { return fault.Fault })
		before := f.Epoch(d.node)
		_ = c.Flush(t.Context())
		if before.Passed(f.Epoch(d.node)) != fault.passed {
			t.Errorf("%+v: passed %v", fault.Fault, !fault.passed)
		}
	}
}

// TestHappened: a unit attention tells that something has happened, whatever it is; what a device says of one
// command does not.
func TestHappened(t *testing.T) {
	sense := func(key scsi.SenseKey, asc, ascq byte) []byte { return []byte{0x72, byte(key), asc, ascq, 0, 0, 0, 0} }
	for _, c := range []struct {
		done scsi.Completion
		err  error
		want bool
	}{
		{scsi.Completion{}, nil, false},
		{scsi.Completion{Status: scsi.CheckCondition, Sense: sense(scsi.UnitAttention, 0x29, 0)}, nil, true},
		{scsi.Completion{Status: scsi.CheckCondition, Sense: sense(scsi.UnitAttention, 0x3F, 0x0E)}, nil, true},
		{scsi.Completion{Status: scsi.CheckCondition, Sense: sense(scsi.MediumError, 0x11, 0)}, nil, false},
		{scsi.Completion{Status: scsi.CheckCondition}, nil, false},
		{scsi.Completion{Status: scsi.Busy}, nil, false},
		{scsi.Completion{Host: 8}, nil, true},
		{scsi.Completion{}, unix.ENODEV, true},
		{scsi.Completion{}, errors.Join(blocks.ErrNotIssued, unix.EPERM), false},
	} {
		if got := scsi.Happened(c.done, c.err); got != c.want {
			t.Errorf("%+v, %v: %v", c.done, c.err, got)
		}
	}
}
