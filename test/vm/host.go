package vm

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

//go:embed guest-init.sh
var guestInit []byte

// consoleFile holds the guest's kernel console, in the run directory.
const consoleFile = "console.log"

// bootLimit bounds the time until the guest's init is ready. Some 5 s are usual; a busy host may need many times that.
const bootLimit = 3 * time.Minute

// ErrGuest means that the guest did not run the payload to its end: it did not boot, crashed, hung, or QEMU failed. The
// error's text ends with the tail of the kernel console.
var ErrGuest = errors.New("guest failed")

// ErrAborted means that QEMU called abort(3), as it does where an assertion of its own fails. It comes with ErrGuest.
var ErrAborted = errors.New("QEMU aborted")

// A Payload is the program that a guest runs.
type Payload struct {
	Program string   // executable on the host if it contains a slash (must be static), else a command of the guest
	Args    []string // without the program's name
	Env     []string // KEY=VALUE, added to the guest's environment
	Dir     string   // host directory to work in, read-only in the guest; "" means none
	Out     string   // host directory that the guest sees writable at OutDir; "" means none
	Stdin   io.Reader
	Stdout  io.Writer
	Stderr  io.Writer
	Console io.Writer     // gets the kernel's warnings and worse since the payload started, if its exit code is not 0
	Timeout time.Duration // of the payload; 0 means none
}

// OutDir is where the guest sees [Payload.Out].
const OutDir = "/dmcopy/out"

// share is a host directory that the guest mounts by 9p at /dmcopy/TAG.
type share struct {
	tag, path string
	writable  bool
}

// Run boots the machine, runs the payload in it as root and returns its exit code. The error is nil whenever the payload
// ran to its end, whatever its exit code. It returns when the guest is gone.
func (m Machine) Run(ctx context.Context, p Payload) (exitCode int, err error) {
	if m, err = m.withDefaults(); err != nil {
		return -1, fmt.Errorf("machine: %w", err)
	}
	img, err := ensureImage(archOf(m.Kernel))
	if err != nil {
		return -1, err
	}
	if err := img.checkKernel(m.Kernel); err != nil {
		return -1, err
	}
	dir, err := makeRunDir()
	if err != nil {
		return -1, err
	}
	defer os.RemoveAll(dir)
	g := &guest{machine: m, payload: p, image: img, dir: dir, ready: make(chan struct{}), exit: make(chan int, 1)}
	if err := g.prepare(ctx); err != nil {
		return -1, err
	}
	return g.run(ctx)
}

// makeRunDir makes the directory of one boot and removes those of runs that were killed.
func makeRunDir() (string, error) {
	// /var/tmp is on disk where /tmp may be memory; TMPDIR is the user's word.
	base := os.Getenv("TMPDIR")
	if base == "" {
		base = "/var/tmp"
	}
	const prefix = "dmcopy-vm-"
	others, err := filepath.Glob(filepath.Join(base, prefix+"*"))
	if err != nil {
		return "", err
	}
	for _, other := range others {
		_, pid, _ := strings.Cut(filepath.Base(other)[len(prefix):], "-")
		if _, err := os.Stat("/proc/" + pid); pid != "" && os.IsNotExist(err) {
			os.RemoveAll(other) // may belong to another user, or a sibling is at it: no harm
		}
	}
	return os.MkdirTemp(base, fmt.Sprintf("%s*-%d", prefix, os.Getpid()))
}

// guest is one boot.
type guest struct {
	machine Machine
	payload Payload
	image   image
	dir     string // run directory: boot share and console
	shares  []share

	conn  map[channel]*os.File // our ends of the channels
	ready chan struct{}        // closed when the guest's init says so
	exit  chan int             // the payload's exit code

	booted atomic.Int64 // length of the console until then
}

// prepare writes the boot share.
func (g *guest) prepare(ctx context.Context) error {
	boot := filepath.Join(g.dir, "boot")
	if err := os.MkdirAll(filepath.Join(boot, "bin"), 0o755); err != nil {
		return err
	}
	for _, pkg := range g.machine.Programs {
		if err := buildProgram(ctx, g.image.arch, pkg, filepath.Join(boot, "bin")); err != nil {
			return err
		}
	}
	g.shares = []share{{tag: "boot", path: boot}}
	script, err := g.payloadScript()
	if err != nil {
		return err
	}
	for name, text := range map[string][]byte{"init": guestInit, "payload": script, "environment": g.environment()} {
		if err := os.WriteFile(filepath.Join(boot, name), text, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// openBacking creates a sparse file that has no name: it is gone when QEMU is, whatever happens to us.
func openBacking(dir string, size int64) (*os.File, error) {
	f, err := os.CreateTemp(dir, "disk-")
	if err != nil {
		return nil, err
	}
	if err = os.Remove(f.Name()); err == nil {
		err = f.Truncate(size)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// buildProgram builds a main package static into dir.
func buildProgram(ctx context.Context, a arch, pkg, dir string) error {
	return a.goCommand(ctx, "build", "-o", dir+"/", pkg)
}

// payloadScript is the shell script that init runs. It copies the program into memory first: paging a Go binary in over 9p
// costs more than reading it once.
func (g *guest) payloadScript() ([]byte, error) {
	var script strings.Builder
	program := g.payload.Program
	if strings.Contains(program, "/") {
		path, err := filepath.Abs(program)
		if err != nil {
			return nil, err
		}
		g.shares = append(g.shares, share{tag: "exe", path: filepath.Dir(path)})
		fmt.Fprintf(&script, "cp %s /run/dmcopy/ || exit 126\n", quote("/dmcopy/exe/"+filepath.Base(path)))
		program = "/run/dmcopy/" + filepath.Base(path)
	}
	if len(g.machine.Programs) > 0 {
		script.WriteString("cp /dmcopy/boot/bin/* /usr/local/bin/ || exit 126\n")
	}
	if g.payload.Out != "" {
		g.shares = append(g.shares, share{tag: "out", path: g.payload.Out, writable: true})
	}
	if g.payload.Dir != "" {
		root, rel, err := moduleRoot(g.payload.Dir)
		if err != nil {
			return nil, err
		}
		g.shares = append(g.shares, share{tag: "dir", path: root})
		fmt.Fprintf(&script, "cd %s || exit 126\n", quote(filepath.Join("/dmcopy/dir", rel)))
	} else {
		script.WriteString("cd /root\n")
	}
	script.WriteString("exec " + quote(program))
	for _, arg := range g.payload.Args {
		script.WriteString(" " + quote(arg))
	}
	script.WriteString("\n")
	return []byte(script.String()), nil
}

// moduleRoot finds the module that dir lies in, so that tests see ../testdata as on the host.
func moduleRoot(dir string) (root, rel string, err error) {
	if dir, err = filepath.Abs(dir); err != nil {
		return "", "", err
	}
	root = dir
	for {
		if _, err := os.Stat(filepath.Join(root, "go.mod")); err == nil {
			rel, err = filepath.Rel(root, dir)
			return root, rel, err
		}
		if root == filepath.Dir(root) {
			return dir, ".", nil
		}
		root = filepath.Dir(root)
	}
}

// environment is the shell script that sets the payload's environment.
func (g *guest) environment() []byte {
	env := []string{"PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LC_ALL=C", "TERM=dumb", "TMPDIR=/tmp"}
	for _, kv := range os.Environ() {
		name, _, _ := strings.Cut(kv, "=")
		if strings.HasPrefix(name, "DMCOPY_") && name != "DMCOPY_CACHE" || name == "GODEBUG" || name == "GOTRACEBACK" {
			env = append(env, kv)
		}
	}
	env = append(env, guestVariable+"=1", "DMCOPY_VM_KERNEL="+g.machine.Kernel)
	env = append(env, g.payload.Env...)
	var out bytes.Buffer
	for _, kv := range env {
		name, value, _ := strings.Cut(kv, "=")
		fmt.Fprintf(&out, "export %s=%s\n", name, quote(value))
	}
	return out.Bytes()
}

// quote makes one word of s for a POSIX shell.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// run starts QEMU, serves the channels and waits for the end.
func (g *guest) run(ctx context.Context) (int, error) {
	var qemuOutput bytes.Buffer
	cmd, monitorConn, err := g.command(&qemuOutput)
	if err != nil {
		return -1, err
	}
	qemu, err := startWithParentDeath(cmd)
	// QEMU has its own now; ours would keep the channels from ending.
	for _, f := range cmd.ExtraFiles {
		f.Close()
	}
	if err != nil {
		return -1, fmt.Errorf("%w: %w", ErrGuest, err)
	}
	var output sync.WaitGroup // the streams that must have drained before the verdict
	g.serve(&output)
	mon, err := newMonitor(monitorConn)
	if err == nil {
		go mon.relay(g.conn[channelQMP])
		err = g.wait(ctx, qemu)
	}
	cmd.Process.Kill()
	<-qemu.done
	output.Wait()
	for _, c := range g.conn {
		c.Close()
	}
	monitorConn.Close()
	select {
	case code := <-g.exit:
		if code != 0 && g.payload.Console != nil {
			_, err = g.payload.Console.Write(g.console()[g.booted.Load():])
		}
		return code, err
	default:
	}
	return -1, g.failure(err, qemuOutput.String())
}

// zeroedMemory has glibc fill what malloc returns with zeroes (the complement of the byte that it is given), which it does
// not for chunks out of a thread's cache. QEMU's NVMe model needs it: where the reading half of a Copy fails before anything
// was written, nvme_copy_done (hw/nvme/ctrl.c, 10.0) accounts for a write that was never begun, with a cookie that nobody has
// initialized. Whether block_account_one_io (block/accounting.c) then aborts depends on what lay in that memory before; a
// cookie of zeroes means that there is nothing to account for.
const zeroedMemory = "GLIBC_TUNABLES=glibc.malloc.tcache_count=0:glibc.malloc.perturb=255"

// command puts QEMU's command line together. It inherits the backing file of each disk, and one end of a socket pair for
// each channel and for the monitor.
func (g *guest) command(output *bytes.Buffer) (cmd *exec.Cmd, monitorConn *os.File, err error) {
	cmd = exec.Command(g.image.arch.emulator)
	cmd.Env = append(os.Environ(), zeroedMemory)
	cmd.Stdout, cmd.Stderr = output, output
	inherit := func(f *os.File) (fd int) {
		cmd.ExtraFiles = append(cmd.ExtraFiles, f)
		return len(cmd.ExtraFiles) + 2 // ExtraFiles come after the three standard streams
	}
	disks := map[string]int{}
	for _, d := range g.machine.Disks {
		f, err := openBacking(g.dir, d.Size)
		if err != nil {
			return nil, nil, err
		}
		disks[d.Name()] = inherit(f)
	}
	ports := map[channel]int{}
	g.conn = map[channel]*os.File{}
	for _, c := range channels {
		ours, theirs, err := socketPair(string(c))
		if err != nil {
			return nil, nil, err
		}
		g.conn[c], ports[c] = ours, inherit(theirs)
	}
	ours, theirs, err := socketPair("monitor")
	if err != nil {
		return nil, nil, err
	}
	accel, err := g.image.accelerator()
	if err != nil {
		return nil, nil, err
	}
	a := g.machine.qemuArguments(g.image, accel, g.dir, g.shares, disks)
	a.addChannels(ports, inherit(theirs))
	cmd.Args = append(cmd.Args, a...)
	return cmd, ours, nil
}

func socketPair(name string) (ours, theirs *os.File, err error) {
	fd, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	return os.NewFile(uintptr(fd[0]), name), os.NewFile(uintptr(fd[1]), name+" of QEMU"), nil
}

// process is a running QEMU.
type process struct {
	done chan struct{} // closed when it has ended
	err  error         // then: how
}

// startWithParentDeath starts cmd so that it is killed when this process dies in whatever way. The kernel ties that to the
// thread that forked (prctl(2) PR_SET_PDEATHSIG), so that thread is kept until the child has ended.
func startWithParentDeath(cmd *exec.Cmd) (*process, error) {
	// A group of its own: ^C at the terminal reaches us, and we end QEMU in order.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	p := &process{done: make(chan struct{})}
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			p.err = cmd.Wait()
			close(p.done)
		}
	}()
	return p, <-started
}

// serve copies the payload's streams and listens to the control channel.
func (g *guest) serve(output *sync.WaitGroup) {
	for c, w := range map[channel]io.Writer{channelStdout: g.payload.Stdout, channelStderr: g.payload.Stderr} {
		if w == nil {
			w = io.Discard
		}
		output.Go(func() { io.Copy(w, g.conn[c]) })
	}
	output.Go(g.listen)
	go func() {
		if g.payload.Stdin != nil {
			io.Copy(g.conn[channelStdin], g.payload.Stdin)
		}
		unix.Shutdown(int(g.conn[channelStdin].Fd()), unix.SHUT_WR)
	}()
}

// listen reads the control channel until the payload's exit code or the end.
func (g *guest) listen() {
	in := newLineReader(g.conn[channelControl])
	for {
		line, err := in()
		if err != nil {
			return
		}
		if line == "ready" {
			g.booted.Store(int64(len(g.console())))
			close(g.ready)
		}
		if number, found := strings.CutPrefix(line, "exit "); found {
			if code, err := strconv.Atoi(number); err == nil {
				g.exit <- code
				return
			}
		}
	}
}

// wait returns nil when the payload's exit code has come, and otherwise says why it will not come.
func (g *guest) wait(ctx context.Context, qemu *process) error {
	limit := time.NewTimer(bootLimit)
	defer limit.Stop()
	ready := g.ready
	for {
		select {
		case code := <-g.exit:
			g.exit <- code // for run
			return nil
		case <-ready:
			ready = nil
			limit.Stop()
			if g.payload.Timeout > 0 {
				limit.Reset(g.payload.Timeout)
			}
		case <-limit.C:
			if ready != nil {
				return fmt.Errorf("no sign of life from the guest's init within %v", bootLimit)
			}
			return fmt.Errorf("payload still running after %v", g.payload.Timeout)
		case <-qemu.done:
			return fmt.Errorf("QEMU ended before the payload: %w", howEnded(qemu.err))
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// howEnded tells an abort from other ends of QEMU.
func howEnded(err error) error {
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return fmt.Errorf("%v", err) // nil, too: QEMU has no reason to end before it is killed
	}
	if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() && status.Signal() == syscall.SIGABRT {
		return fmt.Errorf("%w: %w", ErrAborted, err)
	}
	return err
}

// console returns what the kernel has said so far.
func (g *guest) console() []byte {
	text, err := os.ReadFile(filepath.Join(g.dir, consoleFile))
	if err != nil {
		return []byte(err.Error())
	}
	return text
}

// failure wraps err with what the console and QEMU said.
func (g *guest) failure(err error, qemuOutput string) error {
	if err == nil {
		err = errors.New("no exit code")
	}
	if text := strings.TrimSpace(qemuOutput); text != "" {
		err = fmt.Errorf("%w\nQEMU said: %s", err, text)
	}
	return fmt.Errorf("%w: %w\n---- tail of the guest's console ----\n%s", ErrGuest, err, tail(g.console(), 80))
}

// tail returns the last lines of text.
func tail(text []byte, lines int) []byte {
	at := len(text)
	for range lines + 1 {
		next := bytes.LastIndexByte(text[:at], '\n')
		if next < 0 {
			return text
		}
		at = next
	}
	return text[at+1:]
}
