package resolver

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/dmcopy/dmcopy/internal/layout"
	"github.com/dmcopy/dmcopy/remap"
	"github.com/dmcopy/dmcopy/test/vm"
)

// answers is what the resolver may say of a subject.
type answers struct {
	// kinds are allowed besides Opaque.
	kinds []remap.Kind
	// share is how much of the subject must not be opaque, from 0 to 1.
	share float64
}

// The usual answers.
var (
	inPlace   = answers{[]remap.Kind{remap.Data}, 1}
	opaque    = answers{nil, 0}
	anyLegs   = answers{[]remap.Kind{remap.Replica}, 0}
	cipher    = answers{[]remap.Kind{remap.Cipher}, 1}
	dataParts = answers{[]remap.Kind{remap.Data}, 0}
)

// subject is a device to check.
type subject struct {
	name string
	path string
	// read and write are what may be answered for either.
	read, write answers
	// followed tells that the kernel hands reads on in the thread that submits
	// them, and says so.
	followed bool
	// trust is what the resolver is told to leave out.
	trust layout.Trust
	// still tells that nothing is read or written: only answers are looked at.
	still bool
}

// tally counts sectors.
type tally struct {
	names    map[string]bool
	content  int                  // read through the top and found at every place that was named
	zeroes   int                  // read as zeroes, as was said
	failed   int                  // not readable, as was said
	followed int                  // found by the tracepoint where it was said
	landed   int                  // written through the top, and found at the places that were named
	opaque   map[remap.Reason]int // reads that were not answered
	wopaque  map[remap.Reason]int // writes that were not answered
	wrong    bool                 // a subject answered less than it has to
}

func (a *tally) add(b *tally) {
	if a.names == nil {
		a.names = make(map[string]bool)
	}
	if a.opaque == nil {
		a.opaque, a.wopaque = make(map[remap.Reason]int), make(map[remap.Reason]int)
	}
	maps.Copy(a.names, b.names)
	a.content += b.content
	a.zeroes += b.zeroes
	a.failed += b.failed
	a.followed += b.followed
	a.landed += b.landed
	a.wrong = a.wrong || b.wrong
	for reason, n := range b.opaque {
		a.opaque[reason] += n
	}
	for reason, n := range b.wopaque {
		a.wopaque[reason] += n
	}
}

func (a *tally) ran(name string) bool { return a.names[name] }

// compared is how many sectors were compared for reading.
func (a *tally) compared() int { return a.content + a.zeroes + a.failed + a.followed }

func (a *tally) String() string {
	text := fmt.Sprintf("read: %d at their places, %d zeroes, %d errors, %d followed; written: %d landed", a.content, a.zeroes, a.failed, a.followed, a.landed)
	for _, list := range []struct {
		name    string
		reasons map[remap.Reason]int
	}{{"not mapped for reading", a.opaque}, {"for writing", a.wopaque}} {
		for i, reason := range slices.Sorted(maps.Keys(list.reasons)) {
			sep := ", "
			if i == 0 {
				sep = "; " + list.name + ": "
			}
			text += fmt.Sprintf("%s%d %s", sep, list.reasons[reason], reason)
		}
	}
	return text
}

// check compares everything that is said of a subject with what the kernel does.
func (b *bench) check(k *kind, s *subject) *tally {
	b.Helper()
	c := &check{bench: b, subject: s, sum: &tally{opaque: map[remap.Reason]int{}, wopaque: map[remap.Reason]int{}}}
	c.dev = lookup(b, s.path)
	c.look()
	c.kinds("read", c.reads, s.read, c.sum.opaque)
	c.kinds("write", c.writes, s.write, c.sum.wopaque)
	if k.isMapped() {
		c.enough("reading", c.sum.opaque, s.read)
		c.enough("writing", c.sum.wopaque, s.write)
	}
	c.parts(remap.Read, c.reads)
	c.parts(remap.Write, c.writes)
	c.command()
	if !s.still {
		c.contents()
		if s.followed {
			c.follow()
		}
		c.land()
		c.look()
		c.contents()
	}
	if b.Failed() {
		c.describe()
	}
	return c.sum
}

// check is one subject under test.
type check struct {
	*bench
	*subject
	sum           *tally
	dev           remap.Dev
	stack         *remap.Stack
	node          *remap.Node
	reads, writes []remap.Extent
	complaints    int
}

// complain reports a mismatch; one cause makes many of them.
func (c *check) complain(format string, args ...any) {
	c.Helper()
	if c.complaints++; c.complaints <= 5 {
		c.Errorf("%s: %s", c.title(), fmt.Sprintf(format, args...))
	}
}

func (c *check) title() string { return strings.TrimSpace(c.path + " " + c.name) }

// look reads the stack and resolves the subject as a whole.
func (c *check) look() {
	c.Helper()
	reader := layout.NewReader(layout.Options{TakeMetadataSnaps: true, Trust: c.trust})
	// Nobody moves a block of a thin pool afterwards, held or not.
	defer reader.Close()
	snap, err := reader.Read(c.Context(), c.dev)
	if err != nil {
		c.Fatalf("%s: %v", c.title(), err)
	}
	if c.stack, err = snap.Stack(); err != nil {
		c.Fatalf("%s: %v", c.title(), err)
	}
	c.node = c.stack.Node(c.dev)
	all := remap.Range{Dev: c.dev, Len: c.node.Size}
	c.reads, c.writes = c.resolve(remap.Read, all), c.resolve(remap.Write, all)
}

func (c *check) resolve(op remap.Op, r remap.Range) (found []remap.Extent) {
	c.Helper()
	next := r.Start
	for e, err := range c.stack.Resolve(op, r) {
		if err != nil {
			c.Fatalf("%s: %v", c.title(), err)
		}
		if e.Start != next || e.Len < 1 {
			c.Fatalf("%s: %s: extent %+v follows sector %d", c.title(), op, e, next)
		}
		next = e.End()
		found = append(found, e)
	}
	if next != r.End() {
		c.Fatalf("%s: %s: extents end at sector %d, not %d", c.title(), op, next, r.End())
	}
	return found
}

// kinds checks that nothing is said that must not be, and counts what is opaque.
func (c *check) kinds(op string, extents []remap.Extent, allowed answers, reasons map[remap.Reason]int) {
	c.Helper()
	for i := range extents {
		e := &extents[i]
		switch {
		case e.Kind == remap.Opaque:
			reasons[e.Reason] += int(e.Len)
			if e.Reason == "" || e.Reason == remap.ReasonBadMap {
				c.complain("%s: sectors [%d,+%d) are opaque for reason %q", op, e.Start, e.Len, e.Reason)
			}
		case !slices.Contains(allowed.kinds, e.Kind):
			c.complain("%s: sectors [%d,+%d) are %s, which is not allowed", op, e.Start, e.Len, e.Kind)
		}
	}
}

// enough checks that as much is answered as there has to be.
func (c *check) enough(op string, reasons map[remap.Reason]int, want answers) {
	c.Helper()
	missing := 0
	for _, n := range reasons {
		missing += n
	}
	if share := 1 - float64(missing)/float64(c.node.Size); share < want.share {
		c.complain("%.3f of the sectors are mapped for %s, want %.3f: %v", share, op, want.share, reasons)
	}
}

// parts checks that the answer for a part is the part of the answer.
func (c *check) parts(op remap.Op, whole []remap.Extent) {
	c.Helper()
	for range 60 {
		start := remap.Sector(c.Int64N(int64(c.node.Size)))
		n := min(c.upTo(200, 1), c.node.Size-start)
		for _, part := range c.resolve(op, remap.Range{Dev: c.dev, Start: start, Len: n}) {
			e := find(whole, part.Start)
			if part.Kind != e.Kind || part.Reason != e.Reason || part.End() > e.End() || !slices.Equal(places(&part, part.Start), places(e, part.Start)) {
				c.complain("%s: sectors [%d,+%d) are %+v, as a part of the whole they are in %+v", op, start, n, part, *e)
			}
		}
	}
}

// find returns the extent that holds a sector.
func find(extents []remap.Extent, s remap.Sector) *remap.Extent {
	i, found := slices.BinarySearchFunc(extents, s, func(e remap.Extent, s remap.Sector) int { return int(e.Start - s) })
	if !found {
		i--
	}
	return &extents[i]
}

// places are where a sector of an extent lives.
func places(e *remap.Extent, s remap.Sector) (all []remap.Leg) {
	for _, leg := range legs(e) {
		leg.Start += s - e.Start
		all = append(all, leg)
	}
	return all
}

func legs(e *remap.Extent) []remap.Leg {
	switch e.Kind {
	case remap.Data, remap.Cipher:
		return []remap.Leg{e.Leg}
	case remap.Replica:
		return e.Legs
	}
	return nil
}

// contents compares what the kernel reads through the top with what lies at the
// places that the resolver names: every sector, at every leg that may be read.
func (c *check) contents() {
	c.Helper()
	top := c.image(c.path, 0, c.node.Size)
	leaves := &leaves{bench: c.bench}
	seen := make(map[[16]byte]remap.Sector)
	for i := range c.reads {
		e := &c.reads[i]
		if e.Kind == remap.Cipher { // what is stored is not what is read
			continue
		}
		readable := 0
		for s := e.Start; s < e.End(); s++ {
			got, ok := top.sector(s)
			switch {
			case e.Kind == remap.Opaque:
				continue
			case ok != (e.Kind != remap.Error):
				c.complain("sector %d is said to be %s; readable: %v", s, e.Kind, ok)
				continue
			case e.Kind == remap.Error:
				c.sum.failed++
				continue
			case e.Kind == remap.Zero:
				if !zero(got) {
					c.complain("sector %d is said to be zero and holds %s", s, vm.DescribeSector(got))
				}
				c.sum.zeroes++
				continue
			}
			// Contents that occur twice prove nothing. Targets that make blocks fill
			// them up with zeroes, which are compared and not counted.
			key, blank := [16]byte(got), zero(got)
			if before, twice := seen[key]; twice && !blank {
				c.complain("sectors %d and %d hold the same: %s", before, s, vm.DescribeSector(got))
			}
			seen[key] = s
			for _, leg := range places(e, s) {
				if !leg.Readable {
					continue
				}
				readable++
				if stored := leaves.sector(leg); !bytes.Equal(got, stored) {
					c.complain("sector %d holds %s; sector %d of %s, where it should come from, holds %s", s,
						vm.DescribeSector(got), leg.Start, c.stack.Node(leg.Dev).Name, vm.DescribeSector(stored))
				}
			}
			if !blank {
				c.sum.content++
			}
		}
		if readable == 0 && len(legs(e)) > 0 {
			c.complain("sectors [%d,+%d) have no leg that can be read", e.Start, e.Len)
		}
	}
}

func zero(sector []byte) bool {
	return !slices.ContainsFunc(sector, func(c byte) bool { return c != 0 })
}

// probes is how many blocks of a subject are followed.
const probes = 200

// follow reads random blocks and compares where the kernel goes for them.
func (c *check) follow() {
	c.Helper()
	block := remap.Sector(c.node.BlockSize / remap.SectorSize)
	var sectors []int64
	for range probes {
		s := remap.Sector(c.Int64N(int64(c.node.Size/block))) * block
		if e := find(c.reads, s); len(legs(e)) > 0 && s+block <= e.End() {
			sectors = append(sectors, int64(s))
		}
	}
	if len(sectors) == 0 {
		return
	}
	seen := vm.FollowReads(c, c.path, sectors, c.node.BlockSize)
	if len(seen) == 0 {
		c.complain("no read was seen by the tracepoint")
	}
	for _, s := range sectors {
		got, named := seen[s], false
		if got == (vm.Place{}) {
			continue // handed on by another thread
		}
		all := places(find(c.reads, remap.Sector(s)), remap.Sector(s))
		for _, leg := range all {
			named = named || leg.Readable && got == vm.Place{Dev: leg.Dev.String(), Sector: uint64(leg.Start)}
		}
		if !named && !c.otherPath(got, all) {
			c.complain("sector %d is said to be at %+v, the kernel reads %+v", s, all, got)
		}
		c.sum.followed++
	}
}

// otherPath tells whether the kernel went to a named place by another path.
func (c *check) otherPath(got vm.Place, legs []remap.Leg) bool {
	isPath := func(dev string) bool {
		return slices.ContainsFunc(c.pool.paths, func(d *disk) bool { return d.dev.String() == dev })
	}
	return slices.ContainsFunc(legs, func(leg remap.Leg) bool {
		return uint64(leg.Start) == got.Sector && isPath(leg.Dev.String()) && isPath(got.Dev)
	})
}

// describe prints how the subject is built.
func (c *check) describe() {
	c.Logf("%s:", c.title())
	for _, n := range c.stack.Under(c.dev) {
		if strings.HasPrefix(n.Name, "dm-") {
			table, err := vm.TryRun("dmsetup", "table", n.Path)
			status, _ := vm.TryRun("dmsetup", "status", n.Path)
			c.Logf("%s: %s%s%v", n.Name, table, status, err)
		}
		if strings.HasPrefix(n.Name, "md") {
			detail, err := vm.TryRun("sh", "-c", "mdadm -D "+n.Path+"; cd /sys/block/"+n.Name+"/md; grep -r . layout chunk_size component_size sync_action resync_start degraded array_state reshape_position dev-*/slot dev-*/state dev-*/offset dev-*/size dev-*/recovery_start dev-*/bad_blocks")
			c.Logf("%s: %s%v", n.Name, detail, err)
		}
		if n.Leaf == nil && !strings.HasPrefix(n.Name, "dm-") {
			c.Logf("%s: %+v", n.Name, n.Layer)
		}
	}
}
