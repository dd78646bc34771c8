package journal

import (
	"cmp"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// File is a state file that belongs to this process until it is closed. Its
// methods may be called concurrently.
type File struct {
	path, name string
	dir        directory
	self       Process

	mu    sync.Mutex
	held  file   // the one that is locked
	state *State // nil: nothing was begun
	// made tells that the file was made by this process, and is empty.
	made bool
}

// Open opens the state file, and claims it. One that does not exist, or is
// empty, is one of which nothing was begun.
func Open(path string) (*File, error) { return open(path, false) }

// OpenAnew opens a file whose contents do not matter: it may be damaged, or of
// another version.
func OpenAnew(path string) (*File, error) { return open(path, true) }

func open(path string, anew bool) (*File, error) {
	f, err := claim(path, thisProc, anew)
	if err != nil {
		return nil, &Error{path, err}
	}
	return f, nil
}

func claim(path string, p proc, anew bool) (*File, error) {
	dirName, name := filepath.Split(path)
	if name == "" || name == "." || name == ".." {
		return nil, fmt.Errorf("%w: not the name of a file", ErrUnsafe)
	}
	self, err := p.self()
	if err != nil {
		return nil, err
	}
	dir, err := openDirectory(cmp.Or(dirName, "."))
	if err != nil {
		return nil, err
	}
	held, made, err := dir.open(name)
	if err != nil {
		return nil, errors.Join(err, dir.Close())
	}
	f := &File{path: path, name: name, dir: dir, self: self, held: held, made: made}
	err = f.load(held, p)
	if anew && (errors.Is(err, ErrDamaged) || errors.Is(err, ErrVersion)) {
		err = nil
	}
	if err == nil {
		err = dir.removeLeftovers(name)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// load reads the file, and makes sure that nobody goes on with it.
func (f *File) load(held *os.File, p proc) error {
	data, err := read(held)
	if err != nil {
		return err
	}
	if len(data) == 0 {
		return nil
	}
	f.made = false // somebody was faster
	s, err := Parse(data)
	if err != nil {
		return err
	}
	lives, err := p.lives(s.Writer, f.self)
	if err != nil {
		return err
	}
	if lives {
		return fmt.Errorf("%w: process %d", ErrBusy, s.Writer.PID)
	}
	f.state = s
	return nil
}

func read(from io.Reader) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(from, maxBytes+1))
	if err == nil && len(data) > maxBytes {
		err = ErrTooLarge
	}
	return data, err
}

// Read reads a state file, whoever it belongs to. It is ErrEmpty for a moment
// when a copy begins.
func Read(path string) (*State, error) {
	s, err := peek(path)
	if err != nil {
		return nil, &Error{path, err}
	}
	return s, nil
}

func peek(path string) (*State, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, ErrFormat
	}
	file, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0) // it may be a pipe by now
	if err != nil {
		return nil, err
	}
	defer file.Close()
	data, err := read(file)
	switch {
	case err != nil:
		return nil, err
	case len(data) == 0:
		return nil, ErrEmpty
	}
	return Parse(data)
}

// Close gives the file up. If it was made by Open, and nothing was written to it,
// it is removed.
func (f *File) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	var err error
	if f.made {
		err = f.discard()
	}
	return errors.Join(err, f.held.Close(), f.dir.Close())
}

// discard removes the empty file, unless its name has become that of another one.
func (f *File) discard() error {
	err := f.dir.unchanged(f.name, f.held)
	switch {
	case errors.Is(err, ErrReplaced):
		return nil
	case err != nil:
		return err
	}
	return f.dir.remove(f.name)
}

// Path is what the file was opened as.
func (f *File) Path() string { return f.path }

// Unfinished tells whether the file holds a copy to go on with.
func (f *File) Unfinished() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.state != nil && f.state.Stage != Complete
}

// Done counts the bytes that are done.
func (f *File) Done() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.state.Map.Bytes(Done)
}

// Command is how the copy was begun, and in which directory; empty if nothing
// was begun.
func (f *File) Command() (directory string, words []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.state == nil {
		return "", nil
	}
	return f.state.Directory, slices.Clone(f.state.Command)
}

// Empty tells that nothing was ever begun.
func (f *File) Empty() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.state == nil
}

// Finished is the copy of the file, if that is complete.
func (f *File) Finished() (Plan, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.state == nil || f.state.Stage != Complete {
		return Plan{}, false
	}
	return f.state.Plan, true
}

// Begin starts a new copy. What the file held is forgotten when its first state
// is written.
func (f *File) Begin(plan Plan, directory string, command []string) {
	s := &State{
		Created: time.Now().UTC().Truncate(time.Second), Directory: directory, Command: command,
		Plan: plan, Writer: f.self, Stage: Copying,
	}
	rand.Read(s.Job[:]) // never fails
	f.mu.Lock()
	defer f.mu.Unlock()
	f.state = s
}

// Resume goes on with the copy of the file if it is the one of the plan, which
// has these ranges; else the error is a [Difference].
func (f *File) Resume(plan Plan, ranges []Range) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	points := f.state.Plan.compare(plan)
	if len(points) == 0 && !f.state.Map.lies(ranges) {
		return &Error{f.path, fmt.Errorf("%w: the map is outside of the ranges", ErrFormat)}
	}
	if len(points) > 0 {
		return &Error{f.path, &Difference{points}}
	}
	f.state.Writer = f.self
	return nil
}

// Job is the key for the samples of the copy.
func (f *File) Job() []byte {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.state.Job[:])
}

// Extents lists what is known of the destination.
func (f *File) Extents() []Extent {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.state.Map.Extents()
}

// Begun tells what samples of the source look like, before anything is written to
// the destination. It fails with a [Difference] if they are not what they were,
// and else writes the state for the first time. No samples at all are not
// compared.
func (f *File) Begun(samples []Sample) error {
	return f.update(func(s *State) error {
		if len(s.Samples) == 0 {
			s.Samples = samples
		}
		if len(samples) == 0 {
			return nil
		}
		if n := differing(s.Samples, samples); n > 0 {
			return &Difference{[]string{fmt.Sprintf("the contents of the source have changed: %d of %d samples differ", n, len(samples))}}
		}
		return nil
	})
}

// Record notes what became of parts of the destination. What is done must be
// durable.
func (f *File) Record(extents []Extent) error {
	return f.update(func(s *State) error {
		for _, e := range extents {
			s.Map.Put(e)
		}
		if len(s.Map.extents) > manyExtents {
			s.Map.forgetMethods()
		}
		return nil
	})
}

// Complete notes that the copy is complete.
func (f *File) Complete() error {
	return f.update(func(s *State) error {
		s.Stage = Complete
		return nil
	})
}

// Forget notes that nothing of the destination is known to be right.
func (f *File) Forget() error {
	return f.update(func(s *State) error {
		s.Map = Map{}
		return nil
	})
}

// update changes the state and replaces the file. After an error the file is the
// earlier one, or the new one if it is only the name that may not be durable.
func (f *File) update(change func(*State) error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := change(f.state); err != nil {
		return &Error{f.path, err}
	}
	data, err := f.state.Encode()
	if err == nil {
		err = f.replace(data)
	}
	if err != nil {
		return &Error{f.path, err}
	}
	return nil
}

// replace puts a new file in the place of the old one: it is written, made
// durable, given the name, and the name made durable. It is locked before it has
// the name, so that there is no moment at which somebody else could claim it.
func (f *File) replace(data []byte) error {
	name := newName(f.name)
	next, err := f.dir.create(name)
	if err != nil {
		return err
	}
	_, err = next.Write(data)
	if err == nil {
		err = next.Sync()
	}
	if err == nil {
		err = f.dir.unchanged(f.name, f.held)
	}
	if err == nil {
		err = f.dir.rename(name, f.name)
	}
	if err != nil {
		return errors.Join(err, next.Close(), f.dir.remove(name))
	}
	f.made = false
	old := f.held
	f.held = next
	return errors.Join(f.dir.sync(), old.Close())
}
