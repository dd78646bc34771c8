package raidmap

import (
	"slices"

	"github.com/dmcopy/dmcopy/remap"
)

// The model of these tests deals cards: it goes through the members chunk by
// chunk and writes down which chunk of the array it puts there. Nothing of it
// divides.

// card is what is in one chunk of a member: the chunk of the array with that
// number, or one of parity.
type card int

const (
	nothing card = -1 - iota
	cardP
	cardQ
)

// hand holds the chunks of one member.
type hand []card

// dealt is what each member holds.
type dealt []hand

func empty(disks, chunks int) dealt {
	d := make(dealt, disks)
	for i := range d {
		d[i] = slices.Repeat([]card{nothing}, chunks)
	}
	return d
}

// dealRaid0 goes through the rows of all members. Layout original goes on with
// the member behind that of the last chunk, counted over the members of the
// zone since the array began; alternate begins each row with the first one.
func dealRaid0(chunks []int, original bool) dealt {
	d := empty(len(chunks), slices.Max(chunks))
	next := 0
	for row := range slices.Max(chunks) {
		var there []int
		for disk, n := range chunks {
			if row < n {
				there = append(there, disk)
			}
		}
		for i := range there {
			turn := i
			if original {
				turn = next % len(there)
			}
			d[there[turn]][row] = card(next)
			next++
		}
	}
	for i, n := range chunks {
		d[i] = d[i][:n]
	}
	return d
}

// dealNear puts each chunk on the next disks in turn, until one has no room.
func dealNear(disks, copies, chunks int) dealt {
	d := make(dealt, disks)
	disk := 0
	for number := 0; ; number++ {
		for range copies {
			if len(d[disk]) == chunks {
				return trim(d, number)
			}
			d[disk] = append(d[disk], card(number))
			disk = (disk + 1) % disks
		}
	}
}

// trim takes back a chunk that not all copies found room for.
func trim(d dealt, number int) dealt {
	for i := range d {
		d[i] = slices.DeleteFunc(d[i], func(c card) bool { return c == card(number) })
	}
	return d
}

// dealFar deals a raid0 into the first part of all disks, or into the first of
// each group of rows, and then the same to the next part or row, each disk
// getting what its neighbour had, round in its set.
func dealFar(disks, copies, chunks int, sets [][]int, offset bool) dealt {
	rows := chunks / copies
	d := empty(disks, rows*copies)
	number := 0
	for row := range rows {
		at := func(copy int) int {
			if offset {
				return row*copies + copy
			}
			return copy*rows + row
		}
		for disk := range disks {
			d[disk][at(0)] = card(number)
			number++
		}
		for copy := 1; copy < copies; copy++ {
			for _, set := range sets {
				for i, disk := range set {
					neighbour := set[(i+1)%len(set)]
					d[neighbour][at(copy)] = d[disk][at(copy-1)]
				}
			}
		}
	}
	return d
}

// setsOf groups disks in sets of a size; what is left over joins the last.
func setsOf(disks, size int) (sets [][]int) {
	for disk := range disks {
		if disk%size == 0 && disks-disk >= size {
			sets = append(sets, nil)
		}
		sets[len(sets)-1] = append(sets[len(sets)-1], disk)
	}
	return sets
}

// parityWay says how rows follow each other, in words of drivers/md/raid5.h and
// of mdadm's restripe.c.
type parityWay struct {
	start  func(disks int) int // disk of P in the first row
	step   int                 // from row to row
	q      string              // "", "behind", "before", "last"
	follow bool                // data begins behind the parity
}

func onFirst(int) int          { return 0 }
func onLast(disks int) int     { return disks - 1 }
func beforeLast(disks int) int { return disks - 2 }

// ways are all layouts, by level and number.
var ways = map[int]map[int64]parityWay{
	4: {0: {onLast, 0, "", false}},
	5: {
		0: {onLast, -1, "", false}, 1: {onFirst, 1, "", false}, 2: {onLast, -1, "", true}, 3: {onFirst, 1, "", true},
		4: {onFirst, 0, "", false}, 5: {onLast, 0, "", false},
	},
	6: {
		0: {onLast, -1, "behind", false}, 1: {onFirst, 1, "behind", false}, 2: {onLast, -1, "behind", true}, 3: {onFirst, 1, "behind", true},
		4: {onFirst, 0, "behind", false}, 5: {beforeLast, 0, "behind", false},
		8: {onFirst, 1, "behind", false}, 9: {beforeLast, -1, "behind", false}, 10: {onLast, -1, "before", true},
		16: {beforeLast, -1, "last", false}, 17: {onFirst, 1, "last", false}, 18: {beforeLast, -1, "last", true}, 19: {onFirst, 1, "last", true},
		20: {onFirst, 0, "last", false},
	},
}

// dealParity deals rows.
func dealParity(disks, chunks int, way parityWay) dealt {
	d := empty(disks, chunks)
	round := disks // of the disks that P turns on
	if way.q == "last" {
		round--
	}
	p, number := way.start(disks), 0
	for row := range chunks {
		d[p][row] = cardP
		q := map[string]int{"": -1, "behind": (p + 1) % disks, "before": (p - 1 + disks) % disks, "last": disks - 1}[way.q]
		if q >= 0 {
			d[q][row] = cardQ
		}
		disk := 0
		if way.follow {
			disk = p
		}
		for range disks {
			if d[disk%disks][row] == nothing {
				d[disk%disks][row] = card(number)
				number++
			}
			disk++
		}
		p = (p + way.step + round) % round
	}
	return d
}

// places lists where each sector of the array is: all places, in order of
// slots and positions.
func (d dealt) places(chunk int) map[remap.Sector][]Spot {
	found := make(map[remap.Sector][]Spot)
	for slot, hand := range d {
		for i, c := range hand {
			for r := range chunk {
				if c >= 0 {
					s := remap.Sector(int(c)*chunk + r)
					found[s] = append(found[s], Spot{slot, remap.Sector(i*chunk + r)})
				}
			}
		}
	}
	return found
}
