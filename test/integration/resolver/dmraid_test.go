package resolver

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/dmcopy/dmcopy/remap"
	"github.com/dmcopy/dmcopy/test/vm"
)

// dmRaidTypes are the types of the target "raid" with the number of devices that
// hold no data of their own.
var dmRaidTypes = map[string]int{
	"raid0": 0, "raid4": 1, "raid5_n": 1, "raid5_la": 1, "raid5_ra": 1, "raid5_ls": 1, "raid5_rs": 1,
	"raid6_zr": 2, "raid6_nr": 2, "raid6_nc": 2, "raid6_n_6": 2, "raid6_la_6": 2, "raid6_ra_6": 2, "raid6_ls_6": 2, "raid6_rs_6": 2,
}

// dmRaidKinds are those of the target "raid".
var dmRaidKinds = func() (all []kind) {
	for _, typ := range []string{"raid0", "raid4", "raid5_n", "raid5_la", "raid5_ra", "raid5_ls", "raid5_rs",
		"raid6_zr", "raid6_nr", "raid6_nc", "raid6_n_6", "raid6_la_6", "raid6_ra_6", "raid6_ls_6", "raid6_rs_6",
		"raid1", "raid10", "raid10_near", "raid10_far", "raid10_offset"} {
		all = append(all, kind{name: "raid/" + typ, needs: []string{"raid"}, build: func(b *bench) []*subject { return buildDMRaid(b, typ) }})
	}
	return append(all,
		kind{name: "raid/raid1-missing", needs: []string{"raid"}, build: func(b *bench) []*subject { return buildDMRaidMissing(b, "raid1", someLegs) }},
		kind{name: "raid/raid5-missing", needs: []string{"raid"}, build: func(b *bench) []*subject { return buildDMRaidMissing(b, "raid5_ls", dataParts) }},
		kind{name: "raid/raid10-missing", needs: []string{"raid"}, build: func(b *bench) []*subject { return buildDMRaidMissing(b, "raid10_near", someLegs) }},
		kind{name: "raid/write-mostly", needs: []string{"raid"}, build: buildDMRaidWriteMostly},
	)
}()

// dmRaid is a table of the target "raid" under construction.
type dmRaid struct {
	typ, word    string // as it is asked for, and as tables spell it
	n            remap.Sector
	chunk        remap.Sector
	params       []string
	metas, datas []string
}

func (r *dmRaid) line() string {
	params := append([]string{fmt.Sprint(r.chunk)}, r.params...)
	text := fmt.Sprintf("0 %d raid %s %d %s %d", r.n, r.word, len(params), strings.Join(params, " "), len(r.datas))
	for i := range r.datas {
		text += " " + r.metas[i] + " " + r.datas[i]
	}
	return text
}

// newDMRaid takes devices for a set. Without metadata a set cannot be told what
// has happened to it, so that it is made only where nothing happens.
func newDMRaid(b *bench, typ string, withMeta bool) *dmRaid {
	r := &dmRaid{typ: typ, word: typ, chunk: pick(b, remap.Sector(8), 16, 64, 128)}
	size := b.between(600, 2000, 8) / r.chunk * r.chunk
	size = max(size, 2*r.chunk)
	count := 0
	format, isRaid10 := strings.CutPrefix(typ, "raid10")
	switch {
	case typ == "raid1":
		count = 2 + b.IntN(2)
		r.chunk, r.n = 0, size
	case isRaid10:
		r.word = "raid10"
		copies := 2
		count = 3 + b.IntN(3)
		if typ == "raid10_near" || typ == "raid10" {
			copies = min(2+b.IntN(2), count-1)
		}
		r.params = append(r.params, fmt.Sprintf("raid10_copies %d", copies))
		if format != "" {
			r.params = append(r.params, "raid10_format "+format[1:])
		}
		// The length is a multiple of a row of chunks, and so is what it takes of
		// each device.
		rows := size / r.chunk / remap.Sector(copies) * remap.Sector(copies)
		rows = max(rows, remap.Sector(copies))
		r.n = rows * r.chunk * remap.Sector(count) / remap.Sector(copies)
		size = rows * r.chunk
		if r.n*remap.Sector(copies) != size*remap.Sector(count) || r.n%r.chunk != 0 {
			rows = rows * remap.Sector(copies)
			size = rows * r.chunk
			r.n = size * remap.Sector(count) / remap.Sector(copies)
		}
	default:
		parity := dmRaidTypes[typ]
		count = 2 + parity + b.IntN(3)
		r.n = size * remap.Sector(count-parity)
	}
	for range count {
		meta := "-"
		if withMeta {
			meta = b.part(b.zeroed(512))
		}
		r.metas = append(r.metas, meta)
		r.datas = append(r.datas, b.part(b.take(size+b.upTo(64, 1))))
	}
	if typ != "raid0" && withMeta {
		r.params = append(r.params, fmt.Sprintf("region_size %d", pick(b, 128, 256, 512)))
	}
	return r
}

// params counts words.
func (r *dmRaid) words() {
	r.params = strings.Fields(strings.Join(r.params, " "))
}

// answers of a set that has all its devices.
func (r *dmRaid) answers() (read, write answers) {
	switch {
	case r.typ == "raid0":
		return inPlace, inPlace
	case strings.HasPrefix(r.typ, "raid1"):
		return readLegs, anyLegs
	}
	return inPlace, opaque
}

func buildDMRaid(b *bench, typ string) []*subject {
	// Without metadata raid10 has no layout.
	r := newDMRaid(b, typ, strings.HasPrefix(typ, "raid10") || b.IntN(4) > 0)
	// raid6 refuses "nosync". The word "sync" makes the kernel take new sets for
	// old ones (dm-raid.c, raid_ctr), which a new set does not need.
	if typ != "raid0" && !strings.HasPrefix(typ, "raid6") && b.IntN(2) == 0 {
		r.params = append(r.params, "nosync")
	}
	r.words()
	path := b.mapped(r.line())
	b.settled(path)
	b.fill(path)
	read, write := r.answers()
	return []*subject{{path: path, name: typ, read: read, write: write}}
}

// settled waits until a set does nothing any more.
func (b *bench) settled(path string) {
	b.Helper()
	b.until("set at rest", func() bool {
		f := vm.Status(b, path)
		if f[0] == "raid0" {
			return true
		}
		done, all, _ := strings.Cut(f[3], "/")
		return f[4] == "idle" && done == all
	})
}

// buildDMRaidMissing takes one device away from a set in sync, and writes what it
// does not see.
func buildDMRaidMissing(b *bench, typ string, read answers) []*subject {
	r := newDMRaid(b, typ, true)
	r.words()
	path := b.mapped(r.line())
	b.settled(path)
	b.fill(path)
	lost := b.IntN(len(r.datas))
	r.metas[lost], r.datas[lost] = "-", "-"
	// The new table is loaded when the old one has written all it knows.
	name := filepath.Base(path)
	vm.Run(b, "dmsetup", "remove", "--retry", name)
	vm.Map(b, name, r.line())
	b.scribble(path, 8)
	return []*subject{{path: path, name: typ + " without a device", read: read, write: anyLegs}}
}

// buildDMRaidWriteMostly spoils the leg that nobody reads.
func buildDMRaidWriteMostly(b *bench) []*subject {
	r := newDMRaid(b, "raid1", true)
	lazy := b.IntN(len(r.datas))
	r.params = append(r.params, fmt.Sprintf("nosync write_mostly %d", lazy))
	r.words()
	path := b.mapped(r.line())
	b.settled(path)
	b.fill(path)
	vm.Stamp(b, r.datas[lazy], b.pool.stamp(), 0, r.n.Bytes())
	return []*subject{{path: path, name: "raid1 with a leg for writing", read: readLegs, write: anyLegs}}
}
