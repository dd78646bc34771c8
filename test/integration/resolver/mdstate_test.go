package resolver

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/dmcopy/dmcopy/remap"
	"github.com/dmcopy/dmcopy/test/vm"
)

// Arrays to which something has happened. Legs that nobody may read hold
// something else than the others, so that reading them shows.
var mdStateKinds = []kind{
	{name: "md-state/raid1-failed", needs: []string{"md:raid1"}, build: func(b *bench) []*subject { return buildLost(b, "raid1", "", 3, false, readLegs) }},
	{name: "md-state/raid1-removed", needs: []string{"md:raid1"}, build: func(b *bench) []*subject { return buildLost(b, "raid1", "", 2, true, readLegs) }},
	{name: "md-state/raid10-failed", needs: []string{"md:raid10"}, trials: 2, build: func(b *bench) []*subject {
		return buildLost(b, "raid10", pick(b, "n2", "f2", "o2"), 4, false, readLegs)
	}},
	{name: "md-state/raid5-failed", needs: []string{"md:raid5"}, build: func(b *bench) []*subject { return buildLost(b, "raid5", "left-symmetric", 4, false, dataParts) }},
	{name: "md-state/raid6-removed", needs: []string{"md:raid6"}, build: func(b *bench) []*subject { return buildLost(b, "raid6", "left-symmetric", 5, true, dataParts) }},
	{name: "md-state/raid1-recovering", needs: []string{"md:raid1"}, trials: 2, build: func(b *bench) []*subject { return buildRecovering(b, "raid1", "", 3, readLegs) }},
	{name: "md-state/raid10-recovering", needs: []string{"md:raid10"}, trials: 2, build: func(b *bench) []*subject {
		return buildRecovering(b, "raid10", pick(b, "n2", "f2", "o2"), 4, readLegs)
	}},
	{name: "md-state/raid5-recovering", needs: []string{"md:raid5"}, build: func(b *bench) []*subject { return buildRecovering(b, "raid5", "left-symmetric", 4, dataParts) }},
	{name: "md-state/raid1-write-mostly", needs: []string{"md:raid1"}, build: buildWriteMostly},
	{name: "md-state/raid1-resync", needs: []string{"md:raid1"}, build: func(b *bench) []*subject { return buildResync(b, "raid1", "", 2) }},
	{name: "md-state/raid10-resync", needs: []string{"md:raid10"}, build: func(b *bench) []*subject { return buildResync(b, "raid10", pick(b, "n2", "f2"), 4) }},
	{name: "md-state/raid6-resync", needs: []string{"md:raid6"}, build: func(b *bench) []*subject { return buildResync(b, "raid6", "left-symmetric", 4) }},
	{name: "md-state/raid1-bad-blocks", needs: []string{"md:raid1"}, build: func(b *bench) []*subject { return buildBadBlocks(b, "raid1", "", 2, readLegs) }},
	{name: "md-state/raid5-bad-blocks", needs: []string{"md:raid5"}, build: func(b *bench) []*subject { return buildBadBlocks(b, "raid5", "left-symmetric", 3, dataParts) }},
	{name: "md-state/raid10-replacing", needs: []string{"md:raid10"}, build: func(b *bench) []*subject { return buildReplacing(b, "raid10", "n2", 4, readLegs, anyLegs) }},
	{name: "md-state/raid5-replacing", needs: []string{"md:raid5"}, build: func(b *bench) []*subject { return buildReplacing(b, "raid5", "left-symmetric", 4, inPlace, opaque) }},
	{name: "md-state/raid5-journal", needs: []string{"md:raid5"}, build: buildJournal},
	{name: "md-state/raid5-ppl", needs: []string{"md:raid5"}, build: buildPPL},
	{name: "md-state/raid5-reshaping", needs: []string{"md:raid5"}, build: buildReshaping},
	{name: "md-state/raid0-default-layout", needs: []string{"md:raid0"}, trials: 2, build: buildDefaultLayout},
}

// memberSize leaves room for what lies before and behind the data.
const memberSize remap.Sector = 3000

// healthy makes an array in sync, filled.
func healthy(b *bench, level, layout string, count int, extra ...string) *array {
	version := pick(b, "1.0", "1.1", "1.2")
	if version != "1.0" {
		extra = append(extra, fmt.Sprintf("--data-offset=%dK", 4*(40+b.IntN(100))))
	}
	args := mdArgs{level: level, layout: layout, metadata: version, extra: extra, members: b.members(count, memberSize, 100)}
	if level != "raid1" {
		args.chunk = pick(b, 4, 16, 64)
	}
	a := b.create(args, count)
	a.synced()
	b.fill(a.path)
	return a
}

func (a *array) subject(name string, read answers) []*subject {
	write := opaque
	if a.level == "raid1" || a.level == "raid10" {
		write = anyLegs
	}
	return []*subject{{path: a.path, name: name, read: read, write: write}}
}

// dataStart is where the data of a member begin.
func (a *array) dataStart(i int) remap.Sector {
	a.Helper()
	n, err := strconv.Atoi(a.get(a.member(i, "offset")))
	if err != nil {
		a.Fatal(err)
	}
	return remap.Sector(n)
}

// spoil overwrites a part of the data of a member.
func (a *array) spoil(i int, start, n remap.Sector) {
	a.Helper()
	vm.Stamp(a, a.members[i], a.pool.stamp(), (a.dataStart(i) + start).Bytes(), n.Bytes())
}

// componentSize is how much of each member is used.
func (a *array) componentSize() remap.Sector {
	a.Helper()
	n, err := strconv.Atoi(a.get("component_size"))
	if err != nil {
		a.Fatal(err)
	}
	return remap.Sector(2 * n)
}

// buildLost fails a member, and writes what it does not see.
func buildLost(b *bench, level, layout string, count int, remove bool, read answers) []*subject {
	a := healthy(b, level, layout, count, "--bitmap=none")
	lost := a.members[b.IntN(count)]
	vm.Run(b, "mdadm", a.path, "--fail", lost)
	if remove {
		a.remove(lost)
	}
	b.fill(a.path)
	return a.subject(level+" has lost "+lost, read)
}

// remove takes a failed member out. The array may still be about to notice that
// it has failed.
func (a *array) remove(member string) {
	a.Helper()
	vm.Eventually(a, "removal of "+member, func() error {
		_, err := vm.TryRun("mdadm", a.path, "--remove", member)
		return err
	})
}

// freezeHalfway lets something start that goes through the members, and stops it
// about halfway.
func (a *array) freezeHalfway(start func()) {
	a.Helper()
	half := a.componentSize() / 2 / 128 * 128 // of whole chunks
	a.set("sync_max", fmt.Sprint(half))
	start()
	a.until("half of it", func() bool {
		done, _, _ := strings.Cut(a.get("sync_completed"), " ")
		n, err := strconv.Atoi(done)
		return err == nil && n >= int(half)
	})
	a.set("sync_action", "frozen")
	a.until("frozen", func() bool { return a.get("sync_action") == "frozen" })
	a.Cleanup(func() { a.set("sync_max", "max") })
}

// buildRecovering has a member of which a part is rebuilt. The rest holds what it
// held before it came.
func buildRecovering(b *bench, level, layout string, count int, read answers) []*subject {
	fresh := b.part(b.take(memberSize + 100))
	a := healthy(b, level, layout, count, "--bitmap=none")
	lost := b.IntN(count)
	vm.Run(b, "mdadm", a.path, "--fail", a.members[lost])
	a.remove(a.members[lost])
	a.freezeHalfway(func() { vm.Run(b, "mdadm", a.path, "--add", fresh) })
	return a.subject(level+" rebuilds "+fresh, read)
}

// buildReplacing copies a member to another one, and has copied a part.
func buildReplacing(b *bench, level, layout string, count int, read, write answers) []*subject {
	fresh := b.part(b.take(memberSize + 100))
	a := healthy(b, level, layout, count, "--bitmap=none")
	vm.Run(b, "mdadm", a.path, "--add", fresh)
	a.freezeHalfway(func() { vm.Run(b, "mdadm", a.path, "--replace", a.members[b.IntN(count)], "--with", fresh) })
	return []*subject{{path: a.path, name: level + " replaces a member by " + fresh, read: read, write: write}}
}

// buildWriteMostly spoils the leg that nobody reads.
func buildWriteMostly(b *bench) []*subject {
	members := b.members(3, 4000, 100)
	extra := []string{"--assume-clean", "--bitmap=none"}
	a := b.create(mdArgs{level: "raid1", metadata: "1.2", extra: extra, members: []string{members[0], members[1], "--write-mostly", members[2]}}, 3)
	b.fill(a.path)
	a.spoil(2, 0, a.componentSize())
	return a.subject("raid1 with a leg for writing", readLegs)
}

// buildResync stops the first resync halfway: before that place legs are equal,
// behind it they are not.
func buildResync(b *bench, level, layout string, count int) []*subject {
	// So slow that it has not come far when it is told where to stop.
	limits := []string{"/proc/sys/dev/raid/speed_limit_min", "/proc/sys/dev/raid/speed_limit_max"}
	set := func(values ...string) {
		for i, file := range limits {
			if err := os.WriteFile(file, []byte(values[i]), 0); err != nil {
				b.Fatal(err)
			}
		}
	}
	set("1", "1")
	defer set("1000", "200000")
	args := mdArgs{level: level, layout: layout, metadata: "1.2", extra: []string{"--bitmap=none", "--force"}, members: b.members(count, 5000, 100)}
	if level != "raid1" {
		args.chunk = 16
	}
	a := b.create(args, count)
	a.set("sync_action", "frozen")
	set("1000", "200000")
	a.freezeHalfway(func() { a.set("sync_action", "idle") })
	read := dataParts
	if level != "raid6" {
		read = someLegs
	}
	return a.subject(level+" half in sync", read)
}

// buildBadBlocks has a member with a list of bad blocks, which hold something
// else.
func buildBadBlocks(b *bench, level, layout string, count int, read answers) []*subject {
	a := healthy(b, level, layout, count, "--bitmap=none")
	which := b.IntN(count)
	for at := remap.Sector(100); at+200 < a.componentSize(); at += 700 {
		n := b.upTo(64, 8)
		a.set(a.member(which, "bad_blocks"), fmt.Sprintf("%d %d", a.dataStart(which)+at, n))
		a.spoil(which, at, n)
	}
	return a.subject(level+" with bad blocks", read)
}

// buildJournal writes to a log first.
func buildJournal(b *bench) []*subject {
	journal := b.part(b.take(20000))
	a := healthy(b, "raid5", "left-symmetric", 3, "--write-journal="+journal)
	return a.subject("raid5 with a journal", dataParts)
}

// buildPPL keeps partial parity beside the data.
func buildPPL(b *bench) []*subject {
	a := b.create(mdArgs{level: "raid5", metadata: "1.2", chunk: 16, extra: []string{"--consistency-policy=ppl"}, members: b.members(3, 8000, 100)}, 3)
	a.synced()
	b.fill(a.path)
	return a.subject("raid5 with partial parity", dataParts)
}

// buildReshaping is between two geometries. Nobody reads it: a kernel may crash
// that reads where it has not been yet (6.12, md_end_clone_io called twice).
func buildReshaping(b *bench) []*subject {
	fresh := b.part(b.take(8200))
	a := b.create(mdArgs{level: "raid5", metadata: "1.2", chunk: 64, extra: []string{"--bitmap=none", "--force"}, members: b.members(3, 8000, 100)}, 3)
	a.synced()
	vm.Run(b, "mdadm", a.path, "--add", fresh)
	a.freezeHalfway(func() {
		a.set("raid_disks", "4")
		a.set("sync_action", "reshape")
	})
	return []*subject{{path: a.path, name: "raid5 grows", read: opaque, write: opaque, still: true}}
}

// buildDefaultLayout has zones and no layout in its metadata: a parameter of the
// module decides.
func buildDefaultLayout(b *bench) []*subject {
	const parameter = "/sys/module/raid0/parameters/default_layout"
	layout := pick(b, "1", "2")
	if err := os.WriteFile(parameter, []byte(layout), 0); err != nil {
		b.Fatal(err)
	}
	defer os.WriteFile(parameter, []byte("0"), 0)
	a := b.create(mdArgs{level: "raid0", layout: "dangerous", metadata: "1.2", chunk: 16, members: b.members(4, 4000, 2500)}, 4)
	b.fill(a.path)
	return []*subject{{path: a.path, name: filepath.Base(parameter) + " " + layout, read: dataParts, write: dataParts, followed: true}}
}
