package resume

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/internal/journal"
	"github.com/dmcopy/dmcopy/test/vm"
)

// A log of dm-log-writes has every write to a device in the order of its
// completion, and every flush (Documentation/admin-guide/device-mapper/log-writes.rst,
// drivers/md/dm-log-writes.c). What no flush came after is what a disk may lose
// when the power goes: in part it is not even in the log.

const (
	logMagic = 0x6a736677736872

	logFlush   = 1
	logFUA     = 2
	logDiscard = 4
	logMark    = 8
)

// cutSize is that of the copies here; they are replayed in memory.
const cutSize = 24 * mib

// entry is a line of the log.
type entry struct {
	sector, sectors int64
	flags           uint64
	mark            string
	data            []byte
}

func readLog(t *testing.T, path string) []entry {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	block := make([]byte, 512)
	fill := func(p []byte) {
		if _, err := io.ReadFull(f, p); err != nil {
			t.Fatal(err)
		}
	}
	number := binary.LittleEndian.Uint64
	fill(block)
	if number(block) != logMagic || number(block[8:]) != 1 || binary.LittleEndian.Uint32(block[24:]) != 512 {
		t.Fatalf("not a log: % x", block[:32])
	}
	var entries []entry
	for range number(block[16:]) {
		fill(block)
		e := entry{sector: int64(number(block)), sectors: int64(number(block[8:])), flags: number(block[16:])}
		e.mark = string(block[32:][:number(block[24:])])
		if e.flags&(logDiscard|logMark) == 0 {
			e.data = make([]byte, e.sectors*512)
			fill(e.data)
		}
		entries = append(entries, e)
	}
	return entries
}

// survives is what a disk holds that loses whatever it may lose after these
// entries.
func survives(was []byte, entries []entry) []byte {
	disk := bytes.Clone(was)
	var cached []entry
	for _, e := range entries {
		if e.flags&logFlush != 0 {
			for _, c := range cached {
				c.write(disk)
			}
			cached = nil
		}
		if e.flags&logFUA != 0 {
			e.write(disk)
		} else {
			cached = append(cached, e)
		}
	}
	return disk
}

// until are the entries before a mark.
func until(t *testing.T, entries []entry, mark string) []entry {
	t.Helper()
	at := slices.IndexFunc(entries, func(e entry) bool { return e.mark == mark })
	if at < 0 {
		t.Fatalf("there is no %q among %d entries", mark, len(entries))
	}
	return entries[:at]
}

func (e entry) write(disk []byte) {
	if e.flags&logDiscard != 0 {
		clear(disk[e.sector*512:][:e.sectors*512])
		return
	}
	copy(disk[e.sector*512:], e.data)
}

// moment is a state that was seen, before the mark of its number was set.
type moment struct {
	state *journal.State
	mark  string
}

// TestPowerCut: what a state says to be done is on a disk that has lost all that
// was not flushed, at every moment; and a copy goes on from there.
func TestPowerCut(t *testing.T) {
	source, target, logs := vm.Device(t, leaf), vm.Device(t, plain), vm.Device(t, log)
	vm.Stamp(t, source, 1, 0, cutSize)
	vm.Stamp(t, target, 2, 0, cutSize)
	was, want := contents(t, target), contents(t, source)
	vm.Map(t, "dst", fmt.Sprintf("0 %d log-writes %s %s", cutSize/512, target, logs))
	j := newJob(t, source, "/dev/mapper/dst", cutSize, "--length", fmt.Sprint(cutSize), "--rate", "2M")
	moments := watch(t, j)
	vm.Settle(t)
	vm.Run(t, "dmsetup", "remove", "--retry", "dst")
	entries := readLog(t, logs)
	for _, m := range moments {
		before := until(t, entries, m.mark)
		disk := survives(was, before)
		for _, e := range m.state.Map.Extents() {
			if e.Status == journal.Done && !bytes.Equal(disk[e.Off:][:e.Len], want[e.Off:][:e.Len]) {
				t.Errorf("%s: of %+v not all is on the disk", m.mark, e)
			}
		}
	}
	t.Logf("%d entries, %d moments", len(entries), len(moments))
	// The disk comes back as it was at the last moment, and the copy goes on.
	last := moments[len(moments)-1]
	restore(t, target, survives(was, until(t, entries, last.mark)))
	vm.Linear(t, "dst", target, 0, cutSize)
	j.complete(t)
}

// watch begins the copy, marks the log whenever the state is another one, and kills
// it after some of them.
func watch(t *testing.T, j *job) (moments []moment) {
	t.Helper()
	cmd := j.command()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	over := make(chan error, 1)
	go func() { over <- cmd.Wait() }()
	seen := int64(0)
	for len(moments) < 6 {
		select {
		case err := <-over:
			t.Fatalf("the copy has ended: %v", err)
		case <-time.After(5 * time.Millisecond):
		}
		done := j.done(t)
		if done == seen {
			continue
		}
		seen = done
		m := moment{state: j.read(t), mark: fmt.Sprintf("moment-%d", len(moments))}
		// This state may be a later one than what was seen; the mark comes after both.
		vm.Run(t, "dmsetup", "message", "dst", "0", "mark", m.mark)
		moments = append(moments, m)
	}
	if err := cmd.Process.Signal(unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := <-over; err == nil {
		t.Fatal("the copy was not killed")
	}
	return moments
}

func contents(t *testing.T, device string) []byte {
	t.Helper()
	f, err := os.Open(device)
	if err != nil {
		t.Fatal(err)
	}
	data := make([]byte, cutSize)
	_, err = io.ReadFull(f, data)
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	return data
}

func restore(t *testing.T, device string, data []byte) {
	t.Helper()
	f, err := os.OpenFile(device, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.WriteAt(data, 0)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		t.Fatal(err)
	}
}
