package layercopies

import (
	"fmt"
	"testing"

	"github.com/dmcopy/dmcopy/internal/dispatch/plan"
	"github.com/dmcopy/dmcopy/test/vm"
)

// stacks are layers upon layers.
var stacks = []kind{
	{name: "volume on LUKS on raid10", build: func(b *bench) *subject {
		a := b.array("raid10", 4, "--layout=n2", "--bitmap=internal")
		v := b.vault(a.path, 4096).open(inTable)
		path := b.groupOf(v.path).volume("volume", "-L12m")
		mirror := a.mirrored([]int{0, 1}, []int{2, 3})
		return &subject{path: path, source: host("layer:crypt"), target: host("layer:crypt"), check: mirror.check}
	}},
	{name: "LUKS on raid0", build: func(b *bench) *subject {
		a := b.array("raid0", 2)
		return &subject{path: b.vault(a.path, 512).open(inTable).path, source: host("layer:crypt"), target: host("layer:crypt")}
	}},
	{name: "thin on raid5", build: func(b *bench) *subject {
		a := b.array("raid5", 6, "--bitmap=none")
		p := b.groupOf(a.path).pool()
		path := p.thin("thin")
		b.scribble(path)
		return &subject{path: path, filled: true, source: partlyZero, target: host("layer:raid5-parity", "layer:thin-unmapped"), check: func() {
			p.rests()
			a.scrub()
		}}
	}},
	{name: "snapshot of thin", build: func(b *bench) *subject {
		p := b.group(2, 60*mib).pool()
		origin := p.thin("thin")
		b.scribble(origin)
		snap := p.snapshot("snap", "thin")
		vm.Stamp(b, snap, b.newSeed(), 2*mib, 256*kib)
		want := b.read(origin, 0, volumeSize)
		return &subject{path: snap, filled: true, source: partlyZero, target: partly("layer:thin-shared", "layer:thin-unmapped"), check: func() {
			p.rests()
			b.same("origin after a copy to its snapshot", origin, b.read(origin, 0, volumeSize), want)
		}}
	}},
	{name: "snapshot with a store of its own, of thin", build: func(b *bench) *subject {
		g := b.group(2, 60*mib)
		p := g.pool()
		origin := p.thin("thin")
		b.scribble(origin)
		vm.Run(b, "lvcreate", "--yes", "--quiet", "--snapshot", "--name=snap", "-L24m", "--chunksize=64k", g.name+"/thin")
		b.scribble(origin)
		vm.Stamp(b, g.path("snap"), b.newSeed(), 2*mib, 256*kib)
		return &subject{path: g.path("snap"), filled: true, source: partlyZero, target: host("layer:snapshot-write"), check: p.rests}
	}},
	{name: "thin on LUKS on raid1", build: func(b *bench) *subject {
		a := b.array("raid1", 2, "--bitmap=internal")
		v := b.vault(a.path, 512).open()
		tpool := b.mapped(fmt.Sprintf("0 %d thin-pool %s %s 128 0", sectors(12*mib), b.part(2*mib), v.path))
		vm.Message(b, tpool, "create_thin", "0")
		p := &pool{path: tpool, group: &group{bench: b}}
		path := b.mapped(fmt.Sprintf("0 %d thin %s 0", sectors(8*mib), tpool))
		return &subject{path: path, source: host("layer:crypt"), target: host("layer:crypt"), check: func() {
			p.rests()
			a.mirrored([]int{0, 1}).check()
		}}
	}},
	{name: "linear on striped on raid1 and linear", build: func(b *bench) *subject {
		// Half of the stripes have two legs.
		a := b.array("raid1", 2, "--bitmap=none")
		legs := b.striped(a.path+" 0", b.mapped(fmt.Sprintf("0 %d linear %s 0", sectors(volumeSize/2), b.part(volumeSize/2)))+" 0")
		path := b.mapped(fmt.Sprintf("0 %d linear %s 64", sectors(volumeSize-32*kib), legs))
		return &subject{path: path, source: raw, target: partly("layer:redundant-destination"), check: a.mirrored([]int{0, 1}).check}
	}},
	{name: "snapshot on integrity", build: func(b *bench) *subject {
		// What is not looked through hides what is below it.
		s := b.integrity("direct", nil, "", "")
		size := b.size(s.path) / mib * mib
		b.fill(s.path)
		snap := b.mapped(fmt.Sprintf("0 %d snapshot %s %s P 16", sectors(size), s.path, b.part(size+4*mib)))
		b.scribble(snap)
		return &subject{path: snap, filled: true, source: partly("layer:integrity"), target: host("layer:snapshot-write")}
	}},
}

// TestDeepStacks copies to and from stacks.
func TestDeepStacks(t *testing.T) {
	for _, k := range stacks {
		t.Run(k.name, func(t *testing.T) {
			b := newBench(t)
			b.exercise(k.build(b))
		})
	}
}

// TestCryptOnStripesOnMultipath moves ciphertext between two stacks five deep:
// segments of a cipher on stripes on segments of a disk with two paths.
func TestCryptOnStripesOnMultipath(t *testing.T) {
	b := newBench(t)
	b.multipath("queue_mode bio")
	stack := func(cut int64) string {
		cipher := b.crypt(b.striped(b.part(volumeSize/2)+" 0", b.part(volumeSize/2)+" 0"), 4096)
		all := sectors(volumeSize)
		return b.mapped(fmt.Sprintf("0 %d linear %s 0", cut, cipher), fmt.Sprintf("%d %d linear %s %d", cut, all-cut, cipher, cut))
	}
	src, dst := stack(8000), stack(12000)
	b.fill(src)
	b.fill(dst)
	b.run(transfer{src: src, dst: dst, srcAt: margin, dstAt: margin, length: volumeSize - 2*margin, want: raw})
	b.fill(src)
	b.run(transfer{src: src, dst: dst, srcAt: margin, dstAt: margin + 4*kib, length: volumeSize - 2*margin, want: host("layer:crypt")})
	plain := b.filledPart(volumeSize)
	b.run(transfer{src: plain, dst: dst, length: volumeSize, want: host("layer:crypt")})
	b.fill(plain)
	b.run(transfer{src: src, dst: plain, length: volumeSize, want: host("layer:crypt")})
}

// TestPathsByTurns: of a device whose paths take turns, a window is held if the read that is to hold it takes the path of the
// commands. If it does not, nobody changes the layout.
func TestPathsByTurns(t *testing.T) {
	b := newBench(t)
	ways := waysTo(t, paths)
	b.base = b.mapped(fmt.Sprintf("0 %d multipath 3 queue_if_no_path queue_mode bio 0 1 1 round-robin 0 2 1 %s 1 %s 1", sectors(paths.Size), ways[0], ways[1]))
	src, dst := b.filledPart(volumeSize), b.part(volumeSize)
	for range 4 {
		b.fill(dst)
		report := b.once(transfer{src: src, dst: dst, length: volumeSize})
		for _, why := range report.Reasons {
			if why.Reason != plan.ReasonHoldUnavailable && why.Reason != plan.ReasonHoldLost {
				t.Errorf("%d bytes went through the host: %s", why.Bytes, why.Reason)
			}
		}
		if report.LayoutChanges != 0 {
			t.Errorf("%d changes of the layout", report.LayoutChanges)
		}
	}
}

// TestClonesOnArrays: ciphertext is read below an array if it is in one place,
// and never written there.
func TestClonesOnArrays(t *testing.T) {
	b := newBench(t)
	one, five := b.array("raid1", 2, "--bitmap=internal"), b.array("raid5", 3, "--bitmap=none")
	origin := b.vault(b.part(volumeSize), 512)
	mirrored, parity := origin.clone(one.path), origin.clone(five.path)
	for _, v := range []*vault{origin, mirrored, parity} {
		v.open(inTable)
	}
	for _, c := range []struct {
		src, dst *vault
		want     *outcome
	}{
		{origin, mirrored, host("layer:crypt")},
		{origin, parity, host("layer:raid5-parity")},
		{mirrored, origin, host("layer:crypt")},
		{parity, origin, raw},
	} {
		b.fill(c.src.path)
		b.fill(c.dst.path)
		b.run(transfer{src: c.src.path, dst: c.dst.path, srcAt: margin, dstAt: margin, length: 8 * mib, want: c.want})
		one.mirrored([]int{0, 1}).check()
		five.scrub()
	}
	origin.reopened()
	mirrored.reopened()
	parity.reopened()
}

// TestArrayToArray copies between arrays, each of which keeps its own redundancy.
func TestArrayToArray(t *testing.T) {
	b := newBench(t)
	five, ten, one := b.array("raid5", 3, "--bitmap=none"), b.array("raid10", 4, "--layout=n2", "--bitmap=none"), b.array("raid1", 2, "--bitmap=none")
	arrays := []struct {
		*array
		*subject
	}{
		{five, five.parity("layer:raid5-parity")},
		{ten, ten.mirrored([]int{0, 1}, []int{2, 3})},
		{one, one.mirrored([]int{0, 1})},
	}
	for i, dst := range arrays {
		src := arrays[(i+1)%len(arrays)]
		b.fill(src.array.path)
		length := min(b.size(src.array.path), b.size(dst.array.path)) - margin
		b.run(transfer{src: src.array.path, dst: dst.array.path, srcAt: margin, dstAt: margin - skew, length: length, want: dst.target})
		src.subject.check()
		dst.subject.check()
	}
}
