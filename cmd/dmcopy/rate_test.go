package main

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dmcopy/dmcopy/dispatch"
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
		if _, err := f.source(slog.New(slog.DiscardHandler)); err == nil {
			t.Error("a file that is missing is accepted")
		}
		write("fast\n")
		if _, err := f.source(slog.New(slog.DiscardHandler)); err == nil {
			t.Error("nonsense is accepted")
		}
		write("10M\n")
		get, err := f.source(slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		last := int64(10 << 20)
		for _, c := range []struct {
			text string
			want int64
		}{
			{"max", dispatch.Unlimited}, {" 512K ", 512 << 10}, {"0", 0}, {"", 0}, {"-1", 0}, {"1s\n", 512}, {"1.5G", 512}, {"max max", 512},
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
