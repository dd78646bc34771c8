package main

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/internal/dispatch/pace"
)

// TestRateFile: the file is read every second, and what cannot be read changes
// nothing.
func TestRateFile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "rate")
		f := rateFlags{file: fileFlag(path)}
		write := func(text string) {
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := f.source(slog.New(slog.DiscardHandler), false); err == nil {
			t.Error("a file that is missing is accepted")
		}
		write("fast\n")
		if _, err := f.source(slog.New(slog.DiscardHandler), false); err == nil {
			t.Error("nonsense is accepted")
		}
		write("10M\n")
		get, err := f.source(slog.New(slog.DiscardHandler), false)
		if err != nil {
			t.Fatal(err)
		}
		last := int64(10 << 20)
		for _, c := range []struct {
			text string
			want int64
		}{
			{"max", pace.Unlimited}, {" 512K ", 512 << 10}, {"0", 0}, {"", 0}, {"-1", 0}, {"1s\n", 512}, {"1.55G", 512}, {"max max", 512},
		} {
			write(c.text)
			if got := get(); got != last {
				t.Errorf("%q counts at once: %d", c.text, got)
			}
			time.Sleep(rateEvery)
			if got := get(); got != c.want {
				t.Errorf("%q: %d, want %d", c.text, got, c.want)
			}
			last = c.want
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		time.Sleep(rateEvery)
		if got := get(); got != last {
			t.Errorf("the file is gone: %d", got)
		}
	})
}

// TestRateFileIsAFile: nothing else is read, before the copy or during it, nor waited
// for; and what a file holds that has no rate is nobody's business.
func TestRateFileIsAFile(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	if err := errors.Join(
		unix.Mkfifo(at("fifo"), 0o600), os.WriteFile(at("secret"), []byte("hunter2"), 0o600),
		os.WriteFile(at("long"), []byte("1"+strings.Repeat(" ", 1<<20)), 0o600), os.WriteFile(at("rate"), []byte("1M"), 0o600),
	); err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	f := rateFlags{file: fileFlag(at("link"))}
	if err := os.Symlink(at("rate"), at("link")); err != nil {
		t.Fatal(err)
	}
	get, err := f.source(slog.New(slog.NewTextHandler(&log, nil)), false)
	if err != nil || get() != 1<<20 {
		t.Fatal(err)
	}
	for _, to := range []string{at("fifo"), at("secret"), at("long"), dir, os.DevNull, "/dev/zero"} {
		if err := errors.Join(os.Remove(at("link")), os.Symlink(to, at("link"))); err != nil {
			t.Fatal(err)
		}
		if _, err := f.source(nil, false); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", to, err)
		}
		r := rateFile{path: at("link"), log: slog.New(slog.NewTextHandler(&log, nil)), rate: 7}
		if got := r.get(); got != 7 {
			t.Errorf("%s: a rate of %d", to, got)
		}
	}
	if strings.Contains(log.String(), "hunter2") || strings.Count(log.String(), "the rate stays as it was") != 6 {
		t.Error(log.String())
	}
}
