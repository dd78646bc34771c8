package inuse

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/internal/sysblock"
	"github.com/dmcopy/dmcopy/internal/sysfs"
)

// Underlies tells whether a file lies in a layer of the overlay that another one is shown by, where
// the times of the two tell nothing: with metacopy, a file that has got but another mode or owner
// has a status of its own, and its contents are those of the layer below (Documentation/filesystems/overlayfs.rst,
// "Metadata only copy up"). Layers that have no name in this namespace of mounts are not found.
func Underlies(sys sysblock.FS, file, shown string) (bool, error) {
	o := overlays{sys.Root()}
	mount, err := o.mountShowing(shown)
	if err != nil || mount == nil || !o.metacopy(mount) {
		return false, err
	}
	path, err := filepath.Abs(file)
	if err == nil {
		path, err = filepath.EvalSymlinks(path)
	}
	if err != nil {
		return false, err
	}
	layers := o.layers(mount)
	for dir := filepath.Dir(path); ; dir = filepath.Dir(dir) {
		info, err := os.Stat(dir)
		if err != nil {
			return false, err
		}
		for _, layer := range layers {
			if os.SameFile(info, layer) {
				return true, nil
			}
		}
		if dir == filepath.Dir(dir) {
			return false, nil
		}
	}
}

// overlays are the file systems of a machine that show the files of others.
type overlays struct{ sysfs.Root }

// mountShowing is the overlay that a file is found by; nil if it is none.
func (o overlays) mountShowing(path string) (*sysfs.Mount, error) {
	var st unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, path, 0, unix.STATX_MNT_ID, &st); err != nil {
		return nil, sysfs.About(path, err)
	}
	mounts, err := o.Mounts()
	if err != nil {
		return nil, err
	}
	for i := range mounts {
		if m := &mounts[i]; m.Type == "overlay" && (m.ID == st.Mnt_id || st.Mask&unix.STATX_MNT_ID == 0 && m.Dev == sysfs.DevOf(unix.Mkdev(st.Dev_major, st.Dev_minor))) {
			return m, nil
		}
	}
	return nil, nil
}

// metacopy tells whether an overlay copies metadata only; its options tell what is not the default.
func (o overlays) metacopy(m *sysfs.Mount) bool {
	byDefault, err := os.ReadFile(o.Path("sys/module/overlay/parameters/metacopy"))
	usual := err == nil && strings.TrimSpace(string(byDefault)) == "Y"
	return m.Has("metacopy=on") || usual && !m.Has("metacopy=off")
}

// layers are the directories of an overlay that have a name (fs/overlayfs/params.c, ovl_show_options). What
// would end a name is escaped in octal; kernels before 6.5 show the colon as it was given, behind a
// backslash, which is escaped.
func (o overlays) layers(m *sysfs.Mount) (all []fs.FileInfo) {
	const colon = "\x00"
	for option := range strings.SplitSeq(m.Options, ",") {
		key, value, _ := strings.Cut(option, "=")
		var dirs []string
		switch key {
		case "upperdir", "lowerdir+", "datadir+":
			dirs = []string{value}
		case "lowerdir": // empty between those before data only
			dirs = strings.Split(strings.ReplaceAll(value, `\134:`, colon), ":")
		}
		for _, dir := range dirs {
			dir = sysfs.Unescape(strings.ReplaceAll(dir, colon, ":"))
			if info, err := os.Stat(o.Path(dir)); err == nil && filepath.IsAbs(dir) {
				all = append(all, info)
			}
		}
	}
	return all
}
