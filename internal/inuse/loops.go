package inuse

import (
	"errors"
	"os"
	"path/filepath"

	"github.com/dmcopy/dmcopy/internal/sysblock"
	"github.com/dmcopy/dmcopy/internal/sysfs"
	"github.com/dmcopy/dmcopy/remap"
)

// boundLoop is a loop device that has a file.
type boundLoop struct {
	dev  remap.Dev
	name string
	// file is the path of it.
	file string
	// storage is what package blockio calls the file; "" if neither the device nor its
	// path tells.
	storage string
}

// loops lists all loop devices that have a file. They claim nothing, neither the file
// nor the device that it may be, and have no links in sysfs.
func readLoops(sys sysblock.FS) ([]boundLoop, error) {
	found, err := filepath.Glob(sys.Root().Class("block", "loop*").Path("loop/backing_file"))
	if err != nil {
		return nil, err
	}
	var all []boundLoop
	for _, attr := range found {
		l, err := readLoop(sys, filepath.Base(filepath.Dir(filepath.Dir(attr))))
		if errors.Is(err, sysblock.ErrGone) { // or given another file meanwhile
			l, err = readLoop(sys, l.name)
		}
		if errors.Is(err, sysblock.ErrGone) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if l.storage != "" {
			all = append(all, l)
		}
	}
	return all, nil
}

func readLoop(sys sysblock.FS, name string) (boundLoop, error) {
	l := boundLoop{name: name}
	var err error
	if l.dev, err = sys.Root().Class("block", name).Dev("dev"); err != nil {
		return l, sysfs.Named(l.dev, name, sysfs.Gone(err))
	}
	bound, err := sys.LoopFile(&sysblock.Facts{Dev: l.dev, Name: name})
	if err != nil || bound == nil {
		return l, err
	}
	l.file, l.storage = bound.File, bound.ID
	if l.storage == "" { // it may not be opened to ask it
		if info, err := os.Stat(sys.Root().Path(bound.File)); err == nil {
			l.storage = sysfs.IDOf(info)
		}
	}
	return l, nil
}
