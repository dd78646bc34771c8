package vm

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// guestVariable is set in the environment of everything that init starts in a guest.
const guestVariable = "DMCOPY_VM_GUEST"

// InGuest reports whether this process runs in a guest of this package.
func InGuest() bool { return os.Getenv(guestVariable) != "" }

// Kernel is the name of the kernel that the guest runs, as in [Machine.Kernel].
func Kernel() string { return os.Getenv("DMCOPY_VM_KERNEL") }

// portPath is the device node of a channel's port.
func portPath(c channel) (string, error) {
	names, err := filepath.Glob("/sys/class/virtio-ports/*/name")
	if err != nil {
		return "", err
	}
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err == nil && strings.TrimSpace(string(text)) == c.port() {
			return filepath.Join("/dev", filepath.Base(filepath.Dir(name))), nil
		}
	}
	return "", fmt.Errorf("no port %s: not in a guest of package vm?", c.port())
}
