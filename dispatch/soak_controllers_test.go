package dispatch_test

import (
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/dmcopy/dmcopy/copydomain/nvme"
	"github.com/dmcopy/dmcopy/copydomain/scsi"
	"github.com/dmcopy/dmcopy/remap"
	"github.com/dmcopy/dmcopy/test/fakestack"
	"github.com/dmcopy/dmcopy/test/target"
)

// controllers are what can copy in a trial.
type controllers struct {
	namespaces []remap.Dev
	luns       []remap.Dev
	paths      map[remap.Dev]remap.Dev // other ways to them
	loops      []*nvme.Loopback
	units      []*scsi.Loopback
	tokens     []*target.Target
}

// attach notes the namespaces, and adds logical units.
func (s *soak) attach() {
	s.paths = make(map[remap.Dev]remap.Dev)
	for _, d := range s.disks[:len(s.disks)-1] {
		s.namespaces = append(s.namespaces, d.dev)
		s.loops = append(s.loops, s.m.Loopback(d.dev))
	}
	size, block := s.disks[0].size, int(s.unit.Bytes())
	var sizes []remap.Sector
	for range s.draw("units", 0, 2) {
		sizes = append(sizes, size)
	}
	if len(sizes) == 0 {
		return
	}
	var units []remap.Dev
	if rapid.Bool().Draw(s.t, "tokens") {
		limits := target.TokenLimits{
			Ranges: uint16(s.draw("descriptors", 1, 8)), TransferBlocks: uint64(s.draw("transfer", 1, 300)),
			OptimalBlocks: uint64(s.draw("optimal", 0, 300)), DefaultTimeout: 60, MaxTimeout: 600,
		}
		made, devs := s.m.AddTokenTarget(limits, block, sizes...)
		s.tokens, units = append(s.tokens, made), devs
	} else {
		made, devs := s.m.AddTarget(s.behaviour(), block, sizes...)
		s.controllers.units, units = append(s.controllers.units, made), devs
	}
	s.luns = units
	for _, dev := range units {
		s.disks = append(s.disks, disk{dev: dev, size: size})
	}
}

// behaviour is that of a free target, with segments of few blocks.
func (s *soak) behaviour() scsi.Behaviour {
	all := []func() scsi.Behaviour{scsi.LIO, scsi.TCMURunner, scsi.SCST, scsi.CTL}
	b := all[s.draw("target", 0, len(all)-1)]()
	b.EnforcedSegmentBlocks = uint32(s.draw("segment blocks", 0, 100))
	return b
}

// settle lets commands end that were given up.
func (c *controllers) settle() {
	for _, l := range c.loops {
		l.Wait()
	}
	for _, l := range c.units {
		l.Wait()
	}
	if len(c.tokens) > 0 {
		time.Sleep(maxWork) // or what the target does on its own would have no effect
	}
	fakestack.LoseTargets(c.tokens...)
}

// soakStatuses are of every kind (copydomain/nvme/status.go).
var soakStatuses = []nvme.Status{
	nvme.StatusInvalidOpcode, nvme.StatusDataTransferError, 0x006, 0x008, 0x021, nvme.StatusLBAOutOfRange,
	nvme.StatusReservationConflict, nvme.StatusCommandSizeLimit, 0x186, nvme.StatusInsufficientResources,
	nvme.StatusWriteFault, nvme.StatusUnrecoveredRead, nvme.StatusHostPathError,
}

// soakAnswers are of every kind (copydomain/scsi/sense.go).
var soakAnswers = []scsi.Completion{
	scsi.SenseCompletion(scsi.SenseCode{Key: scsi.UnitAttention, ASC: 0x29}),
	scsi.SenseCompletion(scsi.SenseCode{Key: scsi.UnitAttention, ASC: 0x2A, ASCQ: 0x09}),
	scsi.SenseCompletion(scsi.SenseCode{Key: scsi.CopyAborted, ASC: 0x0D, ASCQ: 0x02}),
	scsi.SenseCompletion(scsi.SenseCode{Key: scsi.IllegalRequest, ASC: 0x20}),
	scsi.SenseCompletion(scsi.SenseCode{Key: scsi.DataProtect, ASC: 0x27, ASCQ: 0x07}),
	scsi.SenseCompletion(scsi.SenseCode{Key: scsi.NotReady, ASC: 0x04, ASCQ: 0x0B}),
	scsi.SenseCompletion(scsi.SenseCode{Key: scsi.MediumError, ASC: 0x0C}),
	{Status: scsi.Busy}, {Status: scsi.ReservationConflict},
}

// chooseFault makes the next command of a controller go wrong.
func (s *soak) chooseFault(e *event) {
	number := s.draw("controller", 0, len(s.loops)+len(s.controllers.units)+len(s.tokens)-1)
	switch units := number - len(s.loops); {
	case units < 0:
		s.faultNVMe(e, s.loops[number])
	case units < len(s.controllers.units):
		s.faultSCSI(e, s.controllers.units[units])
	default:
		s.faultToken(e, s.tokens[0])
	}
}

// once makes a fault of the next command, which may be one of a later run.
func once[C, F any](s *soak, e *event, fault func() F) func(int, C) F {
	var met atomic.Bool
	return func(int, C) (none F) {
		if met.Swap(true) {
			return none
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if !e.slow() {
			s.excused = e.name
		}
		return fault()
	}
}

// stuck is how a command comes back that is not answered at once: what is closed then,
// and the error of a caller that does not wait for it. One that is only late comes back
// after some time, the others when the process is gone.
func (s *soak) stuck(e *event, late time.Duration) (hold <-chan struct{}, lost error) {
	back := make(chan struct{})
	switch e.name {
	case "late", "slow":
		time.AfterFunc(late, func() { close(back) })
		return back, nil
	case "ghost":
		lost = unix.EINTR
	case "timeout":
	default:
		return nil, nil
	}
	s.ghosts = append(s.ghosts, back)
	return back, lost
}

// slow: the command is carried out as it should be, but not at once.
func (e *event) slow() bool { return e.name == "late" || e.name == "slow" }

// lateness draws how long a command takes: one that is only slow takes less than what is
// left of every hold under which a command is begun.
func (s *soak) lateness(e *event) time.Duration {
	if e.name == "slow" {
		return time.Duration(s.draw("milliseconds", 1, 999)) * time.Millisecond
	}
	return s.span(25 * time.Second)
}

func (s *soak) faultNVMe(e *event, loop *nvme.Loopback) {
	late := s.lateness(e)
	f := nvme.Fault{}
	if e.name == "command" {
		f.Status, f.At = rapid.SampledFrom(soakStatuses).Draw(s.t, "status"), s.draw("at", 0, 2)
		f.Junk, f.Part = rapid.Bool().Draw(s.t, "junk"), uint64(s.draw("part", 0, 3))
	}
	hook := once[*nvme.Command](s, e, func() nvme.Fault {
		f.Hold, f.Lost = s.stuck(e, late)
		return f
	})
	e.do = func() { loop.SetFault(hook) }
}

func (s *soak) faultSCSI(e *event, units *scsi.Loopback) {
	late := s.lateness(e)
	f := scsi.Fault{}
	if e.name == "command" {
		f.Completion, f.At = rapid.SampledFrom(soakAnswers).Draw(s.t, "answer"), uint64(s.draw("at", 0, 20))
		f.Junk = rapid.Bool().Draw(s.t, "junk")
	}
	hook := once[*scsi.Command](s, e, func() scsi.Fault {
		f.Hold, f.Lost = s.stuck(e, late)
		return f
	})
	e.do = func() { units.SetFault(hook) }
}

// maxWork is how long a target goes on with what was taken back.
const maxWork = time.Minute

func (s *soak) faultToken(e *event, made *target.Target) {
	f := target.Fault{Times: 1, Command: rapid.SampledFrom([]string{"populate-token", "write-using-token", "receive-token"}).Draw(s.t, "command")}
	switch e.name {
	case "ghost":
		f.Ghost, f.Work = true, maxWork
	case "timeout":
		f.Lose = rapid.Bool().Draw(s.t, "carried out")
		f.Drop = !f.Lose
	case "late", "slow":
		f.Work = s.lateness(e)
	default:
		switch s.draw("fault", 0, 4) {
		case 0:
			f.Revoke = true
		case 1:
			f.Expire = true
		case 2:
			f.Short = uint64(s.draw("short", 1, 20))
		case 3:
			f.Status = rapid.SampledFrom([]scsi.Status{scsi.Busy, scsi.TaskSetFull, scsi.ReservationConflict}).Draw(s.t, "answer")
		default:
			f.Sense = rapid.SampledFrom([]scsi.SenseCode{
				{Key: scsi.UnitAttention, ASC: 0x29}, {Key: scsi.IllegalRequest, ASC: 0x20}, {Key: scsi.DataProtect, ASC: 0x27, ASCQ: 0x07},
				{Key: scsi.NotReady, ASC: 0x04, ASCQ: 0x0B}, {Key: scsi.MediumError, ASC: 0x0C},
			}).Draw(s.t, "answer")
		}
	}
	e.do = func() {
		if !e.slow() {
			s.excused = e.name
		}
		made.Inject(f)
		s.ends = append(s.ends, func() {
			if err := made.Clear(); err != nil {
				s.t.Fatal(err)
			}
		})
	}
}
