package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/dispatch"
	"github.com/dmcopy/dmcopy/emulation"
	"github.com/dmcopy/dmcopy/internal/dispatch/account"
	"github.com/dmcopy/dmcopy/internal/dispatch/ends"
	"github.com/dmcopy/dmcopy/internal/dispatch/failure"
	"github.com/dmcopy/dmcopy/internal/journal"
	"github.com/dmcopy/dmcopy/remap"
)

// What was found unequal, or not read, is not called equal.
func TestVerifiedWords(t *testing.T) {
	for _, c := range []struct {
		report account.Report
		err    error
		want   string
	}{
		{account.Report{Verified: account.VerifyNone}, nil, "not verified"},
		{account.Report{Verified: account.VerifyFull}, nil, "verified: every byte was read back and compared"},
		{account.Report{Verified: account.VerifyFull}, fmt.Errorf("verify: %w", failure.ErrMismatch), "verified, and different: see the error"},
		{account.Report{Verified: account.VerifySample}, failure.ErrMismatch, "verified, and different: see the error"},
		{account.Report{Verified: account.VerifyFull, Totals: account.Totals{Failed: 4096}}, failure.ErrUnread, "verified: every byte was read back and compared, except what could not be read"},
		{account.Report{Verified: account.VerifyNone, Totals: account.Totals{Failed: 4096}}, failure.ErrUnread, "not verified"},
	} {
		var text strings.Builder
		w := bufio.NewWriter(&text)
		reportText(w, &c.report, dispatch.Job{}, c.err)
		if err := w.Flush(); err != nil || !strings.HasSuffix(text.String(), "\n"+c.want+"\n") {
			t.Errorf("%+v, %v: %s", c.report, c.err, text.String())
		}
	}
}

// device is an end of which nothing is known but its name.
type device struct {
	emulation.Device
	name string
}

func (d device) Name() string { return d.name }

// Sectors that fail are those of a name that was typed, and there is a way out.
func TestUnreadableEnd(t *testing.T) {
	job := dispatch.Job{
		Src: ends.Endpoint{Name: "vg/home", Device: device{name: "/dev/dm-4"}},
		Dst: ends.Endpoint{Name: "vg/clone", Device: device{name: "/dev/dm-5"}},
	}
	for _, c := range []struct {
		err   error
		wants []string
	}{
		{&emulation.Error{Op: "read", Device: "/dev/dm-4", Err: unix.EIO}, []string{"vg/home has sectors that cannot be read", "--on-error=continue"}},
		{&emulation.Error{Op: "read", Device: "/dev/dm-5", Err: unix.EIO}, []string{"vg/clone has sectors that cannot be read"}},
		{&emulation.Error{Op: "write", Device: "/dev/dm-5", Err: unix.EIO}, []string{"vg/clone has sectors that cannot be written", "dmesg"}},
	} {
		told := unreadableEnd(fmt.Errorf("copy: %w", c.err), job)
		for _, want := range append(c.wants, c.err.Error()) {
			if !strings.Contains(told.Error(), want) {
				t.Errorf("%v: want %q", told, want)
			}
		}
	}
	for _, other := range []error{nil, unix.EIO, &emulation.Error{Op: "read", Err: unix.ENOSPC}, failure.ErrUnread} {
		if told := unreadableEnd(other, job); told != other {
			t.Errorf("%v became %v", other, told)
		}
	}
}

// A copy that has tried everything was not interrupted.
func TestStatusOfUnreadableParts(t *testing.T) {
	for _, c := range []struct {
		done, bad int64
		want      string
	}{
		{100, 28, "ended, but parts could not be read: the same command tries them again"},
		{100, 0, "interrupted"},
		{50, 28, "interrupted"},
	} {
		s := &journal.State{Created: time.Unix(0, 0), Plan: journal.Plan{Ranges: journal.Ranges{Bytes: 128}}}
		s.Map.Put(journal.Extent{Off: 0, Len: c.done, Status: journal.Done})
		if c.bad > 0 {
			s.Map.Put(journal.Extent{Off: 100, Len: c.bad, Status: journal.Bad})
		}
		if text := newStatus(s, false).text(); !strings.Contains(text, ": "+c.want+", begun") {
			t.Errorf("%+v: %s", c, text)
		}
	}
}

// Lines that rewrite themselves are for terminals that can erase them.
func TestAutomaticProgress(t *testing.T) {
	for _, c := range []struct {
		tty        bool
		kind, want string
	}{
		{false, "xterm", progressNone}, {false, "dumb", progressNone}, {true, "xterm-256color", progressTTY},
		{true, "linux", progressTTY}, {true, "dumb", progressPlain}, {true, "", progressPlain},
	} {
		if got := automatic(c.tty, c.kind); got != c.want {
			t.Errorf("%+v: %s", c, got)
		}
	}
}

// TestCommandsOfNothing: commands whose work was given up have no method that counts.
func TestCommandsOfNothing(t *testing.T) {
	for want, r := range map[string]account.Report{
		"":                                    {},
		"3 commands, of which nothing counts": {Commands: 3},
		"1 command (nvme)":                    {Commands: 1, ByMethod: map[account.Method]int64{"nvme": 512, account.Host: 512}},
	} {
		if got := commands(&r); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// smaller is a device that has shrunk since it was opened.
type smaller struct {
	device
	was, has int64
}

func (d smaller) Size() int64             { return d.was }
func (d smaller) SizeNow() (int64, error) { return d.has, nil }

// TestShrunkEnd: where a device ends is neither a bad sector nor a lack of room.
func TestShrunkEnd(t *testing.T) {
	dev := remap.Dev{Major: 7}
	for name, c := range map[string]struct {
		src, dst int64 // bytes that are left of 4096
		err      error
		want     string
	}{
		"source":      {2048, 4096, &emulation.Error{Op: "read", Err: io.ErrUnexpectedEOF}, "a was made smaller while it was copied: it has 2048 bytes now, and had 4096"},
		"destination": {4096, 512, &emulation.Error{Op: "write", Err: unix.ENOSPC}, "b was made smaller while it was copied: it has 512 bytes now, and had 4096"},
		"neither":     {4096, 4096, &emulation.Error{Op: "write", Err: unix.ENOSPC}, "there is no room left for b"},
	} {
		job := dispatch.Job{
			Src: ends.Endpoint{Name: "a", Dev: dev, Device: smaller{was: 4096, has: c.src}},
			Dst: ends.Endpoint{Name: "b", Dev: dev, Device: smaller{was: 4096, has: c.dst}},
		}
		w := &world{lost: func(remap.Dev) ([]string, error) { return nil, nil }}
		if err := w.explain(c.err, job, ""); !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestWayOfUnreadableEnd: zeroes instead of bad sectors are a way out for a source that is copied, and
// for nothing else.
func TestWayOfUnreadableEnd(t *testing.T) {
	job := dispatch.Job{
		Src: ends.Endpoint{Name: "a", Device: device{name: "/dev/a"}},
		Dst: ends.Endpoint{Name: "b", Device: device{name: "/dev/b"}},
	}
	const zeroes, disks = "--on-error=continue", "check its disks"
	for _, c := range []struct {
		say         func(error, dispatch.Job) error
		op, on      string
		begins, way string
	}{
		{unreadableEnd, "read", "/dev/a", "a has sectors that cannot be read: ", zeroes},
		{unreadableEnd, "read", "/dev/b", "b has sectors that cannot be read: ", disks},
		{unreadableEnd, "write", "/dev/b", "b has sectors that cannot be written: ", disks},
		{uncomparedEnd, "read", "/dev/a", "a has sectors that cannot be read: ", disks},
		{uncomparedEnd, "read", "/dev/b", "b has sectors that cannot be read: ", disks},
	} {
		err := c.say(&emulation.Error{Op: c.op, Device: c.on, Err: unix.EIO}, job)
		if !strings.HasPrefix(err.Error(), c.begins) || !strings.Contains(err.Error(), c.way) || c.way != zeroes && strings.Contains(err.Error(), zeroes) {
			t.Errorf("%s of %s: %v", c.op, c.on, err)
		}
	}
}

// TestIncompleteVerdict: a comparison that was interrupted has not failed.
func TestIncompleteVerdict(t *testing.T) {
	for _, c := range []struct {
		err  error
		want string
	}{
		{interrupted(&signalError{unix.SIGTERM}), verdictIncomplete}, {&timeoutError{time.Second, unix.EIO}, verdictIncomplete}, {unix.EIO, verdictFailed},
	} {
		if v := newVerdict(emulation.Comparison{}, dispatch.Job{}, c.err); v.Result != c.want {
			t.Errorf("%v: %s", c.err, v.Result)
		}
	}
}

// TestJoinedWarning: a warning is one line, and has no escapes for the ends of others.
func TestJoinedWarning(t *testing.T) {
	var text strings.Builder
	newLog(&text, logrus.WarnLevel, false).Warn("this happened", "error", errors.Join(unix.EIO, unix.ENOSPC))
	if want := "dmcopy: warning: this happened: input/output error; no space left on device\n"; text.String() != want {
		t.Errorf("%q", text.String())
	}
}
