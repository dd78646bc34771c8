package layercopies

import (
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/test/vm"
)

// killed starts a copy, waits until something has been copied, and kills the
// program.
func (b *bench) killed(args ...string) {
	b.Helper()
	b.ended(func(p *os.Process, _ io.Closer) error { return p.Kill() }, args...)
}

// ended starts a copy, waits until something has been copied, and has it end. It returns
// the exit code, -1 for a signal.
func (b *bench) ended(end func(*os.Process, io.Closer) error, args ...string) int {
	b.Helper()
	b.must("throttle", vm.Throttle(leaf, 4*mib, 0))
	defer func() { b.must("throttle", vm.Throttle(leaf, 0, 0)) }()
	cmd := exec.Command("dmcopy", append([]string{"copy", "--json", "--window=1M", "--progress=json"}, args...)...)
	progress, err := cmd.StderrPipe()
	b.must("pipe", err)
	b.must("start", cmd.Start())
	defer cmd.Process.Kill()
	lines := json.NewDecoder(progress)
	for {
		var status struct {
			BytesDone int64 `json:"bytes_done"`
		}
		b.must("progress", lines.Decode(&status))
		if status.BytesDone > 0 {
			break
		}
	}
	b.must("end", end(cmd.Process, progress))
	_, _ = io.Copy(io.Discard, progress) // it may be closed
	_ = cmd.Wait()                       // how it ended is for whoever asked for it
	return cmd.ProcessState.ExitCode()
}

// rootHolder is a pool with a full volume, and a device to copy it to.
func rootHolder(t *testing.T) (b *bench, p *pool, src, dst string) {
	b = newBench(t)
	p = b.group(2, 40*mib).pool()
	src, dst = p.thin("thin"), b.part(volumeSize)
	b.fill(src)
	b.fill(dst)
	return b, p, src, dst
}

// TestKilledWithRoot: the metadata snapshot that a killed copy leaves behind is
// given back by the next one.
func TestKilledWithRoot(t *testing.T) {
	b, p, src, dst := rootHolder(t)
	b.killed(src, dst)
	left := p.held()
	if left == "-" {
		t.Fatal("the copy has left no metadata snapshot behind")
	}
	b.run(transfer{src: src, dst: dst, length: volumeSize, want: raw})
	p.rests()
}

// TestEndedWithRoot: whatever ends a copy in good order, or the reading of a list, has
// everything given back.
func TestEndedWithRoot(t *testing.T) {
	b, p, src, dst := rootHolder(t)
	send := func(s os.Signal) func(*os.Process, io.Closer) error {
		return func(p *os.Process, _ io.Closer) error { return p.Signal(s) }
	}
	for name, end := range map[string]func(*os.Process, io.Closer) error{
		"interrupt": send(unix.SIGINT), "termination": send(unix.SIGTERM), "hangup": send(unix.SIGHUP),
		"nobody reads": func(_ *os.Process, stderr io.Closer) error { return stderr.Close() },
	} {
		if code := b.ended(end, src, dst); code != 130 {
			t.Errorf("%s: exit code %d", name, code)
		}
		p.rests()
		b.noGroups(name)
	}
	for _, command := range []string{"map --json " + src, "plan --json " + src + " " + dst} {
		code := vm.Run(t, "bash", "-c", "dmcopy "+command+" | head -c 1 >/dev/null; echo ${PIPESTATUS[0]}")
		t.Logf("%s: exit code %s", command, code)
		p.rests()
	}
}

// noGroups wants no cgroup of a hold to be left.
func (b *bench) noGroups(after string) {
	b.Helper()
	if left := vm.Run(b, "find", "/sys/fs/cgroup", "-name", "dmcopy-*"); left != "" {
		b.Errorf("%s: %s", after, left)
	}
}

// TestForeignRoot: a metadata snapshot of somebody else is theirs, also after a
// copy of ours was killed that had one of its own.
func TestForeignRoot(t *testing.T) {
	b, p, src, dst := rootHolder(t)
	foreign := func() {
		vm.Message(b, p.path, "reserve_metadata_snap")
		root := p.held()
		b.fill(dst)
		b.run(transfer{src: src, dst: dst, length: volumeSize, want: host("layer:thin-unread")})
		if now := p.held(); now != root {
			t.Errorf("metadata snapshot %s of somebody else is %s now", root, now)
		}
		vm.Message(b, p.path, "release_metadata_snap")
	}
	foreign()
	b.fill(dst)
	b.killed(src, dst)
	// Somebody gives ours back, and takes one of their own, in a later
	// transaction of the pool's metadata.
	vm.Message(b, p.path, "release_metadata_snap")
	p.snapshot("snap", "thin")
	vm.Stamp(b, src, b.newSeed(), 0, mib)
	foreign()
	b.fill(dst)
	b.run(transfer{src: src, dst: dst, length: volumeSize, want: raw})
	p.rests()
}

// TestTwoCopiesOfOnePool: a second copy finds the metadata snapshot taken, and
// goes through the host; both are right.
func TestTwoCopiesOfOnePool(t *testing.T) {
	b, p, src, dst := rootHolder(t)
	other := b.filledPart(volumeSize)
	b.must("throttle", vm.Throttle(leaf, 8*mib, 0))
	first := exec.Command("dmcopy", "copy", "--json", "--window=1M", src, other)
	b.must("start", first.Start())
	begun := time.Now()
	b.until("first copy has the metadata snapshot", func() bool { return p.held() != "-" })
	report, _, err := try(src, dst)
	b.must("second copy", err)
	b.must("throttle", vm.Throttle(leaf, 0, 0))
	b.must("first copy", first.Wait())
	t.Logf("second copy: offloaded %d, reasons %v; first took %v", report.Offloaded, report.Reasons, time.Since(begun))
	for _, path := range []string{dst, other} {
		if err := vm.Compare(src, 0, path, 0, volumeSize); err != nil {
			t.Error(err)
		}
	}
	host("layer:thin-unread").check(t, report)
	p.rests()
}

// TestThinAfterwards: what a copy has written below a thin volume is there when
// the pool is started again, which checks its metadata (thin_check).
func TestThinAfterwards(t *testing.T) {
	b, p, src, dst := rootHolder(t)
	vm.Run(t, "mkfs.ext4", "-q", "-F", "-d", "/usr/lib/udev/rules.d", dst)
	b.run(transfer{src: dst, dst: src, length: volumeSize, want: raw})
	want := b.read(src, 0, volumeSize)
	vm.Run(t, "vgchange", "--quiet", "-an", p.name)
	vm.Run(t, "vgchange", "--quiet", "-ay", p.name)
	b.same("volume of a pool that was started again", src, b.read(src, 0, volumeSize), want)
	vm.Run(t, "e2fsck", "-f", "-n", src)
	p.rests()
}
