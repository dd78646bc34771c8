package vm

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
)

// arch is the architecture of a guest.
type arch struct {
	name     string // as Go and Debian call it
	emulator string
	machine  string
	cpu      string // where it is emulated
	console  string
	cmdline  string // kernel parameters
	ports    bool   // nothing can be plugged into its root bus, only into ports
}

var (
	amd64 = arch{
		name: "amd64", emulator: "qemu-system-x86_64", machine: "pc,usb=off,vmport=off",
		cpu:     "max,la57=off", // a fifth page table level costs emulation time and gains nothing in a small guest
		console: "ttyS0",
		// The time stamp counter of an emulated CPU needs no watchdog, which would fall back to a slow clock on a busy host.
		cmdline: "tsc=reliable no_timer_check",
	}
	arm64 = arch{
		name: "arm64", emulator: "qemu-system-aarch64", machine: "virt,gic-version=3",
		cpu:     "max,pauth-impdef=on", // QARMA5, the architected algorithm, takes half of the time of every call
		console: "ttyAMA0",
		ports:   true,
	}
)

// archOf tells which architecture a kernel is for.
func archOf(kernel string) arch {
	if strings.HasPrefix(kernel, KernelArm64) {
		return arm64
	}
	return amd64
}

// foreign tells whether programs of this machine do not run there.
func (a arch) foreign() bool { return a.name != runtime.GOARCH }

// goCommand runs the go command to make something static for this architecture.
func (a arch) goCommand(ctx context.Context, args ...string) error {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+a.name)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return nil
}
