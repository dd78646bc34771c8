package vm

import (
	"bytes"
	"context"
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

//go:embed setup.sh
var setupScript string

// rootSerial is the serial number by which the first stage of the guest finds its root disk; setup.sh knows it as well.
const rootSerial = "dmcopy-root"

// image is a directory that setup.sh has built.
type image struct {
	dir  string
	arch arch
}

// ensureImage runs setup.sh, which returns at once when there is nothing to do and says on stderr what it does.
func ensureImage(a arch) (image, error) {
	cmd := exec.Command("bash", "-c", setupScript, "setup.sh", "--arch", a.name)
	cmd.Env = append(os.Environ(), "DMCOPY_SETUP_TEXT="+setupScript)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, os.Stderr
	if err := cmd.Run(); err != nil {
		return image{}, fmt.Errorf("test/vm/setup.sh: %w", err)
	}
	return image{dir: strings.TrimSpace(out.String()), arch: a}, nil
}

func (i image) checkKernel(name string) error {
	versions, err := os.ReadFile(filepath.Join(i.dir, "versions"))
	if err != nil {
		return err
	}
	var names []string
	for line := range strings.Lines(string(versions)) {
		n, _, _ := strings.Cut(line, " ")
		if n == name {
			return nil
		}
		names = append(names, n)
	}
	return fmt.Errorf("kernel %q: the guest image has %s", name, strings.Join(names, ", "))
}

const (
	accelTCG = "tcg,thread=multi"
	accelKVM = "kvm"
)

// accelerator picks QEMU's accelerator: $DMCOPY_VM_ACCEL, else KVM where a kernel boots, else emulation.
func (i image) accelerator() (string, error) {
	if accel := os.Getenv("DMCOPY_VM_ACCEL"); accel != "" {
		return accel, nil
	}
	if i.arch.foreign() {
		return accelTCG, nil
	}
	kvm, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0)
	if err != nil {
		return accelTCG, nil
	}
	kvm.Close()
	// A broken KVM takes the whole time limit of the probe to tell, so the answer is kept until the machine reboots.
	bootID, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", err
	}
	answerFile := filepath.Join(filepath.Dir(i.dir), "accelerator")
	if kept, err := os.ReadFile(answerFile); err == nil {
		if accel, found := strings.CutPrefix(string(kept), string(bootID)); found {
			return accel, nil
		}
	}
	accel := accelTCG
	if i.kvmBoots() {
		accel = accelKVM
	}
	return accel, replaceFile(answerFile, string(bootID)+accel)
}

// replaceFile writes a file such that nobody sees half of it.
func replaceFile(path, text string) error {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // without effect after the rename
	_, err = f.WriteString(text)
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	return err
}

// kvmBoots starts a kernel without a root file system, which panics within a second or two where KVM works. A /dev/kvm that
// opens proves nothing: nested virtualisation may be broken in any way, a QEMU that stops for ever included.
func (i image) kvmBoots() bool {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, i.arch.emulator, "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none",
		"-accel", accelKVM, "-cpu", "host", "-m", "256", "-serial", "stdio",
		"-kernel", filepath.Join(i.dir, "vmlinuz-"+KernelDefault), "-append", "console="+i.arch.console+" panic=-1 quiet")
	console, err := cmd.Output()
	return err == nil && bytes.Contains(console, []byte("Kernel panic - not syncing"))
}
