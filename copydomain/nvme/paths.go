package nvme

import (
	"fmt"
	"path/filepath"
	"regexp"
	"slices"

	"github.com/dmcopy/dmcopy/internal/sysfs"
)

// Controllers names the controllers that lead to the namespace with the kernel
// name name ("nvme0n1"), such as "nvme0". Of a head of native multipath they are
// those of its paths: the kernel may send a command to any of them.
func Controllers(name string) ([]string, error) { return controllersIn("", name) }

var (
	headName = regexp.MustCompile(`^nvme([0-9]+)n([0-9]+)$`)
	// pathName is the hidden disk of a path of a head: instances of the subsystem,
	// the controller, and the head (drivers/nvme/host/multipath.c,
	// nvme_mpath_set_disk_name).
	pathName = regexp.MustCompile(`^nvme[0-9]+c([0-9]+)n[0-9]+$`)
	// subsystemName is what the device link of a head leads to.
	subsystemName = regexp.MustCompile(`^nvme-subsys[0-9]+$`)
)

func controllersIn(root sysfs.Root, name string) ([]string, error) {
	const op = "find controllers"
	m := headName.FindStringSubmatch(name)
	if m == nil {
		return nil, opError(op, name, ErrNotNVMe)
	}
	device, err := filepath.EvalSymlinks(root.Disk(name).Path("device"))
	if err != nil {
		return nil, opError(op, name, err)
	}
	switch base := filepath.Base(device); {
	case controllerName.MatchString(base):
		return []string{base}, nil
	case !subsystemName.MatchString(base):
		return nil, opError(op, name, fmt.Errorf("%w: it belongs to %s", ErrNotNVMe, base))
	}
	paths, err := filepath.Glob(string(root.Disk("nvme" + m[1] + "c*n" + m[2])))
	if err != nil {
		return nil, opError(op, name, err)
	}
	var names []string
	for _, path := range paths {
		if p := pathName.FindStringSubmatch(filepath.Base(path)); p != nil {
			names = append(names, "nvme"+p[1])
		}
	}
	if len(names) == 0 {
		return nil, opError(op, name, fmt.Errorf("%w: a multipath head without paths", ErrInactive))
	}
	slices.Sort(names)
	return names, nil
}
