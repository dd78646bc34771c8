package journal

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"testing"
)

// errOff: the power is gone.
var errOff = errors.New("power lost")

// disk is a directory of which only what was synced survives: a file whose
// contents were not may hold anything, and a name may be the one from before.
type disk struct {
	names, durableNames map[string]*inode
	// left is how many calls are answered before the power goes.
	left int
}

type inode struct {
	data, durable []byte
	disk          *disk
}

func newDisk(calls int) *disk {
	return &disk{names: make(map[string]*inode), durableNames: make(map[string]*inode), left: calls}
}

func (d *disk) call() error {
	if d.left == 0 {
		return errOff
	}
	d.left--
	return nil
}

func (d *disk) create(name string) (file, error) {
	if err := d.call(); err != nil {
		return nil, err
	}
	if d.names[name] != nil {
		return nil, fs.ErrExist
	}
	d.names[name] = &inode{disk: d}
	return d.names[name], nil
}

func (d *disk) unchanged(string, file) error { return nil }

func (d *disk) rename(from, to string) error {
	if err := d.call(); err != nil {
		return err
	}
	d.names[to] = d.names[from]
	delete(d.names, from)
	return nil
}

func (d *disk) remove(name string) error {
	if err := d.call(); err != nil {
		return err
	}
	delete(d.names, name)
	return nil
}

func (d *disk) sync() error {
	if err := d.call(); err != nil {
		return err
	}
	d.durableNames = maps.Clone(d.names)
	return nil
}

func (d *disk) Close() error { return nil }

func (i *inode) Write(p []byte) (int, error) {
	if err := i.disk.call(); err != nil {
		return 0, err
	}
	i.data = append(i.data, p...)
	return len(p), nil
}

func (i *inode) Sync() error {
	if err := i.disk.call(); err != nil {
		return err
	}
	i.durable = bytes.Clone(i.data)
	return nil
}

func (i *inode) Close() error { return nil }

// TestPowerLoss: whenever the power goes, the file is the one of before the last
// update or of after it; and once an update has returned, it is the one after it.
func TestPowerLoss(t *testing.T) {
	const name = "state"
	const updates = 3
	for calls := range updates*5 + 1 {
		d := newDisk(calls)
		f := &File{name: name, dir: d, state: example(), held: &inode{disk: d}}
		written := [][]byte{nil}
		confirmed := 0
		for i := range updates {
			err := f.Record([]Extent{{Off: 20<<20 + int64(i)<<20, Len: 1 << 20, Status: Done}})
			data, encodeErr := f.state.Encode()
			if encodeErr != nil {
				t.Fatal(encodeErr)
			}
			written = append(written, data)
			if err != nil {
				if !errors.Is(err, errOff) {
					t.Fatal(err)
				}
				break
			}
			confirmed = i + 1
		}
		// The kernel may have written the names by itself, or not.
		for which, names := range map[string]map[string]*inode{"old names": d.durableNames, "new names": d.names} {
			var found []byte
			if at := names[name]; at != nil {
				found = at.durable
			}
			i := slices.IndexFunc(written, func(w []byte) bool { return bytes.Equal(w, found) })
			if i < confirmed {
				t.Errorf("power lost after %d calls, %s: state %d, want %d or later: %s", calls, which, i, confirmed, found)
			}
		}
		if want := calls / 5; confirmed != want {
			t.Errorf("%d updates in %d calls, want %d", confirmed, calls, want)
		}
	}
}

// TestMethodsForgotten: the file of a copy of very many pieces stays small.
func TestMethodsForgotten(t *testing.T) {
	d := newDisk(1 << 20)
	s := example()
	s.Map = Map{}
	f := &File{name: "state", dir: d, state: s, held: &inode{disk: d}}
	var extents []Extent
	for i := range int64(3 * manyExtents / 2) {
		extents = append(extents, Extent{Off: 1<<20 + i*512, Len: 512, Status: Done, Method: fmt.Sprintf("m%d", i%2)})
	}
	if err := f.Record(extents); err != nil {
		t.Fatal(err)
	}
	if got := f.Extents(); len(got) != 1 || got[0].Len != 3*manyExtents/2*512 {
		t.Errorf("%d extents", len(got))
	}
}
