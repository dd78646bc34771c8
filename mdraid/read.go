package mdraid

import (
	"errors"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/dmcopy/dmcopy/internal/sysfs"
	"github.com/dmcopy/dmcopy/remap"
)

// tries is how often an array is read until it was the same twice. Recovery and
// resync do not count: see Print.
const tries = 10

// Read reads an array. Its files are read one by one, so all of them are read
// until they say the same twice in a row. If the array vanishes meanwhile, or
// its number is given to another one, the error is ErrGone.
func Read(root FS, dev remap.Dev) (*Array, error) {
	var before *Array
	for range tries {
		a, err := readOnce(root, dev)
		switch {
		case errors.Is(err, errTorn):
			before = nil
		case err != nil:
			return nil, err
		case before != nil && before.Print() == a.Print() && before.Transition() == a.Transition():
			return a, nil
		default:
			before = a
		}
	}
	return nil, sysfs.About(dev.String(), ErrUnsteady)
}

// State is what tells whether an array is still the one that was read.
type State struct {
	// Print is that of [Array.Print].
	Print remap.Fingerprint
	// Transition is that of [Array.Transition].
	Transition string
}

// ReadState reads what State is made of, once: for the times between the windows
// of a copy. A print that is equal to an earlier one was read of an unchanged
// array; one that is not may be torn.
func ReadState(root FS, dev remap.Dev) (State, error) {
	for range tries {
		a, err := readOnce(root, dev)
		if errors.Is(err, errTorn) {
			continue
		}
		if err != nil {
			return State{}, err
		}
		return State{a.Print(), a.Transition()}, nil
	}
	return State{}, sysfs.About(dev.String(), ErrUnsteady)
}

// errTorn: something changed while it was read.
var errTorn = errors.New("changed while it was read")

// readOnce reads each file once, and the pivots again at the end.
func readOnce(root FS, dev remap.Dev) (*Array, error) {
	disk, err := root.Find(dev)
	if sysfs.Vanished(err) {
		return nil, sysfs.About(dev.String(), ErrGone)
	}
	if err != nil {
		return nil, sysfs.About(dev.String(), err)
	}
	a, err := readDisk(dev, disk)
	subject := dev.String() + " (" + disk.Name() + ")"
	switch {
	case root.Left(dev, disk):
		return nil, sysfs.About(subject, ErrGone)
	case err != nil && sysfs.Vanished(err) && !isArray(disk):
		return nil, sysfs.About(subject, ErrNotArray)
	case err != nil:
		return nil, sysfs.About(subject, err)
	}
	return a, nil
}

func isArray(disk sysfs.Dir) bool {
	is, err := disk.Has("md")
	return is && err == nil
}

func readDisk(dev remap.Dev, disk sysfs.Dir) (*Array, error) {
	a := &Array{Dev: dev, Name: disk.Name(), Attrs: make(map[string]string)}
	md := sysfs.Dir(disk.Path("md"))
	if err := readAttrs(md, a.Attrs, pivots); err != nil {
		return nil, err
	}
	if err := readAttrs(md, a.Attrs, arrayAttrs); err != nil {
		return nil, err
	}
	var err error
	if a.Size, err = disk.Sectors("size"); err != nil {
		return nil, err
	}
	if err := a.readMembers(md); err != nil {
		return nil, err
	}
	return a, a.readAgain(md)
}

// readMembers reads all members. One that is removed meanwhile makes the array
// torn.
func (a *Array) readMembers(md sysfs.Dir) error {
	entries, err := os.ReadDir(string(md))
	if err != nil {
		return err
	}
	for _, entry := range entries {
		name, isMember := strings.CutPrefix(entry.Name(), "dev-")
		if !isMember {
			continue
		}
		m, err := readMember(name, sysfs.Dir(md.Path(entry.Name())))
		if sysfs.Vanished(err) {
			return errTorn
		}
		if err != nil {
			return err
		}
		a.Members = append(a.Members, m)
	}
	slices.SortFunc(a.Members, func(x, y Member) int { return strings.Compare(x.Name, y.Name) })
	return nil
}

// readMember reads a member. A disk that was unplugged stays a member, with a
// link that leads nowhere, until md is told to remove it.
func readMember(name string, d sysfs.Dir) (Member, error) {
	m := Member{Name: name, Attrs: make(map[string]string)}
	if err := readAttrs(d, m.Attrs, memberAttrs); err != nil {
		return m, err
	}
	dev, err := d.Dev("block/dev")
	if errors.Is(err, fs.ErrNotExist) {
		return m, nil
	}
	m.Dev = dev
	return m, err
}

// readAgain tells whether the pivots still say what they said.
func (a *Array) readAgain(md sysfs.Dir) error {
	again := make(map[string]string)
	if err := readAttrs(md, again, pivots); err != nil {
		return err
	}
	for _, attr := range pivots {
		if normal(a.Level(), attr.name, again[attr.name]) != normal(a.Level(), attr.name, a.Attrs[attr.name]) {
			return errTorn
		}
	}
	return nil
}
