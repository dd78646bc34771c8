package main

import (
	"fmt"
	"os"
	"os/signal"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/internal/dispatch/account"
)

// Ways to show progress.
const (
	progressAuto  = "auto"
	progressTTY   = "tty"
	progressPlain = "plain"
	progressJSON  = "json"
	progressNone  = "none"
)

// How often progress is shown.
const (
	barInterval  = 200 * time.Millisecond
	lineInterval = 5 * time.Second
	jsonInterval = time.Second
)

// updater shows the latest progress every now and then, and at once when the
// process gets SIGUSR1.
type updater struct {
	term  *terminal
	mode  string
	start time.Time

	mu     sync.Mutex
	latest account.Progress
	speed  speedometer

	usr1 chan os.Signal
	stop chan struct{}
	done sync.WaitGroup
}

// newUpdater starts to show progress until stopped.
func newUpdater(t *terminal, mode string) *updater {
	if mode == progressAuto {
		mode = automatic(t.isTTY(), os.Getenv("TERM"))
	}
	u := &updater{term: t, mode: mode, start: time.Now(), usr1: make(chan os.Signal, 1), stop: make(chan struct{})}
	u.speed.samples = []sample{{}}
	signal.Notify(u.usr1, unix.SIGUSR1)
	u.done.Go(u.loop)
	return u
}

// automatic is how progress is shown where nobody says how: as lines on a terminal that
// cannot erase any (terminfo(5), "dumb").
func automatic(tty bool, kind string) string {
	switch {
	case !tty:
		return progressNone
	case kind == "" || kind == "dumb":
		return progressPlain
	}
	return progressTTY
}

// update takes note of a moment. It may be called from any goroutine.
func (u *updater) update(p account.Progress) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.latest = p
}

// close shows the last state in modes that keep a record, and removes the bar.
func (u *updater) close() {
	close(u.stop)
	u.done.Wait()
	if u.mode == progressTTY {
		u.term.setStatus("")
		return
	}
	u.show()
}

func (u *updater) loop() {
	defer signal.Stop(u.usr1)
	interval, shown := map[string]time.Duration{
		progressTTY: barInterval, progressPlain: lineInterval, progressJSON: jsonInterval,
	}[u.mode]
	var tick <-chan time.Time
	if shown {
		ticker := time.NewTicker(interval)
		defer ticker.Stop()
		tick = ticker.C
	}
	for {
		select {
		case <-u.stop:
			return
		case <-u.usr1:
			u.tell()
		case <-tick:
			u.show()
		}
	}
}

func (u *updater) show() {
	switch u.mode {
	case progressTTY:
		u.term.setStatus(u.moment().bar(u.term.width()))
	case progressPlain, progressJSON:
		u.tell()
	}
}

// tell writes a line of its own.
func (u *updater) tell() {
	if u.mode == progressJSON || u.term.inObjects() {
		u.term.object(u.moment().status())
		return
	}
	u.term.message(u.moment().line())
}

// moment is what is shown of one moment.
type moment struct {
	account.Progress
	elapsed time.Duration
	speed   float64 // bytes per second
}

func (u *updater) moment() moment {
	u.mu.Lock()
	defer u.mu.Unlock()
	elapsed := time.Since(u.start)
	u.speed.note(elapsed, u.latest)
	return moment{u.latest, elapsed, u.speed.perSecond}
}

// left estimates the time to the end; negative if there is nothing to go by.
func (m moment) left() time.Duration {
	if m.speed <= 0 || m.Total <= 0 {
		return -1
	}
	return time.Duration(float64(m.Total-m.Done) / m.speed * float64(time.Second))
}

func (m moment) eta() string {
	if left := m.left(); left >= 0 {
		return "ETA " + clock(left)
	}
	return "ETA -"
}

// line is the plain form.
func (m moment) line() string {
	return fmt.Sprintf("%s: %s of %s (%s), %s/s, %s offloaded, %s, elapsed %s",
		m.phase(), human(m.Done), human(m.Total), percent(m.Done, m.Total), human(int64(m.speed)),
		percent(m.Offloaded, m.Done), m.eta(), clock(m.elapsed))
}

func (m moment) phase() account.Phase {
	if m.Phase == "" {
		return account.PhaseScanning
	}
	return m.Phase
}

// bar is the form for terminals. The numbers matter more than the bar, which
// takes the columns that are left; they keep their width, so that it does too.
func (m moment) bar(width int) string {
	numbers := fmt.Sprintf("%4s %18s %11s %-10s %4s offloaded", whole(m.Done, m.Total),
		human(m.Done)+"/"+human(m.Total), human(int64(m.speed))+"/s", m.eta(), whole(m.Offloaded, m.Done))
	head := string(m.phase()) + " "
	room := min(width-len(head)-len(numbers)-4, 40)
	if room < 4 {
		return head + numbers
	}
	full := 0
	if m.Total > 0 {
		full = int(float64(room) * float64(min(m.Done, m.Total)) / float64(m.Total))
	}
	return head + "[" + strings.Repeat("#", full) + strings.Repeat(".", room-full) + "] " + numbers
}

// whole is a share in whole percent, rounded down.
func whole(part, all int64) string {
	if all <= 0 {
		return "0%"
	}
	return fmt.Sprintf("%d%%", int64(100*float64(part)/float64(all)))
}

// statusMessage is the JSON form, one object a line.
type statusMessage struct {
	Type      string        `json:"message_type"`
	Phase     account.Phase `json:"phase"`
	Total     int64         `json:"bytes_total"`
	Done      int64         `json:"bytes_done"`
	Offloaded int64         `json:"bytes_offloaded"`
	Host      int64         `json:"bytes_host"`
	Zeroed    int64         `json:"bytes_zeroed"`
	Rate      int64         `json:"bytes_per_second"`
	Elapsed   float64       `json:"seconds_elapsed"`
	// Left is missing as long as there is nothing to estimate it from.
	Left *float64 `json:"seconds_remaining,omitempty"`
}

func (m moment) status() statusMessage {
	s := statusMessage{
		Type: "status", Phase: m.phase(), Total: m.Total, Done: m.Done, Offloaded: m.Offloaded,
		Host: m.Host, Zeroed: m.Zeroed, Rate: int64(m.speed), Elapsed: m.elapsed.Seconds(),
	}
	if left := m.left(); left >= 0 {
		seconds := left.Seconds()
		s.Left = &seconds
	}
	return s
}

// clock prints a time span as 1:02:03.
func clock(d time.Duration) string {
	s := int64(d.Round(time.Second) / time.Second)
	if s < 3600 {
		return fmt.Sprintf("%d:%02d", s/60, s%60)
	}
	return fmt.Sprintf("%d:%02d:%02d", s/3600, s/60%60, s%60)
}

// speedometer measures the speed of the last seconds.
type speedometer struct {
	perSecond float64
	samples   []sample
}

type sample struct {
	at   time.Duration
	done int64
}

// speedSpan is the time over which the speed is averaged.
const speedSpan = 10 * time.Second

// note adds a sample. A new phase that counts from the start, such as
// verifying, starts over.
func (s *speedometer) note(at time.Duration, p account.Progress) {
	done := p.Done - p.Resumed
	if n := len(s.samples); n > 0 && done < s.samples[n-1].done {
		s.samples = s.samples[:0]
	}
	s.samples = append(s.samples, sample{at, done})
	for len(s.samples) > 2 && at-s.samples[0].at > speedSpan {
		s.samples = s.samples[1:]
	}
	first, last := s.samples[0], s.samples[len(s.samples)-1]
	s.perSecond = 0
	if last.at > first.at {
		s.perSecond = float64(last.done-first.done) / (last.at - first.at).Seconds()
	}
}
