package throttle

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// readerEnv marks the process that reads. It moves itself into a cgroup, begins a read there, and
// does not wait for it.
const readerEnv = "DMCOPY_THROTTLE_READER"

const maxBios = 4096

// readerMain reads lines "GROUP OFFSET LENGTH" and answers each with a line.
func readerMain(device string) error {
	fd, err := unix.Open(device, unix.O_RDONLY|unix.O_DIRECT, 0)
	if err != nil {
		return err
	}
	var ctx uintptr
	if _, _, errno := unix.Syscall(unix.SYS_IO_SETUP, maxBios, uintptr(unsafe.Pointer(&ctx)), 0); errno != 0 {
		return errno
	}
	buf, err := unix.Mmap(-1, 0, largest, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return err
	}
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var group string
		var offset, length int64
		if _, err := fmt.Sscan(lines.Text(), &group, &offset, &length); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(group, "cgroup.procs"), strconv.AppendInt(nil, int64(os.Getpid()), 10), 0); err != nil {
			return err
		}
		// struct iocb of include/uapi/linux/aio_abi.h: data, key and flags, opcode and priority and descriptor, buffer, length, offset.
		cb := [8]uint64{2: uint64(uint32(fd)) << 32, 3: uint64(uintptr(unsafe.Pointer(&buf[0]))), 4: uint64(length), 5: uint64(offset)}
		list := [1]*[8]uint64{&cb}
		if _, _, errno := unix.Syscall(unix.SYS_IO_SUBMIT, ctx, 1, uintptr(unsafe.Pointer(&list))); errno != 0 {
			return errno
		}
		fmt.Println()
	}
	return lines.Err()
}

// reader is the process as the test sees it.
type reader struct {
	t      *testing.T
	cmd    *exec.Cmd
	orders *os.File
	lines  *bufio.Reader
}

func startReader(t *testing.T, device string) *reader {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env, cmd.Stderr = append(os.Environ(), readerEnv+"="+device), os.Stderr
	in, orders, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdin = in
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	in.Close()
	r := &reader{t: t, cmd: cmd, orders: orders, lines: bufio.NewReader(out)}
	t.Cleanup(func() {
		orders.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("reader: %v", err)
		}
	})
	return r
}

// read begins a read in a group.
func (r *reader) read(group string, offset, length int64) {
	r.t.Helper()
	if _, err := fmt.Fprintln(r.orders, group, offset, length); err != nil {
		r.t.Fatal(err)
	}
	if _, err := r.lines.ReadString('\n'); err != nil {
		r.t.Fatal(err)
	}
}

// write writes to a file of the kernel.
func write(t *testing.T, text string, path ...string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(path...), []byte(text), 0); err != nil {
		t.Fatal(err)
	}
}

// lines are those of a file.
func lines(t *testing.T, path string) []string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimRight(string(text), "\n"), "\n")
}
