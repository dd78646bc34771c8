package sysblock

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"

	"github.com/dmcopy/dmcopy/internal/sysfs"
	"github.com/dmcopy/dmcopy/remap"
)

// Lookup finds the device that a person means by a name: a path (links are
// followed), "vg/lv", "major:minor", a kernel name such as "nvme0n1", or a
// name of device-mapper, as the kernel has it or as dmsetup shows it. It fails with ErrRegularFile or another ErrNotBlock
// for other files, with ErrAmbiguous if the name means more than one thing,
// and with ErrNotFound and a list of what was tried.
func (f FS) Lookup(name string) (remap.Dev, error) {
	var l lookup
	for _, try := range f.readings(name) {
		if err := l.try(f, try); err != nil {
			return remap.Dev{}, sysfs.About(name, err)
		}
	}
	dev, err := l.answer()
	if err != nil {
		return remap.Dev{}, sysfs.About(name, err)
	}
	return dev, nil
}

// reading is one way to understand a name.
type reading struct {
	what string // for people, such as "kernel name nvme0n1"
	path string // a file that is looked at, or
	find func() (remap.Dev, bool, error)
}

func (f FS) readings(name string) []reading {
	if name == "" {
		return nil
	}
	if mapped, ok := strings.CutPrefix(name, "/dev/mapper/"); ok {
		// The node has the name of the kernel, with its escapes.
		return []reading{{what: name, path: f.Root().Path(name)}, f.mapped(mapped)}
	}
	if strings.HasPrefix(name, "/") {
		return []reading{{what: name, path: f.Root().Path(name)}}
	}
	readings := []reading{{what: "file " + name, path: name}}
	if strings.HasPrefix(name, ".") {
		return readings
	}
	if dev, err := remap.ParseDev(name); err == nil {
		return append(readings, reading{what: "device number " + name, find: func() (remap.Dev, bool, error) {
			found, err := f.Root().Blocks().Has(dev.String())
			return dev, found, err
		}})
	}
	mapped := name
	if vg, lv, ok := strings.Cut(name, "/"); ok {
		readings = append(readings, reading{what: "/dev/" + name, path: f.Root().Path("dev", name)})
		double := func(s string) string { return strings.ReplaceAll(s, "-", "--") }
		mapped = double(vg) + "-" + double(lv)
	} else {
		readings = append(readings, reading{what: "kernel name " + name, find: func() (remap.Dev, bool, error) { return f.kernelName(name) }})
	}
	return append(readings, f.mapped(mapped))
}

func (f FS) mapped(name string) reading {
	return reading{what: "device-mapper name " + name, find: func() (remap.Dev, bool, error) { return f.mappedName(name) }}
}

// kernelName finds a device by its name in /sys/class/block.
func (f FS) kernelName(name string) (remap.Dev, bool, error) {
	d := f.Root().Class("block", strings.ReplaceAll(name, "/", "!"))
	if found, err := d.Has("dev"); err != nil || !found {
		return remap.Dev{}, false, err
	}
	dev, err := d.Dev("dev")
	return dev, err == nil, err
}

// mappedName finds a device by its name in device-mapper. Another device can be shown
// by the name that this one has.
func (f FS) mappedName(name string) (remap.Dev, bool, error) {
	names, err := filepath.Glob(string(f.Root().Class("block", "dm-*")))
	if err != nil {
		return remap.Dev{}, false, err
	}
	var devs []remap.Dev
	for _, d := range names {
		kernel, err := sysfs.Dir(d).Optional("dm/name")
		if err != nil && !sysfs.Vanished(err) {
			return remap.Dev{}, false, err
		}
		if kernel != name && Unmangled(kernel) != name {
			continue
		}
		dev, err := sysfs.Dir(d).Dev("dev")
		if sysfs.Vanished(err) {
			continue
		}
		if err != nil {
			return dev, false, err
		}
		devs = append(devs, dev)
	}
	switch len(devs) {
	case 0:
		return remap.Dev{}, false, nil
	case 1:
		return devs[0], true, nil
	}
	return remap.Dev{}, false, fmt.Errorf("%w: %s and %s are both shown by this name; give the kernel name or the number", ErrAmbiguous, devs[0], devs[1])
}

// escape is what libdm makes of a byte that is not to be in the name of a node
// (libdm-common.c, mangle_string).
var escape = regexp.MustCompile(`\\x[0-9a-fA-F]{2}`)

// Unmangled is a name of device-mapper as dmsetup shows it.
func Unmangled(name string) string {
	return escape.ReplaceAllStringFunc(name, func(s string) string {
		b, err := strconv.ParseUint(s[2:], 16, 8)
		if err != nil { // never: the expression demands two digits
			return s
		}
		return string([]byte{byte(b)})
	})
}

// lookup collects what the readings of a name found.
type lookup struct {
	tried   []string
	devs    []string // readings that found a device
	dev     remap.Dev
	clash   bool
	regular string // reading that found a regular file
	other   string // what another file is
}

func (l *lookup) try(f FS, r reading) error {
	l.tried = append(l.tried, r.what)
	if r.find != nil {
		dev, found, err := r.find()
		if found {
			l.found(r.what, dev)
		}
		return err
	}
	info, err := os.Stat(r.path)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		return nil
	case err != nil:
		return err
	}
	l.file(r.what, info)
	return nil
}

func (l *lookup) file(what string, info fs.FileInfo) {
	switch mode := info.Mode(); {
	case mode.IsRegular():
		l.regular = what
	case mode&fs.ModeDevice != 0 && mode&fs.ModeCharDevice == 0:
		l.found(what, sysfs.NodeDev(info))
	default:
		l.other = fileType(mode)
	}
}

func (l *lookup) found(what string, dev remap.Dev) {
	l.clash = l.clash || len(l.devs) > 0 && dev != l.dev
	l.devs, l.dev = append(l.devs, what+" is "+dev.String()), dev
}

func (l *lookup) answer() (remap.Dev, error) {
	switch {
	case len(l.devs) > 0 && l.regular != "":
		return remap.Dev{}, fmt.Errorf("%w: %s, %s is a regular file; give the full path", ErrAmbiguous, strings.Join(l.devs, ", "), l.regular)
	case l.clash:
		return remap.Dev{}, fmt.Errorf("%w: %s; give the full path", ErrAmbiguous, strings.Join(l.devs, ", "))
	case len(l.devs) > 0:
		return l.dev, nil
	case l.regular != "":
		return remap.Dev{}, ErrRegularFile
	case l.other != "":
		return remap.Dev{}, fmt.Errorf("%w but %s", ErrNotBlock, l.other)
	}
	return remap.Dev{}, fmt.Errorf("%w (tried %s)", ErrNotFound, strings.Join(l.tried, ", "))
}

func fileType(mode fs.FileMode) string {
	switch {
	case mode.IsDir():
		return "a directory"
	case mode&fs.ModeCharDevice != 0:
		return "a character device"
	case mode&fs.ModeNamedPipe != 0:
		return "a pipe"
	case mode&fs.ModeSocket != 0:
		return "a socket"
	}
	return "another file"
}
