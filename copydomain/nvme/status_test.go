package nvme

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/copydomain/blocks"
)

// Every status that the specification lists for Copy, the generic ones that can
// meet any command, and the path related ones, with what has to follow.
func TestEveryStatusHasItsAction(t *testing.T) {
	want := map[blocks.Action][]Status{
		blocks.ActionDone:         {0x000},
		blocks.ActionNotSupported: {0x001, 0x002, 0x00B, 0x10A, 0x181, 0x185, 0x188, 0x023},
		blocks.ActionReresolve:    {0x080},
		blocks.ActionSurface:      {0x083, 0x182, 0x282, 0x283, 0x284, 0x286, 0x020, 0x015, 0x01C, 0x01D},
		blocks.ActionBackOff:      {0x084, 0x189, 0x082, 0x021, 0x1B8, 0x1B9, 0x1BA, 0x1BB, 0x1BC, 0x1BD, 0x1BE, 0x1BF},
		blocks.ActionShrink:       {0x183},
		blocks.ActionEmulate:      {0x004, 0x005, 0x006, 0x007, 0x081, 0x180, 0x186, 0x187, 0x280, 0x281, 0x287},
		blocks.ActionRetryPath:    {0x300, 0x301, 0x302, 0x303, 0x360, 0x008, 0x022},
		blocks.ActionFence:        {0x370, 0x371},
	}
	seen := 0
	for action, codes := range want {
		for _, code := range codes {
			seen++
			if _, ok := statuses[code]; !ok {
				t.Errorf("%#x is not in the table", uint16(code))
			}
			for _, bits := range []Status{0, StatusDNR, StatusMore, StatusDNR | StatusMore | 3<<11} {
				o := Judge(Completion{Status: code | bits}, nil, 1)
				if o.Action != action {
					t.Errorf("%v: %v, want %v", code|bits, o.Action, action)
				}
			}
		}
	}
	if seen != len(statuses) {
		t.Errorf("the test knows %d statuses, the table %d", seen, len(statuses))
	}
	names := make(map[string]Status)
	for code, row := range statuses {
		if row.name == "" {
			t.Errorf("%#x has no name", uint16(code))
		}
		if other, twice := names[row.name]; twice {
			t.Errorf("%#x and %#x have one name", uint16(code), uint16(other))
		}
		names[row.name] = code
	}
}

func TestUnlistedStatus(t *testing.T) {
	for status, want := range map[Status]blocks.Action{
		0x07F: blocks.ActionEmulate,   // generic
		0x1FF: blocks.ActionEmulate,   // command specific
		0x2FF: blocks.ActionEmulate,   // media
		0x7C0: blocks.ActionEmulate,   // vendor
		0x310: blocks.ActionRetryPath, // path, seen by the controller
		0x36F: blocks.ActionRetryPath,
		0x37F: blocks.ActionFence, // path, seen by the host
		0x3FF: blocks.ActionFence,
		0x400: blocks.ActionFence, // reserved status code types
		0x6FF: blocks.ActionFence,
	} {
		if got := status.action(); got != want {
			t.Errorf("%v: %v, want %v", status, got, want)
		}
	}
}

func TestJudgeProgress(t *testing.T) {
	for name, tc := range map[string]struct {
		completion Completion
		want       int
	}{
		"success says nothing in DW0": {Completion{Status: 0, Result: 1}, 4},
		"nothing known":               {Completion{Status: StatusUnrecoveredRead, Result: 0}, 0},
		"two done":                    {Completion{Status: StatusUnrecoveredRead, Result: 2}, 2},
		"high half is not DW0":        {Completion{Status: StatusUnrecoveredRead, Result: 9<<32 | 2}, 2},
		"dnr does not matter":         {Completion{Status: StatusCommandSizeLimit | StatusDNR, Result: 3}, 3},
		"number of ranges":            {Completion{Status: StatusUnrecoveredRead, Result: 4}, 0},
		"nonsense":                    {Completion{Status: StatusUnrecoveredRead, Result: 0xFFFFFFFF}, 0},
		"path: result may be stale":   {Completion{Status: 0x302, Result: 3}, 0},
		"host: result may be stale":   {Completion{Status: StatusHostPathError, Result: 3}, 0},
		"vendor":                      {Completion{Status: 0x7C0, Result: 3}, 0},
		"aborted":                     {Completion{Status: 0x007, Result: 3}, 0},
		"queue deleted":               {Completion{Status: 0x008, Result: 3}, 0},
		"cancelled behind a target":   {Completion{Status: 0x006, Result: 3}, 0},
		"refused by a target":         {Completion{Status: 0x002 | StatusDNR, Result: 3}, 0},
	} {
		if o := Judge(tc.completion, nil, 4); o.Done != tc.want || o.Untouched {
			t.Errorf("%s: %+v, want %d", name, o, tc.want)
		}
	}
}

// TestWhoseProgress: whatever may have been answered by anybody but who has carried the
// command out says nothing of what was copied.
func TestWhoseProgress(t *testing.T) {
	for code := Status(1); code < 0x800; code++ {
		want := 0
		if code>>8 == 1 || code>>8 == 2 {
			want = 3
		}
		if o := Judge(Completion{Status: code, Result: 3}, nil, 4); o.Done != want {
			t.Errorf("%v: %d ranges count, want %d", code, o.Done, want)
		}
	}
}

func TestJudgeErrors(t *testing.T) {
	notIssued := func(err error) error { return opError("io", "x", fmt.Errorf("%w: %w", blocks.ErrNotIssued, err)) }
	for name, tc := range map[string]struct {
		err       error
		action    blocks.Action
		reason    string
		untouched bool
	}{
		"EINTR":                {opError("io", "x", unix.EINTR), blocks.ActionFence, "device:errno-eintr", false},
		"EIO":                  {unix.EIO, blocks.ActionFence, "device:errno-eio", false},
		"ETIMEDOUT":            {unix.ETIMEDOUT, blocks.ActionFence, "device:errno-etimedout", false},
		"ENODEV":               {unix.ENODEV, blocks.ActionFence, "device:errno-enodev", false},
		"EACCES unmarked":      {unix.EACCES, blocks.ActionFence, "device:errno-eacces", false},
		"timeout":              {blocks.ErrTimeout, blocks.ActionFence, "device:timeout", false},
		"something else":       {errors.New("x"), blocks.ActionFence, "device:no-answer", false},
		"canceled in flight":   {context.Canceled, blocks.ActionFence, "device:no-answer", false},
		"EACCES before":        {notIssued(unix.EACCES), blocks.ActionNotSupported, "device:errno-eacces", true},
		"EINVAL before":        {notIssued(unix.EINVAL), blocks.ActionNotSupported, "device:errno-einval", true},
		"EAGAIN before":        {notIssued(unix.EAGAIN), blocks.ActionRetryPath, "device:errno-eagain", true},
		"ENOMEM before":        {notIssued(unix.ENOMEM), blocks.ActionBackOff, "device:errno-enomem", true},
		"EINTR before":         {notIssued(unix.EINTR), blocks.ActionEmulate, "device:errno-eintr", true},
		"canceled before":      {notIssued(context.Canceled), blocks.ActionCanceled, "canceled", true},
		"deadline before":      {notIssued(context.DeadlineExceeded), blocks.ActionCanceled, "canceled", true},
		"refused by us before": {notIssued(blocks.ErrNotAllowed), blocks.ActionEmulate, "device:not-issued", true},
	} {
		o := Judge(Completion{Result: 1}, tc.err, 4)
		if o.Action != tc.action || o.Reason != tc.reason || o.Untouched != tc.untouched || o.Done != 0 || !errors.Is(o.Err, tc.err) {
			t.Errorf("%s: %+v", name, o)
		}
	}
}

// No errno is both harmless and left out of the table by mistake: those after
// which a command may run are the rest, and EINTR is one of them.
func TestNotIssuedIsShort(t *testing.T) {
	for _, errno := range []syscall.Errno{unix.EINTR, unix.EIO, unix.ETIMEDOUT, unix.ENODEV, unix.EFAULT, unix.ENOLINK, unix.EREMOTEIO} {
		if _, ok := notIssued[errno]; ok {
			t.Errorf("%v does not prove that nothing was issued", errno)
		}
	}
}

func TestStatusIsAnError(t *testing.T) {
	var err error = opError("identify", "", StatusInvalidField|StatusDNR)
	if !errors.Is(err, StatusInvalidField) || errors.Is(err, StatusInvalidOpcode) {
		t.Error("errors.Is does not compare codes")
	}
	if want := "nvme: identify: status 0x002 (Invalid Field in Command) dnr"; err.Error() != want {
		t.Errorf("%q, want %q", err, want)
	}
	if got := Judge(Completion{Status: 0x183 | StatusDNR}, nil, 1).Reason; got != "device:status-0x183" {
		t.Error(got)
	}
	if got := Judge(Completion{Status: 0x002}, nil, 1).Reason; got != "device:status-0x002" {
		t.Error(got)
	}
}

// Whatever the device says, progress stays within the ranges, only success is
// done, and a command that may run is never counted as anything.
func FuzzJudge(f *testing.F) {
	f.Add(uint16(0x4183), uint64(1), uint8(3))
	f.Add(uint16(0x370), uint64(2), uint8(9))
	f.Add(uint16(0), uint64(0), uint8(1))
	f.Fuzz(func(t *testing.T, status uint16, result uint64, n uint8) {
		ranges := int(n) + 1
		o := Judge(Completion{Status: Status(status), Result: result}, nil, ranges)
		if (o.Action == blocks.ActionDone) != (status&0x7FF == 0) || (o.Action == blocks.ActionDone) != (o.Done == ranges) {
			t.Fatalf("%+v", o)
		}
		if o.Done < 0 || o.Done > ranges || o.Untouched {
			t.Fatalf("%+v", o)
		}
		if o.Action == blocks.ActionFence && o.Done != 0 {
			t.Fatalf("%+v", o)
		}
		if o.Action != blocks.ActionDone && (o.Err == nil || !strings.HasPrefix(o.Reason, "device:status-0x")) {
			t.Fatalf("%+v", o)
		}
		if strings.Contains(o.Action.String(), "(") {
			t.Fatalf("action %d has no name", o.Action)
		}
	})
}
