package offload

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/dmcopy/dmcopy/copydomain/blocks"
	"github.com/dmcopy/dmcopy/copydomain/nvme"
	"github.com/dmcopy/dmcopy/dispatch"
	"github.com/dmcopy/dmcopy/internal/dispatch/account"
	"github.com/dmcopy/dmcopy/internal/dispatch/ends"
	"github.com/dmcopy/dmcopy/internal/dispatch/kernel"
	"github.com/dmcopy/dmcopy/internal/dispatch/plan"
	"github.com/dmcopy/dmcopy/internal/layout"
	"github.com/dmcopy/dmcopy/internal/sysblock"
	"github.com/dmcopy/dmcopy/remap"
	"github.com/dmcopy/dmcopy/test/copying"
	"github.com/dmcopy/dmcopy/test/vm"
)

const (
	copySize = 4 * gib
	srcStart = 2048                      // sectors
	dstStart = srcStart + copySize/512   // sectors
	freshen  = 64 * mib                  // of the destination differ before each copy, as they would in earnest
	guard    = dstStart + copySize/512*2 // first sector of the room for other volumes
)

// BenchmarkAgainstBareLoop copies one linear volume to another in turn by
// dmcopy, by a bare loop of Copy ioctls on the same blocks with the same limits
// and as many commands in flight, and through the host. Each is flushed in the
// end. The ratio that counts is dmcopy to the bare loop, once with a disk as
// fast as this machine emulates it, and once with one that takes its time.
func BenchmarkAgainstBareLoop(b *testing.B) {
	for _, limit := range []int64{0, 800 * mib} {
		name := "unlimited_disk"
		if limit > 0 {
			name = fmt.Sprintf("disk_of_%d_MiB/s", limit/mib)
		}
		b.Run(name, func(b *testing.B) { againstBareLoop(b, limit) })
	}
}

// againstBareLoop measures with a disk that reads and writes no more than limit
// bytes a second, both together; 0 is no limit.
func againstBareLoop(b *testing.B, limit int64) {
	src, dst := linear(b, "src", copySize/512, srcStart), linear(b, "dst", copySize/512, dstStart)
	vm.Stamp(b, src, 1, 0, copySize)
	vm.Slowly(b, fast, limit)
	ways := []func() error{
		func() error { return byDmcopy(src, dst, plan.OffloadRequire) },
		func() error { return byLoop(vm.Device(b, fast)) },
		func() error { return byDmcopy(src, dst, plan.OffloadNever) },
	}
	speeds := make([][]float64, len(ways))
	for round := 0; b.Loop(); round++ {
		for i := range ways {
			way := (i + round) % len(ways) // nobody is always the first
			vm.Stamp(b, dst, uint64(100+round), 0, freshen)
			began := time.Now()
			if err := ways[way](); err != nil {
				b.Fatal(err)
			}
			speeds[way] = append(speeds[way], copySize/mib/time.Since(began).Seconds())
		}
	}
	vm.CheckStamp(b, dst, 1, 0, 0, copySize)
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(median(speeds[0]), "MiB/s_dmcopy")
	b.ReportMetric(median(speeds[1]), "MiB/s_bare_loop")
	b.ReportMetric(median(speeds[0])/median(speeds[1]), "dmcopy/bare_loop")
	b.ReportMetric(median(speeds[2]), "MiB/s_host")
}

// byDmcopy does what the command does, from opening to closing.
func byDmcopy(src, dst string, policy plan.Policy) error {
	_, err := copying.Copy(src, dst, dispatch.Options{Offload: policy, InFlight: inFlight})
	return err
}

// byLoop issues the commands that the copy takes, and knows nothing of volumes.
func byLoop(disk string) error {
	ctx := context.Background()
	transport, err := nvme.Open(filepath.Base(disk), true)
	if err != nil {
		return err
	}
	defer transport.Close()
	device, err := nvme.Probe(ctx, transport, transport.NSID())
	if err != nil {
		return err
	}
	packer, err := nvme.NewPacker(device.Namespace.Limits, []blocks.Piece{{SrcLBA: srcStart, DstLBA: dstStart, Blocks: copySize / 512}})
	if err != nil {
		return err
	}
	var next sync.Mutex
	var wait sync.WaitGroup
	failed := make([]error, inFlight)
	for i := range inFlight {
		wait.Go(func() {
			var command nvme.CopyCommand
			var list [nvme.MaxRanges * nvme.RangeSize]byte
			for failed[i] == nil {
				next.Lock()
				more := packer.Next(&command)
				next.Unlock()
				if !more {
					return
				}
				var raw nvme.Command
				if failed[i] = command.Encode(&raw, device.NSID, list[:]); failed[i] == nil {
					failed[i] = send(ctx, transport, &raw)
				}
			}
		})
	}
	wait.Wait()
	return errors.Join(append(failed, send(ctx, transport, &nvme.Command{Opcode: nvme.OpFlush, NSID: device.NSID}))...)
}

func send(ctx context.Context, t nvme.Transport, c *nvme.Command) error {
	completion, err := t.IO(ctx, c)
	if err == nil && completion.Status.Code() != nvme.StatusSuccess {
		err = completion.Status
	}
	return err
}

// BenchmarkStriped counts the commands of copies between striped volumes on one
// namespace: pieces that meet in the destination share a command.
func BenchmarkStriped(b *testing.B) {
	const size remap.Sector = 128 * mib / 512
	for _, chunks := range [][2]remap.Sector{{128, 128}, {128, 512}, {8, 128}} {
		b.Run(fmt.Sprintf("%dK_to_%dK", chunks[0]/2, chunks[1]/2), func(b *testing.B) {
			src, dst := striped(b, "src", size, chunks[0], guard), striped(b, "dst", size, chunks[1], guard+2*size)
			vm.Stamp(b, src, 1, 0, size.Bytes())
			pieces, err := countPieces(src, dst)
			if err != nil {
				b.Fatal(err)
			}
			var speeds []float64
			var report *account.Report
			for round := 0; b.Loop(); round++ {
				vm.Stamp(b, dst, uint64(100+round), 0, 8*mib)
				began := time.Now()
				if report, err = copying.Copy(src, dst, dispatch.Options{Offload: plan.OffloadRequire, InFlight: inFlight}); err != nil {
					b.Fatal(err)
				}
				speeds = append(speeds, float64(size.Bytes())/mib/time.Since(began).Seconds())
			}
			vm.CheckStamp(b, dst, 1, 0, 0, size.Bytes())
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(float64(pieces), "pieces")
			b.ReportMetric(float64(report.Commands), "commands")
			b.ReportMetric(float64(pieces)/float64(report.Commands), "pieces/command")
			b.ReportMetric(median(speeds), "MiB/s_dmcopy")
		})
	}
}

// striped makes a volume of two stripes.
func striped(b *testing.B, name string, n, chunk, start remap.Sector) string {
	disk := vm.Device(b, fast)
	return vm.Mapped(b, name, fmt.Sprintf("0 %d striped 2 %d %s %d %s %d", n, chunk, disk, start, disk, start+n/2))
}

// countPieces tells how many commands it would take without sharing.
func countPieces(src, dst string) (pieces int, err error) {
	ctx := context.Background()
	from, err := ends.OpenSource(ctx, sysblock.FS(""), src, ends.OpenOptions{})
	if err != nil {
		return 0, err
	}
	defer from.Close()
	to, err := ends.OpenDestination(ctx, sysblock.FS(""), dst, ends.OpenOptions{Dry: true, Beside: from})
	if err != nil {
		return 0, err
	}
	defer to.Close()
	reader := layout.NewReader(layout.Options{})
	machine := kernel.New(reader, nil)
	defer func() { err = errors.Join(err, machine.Close(), reader.Close()) }()
	for _, err := range dispatch.New(machine).Plan(ctx, dispatch.Job{Src: from, Dst: to}, dispatch.Options{}) {
		if err != nil {
			return 0, err
		}
		pieces++
	}
	return pieces, nil
}
