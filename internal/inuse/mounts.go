package inuse

import (
	"os"
	"path/filepath"

	"github.com/dmcopy/dmcopy/internal/sysblock"
	"github.com/dmcopy/dmcopy/internal/sysfs"
	"github.com/dmcopy/dmcopy/remap"
)

// Mount is something that is mounted, as a process sees it.
type Mount struct {
	sysfs.Mount
	// SourceDev is the number of what was mounted if it is a block device.
	SourceDev remap.Dev
	// SourceID is what package blockio calls a regular file that was mounted itself, without a
	// loop device (fs/erofs/super.c, erofs_fc_get_tree); "" for others.
	SourceID string
	// Seer is a process that sees the mount at that point, zero for this one: others
	// can be in another mount namespace, or below another root.
	Seer Process
}

func (m *Mount) kind() UseKind {
	if m.ReadOnly() {
		return MountedRO
	}
	return MountedRW
}

// Path is where it is mounted, below the root, as this process can open it.
func (m *Mount) Path() string { return filepath.Join("/", m.Seer.root(), m.Point) }

// where says for people where it is mounted.
func (m *Mount) where() string {
	if m.Seer.PID == 0 {
		return m.Point + " (" + m.Type + ")"
	}
	return m.Point + " (" + m.Type + ") in the mount namespace of " + m.Seer.String()
}

// AllMounts reads what is mounted in all mount namespaces, this one first. A
// namespace whose processes all are hidden from this one, or that no process is in, is
// not seen.
func AllMounts(sys sysblock.FS) ([]Mount, error) { return views{processes{sys.Root()}}.all() }

// views are what processes see mounted.
type views struct{ processes }

func (v views) own() ([]Mount, error) { return v.seenBy("proc/self", Process{}) }

func (v views) all() ([]Mount, error) {
	all, err := v.own()
	if err != nil {
		return nil, err
	}
	tasks, err := v.tasks()
	if err != nil {
		return nil, err
	}
	seen := make(map[viewpoint]bool)
	if own, ok := v.viewpoint("proc/self"); ok {
		seen[own] = true
	}
	for _, task := range tasks {
		from, ok := v.viewpoint(task.dir)
		if !ok || seen[from] {
			continue
		}
		mounts, err := v.seenBy(task.dir, v.process(task.pid))
		if hidden(err) {
			continue // another process may show the same
		}
		if err != nil {
			return nil, err
		}
		seen[from] = true
		all = append(all, mounts...)
	}
	return all, nil
}

// viewpoint is what decides which mounts a process sees: the kernel leaves out those
// that it cannot reach from its root (fs/proc_namespace.c, show_mountinfo).
type viewpoint struct{ namespace, root string }

func (v views) viewpoint(task string) (viewpoint, bool) {
	namespace, err := os.Readlink(v.Path(task, "ns/mnt"))
	if err != nil {
		return viewpoint{}, false
	}
	root, err := os.Readlink(v.Path(task, "root"))
	return viewpoint{namespace, root}, err == nil
}

func (v views) seenBy(task string, seer Process) ([]Mount, error) {
	found, err := v.MountsOf(task)
	if err != nil {
		return nil, err
	}
	mounts := make([]Mount, len(found))
	for i, m := range found {
		mounts[i] = Mount{Mount: m, Seer: seer}
		m := &mounts[i]
		m.SourceDev, m.SourceID = names{v.Root}.node(m.Source), names{v.Root}.file(m.Source, seer.root())
	}
	return mounts, nil
}
