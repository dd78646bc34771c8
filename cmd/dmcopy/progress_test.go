package main

import (
	"encoding/json"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/internal/dispatch/account"
)

var half = account.Progress{
	Phase: account.PhaseCopying, Total: 64 << 30, Done: 32 << 30, Offloaded: 24 << 30, Host: 8 << 30,
}

func TestMoment(t *testing.T) {
	m := moment{half, 90 * time.Second, 1 << 30}
	line := m.line()
	for _, want := range []string{"copying", "32.0 GiB of 64.0 GiB", "50.0 %", "1.0 GiB/s", "75.0 % offloaded", "ETA 0:32", "elapsed 1:30"} {
		if !strings.Contains(line, want) {
			t.Errorf("%q lacks %q", line, want)
		}
	}
	var status map[string]any
	text, err := json.Marshal(m.status())
	if err == nil {
		err = json.Unmarshal(text, &status)
	}
	if err != nil || status["message_type"] != "status" || status["seconds_remaining"] != 32.0 || status["bytes_done"] != float64(32<<30) {
		t.Errorf("%s, %v", text, err)
	}
}

// Before anything is known, nothing is claimed.
func TestMomentEmpty(t *testing.T) {
	m := moment{}
	if line := m.line(); !strings.Contains(line, "ETA -") || !strings.Contains(line, "scanning") {
		t.Errorf("%q", line)
	}
	if s := m.status(); s.Left != nil {
		t.Errorf("%v seconds left", *s.Left)
	}
	m.bar(80)
}

// A bar never needs more than the width, once cut.
func TestBarFits(t *testing.T) {
	m := moment{half, 90 * time.Second, 1 << 30}
	for width := 1; width < 200; width++ {
		bar := cut(m.bar(width), width-1)
		if n := utf8.RuneCountInString(bar); width > 2 && n > width-1 {
			t.Errorf("width %d: %d columns: %q", width, n, bar)
		}
	}
	if bar := m.bar(120); !strings.Contains(bar, "[##########") || !strings.Contains(bar, "#...") {
		t.Errorf("%q has no bar", bar)
	}
	over := m
	over.Done = 2 * over.Total // must not break the bar
	over.bar(120)
}

func TestSpeedometer(t *testing.T) {
	var s speedometer
	for i := range 100 {
		at := time.Duration(i) * time.Second
		speed := int64(100)
		if i >= 50 {
			speed = 10
		}
		last := int64(0)
		if len(s.samples) > 0 {
			last = s.samples[len(s.samples)-1].done
		}
		s.note(at, account.Progress{Done: last + speed})
	}
	if s.perSecond != 10 {
		t.Errorf("%v per second, want the speed of the last seconds", s.perSecond)
	}
	s.note(101*time.Second, account.Progress{Done: 5}) // verifying counts again
	if s.perSecond != 0 {
		t.Errorf("%v per second after a new start", s.perSecond)
	}
	s.note(102*time.Second, account.Progress{Done: 1 << 40, Resumed: 1<<40 - 8}) // nothing of that was fast
	if s.perSecond != 3 {
		t.Errorf("%v per second after going on", s.perSecond)
	}
}

// lockedBuffer is a buffer that may be read while it is written to.
type lockedBuffer struct {
	mu sync.Mutex
	b  strings.Builder
	// wrote gets a token for every write.
	wrote chan struct{}
}

func newLockedBuffer() *lockedBuffer { return &lockedBuffer{wrote: make(chan struct{}, 1<<10)} }

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.wrote <- struct{}{}
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// SIGUSR1 prints a line in every mode, also where nothing else is shown.
func TestUpdaterSIGUSR1(t *testing.T) {
	out := newLockedBuffer()
	u := newUpdater(newTerminal(out), progressNone)
	var feeders sync.WaitGroup
	for range 4 {
		feeders.Go(func() { u.update(half) })
	}
	feeders.Wait()
	if err := unix.Kill(unix.Getpid(), unix.SIGUSR1); err != nil {
		t.Fatal(err)
	}
	<-out.wrote
	u.close()
	if got := out.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "32.0 GiB of 64.0 GiB") {
		t.Errorf("%q", got)
	}
}

// The last state is always on record, and every line is JSON.
func TestUpdaterJSON(t *testing.T) {
	out := newLockedBuffer()
	u := newUpdater(newTerminal(out), progressJSON)
	u.update(half)
	u.close()
	var s statusMessage
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &s); err != nil || s.Type != "status" || s.Done != half.Done {
		t.Errorf("%q, %v", lines, err)
	}
}

// What is logged while a bar is shown goes above the bar.
func TestTerminalKeepsStatus(t *testing.T) {
	var out strings.Builder
	term := newTerminal(&out)
	term.setStatus("copying")
	term.message("warning")
	term.setStatus("")
	want := clear + "copying" + clear + "warning\ncopying" + clear
	if out.String() != want {
		t.Errorf("%q, want %q", out.String(), want)
	}
}
