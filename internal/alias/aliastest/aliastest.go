// Package aliastest gives tests files that have two names.
package aliastest

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Overlay, with these options besides, has a file of each name in its upper and in its lower layer, and shows both, until the end of
// the test. Without root the test is skipped, but in CI (the variable CI is set) it fails.
func Overlay(t testing.TB, options ...string) (upper, lower, merged string) {
	t.Helper()
	if os.Geteuid() != 0 && os.Getenv("CI") == "" {
		t.Skip("mounting needs root")
	}
	dir := t.TempDir()
	if err := unix.Mount("none", dir, "tmpfs", 0, ""); err != nil { // one that an overlay can write to
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	for _, sub := range []string{"upper", "lower", "work", "merged"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	upper, lower, merged = filepath.Join(dir, "upper"), filepath.Join(dir, "lower"), filepath.Join(dir, "merged")
	for _, path := range []string{upper + "/new", lower + "/old"} {
		if err := os.WriteFile(path, bytes.Repeat([]byte("data"), 1<<20/4), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	past := time.Unix(1, 0) // files that are made within one tick of the clock have one time
	if err := os.Chtimes(upper+"/new", past, past); err != nil {
		t.Fatal(err)
	}
	all := append(options, "lowerdir="+lower, "upperdir="+upper, "workdir="+filepath.Join(dir, "work"))
	if err := unix.Mount("overlay", merged, "overlay", 0, strings.Join(all, ",")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(merged, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return upper, lower, merged
}
