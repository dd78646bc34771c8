package files

import (
	"errors"
	"sync"

	"github.com/dmcopy/dmcopy/internal/boottime"
)

// Loopback is a pair of files in memory, on a file system that does as it is told.
// It is safe for concurrent use; the fields are set before.
type Loopback struct {
	// Source and Dest are the contents; one slice for copies within a file.
	Source, Dest []byte
	// Answer is asked before each call, with its number counted from 0; nil means
	// to obey. It may shrink the files.
	Answer func(n int, m Move) Answer

	mu     sync.Mutex
	calls  int
	synced []byte
}

// Answer is what becomes of a call.
type Answer struct {
	// Err is returned, after Copied bytes were copied.
	Err error
	// Copied and Said are how many bytes are copied, and how many are reported; for
	// Clone only the first counts. Zero values mean all of them, negative ones none.
	Copied, Said int64
}

var _ Transport = (*Loopback)(nil)

// Calls counts calls that copy.
func (l *Loopback) Calls() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.calls
}

func (l *Loopback) do(m Move, notAfter boottime.Limit) (Answer, error) {
	if err := notAfter.Check(boottime.Now()); err != nil {
		return Answer{}, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	a := Answer{}
	if l.Answer != nil {
		a = l.Answer(l.calls, m)
	}
	l.calls++
	n := told(a.Copied, m.Len)
	if a.Err != nil && a.Copied == 0 {
		n = 0
	}
	if m.Src+n > int64(len(l.Source)) || m.Dst+n > int64(len(l.Dest)) {
		return a, errors.New("files: loopback: outside of the file")
	}
	copy(l.Dest[m.Dst:][:n], l.Source[m.Src:][:n])
	return a, a.Err
}

// told reads a number of an answer.
func told(n, all int64) int64 {
	switch {
	case n == 0:
		return all
	case n < 0:
		return 0
	}
	return n
}

// Clone implements [Transport].
func (l *Loopback) Clone(m Move, notAfter boottime.Limit) error {
	_, err := l.do(m, notAfter)
	return err
}

// CopyRange implements [Transport].
func (l *Loopback) CopyRange(m Move, notAfter boottime.Limit) (int64, error) {
	a, err := l.do(m, notAfter)
	return told(a.Said, m.Len), err
}

// Sizes implements [Transport].
func (l *Loopback) Sizes() (src, dst int64, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return int64(len(l.Source)), int64(len(l.Dest)), nil
}

// Settle implements [Transport].
func (l *Loopback) Settle() error { return l.Sync() }

// Sync implements [Transport].
func (l *Loopback) Sync() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.synced = append([]byte(nil), l.Dest...)
	return nil
}

// Synced is what the destination held when it was last made durable.
func (l *Loopback) Synced() []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.synced
}

// Close implements [Transport].
func (l *Loopback) Close() error { return nil }
