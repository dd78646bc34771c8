package nvme

import (
	"bytes"
	"context"
	"errors"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/copydomain/blocks"
)

const testBlock = 512

// stamped memory: every block holds its own number, so that a block in the wrong
// place shows.
func stamped(blocks uint64) []byte {
	mem := make([]byte, blocks*testBlock)
	for i := range blocks {
		for j := range testBlock {
			mem[i*testBlock+uint64(j)] = byte((i + 1) * uint64(j+7) >> (j % 5))
		}
		mem[i*testBlock] = byte(i)
		mem[i*testBlock+1] = byte(i >> 8)
	}
	return mem
}

func block(mem []byte, lba uint64) []byte { return mem[lba*testBlock : (lba+1)*testBlock] }

func send(t testing.TB, l *Loopback, c CopyCommand) (Completion, error) {
	t.Helper()
	var wire Command
	if err := c.Encode(&wire, 1, make([]byte, MaxRanges*RangeSize)); err != nil {
		t.Fatal(err)
	}
	return l.IO(t.Context(), &wire)
}

func TestLoopbackCopies(t *testing.T) {
	mem := stamped(64)
	before := bytes.Clone(mem)
	l := NewMemoryLoopback(mem, testBlock, Limits{8, 16, 4})
	c, err := send(t, l, CopyCommand{DstLBA: 40, Ranges: []Range{{10, 2}, {3, 1}, {20, 8}}})
	if err != nil || c.Status != StatusSuccess {
		t.Fatal(c, err)
	}
	for dst, src := range map[uint64]uint64{40: 10, 41: 11, 42: 3, 43: 20, 50: 27} {
		if !bytes.Equal(block(mem, dst), block(before, src)) {
			t.Errorf("block %d is not block %d", dst, src)
		}
	}
	if !bytes.Equal(mem[:40*testBlock], before[:40*testBlock]) || !bytes.Equal(mem[51*testBlock:], before[51*testBlock:]) {
		t.Error("wrote outside")
	}
}

// Reference: QEMU 10.0.2. NR and MCL are refused before anything moves, MSSRL and
// the bounds when the range is reached.
func TestLoopbackLimits(t *testing.T) {
	for name, tc := range map[string]struct {
		cmd    CopyCommand
		status Status
		dw0    uint32
		copied int // blocks from the start of the destination
	}{
		"too many ranges":      {CopyCommand{40, []Range{{0, 1}, {1, 1}, {2, 1}, {3, 1}, {4, 1}}}, StatusCommandSizeLimit, 0, 0},
		"sum over MCL":         {CopyCommand{40, []Range{{0, 8}, {8, 8}, {3, 1}}}, StatusCommandSizeLimit, 0, 0},
		"third over MSSRL":     {CopyCommand{40, []Range{{0, 1}, {5, 2}, {3, 9}}}, StatusCommandSizeLimit, 2, 3},
		"source passes end":    {CopyCommand{40, []Range{{0, 1}, {63, 2}}}, StatusLBAOutOfRange, 1, 1},
		"source far behind":    {CopyCommand{40, []Range{{0, 1}, {^uint64(0), 1}}}, StatusLBAOutOfRange, 1, 1},
		"destination past end": {CopyCommand{62, []Range{{0, 2}, {4, 1}}}, StatusLBAOutOfRange, 1, 2},
	} {
		mem := stamped(64)
		before := bytes.Clone(mem)
		l := NewMemoryLoopback(mem, testBlock, Limits{8, 16, 4})
		c, err := send(t, l, tc.cmd)
		if err != nil || c.Status != tc.status|StatusDNR || c.DW0() != tc.dw0 {
			t.Errorf("%s: %+v, %v", name, c, err)
		}
		changed := 0
		for lba := tc.cmd.DstLBA; lba < 64; lba++ {
			if !bytes.Equal(block(mem, lba), block(before, lba)) {
				changed++
			}
		}
		if changed != tc.copied {
			t.Errorf("%s: %d blocks written, want %d", name, changed, tc.copied)
		}
	}
}

func TestLoopbackFaults(t *testing.T) {
	dw0 := func(v uint32) *uint32 { return &v }
	cmd := CopyCommand{40, []Range{{0, 1}, {5, 1}, {9, 1}}}
	for name, tc := range map[string]struct {
		fault Fault
		want  Completion
		err   error
		state [3]byte // of each block: c copied, j junk, - as before
	}{
		"none":                  {Fault{}, Completion{}, nil, [3]byte{'c', 'c', 'c'}},
		"silent":                {Fault{Silent: true}, Completion{}, nil, [3]byte{'-', '-', '-'}},
		"at 0":                  {Fault{Status: StatusInvalidField}, Completion{Status: StatusInvalidField}, nil, [3]byte{'-', '-', '-'}},
		"at 1 with junk":        {Fault{Status: StatusWriteFault, At: 1, Junk: true}, Completion{StatusWriteFault, 1}, nil, [3]byte{'c', 'j', '-'}},
		"at the end":            {Fault{Status: StatusWriteFault, At: 3}, Completion{StatusWriteFault, 3}, nil, [3]byte{'c', 'c', 'c'}},
		"modest":                {Fault{Status: StatusWriteFault, At: 2, DW0: dw0(0)}, Completion{StatusWriteFault, 0}, nil, [3]byte{'c', 'c', '-'}},
		"lost completion":       {Fault{Lost: unix.EINTR}, Completion{}, unix.EINTR, [3]byte{'c', 'c', 'c'}},
		"lost, half done":       {Fault{Lost: unix.EIO, Status: StatusWriteFault, At: 1}, Completion{}, unix.EIO, [3]byte{'c', '-', '-'}},
		"lost before the issue": {Fault{Lost: blocks.ErrNotIssued}, Completion{}, blocks.ErrNotIssued, [3]byte{'-', '-', '-'}},
	} {
		mem := stamped(64)
		before := bytes.Clone(mem)
		l := NewMemoryLoopback(mem, testBlock, Limits{8, 16, 4})
		l.SetFault(func(n int, c *Command) Fault { return tc.fault })
		c, err := send(t, l, cmd)
		if c != tc.want || !errors.Is(err, tc.err) {
			t.Errorf("%s: %+v, %v", name, c, err)
		}
		var state [3]byte
		for i := range state {
			got, src := block(mem, 40+uint64(i)), block(before, cmd.Ranges[i].SrcLBA)
			switch {
			case bytes.Equal(got, src):
				state[i] = 'c'
			case bytes.Equal(got, block(before, 40+uint64(i))):
				state[i] = '-'
			case got[100] == ^src[100]:
				state[i] = 'j'
			}
		}
		if state != tc.state {
			t.Errorf("%s: %s, want %s", name, state, tc.state)
		}
		log := l.Log()
		if len(log) != 1 || log[0].Completion != c || !errors.Is(log[0].Err, tc.err) {
			t.Errorf("%s: log %+v", name, log)
		}
	}
}

// A ghost: the caller gets an error, the command runs later.
func TestLoopbackGhost(t *testing.T) {
	mem := stamped(64)
	before := bytes.Clone(mem)
	l := NewMemoryLoopback(mem, testBlock, Limits{8, 16, 4})
	hold := make(chan struct{})
	l.SetFault(func(n int, c *Command) Fault { return Fault{Lost: unix.EINTR, Hold: hold} })
	if _, err := send(t, l, CopyCommand{40, []Range{{0, 1}}}); !errors.Is(err, unix.EINTR) || errors.Is(err, blocks.ErrNotIssued) {
		t.Fatal(err)
	}
	if !bytes.Equal(mem, before) {
		t.Fatal("executed early")
	}
	close(hold)
	l.Wait()
	if !bytes.Equal(block(mem, 40), block(before, 0)) {
		t.Fatal("not executed")
	}
}

func TestLoopbackAdmission(t *testing.T) {
	l := NewMemoryLoopback(stamped(64), testBlock, Limits{8, 16, 4})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := l.IO(ctx, &Command{Opcode: OpFlush, NSID: 1}); !errors.Is(err, blocks.ErrNotIssued) || !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if _, err := l.IO(t.Context(), &Command{Opcode: 0x01, NSID: 1}); !errors.Is(err, blocks.ErrNotIssued) || !errors.Is(err, blocks.ErrNotAllowed) {
		t.Error(err)
	}
	if c, err := l.IO(t.Context(), &Command{Opcode: OpFlush, NSID: 1}); err != nil || c.Status != StatusSuccess {
		t.Error(c, err)
	}
	if log := l.Log(); len(log) != 1 || log[0].Command.Opcode != OpFlush {
		t.Errorf("log %+v", log)
	}
	var wire Command
	cmd := CopyCommand{40, []Range{{0, 1}}}
	if err := cmd.Encode(&wire, 2, make([]byte, 32)); err != nil {
		t.Fatal(err)
	}
	if c, err := l.IO(t.Context(), &wire); err != nil || c.Status.Code() != StatusInvalidNamespace {
		t.Error(c, err)
	}
}
