package soak

import (
	"cmp"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/copydomain/scsi"
	"github.com/dmcopy/dmcopy/test/target"
	"github.com/dmcopy/dmcopy/test/vm"
)

// event is what happens so long after a process has begun.
type event struct {
	name string
	at   time.Duration
	do   func()
}

// events draws what happens to a process: less each time, nothing in the end.
func (s *trial) events(attempt int) []event {
	most := []int{4, 2, 1}
	if attempt >= len(most) {
		return nil
	}
	list := make([]event, s.rng.IntN(most[attempt]+1))
	for i := range list {
		list[i] = s.event()
		list[i].at = time.Duration(s.rng.Int64N(int64(s.usual)))
	}
	slices.SortFunc(list, func(a, b event) int { return cmp.Compare(a.at, b.at) })
	return list
}

// event draws one.
func (s *trial) event() event {
	kinds := []event{
		{name: "move", do: s.move}, {name: "move", do: s.move}, {name: "move", do: s.move}, {name: "move", do: s.move},
		{name: "grow", do: s.grow},
		{name: "suspend", do: s.suspend}, {name: "suspend", do: s.suspend},
		{name: "stop", do: s.stop}, {name: "stop", do: s.stop}, {name: "freeze", do: s.freeze}, {name: "pause", do: s.pause},
		{name: "kill", do: s.kill}, {name: "kill", do: s.kill},
		{name: "power", do: s.losePower}, {name: "power", do: s.losePower},
		{name: "interrupt", do: s.interrupt},
		{name: "fault of a disk", do: s.breakDisk}, {name: "fault of a disk", do: s.breakDisk},
		{name: "fault of the target", do: s.breakTarget}, {name: "fault of the target", do: s.breakTarget},
		{name: "limits", do: s.limit},
		{name: "reset", do: s.reset},
		{name: "full", do: s.fill},
		{name: "clock", do: s.setClock},
		{name: "uevents", do: s.uevents},
		{name: "re-read", do: s.reread},
	}
	return kinds[s.rng.IntN(len(kinds))]
}

func (s *trial) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// excuse lets the process fail from now on.
func (s *trial) excuse(why string) { s.excused = why }

// move moves a device to other places, as pvmove does: nothing is lost, and what is given up belongs to somebody else
// at once.
func (s *trial) move() {
	candidates := s.builder.lowest()
	if len(candidates) == 0 {
		return
	}
	s.calm() // what is broken cannot be moved
	d := candidates[s.rng.IntN(len(candidates))]
	var old, new []run
	for _, g := range d.segments {
		r, ok := s.builder.carve(g.len)
		if !ok {
			return
		}
		old, new = append(old, g.at), append(new, r)
	}
	s.excuse("suspended") // a copy that begins now is refused
	vm.Run(s.t, "dmsetup", "suspend", "--noudevsync", d.name)
	for i := range old {
		s.copyRun(old[i], new[i])
		d.segments[i] = linearTo(new[i])
	}
	vm.Run(s.t, "dmsetup", "load", d.name, "--table", d.table())
	vm.Run(s.t, "dmsetup", "resume", "--noudevsync", "--noudevrules", d.name)
	for _, r := range old {
		s.giveAway(r)
	}
	s.count("segments moved", len(old))
}

func (s *trial) copyRun(from, to run) {
	p := vm.Aligned(s.t, from.len*512)
	vm.ReadDirect(s.t, from.path, p, from.start*512)
	vm.WriteDirect(s.t, to.path, p, to.start*512)
	copy(s.expected.at(to), p)
}

// giveAway lets somebody else write to what was given up.
func (s *trial) giveAway(r run) {
	p := vm.Aligned(s.t, r.len*512)
	vm.FillStamp(p, s.rng.Uint64(), r.start*512)
	vm.WriteDirect(s.t, r.path, p, r.start*512)
	copy(s.expected.at(r), p)
}

// grow makes a device longer, without suspending it first.
func (s *trial) grow() {
	// A copy does not go on between ends of another size.
	candidates := slices.DeleteFunc(s.builder.lowest(), func(d *device) bool {
		return s.state != "" && (d.path == s.src || d.path == s.dst)
	})
	if len(candidates) == 0 {
		return
	}
	d := candidates[s.rng.IntN(len(candidates))]
	r, ok := s.builder.carve((1 + s.rng.Int64N(4)) * s.builder.align)
	if !ok {
		return
	}
	s.excuse("suspended")
	d.segments = append(d.segments, linearTo(r))
	vm.Run(s.t, "dmsetup", "load", d.name, "--table", d.table())
	vm.Run(s.t, "dmsetup", "resume", "--noudevsync", "--noudevrules", d.name)
}

// suspend suspends a device for a while.
func (s *trial) suspend() {
	d := s.builder.made[s.rng.IntN(len(s.builder.made))]
	args := []string{"suspend", "--noudevsync"}
	for _, flag := range []string{"--noflush", "--nolockfs"} {
		if s.rng.IntN(2) == 0 {
			args = append(args, flag)
		}
	}
	s.excuse("suspended")
	vm.Run(s.t, "dmsetup", append(args, d.name)...)
	time.Sleep(time.Duration(s.rng.IntN(200)) * time.Millisecond)
	vm.Run(s.t, "dmsetup", "resume", "--noudevsync", "--noudevrules", d.name)
}

// stop stops the process for a while; somebody may move devices meanwhile, who waits until the hold has ended by itself.
func (s *trial) stop() { s.meanwhile(s.signal(unix.SIGSTOP), s.signal(unix.SIGCONT)) }

// freeze freezes the cgroup of the process instead.
func (s *trial) freeze() { s.meanwhile(s.cgroup.freeze(s.t, true), s.cgroup.freeze(s.t, false)) }

// pause stops the whole guest.
func (s *trial) pause() { s.must(vm.Pause(time.Duration(s.rng.IntN(1000)) * time.Millisecond)) }

func (s *trial) meanwhile(begin, end func()) {
	begin()
	defer end()
	for range s.rng.IntN(3) {
		s.move()
		s.count("moves while the copy was stopped", 1)
	}
	time.Sleep(time.Duration(s.rng.IntN(1500)) * time.Millisecond)
}

func (s *trial) signal(sig os.Signal) func() {
	return func() {
		if err := s.proc.cmd.Process.Signal(sig); !errors.Is(err, os.ErrProcessDone) {
			s.must(err)
		}
	}
}

func (s *trial) kill() {
	s.excuse("kill")
	if err := s.proc.cmd.Process.Signal(unix.SIGKILL); !errors.Is(err, os.ErrProcessDone) {
		s.must(err)
	}
	s.proc.wait(s.t)
}

// losePower kills the copy, and loses what the caches of the target have not written.
func (s *trial) losePower() {
	s.kill()
	for _, c := range s.caches {
		survive := s.rng.IntN(3) // none, some, most
		s.count("sectors lost with the power", c.LosePower(func(int64) bool { return s.rng.IntN(4) < survive }))
	}
}

func (s *trial) interrupt() {
	s.excuse("interrupt")
	if err := s.proc.cmd.Process.Signal(unix.SIGINT); !errors.Is(err, os.ErrProcessDone) {
		s.must(err)
	}
}

// breakDisk makes commands of a disk fail, one or all until the process is over.
func (s *trial) breakDisk() {
	disk := s.emulated[s.rng.IntN(len(s.emulated))]
	fault := vm.Fault{
		IOType: []string{"read", "write", "write-zeroes"}[s.rng.IntN(3)],
		Sector: -1, Once: s.rng.IntN(3) > 0,
	}
	if s.rng.IntN(2) == 0 {
		fault.Sector = s.rng.Int64N(diskSize / 512)
	}
	s.excuse("fault")
	s.must(vm.SetFaults(disk, fault))
	s.undo = append(s.undo, func() { s.must(vm.SetFaults(disk)) })
}

// What the commands of the target say, or do, when they go wrong.
var targetFaults = []target.Fault{
	{Sense: scsi.SenseCode{Key: scsi.UnitAttention, ASC: 0x29, ASCQ: 0x07}},
	{Sense: scsi.SenseCode{Key: scsi.MediumError, ASC: 0x0C}},
	{Sense: scsi.SenseCode{Key: scsi.AbortedCommand, ASC: 0x0D}},
	{Sense: scsi.SenseCode{Key: scsi.IllegalRequest, ASC: 0x55, ASCQ: 0x0D}},
	{Sense: scsi.SenseCode{Key: scsi.IllegalRequest, ASC: 0x20}},
	{Status: scsi.Busy},
	{Status: scsi.ReservationConflict},
	{Delay: 300 * time.Millisecond},
	{Work: 300 * time.Millisecond},
	{Expire: true}, {Revoke: true}, {Short: 77}, {Residual: 64}, {Lie: 1 << 20},
}

// breakTarget makes commands of the target go wrong.
func (s *trial) breakTarget() {
	fault := targetFaults[s.rng.IntN(len(targetFaults))]
	fault.Command = []string{"populate-token", "write-using-token", "receive-token", "extended-copy", "extended-copy", "read", "write", "synchronize-cache"}[s.rng.IntN(8)]
	if fault.Sense.ASC == 0x20 && !strings.Contains(fault.Command, "-") {
		fault.Sense = scsi.SenseCode{Key: scsi.MediumError, ASC: 0x11} // without READ and WRITE, a disk is none for the kernel
	}
	fault.Skip, fault.Times = s.rng.IntN(3), s.rng.IntN(3)
	if fault.Status == scsi.Busy {
		// The kernel tries again for minutes, with a flush for six: (retries + 1) * timeout
		// (drivers/scsi/scsi_lib.c, scsi_cmd_runtime_exceeced; drivers/scsi/sd.c).
		fault.Times = max(fault.Times, 1)
	}
	s.excuse("fault")
	s.target.Inject(fault)
	s.undo = append(s.undo, func() { s.must(s.target.Clear()) })
}

// limit makes the target refuse more than so much, whatever it has said.
func (s *trial) limit() {
	s.target.Enforce(&target.TokenLimits{Ranges: 1 + uint16(s.rng.IntN(3)), TransferBlocks: 64 << s.rng.IntN(3), MaxTimeout: 60})
	s.undo = append(s.undo, func() { s.must(s.target.Clear()) })
}

// slow makes the disks slow until the process is over, so that there is time for something to happen.
func (s *trial) slow() {
	rate := int64(2*mib) << s.rng.IntN(3)
	limit := func(rate int64) {
		for _, d := range s.emulated {
			s.must(vm.Throttle(d, rate, 0))
		}
		for _, c := range s.caches {
			c.Throttle(rate)
		}
	}
	limit(rate)
	s.slowed = func() { limit(0) }
}

// reset resets an NVMe controller.
func (s *trial) reset() {
	controllers, err := filepath.Glob("/sys/class/nvme/nvme*/reset_controller")
	s.must(err)
	s.excuse("reset")
	s.must(os.WriteFile(controllers[s.rng.IntN(len(controllers))], []byte("1"), 0))
}

// fill leaves no room for the state.
func (s *trial) fill() {
	path := filepath.Join(s.scratch, "filler")
	err := os.WriteFile(path, make([]byte, mib), 0o600)
	if !errors.Is(err, unix.ENOSPC) {
		s.t.Fatalf("the file system is not full: %v", err)
	}
	if s.state != "" {
		s.excuse("full")
	}
	s.undo = append(s.undo, func() {
		if err := os.Remove(path); !errors.Is(err, fs.ErrNotExist) { // twice full is full
			s.must(err)
		}
	})
}

// setClock sets the clock forward or back, by up to a day.
func (s *trial) setClock() {
	now := time.Now().Add(time.Duration(s.rng.Int64N(int64(48*time.Hour))) - 24*time.Hour)
	v := unix.NsecToTimeval(now.UnixNano())
	s.must(unix.Settimeofday(&v))
}

// uevents tells everybody that something has changed.
func (s *trial) uevents() {
	paths, err := filepath.Glob("/sys/block/*/uevent")
	s.must(err)
	for _, p := range paths {
		s.must(os.WriteFile(p, []byte("change"), 0))
	}
}

// reread has partition tables read again; disks in use refuse, and broken ones cannot.
func (s *trial) reread() {
	for _, d := range s.disks {
		out, err := vm.TryRun("blockdev", "--rereadpt", d)
		if err != nil && !strings.Contains(err.Error(), "busy") && len(s.undo) == 0 {
			s.t.Fatalf("%v%s", err, out)
		}
	}
}
