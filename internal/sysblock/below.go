package sysblock

import (
	"errors"

	"github.com/dmcopy/dmcopy/remap"
)

// StoredLoop is a loop device that is stored in a regular file.
type StoredLoop struct {
	*LoopFile
	Dev  remap.Dev
	Name string // the kernel's
	Size remap.Sector
}

// StoredBelow lists the loop devices on regular files that a device is, or rests on, as far as
// sysfs tells what it rests on.
func (f FS) StoredBelow(dev remap.Dev) (all []StoredLoop, err error) {
	seen := make(map[remap.Dev]bool)
	for queue := []remap.Dev{dev}; len(queue) > 0; queue = queue[1:] {
		if seen[queue[0]] {
			continue
		}
		seen[queue[0]] = true
		facts, err := f.Facts(queue[0])
		if errors.Is(err, ErrGone) {
			continue // it is below nothing any more
		}
		if err != nil {
			return nil, err
		}
		queue = append(queue, facts.Slaves...)
		if facts.Part != nil {
			queue = append(queue, facts.Part.Parent)
		}
		if facts.Kind != Loop {
			continue
		}
		l, err := f.LoopFile(facts)
		switch {
		case errors.Is(err, ErrGone), err == nil && l == nil:
		case err != nil:
			return nil, err
		case l.Block != nil:
			queue = append(queue, *l.Block)
		default:
			all = append(all, StoredLoop{l, facts.Dev, facts.Name, facts.Size})
		}
	}
	return all, nil
}
