package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dmcopy/dmcopy/test/vm"
)

// These tests run on the host: they are about how guests end. Each is a boot.

func boot(t *testing.T, payload vm.Payload) (code int, stdout, stderr string, err error) {
	t.Helper()
	var out, errs bytes.Buffer
	payload.Stdout, payload.Stderr = &out, &errs
	code, err = vm.Machine{Memory: 512}.Run(t.Context(), payload)
	return code, out.String(), errs.String(), err
}

func TestStreamsAndExitCode(t *testing.T) {
	// More than the port's queue and any socket buffer hold, so that a lost tail would show.
	const lines = 20000
	out := t.TempDir()
	code, stdout, stderr, err := boot(t, vm.Payload{
		Program: "sh",
		Args:    []string{"-c", `seq "$1"; cat; echo "$X" >&2; pwd; echo kept >/dmcopy/out/file; exit 7`, "sh", "20000"},
		Env:     []string{"X=it's $HOME"},
		Dir:     ".",
		Out:     out,
		Stdin:   strings.NewReader("from stdin\n"),
	})
	if err != nil {
		t.Fatal(err)
	}
	if code != 7 {
		t.Errorf("exit code %d, want 7", code)
	}
	if got := strings.Count(stdout, "\n"); got != lines+2 || !strings.HasSuffix(stdout, "\n20000\nfrom stdin\n/dmcopy/dir/test/vm/cmd/vmrun\n") {
		t.Errorf("stdout: %d lines, ending with %q", got, stdout[max(0, len(stdout)-80):])
	}
	if stderr != "it's $HOME\n" {
		t.Errorf("stderr: %q", stderr)
	}
	if text, err := os.ReadFile(filepath.Join(out, "file")); err != nil || string(text) != "kept\n" {
		t.Errorf("file written in the guest: %q, %v", text, err)
	}
}

func TestKernelPanicIsReported(t *testing.T) {
	code, _, _, err := boot(t, vm.Payload{Program: "sh", Args: []string{"-c", "echo c >/proc/sysrq-trigger; sleep 60"}})
	if !errors.Is(err, vm.ErrGuest) || !strings.Contains(err.Error(), "Kernel panic - not syncing") {
		t.Errorf("code %d, error %v", code, err)
	}
}

func TestHangEnds(t *testing.T) {
	start := time.Now()
	code, _, _, err := boot(t, vm.Payload{Program: "sleep", Args: []string{"1000"}, Timeout: 2 * time.Second})
	if !errors.Is(err, vm.ErrGuest) || !strings.Contains(err.Error(), "still running after 2s") {
		t.Errorf("code %d after %v, error %v", code, time.Since(start), err)
	}
}

func TestCancelEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	out := writerFunc(func(p []byte) (int, error) { cancel(); return len(p), nil })
	_, err := vm.Machine{Memory: 512}.Run(ctx, vm.Payload{Program: "sh", Args: []string{"-c", "echo up; sleep 1000"}, Stdout: out})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

type writerFunc func(p []byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

func TestUnknownKernel(t *testing.T) {
	_, err := vm.Machine{Kernel: "2.4"}.Run(t.Context(), vm.Payload{Program: "true"})
	if err == nil || !strings.Contains(err.Error(), "6.12, 6.1, new") {
		t.Errorf("error %v", err)
	}
}

func TestParseDisk(t *testing.T) {
	got, err := parseDisk("serial=a,size=3G,nsid=2,bs=4096,mssrl=8,mcl=16,msrc=1,controllers=2,bps=1M,iops=10")
	want := vm.Disk{Serial: "a", Size: 3 << 30, NSID: 2, BlockSize: 4096, Copy: vm.CopyLimits{MSSRL: 8, MCL: 16, MSRC: 1},
		Controllers: 2, BytesPerSec: 1 << 20, IOPS: 10}
	if err != nil || got != want {
		t.Errorf("%+v, %v", got, err)
	}
	for _, text := range []string{"", "serial", "size=1X", "size=G", "colour=1", "size=9999999999T"} {
		if disk, err := parseDisk(text); err == nil {
			t.Errorf("%q: %+v", text, disk)
		}
	}
}
