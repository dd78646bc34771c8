package dispatch_test

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/dmcopy/dmcopy/copydomain/nvme"
	"github.com/dmcopy/dmcopy/dispatch"
	"github.com/dmcopy/dmcopy/internal/dispatch/account"
	"github.com/dmcopy/dmcopy/internal/dispatch/byterange"
	"github.com/dmcopy/dmcopy/internal/dispatch/plan"
	"github.com/dmcopy/dmcopy/remap"
	"github.com/dmcopy/dmcopy/test/fakestack"
)

// cipherBlock is what 4096 bytes enciphered as one are in sectors.
const cipherBlock = remap.Sector(8)

// containers are two enciphered volumes of one namespace: small ones, because
// ciphers of a machine in memory are slow.
type containers struct {
	*volumes
	lowerSrc, lowerDst remap.Dev
}

// Where the containers lie on the namespace, and where there is room for more.
const (
	container = remap.Sector(512 * kib / sector)
	lowerFrom = 1 * container
	lowerTo   = 3 * container
	room      = 5 * container
)

func newContainers(t testing.TB, n fakestack.Namespace, from, to fakestack.Crypt) *containers {
	t.Helper()
	n.Sectors = 8 * container
	m := fakestack.New(1)
	c := &containers{volumes: &volumes{Machine: m, ns: m.AddNamespace(n)}}
	c.loop = m.Loopback(c.ns)
	c.lowerSrc, c.lowerDst = m.AddMapped(c.at(lowerFrom)), m.AddMapped(c.at(lowerTo))
	c.src, c.dst = c.over(c.lowerSrc, from), c.over(c.lowerDst, to)
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// at is the segment of a container on the namespace.
func (c *containers) at(start remap.Sector) fakestack.Segment {
	return fakestack.Segment{Len: container, Target: fakestack.Linear{Dev: c.ns, Start: start}}
}

// over enciphers a container.
func (c *containers) over(dev remap.Dev, with fakestack.Crypt) remap.Dev {
	with.Dev = dev
	return c.AddMapped(fakestack.Segment{Len: container, Target: with})
}

func key(secret uint64, block remap.Sector) fakestack.Key {
	return fakestack.Key{Secret: secret, Block: block}
}

// TestCiphertext: what is enciphered with one key for equal positions is moved
// by the device; everything else is deciphered and enciphered again.
func TestCiphertext(t *testing.T) {
	unknown := fakestack.Key{Secret: 1, Block: 1, Unknown: true}
	everything := byterange.Range{Len: container.Bytes() / 2}
	shifted := byterange.Range{Dst: 8 * sector, Len: container.Bytes() / 2}
	for _, tt := range []struct {
		name     string
		from, to fakestack.Crypt
		r        byterange.Range
		offloads bool
	}{
		{"clone", fakestack.Crypt{Key: key(1, 1)}, fakestack.Crypt{Key: key(1, 1)}, everything, true},
		{"clone in blocks", fakestack.Crypt{Key: key(1, 8)}, fakestack.Crypt{Key: key(1, 8)}, everything, true},
		{"clone of a part", fakestack.Crypt{Key: key(1, 8), IV: 800}, fakestack.Crypt{Key: key(1, 8), IV: 800}, everything, true},
		{"elsewhere", fakestack.Crypt{Key: key(1, 1)}, fakestack.Crypt{Key: key(1, 1)}, shifted, false},
		{"elsewhere in blocks", fakestack.Crypt{Key: key(1, 8)}, fakestack.Crypt{Key: key(1, 8)}, shifted, false},
		{"elsewhere, positions made equal", fakestack.Crypt{Key: key(1, 8), IV: 8}, fakestack.Crypt{Key: key(1, 8)}, shifted, true},
		{"another position", fakestack.Crypt{Key: key(1, 1), IV: 1}, fakestack.Crypt{Key: key(1, 1)}, everything, false},
		{"another key", fakestack.Crypt{Key: key(1, 1)}, fakestack.Crypt{Key: key(2, 1)}, everything, false},
		{"other blocks", fakestack.Crypt{Key: key(1, 1)}, fakestack.Crypt{Key: key(1, 8)}, everything, false},
		{"unknown keys", fakestack.Crypt{Key: unknown}, fakestack.Crypt{Key: unknown}, everything, false},
		{"unknown source", fakestack.Crypt{Key: unknown}, fakestack.Crypt{Key: key(1, 1)}, everything, false},
	} {
		for _, block := range []int{512, 4096} {
			t.Run(fmt.Sprint(tt.name, " on ", block), func(t *testing.T) {
				v := newContainers(t, fakestack.Namespace{Block: block, Limits: fakestack.Roomy}, tt.from, tt.to)
				rep := v.mustCopy(t, dispatch.Options{Verify: account.VerifyFull}, tt.r)
				if tt.offloads && (rep.Offloaded != rep.Total || v.Calls("write") > 0) {
					t.Errorf("%d writes through the host, %+v", v.Calls("write"), rep)
				}
				if !tt.offloads && (reason(rep, plan.ReasonCipher) != rep.Total || rep.Commands > 0) {
					t.Errorf("%+v", rep)
				}
			})
		}
	}
}

// TestCiphertextMeetsPlain: ciphertext is not moved to where none belongs, nor
// the other way round, nor through two ciphers.
func TestCiphertextMeetsPlain(t *testing.T) {
	cipher := fakestack.Crypt{Key: key(1, 1)}
	for name, build := range map[string]func(c *containers){
		"from plain": func(c *containers) { c.src = c.lowerSrc },
		"to plain":   func(c *containers) { c.dst = c.lowerDst },
		"twice":      func(c *containers) { c.src, c.dst = c.over(c.src, cipher), c.over(c.dst, cipher) },
	} {
		t.Run(name, func(t *testing.T) {
			c := newContainers(t, fakestack.Namespace{Limits: fakestack.Roomy}, cipher, cipher)
			build(c)
			rep := c.mustCopy(t, dispatch.Options{})
			if reason(rep, plan.ReasonCipher) != rep.Total || rep.Commands > 0 {
				t.Errorf("%+v", rep)
			}
		})
	}
}

// TestCiphertextOutOfPhase: blocks that do not begin at multiples of their size
// on a leaf go through the host, even if they are congruent.
func TestCiphertextOutOfPhase(t *testing.T) {
	shifted := func(t *testing.T, block, from, to remap.Sector) *account.Report {
		cipher := fakestack.Crypt{Key: key(1, block)}
		c := newContainers(t, fakestack.Namespace{Limits: fakestack.Roomy}, cipher, cipher)
		c.Swap(c.lowerSrc, c.at(lowerFrom+from))
		c.Swap(c.lowerDst, c.at(lowerTo+to))
		return c.mustCopy(t, dispatch.Options{})
	}
	for _, shift := range [][2]remap.Sector{{3, 3}, {0, 3}, {3, 0}, {3, 5}} {
		t.Run(fmt.Sprint(shift), func(t *testing.T) {
			if rep := shifted(t, cipherBlock, shift[0], shift[1]); reason(rep, plan.ReasonAlignment) != rep.Total || rep.Commands > 0 {
				t.Errorf("%+v", rep)
			}
		})
	}
	t.Run("sectors have no phase", func(t *testing.T) {
		if rep := shifted(t, 1, 3, 5); rep.Offloaded != rep.Total {
			t.Errorf("%+v", rep)
		}
	})
}

// TestCiphertextCutBelow: a seam below a cipher that does not lie between two
// blocks costs the block that it goes through, and that is right whichever
// windows its parts fall into.
func TestCiphertextCutBelow(t *testing.T) {
	for _, size := range []int64{0, 64 * kib} {
		t.Run(fmt.Sprint("window ", size), func(t *testing.T) {
			cipher := fakestack.Crypt{Key: key(1, cipherBlock)}
			c := newContainers(t, fakestack.Namespace{Limits: fakestack.Roomy}, cipher, cipher)
			segment := func(n, start remap.Sector) fakestack.Segment {
				return fakestack.Segment{Len: n, Target: fakestack.Linear{Dev: c.ns, Start: start}}
			}
			// [0,99): in phase. [99,403): in phase, begins within a block.
			// [403,800): out of phase on the destination.
			c.Swap(c.lowerSrc, segment(99, room), segment(container-99, lowerFrom+99))
			c.Swap(c.lowerDst, segment(403, lowerTo), segment(397, lowerTo+404), segment(container-800, lowerTo+808))
			rep := c.mustCopy(t, dispatch.Options{Window: size})
			// Host: the block around 99, and [400,800).
			if want := int64(8+400) * sector; reason(rep, plan.ReasonAlignment) != want || rep.Offloaded != rep.Total-want {
				t.Errorf("%+v", rep)
			}
		})
	}
}

// TestCiphertextFails: commands that fail within blocks leave whole blocks to the
// host, wherever they fail, and whatever they have left there.
func TestCiphertextFails(t *testing.T) {
	for _, junk := range []bool{false, true} {
		for _, number := range []int{0, 1, 3} {
			for _, at := range []int{0, 2, 4} {
				t.Run(fmt.Sprintf("command %d range %d junk %v", number, at, junk), func(t *testing.T) {
					cipher := fakestack.Crypt{Key: key(1, cipherBlock)}
					c := newContainers(t, fakestack.Namespace{Limits: nvme.Limits{RangeBlocks: 13, CommandBlocks: 61, Ranges: 5}}, cipher, cipher)
					c.loop.SetFault(func(n int, c *nvme.Command) nvme.Fault {
						// The first five are the proof, which ends in a short one.
						if n != 5*number || c.Opcode != nvme.OpCopy {
							return nvme.Fault{}
						}
						return nvme.Fault{Status: nvme.StatusUnrecoveredRead, At: at, Junk: junk}
					})
					rep := c.mustCopy(t, dispatch.Options{InFlight: 1, Window: window})
					if rep.Host != rep.Redone || rep.Redone == 0 || rep.Redone%cipherBlock.Bytes() != 0 || rep.Fallbacks != 1 || rep.Offloaded == 0 {
						t.Errorf("%+v", rep)
					}
					// 61 sectors that do not begin and end with a block touch nine.
					if number > 0 && rep.Redone > 9*cipherBlock.Bytes() {
						t.Errorf("%d bytes were redone of one command", rep.Redone)
					}
				})
			}
		}
	}
}

// TestCiphertextMoves: a clone that is moved away during the copy is no other
// matter than any volume.
func TestCiphertextMoves(t *testing.T) {
	for _, moment := range moments {
		t.Run(moment, func(t *testing.T) {
			cipher := fakestack.Crypt{Key: key(1, cipherBlock)}
			c := newContainers(t, fakestack.Namespace{Limits: fakestack.Roomy}, cipher, cipher)
			when(&c.Hooks, moment, func() { c.Move(c.lowerSrc, c.at(room)) })
			if rep := c.mustCopy(t, dispatch.Options{Window: 64 * kib}); rep.LayoutChanges != 1 && moment != "after the plan" {
				t.Errorf("%+v", rep)
			}
		})
	}
}

// ciphers makes random enciphered machines.
type ciphers struct {
	*builder
	keys []fakestack.Key
	iv   uint64
}

// lower makes a volume of n sectors that is cut anywhere. No two of its runs
// are neighbours on a disk; most lie where the blocks of a cipher do.
func (b *ciphers) lower(n remap.Sector) remap.Dev {
	var segments []fakestack.Segment
	for at := remap.Sector(0); at < n; {
		length := min(n-at, remap.Sector(b.draw("run", 1, 90))*b.unit)
		if len(segments) == 4 {
			length = n - at
		}
		place := b.room(length + 2*cipherBlock)
		if b.draw("phase", 0, 3) > 0 {
			place.Start += cipherBlock - place.Start%cipherBlock + at%cipherBlock
		} else {
			place.Start += b.unit
		}
		segments = append(segments, fakestack.Segment{Len: length, Target: fakestack.Linear(place)})
		at += length
	}
	return b.m.AddMapped(segments...)
}

// container makes an enciphered device of n sectors.
func (b *ciphers) container(n remap.Sector) remap.Dev {
	below := b.lower(n)
	var segments []fakestack.Segment
	for at := remap.Sector(0); at < n; {
		length := min(n-at, remap.Sector(b.draw("segment", 1, 16))*cipherBlock)
		if len(segments) == 3 {
			length = n - at
		}
		place := fakestack.Place{Dev: below, Start: at}
		var target fakestack.Target = fakestack.Linear(place)
		if which := b.draw("cipher", 0, 2*len(b.keys)); which > 0 {
			shift := uint64(b.draw("shift", 0, 9) / 9)
			target = fakestack.Crypt{Place: place, Key: b.keys[(which-1)/2], IV: b.iv + uint64(at) + shift*uint64(cipherBlock)}
		}
		segments = append(segments, fakestack.Segment{Len: length, Target: target})
		at += length
	}
	return b.m.AddMapped(segments...)
}

// stored is a sector on either side, as it is stored.
type stored struct {
	fakestack.Place
	key fakestack.Key
	pos uint64
}

func (b *ciphers) stored(dev remap.Dev, s remap.Sector, write bool) (stored, bool) {
	at, seal, ok := b.m.Stored(dev, s, write)
	if !ok || seal == nil {
		return stored{Place: at}, ok
	}
	return stored{at, seal.Key, seal.IV + uint64(seal.Inside)}, !seal.Key.Unknown
}

// offloadable counts the sectors of a range of which everything that they are
// one with, in the cipher or on the disk, can be moved together.
func (b *ciphers) offloadable(src, dst remap.Dev, r byterange.Range) (bytes int64) {
	n := remap.Sector(r.Len / sector)
	for s := range n {
		at, ok := b.stored(dst, remap.Sector(r.Dst/sector)+s, true)
		unit := max(at.key.Block, b.unit)
		first := s - at.Start%unit
		if !ok || first < 0 || first+unit > n {
			continue
		}
		base, ok := b.stored(src, remap.Sector(r.Src/sector)+first, false)
		whole := ok && base.Start%unit == 0 && b.spans(base.Dev, at.Dev)
		for i := range unit {
			from, ok := b.stored(src, remap.Sector(r.Src/sector)+first+i, false)
			to, also := b.stored(dst, remap.Sector(r.Dst/sector)+first+i, true)
			whole = whole && ok && also && from.Dev == base.Dev && from.Start == base.Start+i &&
				to.Dev == at.Dev && to.Start == at.Start-at.Start%unit+i &&
				from.key == to.key && to.key == at.key && from.pos == to.pos &&
				(at.key.Block <= 1 || from.pos%uint64(unit) == uint64(i))
		}
		if whole {
			bytes += sector
		}
	}
	return bytes
}

// TestCiphertextEqualsHost: whatever is enciphered how and lies where, the copy
// is right, and exactly what can be moved as it is stored is; if commands fail,
// it is right nevertheless.
func TestCiphertextEqualsHost(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := &ciphers{builder: &builder{t: t}}
		b.machine()
		blocks := []remap.Sector{1, cipherBlock}
		for range b.draw("keys", 1, 2) {
			b.keys = append(b.keys, fakestack.Key{
				Secret: uint64(b.draw("secret", 1, 2)), Block: rapid.SampledFrom(blocks).Draw(t, "cipher block"), Unknown: b.draw("unknown", 0, 5) == 5,
			})
		}
		b.iv = uint64(b.draw("iv", 0, 3)) * uint64(cipherBlock)
		size := remap.Sector(b.draw("size", 1, 40)) * cipherBlock
		src, dst := b.container(size), b.container(size)
		r := byterange.Range{Len: size.Bytes()}
		if skip := cipherBlock * remap.Sector(b.draw("skip", 0, 2)); skip < size {
			r.Src, r.Dst, r.Len = skip.Bytes(), skip.Bytes(), (size - skip).Bytes()
		}
		opts := dispatch.Options{Window: int64(b.draw("window", 1, 32)) * 4096, InFlight: b.draw("in flight", 1, 4), Verify: account.VerifyFull}
		every := 0
		if rapid.Bool().Draw(t, "faults") {
			every = b.draw("every", 1, 4)
		}
		at, junk := b.draw("at", 0, 7), rapid.Bool().Draw(t, "junk")
		for _, d := range b.disks[:len(b.disks)-1] {
			b.m.Loopback(d.dev).SetFault(func(n int, c *nvme.Command) nvme.Fault {
				if every == 0 || n%every != every-1 || c.Opcode != nvme.OpCopy {
					return nvme.Fault{}
				}
				return nvme.Fault{Status: nvme.StatusUnrecoveredRead, At: at, Junk: junk}
			})
		}
		want := b.m.Expect(src, dst, r)
		job := dispatch.Job{Src: b.m.Endpoint(src), Dst: b.m.Endpoint(dst), Ranges: []byterange.Range{r}}
		planned := planOf(t, b.m, job)
		rep, err := copyOf(t, b.m, src, dst, opts, r)
		if err != nil {
			t.Fatal(err)
		}
		copied(t, want)
		possible := b.offloadable(src, dst, r)
		if planned.offloaded != possible || rep.Offloaded+rep.Redone != possible {
			t.Fatalf("%d bytes were planned and %d offloaded of %d that could be: %+v", planned.offloaded, rep.Offloaded, possible, rep)
		}
		if every == 0 && rep.Redone != 0 {
			t.Fatalf("nothing failed: %+v", rep)
		}
	})
}
