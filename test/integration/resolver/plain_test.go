package resolver

import (
	"fmt"

	"github.com/dmcopy/dmcopy/remap"
)

// Targets that are arithmetic and nothing else.
var plainKinds = []kind{
	{name: "linear", needs: []string{"linear"}, trials: 3, build: buildLinear},
	{name: "striped", needs: []string{"striped"}, trials: 4, build: buildStriped},
	{name: "unstriped", needs: []string{"unstriped"}, trials: 2, build: buildUnstriped},
	{name: "fixed", needs: []string{"linear", "zero", "error"}, trials: 2, build: buildFixed},
	{name: "delay", needs: []string{"delay"}, trials: 3, build: buildDelay},
}

func buildLinear(b *bench) []*subject {
	b.sometimesBigBlocks()
	var lines []string
	start := remap.Sector(0)
	for range 1 + b.IntN(6) {
		n := b.upTo(2000, b.align)
		lines = append(lines, fmt.Sprintf("%d %d linear %s", start, n, b.place(n)))
		start += n
	}
	return []*subject{{path: b.mapped(lines...), read: inPlace, write: inPlace, followed: true}}
}

// striped is a line of random stripes that starts at a sector.
func (b *bench) striped(start remap.Sector) (line string, n remap.Sector) {
	stripes := 1 + b.IntN(6)
	chunk := b.upTo(130, max(b.align, 8))
	rows := b.upTo(max(6000/chunk/remap.Sector(stripes), 1), 1)
	n = chunk * rows * remap.Sector(stripes)
	line = fmt.Sprintf("%d %d striped %d %d", start, n, stripes, chunk)
	for range stripes {
		line += " " + b.place(chunk*rows)
	}
	return line, n
}

func buildStriped(b *bench) []*subject {
	b.sometimesBigBlocks()
	var lines []string
	start := remap.Sector(0)
	if b.IntN(2) == 0 { // a line that does not begin at 0, nor at a multiple of a chunk
		start = b.upTo(200, b.align)
		lines = append(lines, fmt.Sprintf("0 %d linear %s", start, b.place(start)))
	}
	line, _ := b.striped(start)
	return []*subject{{path: b.mapped(append(lines, line)...), read: inPlace, write: inPlace, followed: true}}
}

func buildUnstriped(b *bench) []*subject {
	b.sometimesBigBlocks()
	stripes := 1 + b.IntN(5)
	chunk := b.upTo(130, 8)
	rows := b.upTo(40, 1)
	n := chunk * rows
	lower := b.place(n * remap.Sector(stripes))
	path := b.mapped(fmt.Sprintf("0 %d unstriped %d %d %d %s", n, stripes, chunk, b.IntN(stripes), lower))
	return []*subject{{path: path, read: inPlace, write: inPlace, followed: true}}
}

// buildFixed mixes sectors that live nowhere with others.
func buildFixed(b *bench) []*subject {
	var lines []string
	start := remap.Sector(0)
	for range 3 + b.IntN(4) {
		for _, what := range []string{"zero", "error", "linear"} {
			n := b.upTo(300, 1)
			if what == "linear" {
				what += " " + b.place(n)
			}
			lines = append(lines, fmt.Sprintf("%d %d %s", start, n, what))
			start += n
		}
	}
	some := answers{[]remap.Kind{remap.Data, remap.Zero, remap.Error}, 1}
	return []*subject{{path: b.mapped(lines...), read: some, write: some}}
}

// buildDelay reads from one place and may write to another.
func buildDelay(b *bench) []*subject {
	b.sometimesBigBlocks()
	n := b.between(1000, 4000, b.align)
	line := fmt.Sprintf("0 %d delay", n)
	for range 1 + b.IntN(3) {
		line += fmt.Sprintf(" %s %d", b.place(n), b.IntN(2))
	}
	return []*subject{{path: b.mapped(line), read: inPlace, write: inPlace}}
}
