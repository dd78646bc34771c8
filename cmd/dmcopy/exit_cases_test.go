package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/internal/blockio"
	"github.com/dmcopy/dmcopy/internal/blockio/looptest"
)

// exitCases are what a user can do, one a line, and what the program ends with. {src},
// {dst}, {busy}, {moved}, {long}, {partial}, {begun} are prepared by the test; what is not named exists nowhere. What else
// happens has its name in what.
var exitCases = []struct {
	code int
	what string
	args string // of dmcopy, separated by spaces
	says string
}{
	{0, "help", "--help", ""},
	{0, "version", "--version", ""},
	{0, "file to file", "copy a ./new", ""},
	{0, "device to device", "copy {src} {dst}", ""},
	{0, "device to file, verified", "copy --verify full {src} ./new", ""},
	{0, "plan of a new file", "plan a ./new", ""},
	{0, "plan of what copy refuses", "plan {src} {busy}", "copy would refuse this"},
	{0, "equal", "verify a same", ""},
	{0, "state of a complete copy", "copy --state s a same", ""},

	{1, "the report cannot be printed", "copy a same >/dev/full", "the copy is complete, but the report could not be written"},
	{1, "the help cannot be printed", "copy --help >/dev/full", "dmcopy could not write its output: "},
	{1, "the version cannot be printed", "--version >/dev/full", "no space left on device"},
	{1, "no space", "copy {src} {full}/new", "there is no room left for"},
	{1, "time is over", "copy --timeout 1ns a same", "not done within --timeout"},

	{1, "a limit of the process for what is there", "copy a same", "RLIMIT_FSIZE"},

	{2, "no such command", "cpoy a b", "did you mean copy?"},
	{2, "no such flag", "copy --frobnicate a b", "unknown flag"},
	{2, "a value without its equals sign", "copy --nice 20ms a same", "--nice takes its value with an equals sign: --nice=20ms"},
	{2, "no arguments", "copy", "wants SRC and DST"},
	{2, "no size", "copy --length many a same", "is not a size"},
	{2, "rounded size", "copy --length 1.23G a same", "no whole number of bytes"},
	{2, "ambiguous size", "copy --length 1KB a same", "1000 or of 1024"},
	{2, "no range", "copy --range 1 a same", "is not a range"},
	{2, "behind the end", "copy --src-offset 1G a same", "a ends at byte"},
	{2, "onto itself", "copy a a", "onto itself"},
	{2, "written twice", "copy --range 0:0:9 --range 9:0:9 a same", "writes as well"},
	{2, "the state in place of the output", "copy --state {partial} a same >{partial}", "where the output goes"},
	{2, "no rate file", "copy --rate-file none a same", "there is no such file: write the rate into it first (echo 50M >none)"},
	{2, "half a block", "copy --length 1 {src} {dst}", "not a multiple of"},
	{2, "no snapshot", "plan --stack a b c", "not a stack snapshot"},
	{2, "ranges in a directory", "copy --ranges . a same", "is a directory"},
	{2, "conflicting flags", "copy --freeze --live-source a same", "want one of them"},

	{6, "the report into the destination", "copy {src} {dst} >>{dst}", ""},
	{6, "the report into the source", "copy --json {src} {dst} >>{src}", ""},
	{6, "messages into the destination", "copy {src} {dst} 2>>{dst}", "the standard error of this program goes to "},
	{2, "no time", "copy --timeout 0 a same", "is over at once"},

	{3, "time is over, with state", "copy --timeout {time} --rate 64K --state s {src} {dst}", "incomplete, state saved"},

	{3, "time is over at once, with state", "copy --timeout 1ns --state {begun} {src} {dst}", "incomplete, state saved"},
	{3, "no space, with state", "copy --state s {src} {full}/new", "make room, and go on with dmcopy resume s"},

	{4, "moved without its data, again and again", "copy --rate 1M --window 1M --progress json {long} {moved}", "the destination was moved"},

	{5, "a file system that does not copy", "copy --offload require {src} {dst}", "cannot be offloaded"},
	{5, "into a new file", "copy --offload require {src} ./new", "cannot be offloaded"},

	{6, "no such source", "copy none same", "cannot be found"},
	{6, "misspelt destination", "copy a sdx", "write ./sdx or add --create"},
	{6, "no such directory", "copy a none/new", "cannot be found"},
	{6, "in /dev", "copy a /dev/none", "does not exist"},
	{6, "a pipe", "copy a -", "a pipe has no offsets"},
	{6, "a tag", "copy a UUID=1", "may be several devices"},
	{6, "a directory that is not there", "copy a none/new", "there is no directory none"},
	{6, "what the kernel makes", "copy /proc/cpuinfo ./new", "whose contents the kernel makes when somebody reads them: use cat"},
	{6, "where nothing can be made", "copy a /proc/new", "cannot be created"},
	{6, "no place for the state", "copy --state none/s a ./new", "the state file none/s cannot be opened"},
	{6, "a state on a read-only file system", "copy --state {readonly}/s a same", "name a file on a file system that is not read-only"},
	{6, "without /sys", "copy {src} ./new", "/sys is not there"},
	{6, "without /proc", "copy a ./new", "/proc is not there"},
	{6, "without the working directory", "copy --state /nowhere/s $PWD/a $PWD/same", "the working directory was removed"},
	{6, "a limit of the process", "copy a ./new", "RLIMIT_FSIZE"},
	{6, "too few files", "copy a same", "too many open files"},
	{6, "a circle of links", "copy circle a", "leads in a circle"},
	{6, "a file as a directory", "copy a same/", "leave the slash out"},
	{6, "without CAP_SYS_ADMIN", "copy {src} {dst}", "may not write back"},
	{6, "a directory", "copy a .", "a directory"},
	{6, "a character device", "copy /dev/null a", "a character device"},
	{6, "a dangling link", "copy a dangling", "is a link to nowhere"},
	{6, "too small", "copy a small", "too small by"},
	{6, "a new file that would be", "copy --dst-offset 1 a ./new", "does not exist, and with the length of the source it is too small"},
	{6, "claimed", "copy {src} {busy}", "opened exclusively"},
	{6, "shorter", "verify a small", "is shorter than a"},
	{6, "no state", "resume none", "cannot be opened"},
	{6, "not a state", "status a", "not a state file"},
	{6, "another copy's state", "copy --state {partial} a small", "too small"},
	{6, "a state file that cannot be replaced", "copy --state {appendonly}/s a same", "append-only directory"},
	{6, "a source that could not be written back", "copy {unwritten} ./new", "could not be written to its storage"},
	{6, "a source device that could not be written back", "copy {unwrittendevice} ./new", "could not be written to its storage"},
	{6, "no room for one more file", "copy a {nofiles}/new", "there is no room for one more file"},
	{6, "regular file, frozen", "copy --freeze a same", "cannot be frozen"},

	{7, "different", "verify a other", "verification found a difference"},

	{130, "interrupted", "copy --rate 256K --progress json {long} ./new", "interrupt again to stop at once"},
	{130, "interrupted, with state", "copy --rate 256K --progress json --state s {long} ./new", "s keeps what is done"},
	{130, "terminated", "copy --rate 256K --progress json {long} ./new", "interrupt again to stop at once"},
}

// TestExitCases is the list of docs/usage.md, with what leads to each line. SIGABRT is that of a crash: see TestCrashes.
func TestExitCases(t *testing.T) {
	seen := make(map[int]bool)
	for _, c := range exitCases {
		seen[c.code] = true
		t.Run(c.what, func(t *testing.T) {
			dir := t.TempDir()
			data := bytes.Repeat([]byte("storage\n"), 1<<20/8)
			different := bytes.Clone(data)
			different[1<<19] ^= 1
			files := map[string][]byte{"a": data, "same": data, "other": different, "small": data[:100]}
			for name, data := range files {
				if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.Symlink("nowhere", filepath.Join(dir, "dangling")); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink("circle", filepath.Join(dir, "circle")); err != nil {
				t.Fatal(err)
			}
			args := exitArgs(t, dir, c.args)
			command := map[string]string{
				"without /sys":                             "unshare --mount sh -c 'umount --lazy /sys && exec \"$@\"' sh ",
				"without /proc":                            "unshare --mount sh -c 'umount --lazy /proc && exec \"$@\"' sh ",
				"without the working directory":            "sh -c 'mkdir gone && cd gone && rmdir ../gone && exec \"$@\"' sh ",
				"a limit of the process":                   "prlimit --fsize=65536 ",
				"a limit of the process for what is there": "prlimit --fsize=65536 ",
				"too few files":                            "prlimit --nofile=8 ",
				"without CAP_SYS_ADMIN":                    "setpriv --bounding-set=-sys_admin ",
			}[c.what]
			var place uint64
			text, code := withTime(args, func(args string) (string, int) {
				cmd := exec.Command("sh", "-c", "exec "+command+"dmcopy "+args)
				cmd.Dir = dir
				text := said(t, cmd, map[string]func(){
					"moved without its data, again and again": func() {
						place += 32 << 20
						looptest.Move(t, args[strings.LastIndex(args, " ")+1:], place, 32<<20)
					},
					"interrupted":             once(t, cmd, unix.SIGINT),
					"interrupted, with state": once(t, cmd, unix.SIGINT),
					"terminated":              once(t, cmd, unix.SIGTERM),
				}[c.what])
				return text, cmd.ProcessState.ExitCode()
			})
			if code != c.code || !strings.Contains(text, c.says) {
				t.Errorf("%sdmcopy %s: exit code %d, want %d and %q: %s", command, args, code, c.code, c.says, text)
			}
			if c.code == 6 && strings.Contains(text, "begun") {
				t.Errorf("%s: %s: nothing was", command, text)
			}
			// What says that nothing was written has written nothing, and left nothing behind.
			if c.code != 2 && c.code != 5 && c.code != 6 {
				return
			}
			for name, data := range files {
				if now, err := os.ReadFile(filepath.Join(dir, name)); err != nil || !bytes.Equal(now, data) {
					t.Errorf("%s: %s was written to, %v", args, name, err)
				}
			}
			if left, err := os.ReadDir(dir); err != nil || len(left) != len(files)+2 {
				t.Errorf("%s: left behind: %v, %v", args, left, err)
			}
		})
	}
	for _, e := range exits {
		if !seen[e.code] {
			t.Errorf("no case leads to exit code %d", e.code)
		}
	}
}

// withTime runs a command that runs out of its {time} in the midst of a copy. How long it takes
// to begin depends on the machine: as long as it has not got that far, it gets more time.
func withTime(args string, run func(args string) (text string, code int)) (text string, code int) {
	for limit := 2 * time.Second; ; limit *= 2 {
		text, code = run(strings.ReplaceAll(args, "{time}", limit.String()))
		if code != 1 || limit > time.Minute || !strings.Contains(args, "{time}") {
			return text, code
		}
	}
}

// said runs a command and returns what it says. Each time that it says that it has come further, something happens.
func said(t *testing.T, cmd *exec.Cmd, happens func()) string {
	t.Helper()
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	for lines := bufio.NewScanner(pipe); lines.Scan(); {
		text.WriteString(lines.Text() + "\n")
		var s statusMessage
		if happens != nil && json.Unmarshal(lines.Bytes(), &s) == nil && s.Done > 0 {
			happens()
		}
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return text.String()
}

// once sends a signal the first time.
func once(t *testing.T, cmd *exec.Cmd, signal os.Signal) func() {
	return sync.OnceFunc(func() {
		if err := cmd.Process.Signal(signal); err != nil {
			t.Error(err)
		}
	})
}

// exitArgs puts what is prepared into a command line. Devices lie elsewhere.
func exitArgs(t *testing.T, dir, args string) string {
	t.Helper()
	for name, prepare := range map[string]func() string{
		"{src}": func() string { return looptest.Attach(t, newFile(t, 1<<20), 512) },
		"{dst}": func() string { return looptest.Attach(t, newFile(t, 1<<20), 512) },
		"{moved}": func() string {
			path := looptest.Attach(t, newFile(t, 32<<30), 512)
			looptest.Move(t, path, 0, 32<<20)
			return path
		},
		"{long}": func() string { return longFile(t) },
		"{busy}": func() string {
			path := looptest.Attach(t, newFile(t, 1<<20), 512)
			claim(t, path)
			return path
		},
		"{appendonly}": func() string { return appendOnly(t) },
		"{unwritten}":  func() string { return unwrittenFile(t) },
		"{nofiles}":    func() string { return memory(t, 0, "nr_inodes=1") },
		"{unwrittendevice}": func() string {
			path := filepath.Join(memory(t, 0, "size=1m"), "image")
			if err := errors.Join(os.WriteFile(path, nil, 0o600), os.Truncate(path, 4<<20)); err != nil {
				t.Fatal(err)
			}
			disk := looptest.Attach(t, path, 512)
			if err := os.WriteFile(disk, bytes.Repeat([]byte{0x5A}, 4<<20), 0); err != nil {
				t.Fatal(err)
			}
			return disk
		},
		"{full}":     func() string { return fullFileSystem(t) },
		"{readonly}": func() string { return fileSystem(t, unix.MS_RDONLY) },
		"{partial}":  func() string { return filepath.Join(t.TempDir(), "state") },
	} {
		if strings.Contains(args, name) {
			args = strings.ReplaceAll(args, name, prepare())
		}
	}
	if strings.Contains(args, "{begun}") {
		args = strings.ReplaceAll(args, "{begun}", filepath.Join(t.TempDir(), "state"))
		ends := strings.Fields(args)
		begin(t, ends[len(ends)-3:])
	}
	return args
}

// begin begins a copy, and leaves a state of it.
func begin(t *testing.T, stateAndEnds []string) {
	t.Helper()
	cmd := exec.Command("dmcopy", append([]string{"copy", "--rate", "64K", "--progress", "json", "--state"}, stateAndEnds...)...)
	if text := said(t, cmd, once(t, cmd, unix.SIGINT)); cmd.ProcessState.ExitCode() != 130 {
		t.Fatalf("exit code %d: %s", cmd.ProcessState.ExitCode(), text)
	}
}

// claim claims a device, as whoever mounts it does, until the end of the test.
func claim(t *testing.T, path string) {
	t.Helper()
	f, err := blockio.Open(path, blockio.Exclusive)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
}

// fullFileSystem has 64 KiB, which is less than the devices.
func fullFileSystem(t *testing.T) string { return fileSystem(t, 0) }

// unwrittenFile is a file on a file system whose disk is full below it, as a thin volume of a
// full pool is: what was written to it is in the page cache, and gets no further.
func unwrittenFile(t *testing.T) string {
	t.Helper()
	path := filepath.Join(ext4(t, "size=2m"), "file")
	if err := os.WriteFile(path, bytes.Repeat([]byte{0x5A}, 4<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// appendOnly is a directory whose files can be added to, and not replaced.
func appendOnly(t *testing.T) string {
	t.Helper()
	dir, err := os.Open(ext4(t, "size=16m"))
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	if err := unix.IoctlSetPointerInt(int(dir.Fd()), unix.FS_IOC_SETFLAGS, unix.STATX_ATTR_APPEND); err != nil { // FS_APPEND_FL is the same bit
		t.Fatal(err)
	}
	return dir.Name()
}

// ext4 mounts a file system on a disk of 32 MiB, whose file is on a tmpfs with these options.
func ext4(t *testing.T, options string) string {
	t.Helper()
	const disk = 32 << 20
	image := filepath.Join(memory(t, 0, options), "image")
	if err := errors.Join(os.WriteFile(image, nil, 0o600), os.Truncate(image, disk)); err != nil {
		t.Fatal(err)
	}
	return looptest.Ext4(t, image, "errors=continue")
}

func fileSystem(t *testing.T, flags uintptr) string {
	t.Helper()
	return memory(t, flags, "size=64k")
}

// memory mounts a tmpfs for the test.
func memory(t *testing.T, flags uintptr, options string) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("none", dir, "tmpfs", flags, options); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}
