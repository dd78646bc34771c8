package hold

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/dmcopy/dmcopy/internal/background"
	"github.com/dmcopy/dmcopy/internal/boottime"
	"github.com/dmcopy/dmcopy/internal/sysfs"
	"github.com/dmcopy/dmcopy/remap"
)

// kernel is what an anchor does to the machine, and sees of it.
type kernel interface {
	// now is the moment. The throttle's clock, which stands still while the
	// machine is suspended, never runs faster.
	now() boottime.Instant
	// initThrottle makes the disk ready for limits, see [system.initThrottle].
	initThrottle(leaf remap.Dev, timeout time.Duration) error
	// newGroup makes a group whose throttle has no past.
	newGroup() (string, error)
	// limit lets the group read from the leaf at rate bytes per second; 0
	// lifts the limit.
	limit(group string, leaf remap.Dev, rate int64) error
	// removeGroup removes a group of which no read is in flight: the kernel
	// may let them go (7.3 does, block/blk-throttle.c, throtl_pd_offline).
	removeGroup(group string) error
	// read begins a read that is charged to the group. When it returns, the
	// block layer has it, be it in flight or queued.
	read(group string, s span) (id int, err error)
	// ended waits up to timeout for all of the reads, and tells which have
	// ended. It tells so once.
	ended(ids []int, timeout time.Duration) ([]outcome, error)
	// probe begins reads that are charged to no group of ours, and probed
	// waits for them.
	probe(spans []span) (ids []int, err error)
	probed(ids []int, timeout time.Duration) ([]outcome, error)
	// inFlight is how many reads a device counts.
	inFlight(dev remap.Dev) (int, error)
	// suspended tells whether a device of device-mapper is. One that waits
	// to be is not.
	suspended(dev remap.Dev) (bool, error)
	// waitsForReads tells, by an error, what does not wait for reads in flight.
	waitsForReads(node remap.Dev) error
	// pause lets time pass.
	pause(d time.Duration)
	// close ends what was begun. Reads in flight keep it up to timeout.
	close(timeout time.Duration) error
}

// probeGrace is how long a probe is waited for in the end.
const probeGrace = 2 * time.Second

// system is the kernel of this machine.
type system struct {
	machine sysfs.Root
	version version
	groups  *cgroups
	reader  *helper // its reads are charged to the group that it is in
	prober  *helper // outside of all groups

	mu          sync.Mutex
	throttles   map[remap.Dev]*background.Call[struct{}]
	readerGroup string // the group that the reader is in
	removeLeft  bool   // and that is to be removed when it leaves it
}

// newSystem starts the helpers, which read device.
func newSystem(device *os.File) (*system, error) {
	s := &system{version: running(), throttles: make(map[remap.Dev]*background.Call[struct{}]), removeLeft: true}
	var err error
	if s.groups, err = newCgroups(s.machine); err != nil {
		return nil, err
	}
	if s.readerGroup, err = s.groups.make(); err == nil {
		s.reader, err = startHelper(device, s.readerGroup, "")
	}
	if err == nil {
		s.prober, err = startHelper(device, "", s.groups.cleanupSpec())
	}
	if err != nil {
		return nil, errors.Join(err, s.close(expiry))
	}
	return s, nil
}

// close does not wait long for the prober: one that hangs behind somebody who keeps the
// device suspended holds nothing, and ends when he resumes it.
func (s *system) close(timeout time.Duration) error {
	var reader, prober error
	var ending sync.WaitGroup
	if s.reader != nil {
		ending.Go(func() { reader = s.reader.close(timeout) })
	}
	if s.prober != nil {
		ending.Go(func() { prober = s.prober.close(probeGrace) })
	}
	ending.Wait()
	if errors.Is(prober, ErrContended) {
		prober = nil
	}
	return errors.Join(reader, prober, s.groups.close())
}

func (s *system) now() boottime.Instant { return boottime.Now() }

// initThrottle writes a limit that is none. The first one of a disk freezes its queue until what is in
// flight there has ended (block/blk-throttle.c, blk_throtl_init), commands as well, and whoever
// waits for them waits in the kernel.
func (s *system) initThrottle(leaf remap.Dev, timeout time.Duration) error {
	s.mu.Lock()
	call := s.throttles[leaf]
	if call == nil {
		readerGroup := s.readerGroup
		call = background.Start(func() (struct{}, error) { return struct{}{}, s.groups.limit(readerGroup, leaf, 0) })
		s.throttles[leaf] = call
	}
	s.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	if !call.EndsBefore(ctx) {
		return fmt.Errorf("the disk %s is busy with one command for more than %v: %w", leaf, timeout, ErrSlow)
	}
	_, err := call.Result()
	return err
}

func (s *system) newGroup() (string, error) { return s.groups.make() }

func (s *system) limit(group string, leaf remap.Dev, rate int64) error {
	return s.groups.limit(group, leaf, rate)
}

// removeGroup leaves the one that the reader is in for later.
func (s *system) removeGroup(group string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if group == s.readerGroup {
		s.removeLeft = true
		return nil
	}
	return s.groups.remove(group)
}

func (s *system) read(group string, sp span) (int, error) {
	if err := s.enter(group); err != nil {
		return 0, err
	}
	ids, err := s.reader.read([]span{sp})
	if err != nil || len(ids) != 1 {
		return 0, errors.Join(err, fmt.Errorf("the helper began %d reads", len(ids)))
	}
	return ids[0], nil
}

// enter moves the reader into the group. Reads that are in flight stay charged to the group
// in which they were begun.
func (s *system) enter(group string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if group == s.readerGroup {
		return nil
	}
	if err := s.groups.enter(group, s.reader.cmd.Process.Pid); err != nil {
		return err
	}
	left, removeLeft := s.readerGroup, s.removeLeft
	s.readerGroup, s.removeLeft = group, false
	if removeLeft {
		return s.groups.remove(left)
	}
	return nil
}

func (s *system) ended(ids []int, timeout time.Duration) ([]outcome, error) {
	return s.reader.ended(ids, timeout)
}

func (s *system) probe(spans []span) ([]int, error) { return s.prober.read(spans) }

func (s *system) probed(ids []int, timeout time.Duration) ([]outcome, error) {
	return s.prober.ended(ids, timeout)
}

func (s *system) pause(d time.Duration) { time.Sleep(d) }

// inFlight reads what a device counts (Documentation/ABI/stable/sysfs-block,
// inflight: reads, then writes).
func (s *system) inFlight(dev remap.Dev) (int, error) {
	d := s.machine.Block(dev)
	text, err := d.Text("inflight")
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(text)
	if len(fields) != 2 {
		return 0, sysfs.BadValue(d.Path("inflight"), text, "two numbers")
	}
	return strconv.Atoi(fields[0])
}

// suspended reads what dm says of a device (Documentation/ABI/testing/sysfs-block-dm). Others have no such attribute.
func (s *system) suspended(dev remap.Dev) (bool, error) {
	text, err := s.machine.Block(dev).Optional("dm/suspended")
	return text == "1", err
}
