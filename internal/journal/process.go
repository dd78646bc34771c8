package journal

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Process is a process of some boot of some machine.
type Process struct {
	PID int64
	// Started is when, in clock ticks since the boot.
	Started int64
	// Boot is the ID of the boot.
	Boot string
}

// proc is where processes are found.
type proc string

const thisProc proc = "/proc"

// self is this process.
func (p proc) self() (Process, error) {
	boot, err := os.ReadFile(filepath.Join(string(p), "sys/kernel/random/boot_id"))
	if err != nil {
		return Process{}, err
	}
	self := Process{PID: int64(os.Getpid()), Boot: strings.TrimSpace(string(boot))}
	self.Started, err = p.started(self.PID)
	return self, err
}

// lives tells whether the process still runs, which another one may have the
// number of by now.
func (p proc) lives(of, self Process) (bool, error) {
	if of.Boot != self.Boot || of.PID == self.PID || of.PID == 0 {
		return false, nil
	}
	started, err := p.started(of.PID)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH) || errors.Is(err, errZombie) {
		return false, nil
	}
	return err == nil && started == of.Started, err
}

// Running tells whether the writer of the state still runs.
func (s *State) Running() (bool, error) {
	self, err := thisProc.self()
	if err != nil {
		return false, err
	}
	if s.Writer == self {
		return true, nil
	}
	return thisProc.lives(s.Writer, self)
}

var (
	errStat   = errors.New("unexpected content")
	errZombie = errors.New("the process has ended")
)

// started reads field 22 of /proc/PID/stat (proc_pid_stat(5)). Field 2, the name
// in parentheses, can hold anything.
func (p proc) started(pid int64) (int64, error) {
	path := filepath.Join(string(p), strconv.FormatInt(pid, 10), "stat")
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	behind := string(text[bytes.LastIndexByte(text, ')')+1:])
	fields := strings.Fields(behind) // from field 3 on
	if len(fields) < 20 {
		return 0, fmt.Errorf("%s: %w", path, errStat)
	}
	if fields[0] == "Z" || fields[0] == "X" {
		return 0, errZombie
	}
	started, err := strconv.ParseInt(fields[19], 10, 64)
	if err != nil || started < 0 {
		return 0, fmt.Errorf("%s: %w", path, errStat)
	}
	return started, nil
}
