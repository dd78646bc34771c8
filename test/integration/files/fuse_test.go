package files

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/copydomain/files"
	"github.com/dmcopy/dmcopy/test/vm"
)

// server is a file system in this process, with a file "src" and a file "dst", that
// copies from one to the other as it is told to. It speaks the protocol of
// <linux/fuse.h>: between the calls of a copier and its answers is the real kernel.
type server struct {
	t   *testing.T
	dir string
	fd  int

	mu     sync.Mutex
	files  [2][]byte // src, dst
	copies int
	synced bool // both files, before the first copy
	syncs  [2]bool
	// answer is asked for each request to copy n bytes: how many are copied, how many
	// are reported, and the error.
	answer func(call int, n int64) (copied, said int64, errno syscall.Errno)
}

// Operations (enum fuse_opcode).
const (
	opLookup    = 1
	opForget    = 2
	opGetattr   = 3
	opOpen      = 14
	opRead      = 15
	opWrite     = 16
	opStatfs    = 17
	opRelease   = 18
	opFsync     = 20
	opInit      = 26
	opInterrupt = 36
	opDestroy   = 38
	opBatch     = 42 // of forgets
	opCopy      = 47
)

const (
	rootID  = 1 // the two files are 2 and 3
	maxData = 128 << 10
)

// serve mounts the file system until the end of the test.
func serve(t *testing.T, size int64) *server {
	t.Helper()
	vm.Run(t, "modprobe", "fuse")
	fd, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	s := &server{t: t, dir: t.TempDir(), fd: fd, files: [2][]byte{content(1, size), content(2, size)}}
	s.answer = func(_ int, n int64) (int64, int64, syscall.Errno) { return n, n, 0 }
	if err := unix.Mount("test", s.dir, "fuse.test", 0, fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0", fd)); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.loop()
	}()
	t.Cleanup(func() {
		vm.Run(t, "umount", s.dir)
		<-done
		if err := unix.Close(fd); err != nil {
			t.Error(err)
		}
	})
	s.decline()
	return s
}

// decline has the kernel learn that there is no poll here, and no flush. The runtime
// polls every file that it opens, and a child that it starts flushes those that it
// inherits, without telling the scheduler that it waits: for a server in the same
// process it could wait for ever.
func (s *server) decline() {
	s.t.Helper()
	fd, err := unix.Open(filepath.Join(s.dir, "src"), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		s.t.Fatal(err)
	}
	if _, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0); err != nil {
		s.t.Fatal(err)
	}
	if err := unix.Close(fd); err != nil {
		s.t.Fatal(err)
	}
}

func (s *server) loop() {
	buffer := make([]byte, maxData+4096)
	for {
		n, err := unix.Read(s.fd, buffer)
		switch {
		case errors.Is(err, unix.ENODEV): // unmounted
			return
		case errors.Is(err, unix.EINTR), errors.Is(err, unix.EAGAIN), errors.Is(err, unix.ENOENT):
			continue
		case err != nil:
			s.t.Error(err)
			return
		}
		s.reply(buffer[:n])
	}
}

// reply answers one request (struct fuse_in_header, struct fuse_out_header).
func (s *server) reply(request []byte) {
	le := binary.LittleEndian
	opcode, unique, node := le.Uint32(request[4:]), le.Uint64(request[8:]), le.Uint64(request[16:])
	if opcode == opForget || opcode == opBatch || opcode == opInterrupt {
		return
	}
	s.mu.Lock()
	body, errno := s.handle(opcode, node, request[40:])
	s.mu.Unlock()
	if errno != 0 {
		body = nil
	}
	out := le.AppendUint32(nil, uint32(16+len(body)))
	out = le.AppendUint32(out, uint32(-int32(errno)))
	out = append(le.AppendUint64(out, unique), body...)
	if _, err := unix.Write(s.fd, out); err != nil && !errors.Is(err, unix.ENOENT) {
		s.t.Errorf("reply to %d: %v", opcode, err)
	}
}

func (s *server) handle(opcode uint32, node uint64, in []byte) ([]byte, syscall.Errno) {
	le := binary.LittleEndian
	switch opcode {
	case opInit: // struct fuse_init_in, fuse_init_out
		out := make([]byte, 64)
		le.PutUint32(out, 7)
		le.PutUint32(out[4:], min(le.Uint32(in[4:]), 31))
		le.PutUint32(out[20:], maxData)
		return out, 0
	case opLookup:
		for i, name := range []string{"src\x00", "dst\x00"} {
			if string(in) == name {
				return append(append(le.AppendUint64(nil, uint64(i)+2), make([]byte, 32)...), s.attr(uint64(i)+2)...), 0
			}
		}
		return nil, syscall.ENOENT
	case opGetattr:
		return append(make([]byte, 16), s.attr(node)...), 0
	case opOpen:
		return make([]byte, 16), 0
	case opRead: // struct fuse_read_in
		data := s.files[node-2]
		at := min(le.Uint64(in[8:]), uint64(len(data)))
		return data[at:min(at+uint64(le.Uint32(in[16:])), uint64(len(data)))], 0
	case opWrite: // struct fuse_write_in
		n := copy(s.files[node-2][le.Uint64(in[8:]):], in[40:])
		return le.AppendUint64(nil, uint64(n)), 0
	case opFsync:
		s.syncs[node-2] = true
		return nil, 0
	case opCopy:
		return s.copy(node, in)
	case opStatfs:
		return make([]byte, 80), 0
	case opRelease, opDestroy:
		return nil, 0
	}
	return nil, syscall.ENOSYS
}

// attr is a struct fuse_attr.
func (s *server) attr(node uint64) []byte {
	le := binary.LittleEndian
	out := make([]byte, 88)
	le.PutUint64(out, node)
	mode := uint32(unix.S_IFDIR | 0o755)
	if node != rootID {
		mode = unix.S_IFREG | 0o600
		le.PutUint64(out[8:], uint64(len(s.files[node-2])))
	}
	le.PutUint32(out[60:], mode)
	le.PutUint32(out[64:], 1)
	le.PutUint32(out[80:], 4096)
	return out
}

// copy carries out a request to copy (struct fuse_copy_file_range_in).
func (s *server) copy(node uint64, in []byte) ([]byte, syscall.Errno) {
	le := binary.LittleEndian
	from, to, n := le.Uint64(in[8:]), le.Uint64(in[32:]), int64(le.Uint64(in[40:]))
	if s.copies == 0 {
		s.synced = s.syncs == [2]bool{true, true}
	}
	copied, said, errno := s.answer(s.copies, n)
	s.copies++
	copy(s.files[le.Uint64(in[16:])-2][to:][:copied], s.files[node-2][from:])
	return le.AppendUint64(nil, uint64(said)), errno
}

func (s *server) name(t *testing.T, file string) files.Name {
	t.Helper()
	path := filepath.Join(s.dir, file)
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		t.Fatal(err)
	}
	return files.Name{Path: path, ID: fmt.Sprintf("file:%d:%d:%d", unix.Major(st.Dev), unix.Minor(st.Dev), st.Ino)}
}

// TestServerCopies: copy_file_range through the kernel, with a server that is short,
// refuses, or copies nothing and reports success.
func TestServerCopies(t *testing.T) {
	const size, block = 8 * mib, 4096
	for _, c := range []struct {
		name   string
		answer func(call int, n int64) (copied, said int64, errno syscall.Errno)
		reason string // of all but the first MiB; none if all is copied
	}{
		{"all", nil, ""},
		{"short", func(_ int, n int64) (int64, int64, syscall.Errno) { n = min(n, 300*kib); return n, n, 0 }, ""},
		{"nothing", func(call int, n int64) (int64, int64, syscall.Errno) {
			if call == 0 {
				return 1 * mib, 1 * mib, 0
			}
			return 0, 0, 0
		}, "file:short"},
		{"no room", func(call int, n int64) (int64, int64, syscall.Errno) {
			if call == 0 {
				return 1 * mib, 1 * mib, 0
			}
			return 64 * kib, 0, syscall.ENOSPC
		}, "file:no-space"},
		{"input/output error", func(call int, n int64) (int64, int64, syscall.Errno) {
			if call == 0 {
				return 1 * mib, 1 * mib, 0
			}
			return 64 * kib, 0, syscall.EIO
		}, "file:errno-5"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := serve(t, size)
			if c.answer != nil {
				s.answer = c.answer
			}
			src, dst := s.name(t, "src"), s.name(t, "dst")
			if fs, err := files.Look(src); err != nil || fs.Type != "fuse" || fs.Method != files.None {
				t.Errorf("%+v, %v", fs, err)
			}
			// Both are in the page cache, the source is newer there.
			holds(t, dst.Path, s.files[1])
			pair, err := files.Open(src, dst)
			if err != nil {
				t.Fatal(err)
			}
			defer pair.Close()
			copier, err := files.NewCopier(pair, files.FileSystem{Type: "fuse", Name: "test", Method: files.CopyRange, Block: block}, false, files.Options{})
			if err != nil {
				t.Fatal(err)
			}
			r, err := copier.Copy(t.Context(), []files.Move{{Src: 0, Dst: 0, Len: size}}, nil, func(files.Move) error { return nil })
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%+v, %d requests", r, s.copies)
			done := int64(size)
			if c.reason != "" {
				done = 1 * mib
				if len(r.Redo) != 1 || r.Redo[0].Reason != c.reason || r.Redo[0].Move != (files.Move{Src: done, Dst: done, Len: size - done}) {
					t.Errorf("%+v", r)
				}
			} else if len(r.Redo) > 0 {
				t.Errorf("%+v", r)
			}
			s.mu.Lock()
			right, synced := bytes.Equal(s.files[1][:done], s.files[0][:done]), s.synced
			want := bytes.Clone(s.files[1])
			s.mu.Unlock()
			if !right || !synced {
				t.Errorf("right bytes: %v, synced before: %v", right, synced)
			}
			// Nobody sees what was in the cache.
			if c.reason == "" {
				holds(t, dst.Path, want)
			}
			if err := copier.Flush(); err != nil {
				t.Error(err)
			}
		})
	}
}
