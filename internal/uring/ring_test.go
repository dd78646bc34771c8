package uring

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// newRing makes a ring on the thread of the test, to which nothing else comes.
func newRing(t *testing.T, entries int) *Ring {
	t.Helper()
	runtime.LockOSThread()
	r, err := New(entries)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if r.fd >= 0 {
			if err := r.Close(); err != nil {
				t.Error(err)
			}
		}
		runtime.UnlockOSThread()
	})
	return r
}

// wait takes so many completions.
func wait(t *testing.T, r *Ring, n int, soon bool) (list []Completion) {
	t.Helper()
	for len(list) < n {
		if err := r.Enter(1, soon); err != nil {
			t.Fatal(err)
		}
		for c, ok := r.Next(); ok; c, ok = r.Next() {
			list = append(list, c)
		}
	}
	return list
}

func memory(t *testing.T, n int) []byte {
	t.Helper()
	m, err := unix.Mmap(-1, 0, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Munmap(m) })
	return m
}

// TestTransfers goes around the queues several times, with memory of both kinds.
func TestTransfers(t *testing.T) {
	const part, parts = 8192, 16
	path := filepath.Join(t.TempDir(), "file")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for name, fixed := range map[string]bool{"plain": false, "registered": true} {
		t.Run(name, func(t *testing.T) {
			r := newRing(t, 4)
			m := memory(t, part*parts)
			if fixed {
				if err := r.Register(m, part); err != nil {
					t.Fatal(err)
				}
			}
			if r.Registered() != fixed {
				t.Error("registered:", r.Registered())
			}
			random := rand.New(rand.NewPCG(1, 1))
			want := make([]byte, part*parts)
			for i := range want {
				want[i] = byte(random.Uint32())
			}
			copy(m, want)
			fd := int(f.Fd())
			for i := range parts { // of one part, and across the border of two
				at, n := i*part, part
				if i > 0 && i%3 == 0 {
					at, n = at-100, n+100
				}
				r.Write(uint64(i), fd, m[at:at+n], int64(at))
				c := wait(t, r, 1, i%2 == 0)[0]
				for c.Err() == unix.ECANCELED { // signals have kept the kernel from starting a thread for it
					r.Write(uint64(i), fd, m[at:at+n], int64(at))
					c = wait(t, r, 1, false)[0]
				}
				if c != (Completion{uint64(i), int32(n)}) || c.Err() != nil {
					t.Fatalf("write %d: %+v", i, c)
				}
			}
			if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, want) {
				t.Fatalf("wrong bytes, %v", err)
			}
			clear(m)
			for i := 0; i < parts; i += 4 {
				for k := i; k < i+4; k++ {
					r.Read(uint64(k), fd, m[k*part:(k+1)*part], int64(k*part))
				}
				if !r.Full() || r.UnderWay() != 4 {
					t.Errorf("%d requests, full: %v", r.UnderWay(), r.Full())
				}
				ids := map[uint64]bool{}
				for _, c := range wait(t, r, 4, true) {
					for c.Err() == unix.ECANCELED {
						r.Read(c.ID, fd, m[c.ID*part:(c.ID+1)*part], int64(c.ID*part))
						c = wait(t, r, 1, false)[0]
					}
					if ids[c.ID] = true; c.Result != part {
						t.Errorf("read: %+v", c)
					}
				}
				if len(ids) != 4 {
					t.Errorf("completed: %v", ids)
				}
			}
			if !bytes.Equal(m, want) {
				t.Error("read something else")
			}
			r.Read(77, fd, m[:part], part*parts-100)
			if c := wait(t, r, 1, false)[0]; c.Result != 100 {
				t.Errorf("at the end: %+v", c)
			}
			r.Read(78, 1<<20, m[:part], 0)
			if c := wait(t, r, 1, false)[0]; !errors.Is(c.Err(), unix.EBADF) {
				t.Errorf("of no file: %+v", c)
			}
		})
	}
}

// TestWaiting: a request that does not end is canceled; until then the ring stays open.
func TestWaiting(t *testing.T) {
	r := newRing(t, 8)
	bell, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(bell)
	r.Poll(1, bell)
	r.Poll(2, bell)
	if err := r.Enter(0, false); err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); !errors.Is(err, ErrBusy) {
		t.Fatalf("close: %v", err)
	}
	r.Cancel(3, 1)
	r.Cancel(4, 99)
	var got []Completion
	for len(got) < 3 {
		got = append(got, wait(t, r, 1, true)...)
	}
	want := map[uint64]error{1: unix.ECANCELED, 3: nil, 4: unix.ENOENT}
	for _, c := range got {
		if err, ok := want[c.ID]; !ok || c.Err() != err && !errors.Is(c.Err(), err) {
			t.Errorf("%+v", c)
		}
	}
	go unix.Write(bell, []byte{1, 0, 0, 0, 0, 0, 0, 0}) // while it waits, longer than it does without a word
	if c := wait(t, r, 1, true)[0]; c.ID != 2 || c.Result != unix.POLLIN {
		t.Errorf("%+v", c)
	}
	if r.UnderWay() != 0 {
		t.Errorf("%d requests under way", r.UnderWay())
	}
}

// TestWithdraw: what the kernel has not seen can be taken back.
func TestWithdraw(t *testing.T) {
	r := newRing(t, 8)
	m := memory(t, 4096)
	for round := range 5 {
		r.Write(1, -1, m, 0)
		r.Read(2, -1, m, 0)
		ids := r.Withdraw()
		slices.Sort(ids)
		if !slices.Equal(ids, []uint64{1, 2}) || r.UnderWay() != 0 || r.Full() {
			t.Fatalf("round %d: %v, %d under way", round, ids, r.UnderWay())
		}
		r.Read(3, -1, m, 0)
		if c := wait(t, r, 1, false); len(c) != 1 || c[0].ID != 3 || !errors.Is(c[0].Err(), unix.EBADF) {
			t.Fatalf("round %d: %+v", round, c)
		}
	}
}

// TestInterrupted: signals, as Go's scheduler sends them, end the wait and nothing else.
func TestInterrupted(t *testing.T) {
	r := newRing(t, 8)
	bell, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(bell)
	thread := unix.Gettid()
	for range 20 {
		r.Poll(1, bell)
		go func() {
			for range 3 {
				unix.Tgkill(unix.Getpid(), thread, unix.SIGURG)
			}
			unix.Write(bell, []byte{1, 0, 0, 0, 0, 0, 0, 0})
		}()
		if c := wait(t, r, 1, true)[0]; c.ID != 1 || c.Result != unix.POLLIN {
			t.Fatalf("%+v", c)
		}
		if _, err := unix.Read(bell, make([]byte, 8)); err != nil {
			t.Fatal(err)
		}
	}
}

// TestRegisterFails: the errno comes through, and the ring goes on without.
func TestRegisterFails(t *testing.T) {
	r := newRing(t, 8)
	m := memory(t, 1<<20)
	if err := r.Register(m, 1); !errors.Is(err, unix.EINVAL) || r.Registered() { // too many parts
		t.Errorf("%v, registered: %v", err, r.Registered())
	}
	r.Read(1, -1, m, 0)
	if c := wait(t, r, 1, false)[0]; !errors.Is(c.Err(), unix.EBADF) {
		t.Errorf("%+v", c)
	}
}
