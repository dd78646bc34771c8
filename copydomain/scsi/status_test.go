package scsi

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

func TestEveryStatusHasItsAction(t *testing.T) {
	want := map[Status]blocks.Action{
		0x00: blocks.ActionDone, 0x04: blocks.ActionEmulate, 0x08: blocks.ActionRetry, 0x18: blocks.ActionSurface,
		0x28: blocks.ActionRetry, 0x30: blocks.ActionBackOff, 0x40: blocks.ActionEmulate,
	}
	for s := range 256 {
		status := Status(s)
		o := Judge(Completion{Status: status}, nil)
		action, listed := want[status]
		switch {
		case status == CheckCondition: // without sense data
			action = blocks.ActionEmulate
		case !listed:
			action = blocks.ActionFence
		}
		if o.Action != action || (o.Err == nil) != (status == Good) || (o.Reason == "") != (status == Good) {
			t.Errorf("%v: %+v", status, o)
		}
		if untouched := status == Busy || status == TaskSetFull || status == ReservationConflict; o.Untouched != untouched {
			t.Errorf("%v: untouched %v", status, o.Untouched)
		}
		if status != Good && status != CheckCondition && o.Reason != fmt.Sprintf("device:status-0x%02x", s) {
			t.Errorf("%v: %s", status, o.Reason)
		}
	}
}

// Every sense code that the reference of a copy names, and some of each key, in
// both formats.
func TestEverySenseHasItsAction(t *testing.T) {
	want := map[blocks.Action][]SenseCode{
		blocks.ActionEmulate: {
			{0, 0, 0}, {1, 0x17, 1}, {3, 0x11, 0}, {3, 0x0C, 2}, {4, 0x44, 0}, {7, 0x27, 7}, {8, 0, 0}, {9, 0x80, 1},
			{0xA, 0x0D, 0}, {0xA, 0x0D, 1}, {0xA, 0x0D, 2}, {0xA, 0x0D, 4}, {0xA, 0x0D, 5}, {0xA, 8, 4}, {0xB, 0x47, 3}, {0xC, 0, 0}, {0xD, 0, 0}, {0xE, 0x1D, 0}, {0xF, 0, 0},
			{5, 0x26, 0x0A}, {5, 0x26, 0x0B}, {5, 0x26, 0x0C}, {5, 0x26, 0x0D}, {5, 0x26, 0x16},
			{5, 0x23, 0}, {5, 0x23, 4}, {5, 0x23, 5}, {5, 0x23, 6}, {5, 0x23, 7}, {5, 0x23, 8}, {5, 0x23, 9},
		},
		blocks.ActionShrink:       {{5, 0x1A, 0}, {5, 0x24, 0}, {5, 0x26, 0}, {5, 0x26, 8}},
		blocks.ActionNextID:       {{5, 0, 0x16}},
		blocks.ActionRecheck:      {{6, 0x29, 0}, {6, 0x29, 7}, {6, 0x2A, 1}, {6, 0x2A, 3}, {6, 0x38, 7}, {6, 0x3F, 0xE}},
		blocks.ActionReresolve:    {{5, 0x21, 0}, {5, 0x25, 0}, {6, 0x2A, 9}, {6, 0x3F, 3}, {6, 0x3F, 5}},
		blocks.ActionNotSupported: {{2, 8, 0}, {2, 8, 4}, {5, 8, 4}, {5, 0x20, 0}, {5, 0x23, 1}, {5, 0x23, 2}, {5, 0x23, 3}, {5, 0x23, 0xA}, {5, 0x26, 6}, {5, 0x26, 7}, {5, 0x26, 9}, {5, 0x2C, 0}, {0xA, 0x0D, 3}},
		blocks.ActionBackOff:      {{2, 4, 1}, {2, 4, 3}, {2, 0x3A, 0}, {5, 0x55, 0xC}, {5, 0x55, 0xD}},
		blocks.ActionRetryPath:    {{2, 4, 0xA}, {2, 4, 0xB}, {2, 4, 0xC}},
		blocks.ActionSurface:      {{5, 0x20, 2}, {5, 0x26, 0x15}, {7, 0x27, 0}, {7, 0x27, 2}},
	}
	seen := make(map[SenseCode]bool)
	for action, codes := range want {
		for _, code := range codes {
			seen[code] = true
			reason := fmt.Sprintf("device:sense-%x-%02x-%02x", uint8(code.Key), code.ASC, code.ASCQ)
			for _, sense := range [][]byte{fixedSense(code), descriptorSense(code)} {
				for _, driver := range []uint16{0, driverSense} { // kernels differ
					o := Judge(Completion{Status: CheckCondition, Driver: driver, Sense: sense}, nil)
					if o.Action != action || o.Reason != reason || o.Err == nil || o.Untouched != (action == blocks.ActionNextID) {
						t.Errorf("%v: %+v, want %v", code, o, action)
					}
				}
				sense[0]++ // deferred
				if o := Judge(Completion{Status: CheckCondition, Sense: sense}, nil); o.Action != blocks.ActionSurface {
					t.Errorf("deferred %v: %v", code, o.Action)
				}
			}
		}
	}
	for code := range senses {
		if !seen[code] {
			t.Errorf("the test does not know %v", code)
		}
	}
}

func TestJudgeWhatTheHostSays(t *testing.T) {
	for name, tc := range map[string]struct {
		completion Completion
		want       blocks.Action
		reason     string
	}{
		"success":                        {Completion{}, blocks.ActionDone, ""},
		"timed out":                      {Completion{Host: 3}, blocks.ActionFence, "device:host-0x03"},
		"no connection":                  {Completion{Host: 1}, blocks.ActionFence, "device:host-0x01"},
		"transport disrupted":            {Completion{Host: 0xE}, blocks.ActionFence, "device:host-0x0e"},
		"host error beside a status":     {Completion{Status: CheckCondition, Host: 7, Sense: fixedSense(SenseCode{5, 0x20, 0})}, blocks.ActionFence, "device:host-0x07"},
		"driver timeout":                 {Completion{Driver: 6}, blocks.ActionFence, "device:status-0x00"},
		"list not sent as a whole":       {Completion{Resid: 28}, blocks.ActionEmulate, "device:short-transfer"},
		"good with sense data":           {Completion{Driver: driverSense, Sense: fixedSense(SenseCode{1, 0x17, 1})}, blocks.ActionEmulate, "device:sense-1-17-01"},
		"garbage for sense data":         {Completion{Status: CheckCondition, Sense: []byte{1, 2, 3}}, blocks.ActionEmulate, "device:status-0x02"},
		"source reserved, fixed":         {Completion{Status: CheckCondition, Sense: unhex(t, "70000a000000000b120000000d020000000018")}, blocks.ActionSurface, "device:sense-a-0d-02"},
		"source reserved, descriptors":   {Completion{Status: CheckCondition, Sense: unhex(t, "720a0d02000000040c020018")}, blocks.ActionSurface, "device:sense-a-0d-02"},
		"source has a read error, fixed": {Completion{Status: CheckCondition, Sense: unhex(t, "70000a000000000b120000000d020000000002")}, blocks.ActionEmulate, "device:sense-a-0d-02"},
	} {
		o := Judge(tc.completion, nil)
		if o.Action != tc.want || o.Reason != tc.reason {
			t.Errorf("%s: %+v", name, o)
		}
		if want := tc.want == blocks.ActionEmulate && tc.reason == "device:sense-a-0d-02"; unreachable(o) != want {
			t.Errorf("%s: unreachable %v", name, !want)
		}
	}
}

// Errnos of the list say that nothing was issued, if the transport says so too.
func TestJudgeErrors(t *testing.T) {
	for errno := syscall.Errno(1); errno < 134; errno++ {
		if o := Judge(Completion{}, errno); o.Action != blocks.ActionFence || o.Untouched {
			t.Errorf("%v: %+v", errno, o)
		}
		want, listed := notIssued[errno]
		if !listed {
			want = blocks.ActionEmulate
		}
		if o := Judge(Completion{}, fmt.Errorf("%w: %w", blocks.ErrNotIssued, errno)); o.Action != want || !o.Untouched || !strings.HasPrefix(o.Reason, "device:errno-") {
			t.Errorf("%v, not issued: %+v", errno, o)
		}
	}
	for _, err := range []error{context.Canceled, context.DeadlineExceeded} {
		if o := Judge(Completion{}, fmt.Errorf("%w: %w", blocks.ErrNotIssued, err)); o.Action != blocks.ActionCanceled || !o.Untouched {
			t.Errorf("%+v", o)
		}
	}
	if o := Judge(Completion{}, blocks.ErrNotIssued); o.Action != blocks.ActionEmulate || o.Reason != "device:not-issued" {
		t.Errorf("%+v", o)
	}
	if o := Judge(Completion{}, blocks.ErrTimeout); o.Action != blocks.ActionFence || o.Reason != "device:timeout" {
		t.Errorf("%+v", o)
	}
	if _, bad := notIssued[unix.ENODEV]; bad {
		t.Error("the generic driver returns ENODEV for commands in flight")
	}
	if _, bad := notIssued[unix.EINTR]; bad {
		t.Error("EINTR proves nothing")
	}
}

func TestAnswerIsAnError(t *testing.T) {
	a := SenseCompletion(SenseCode{5, 0x26, 0}).Err()
	if a.Error() != "check condition, sense 5/26/00 (invalid field in parameter list), host status 00h, driver status 08h" {
		t.Error(a)
	}
	if !errors.Is(fmt.Errorf("x: %w", a), a) || errors.Is(a, Answer{Status: Busy}) || errors.Is(a, blocks.ErrTimeout) {
		t.Error("comparison")
	}
	if s := (Answer{Status: 0x7F, Segment: 2}).Error(); s != "status 7fh at segment 2" {
		t.Error(s)
	}
}
