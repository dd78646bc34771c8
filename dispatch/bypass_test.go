package dispatch_test

import (
	"errors"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/copydomain/nvme"
	"github.com/dmcopy/dmcopy/dispatch"
	"github.com/dmcopy/dmcopy/internal/dispatch/byterange"
	"github.com/dmcopy/dmcopy/internal/dispatch/ends"
	"github.com/dmcopy/dmcopy/internal/dispatch/failure"
	"github.com/dmcopy/dmcopy/internal/dispatch/plan"
	"github.com/dmcopy/dmcopy/remap"
	"github.com/dmcopy/dmcopy/test/fakestack"
)

// What a file system bypasses is moved below it, under one key at equal positions, and
// else refused, with what lies below as the way out. Nothing is written then.
func TestBypassed(t *testing.T) {
	plain, unknown := key(1, 8), fakestack.Key{Secret: 1, Block: 8, Unknown: true}
	half := container.Bytes() / 2
	for name, c := range map[string]struct {
		from, to fakestack.Crypt
		r        byterange.Range
		opts     dispatch.Options
		ok       bool
	}{
		"equal":                      {fakestack.Crypt{Key: plain, Override: true}, fakestack.Crypt{Key: plain, Override: true}, byterange.Range{Len: half}, dispatch.Options{}, true},
		"other positions":            {fakestack.Crypt{Key: plain, Override: true}, fakestack.Crypt{Key: plain, Override: true}, byterange.Range{Dst: half, Len: half}, dispatch.Options{}, false},
		"another key":                {fakestack.Crypt{Key: plain, Override: true}, fakestack.Crypt{Key: key(2, 8), Override: true}, byterange.Range{Len: half}, dispatch.Options{}, false},
		"a key that is not told":     {fakestack.Crypt{Key: unknown, Override: true}, fakestack.Crypt{Key: unknown, Override: true}, byterange.Range{Len: half}, dispatch.Options{}, false},
		"the source only":            {fakestack.Crypt{Key: plain, Override: true}, fakestack.Crypt{Key: plain}, byterange.Range{Len: half}, dispatch.Options{}, false},
		"the destination only":       {fakestack.Crypt{Key: plain}, fakestack.Crypt{Key: plain, Override: true}, byterange.Range{Len: half}, dispatch.Options{}, false},
		"through the host by policy": {fakestack.Crypt{Key: plain, Override: true}, fakestack.Crypt{Key: plain, Override: true}, byterange.Range{Len: half}, dispatch.Options{Offload: plan.OffloadNever}, false},
	} {
		t.Run(name, func(t *testing.T) {
			v := newContainers(t, fakestack.Namespace{Limits: fakestack.Roomy}, c.from, c.to)
			if c.ok {
				if rep := mustCopy(t, v.Machine, v.src, v.dst, c.opts, c.r); rep.Offloaded != rep.Total {
					t.Errorf("%+v", rep)
				}
				return
			}
			want := v.Expect(v.src, v.dst, c.r)
			_, err := copyOf(t, v.Machine, v.src, v.dst, c.opts, c.r)
			if !errors.Is(err, failure.ErrRefused) || !strings.Contains(err.Error(), "copy what is below it (/dev/dm-") {
				t.Errorf("%v", err)
			}
			untouched(t, want)
		})
	}
}

// It is the same where it is not seen what lies on the way.
func TestBypassedBelow(t *testing.T) {
	v := newContainers(t, fakestack.Namespace{Limits: fakestack.Roomy}, fakestack.Crypt{Key: key(1, 1), Override: true}, fakestack.Crypt{Key: key(1, 1)})
	top := v.AddMapped(fakestack.Segment{Len: container, Target: fakestack.Scramble{Place: fakestack.Place{Dev: v.src}, Len: container}})
	want := v.Expect(top, v.dst)
	if _, err := copyOf(t, v.Machine, top, v.dst, dispatch.Options{}); !errors.Is(err, failure.ErrRefused) || !strings.Contains(err.Error(), "encrypted files") {
		t.Errorf("%v", err)
	}
	untouched(t, want)
	file := ends.Endpoint{Name: "file", Device: v.Endpoint(v.lowerDst).Device}
	for _, job := range []dispatch.Job{{Src: v.Endpoint(v.src), Dst: file}, {Src: file, Dst: v.Endpoint(v.src)}} {
		if _, err := dispatch.New(v.Machine).Copy(t.Context(), job, dispatch.Options{}); !errors.Is(err, failure.ErrRefused) {
			t.Errorf("%s to %s: %v", job.Src.Name, job.Dst.Name, err)
		}
	}
}

// A command that fails is not made up for through the host.
func TestBypassedFails(t *testing.T) {
	crypt := fakestack.Crypt{Key: key(1, 8), Override: true}
	v := newContainers(t, fakestack.Namespace{Limits: fakestack.Roomy}, crypt, crypt)
	copies := 0
	v.Hooks.Command = func(_ int, c *nvme.Command) {
		if c.Opcode == nvme.OpCopy {
			if copies++; copies == 2 {
				v.FailReads(v.ns, lowerFrom+container/2, unix.EIO)
			}
		}
	}
	written := false
	v.Hooks.IO = func(op string, dev remap.Dev, off, n int64) { written = written || op == "write" && dev == v.dst }
	rep, err := copyOf(t, v.Machine, v.src, v.dst, dispatch.Options{Window: window})
	if err == nil || !strings.Contains(err.Error(), "encrypted files") || written {
		t.Errorf("%v, %+v, written through the top: %v", err, rep, written)
	}
}
