package resolver

import (
	"fmt"
	"strconv"

	"github.com/dmcopy/dmcopy/internal/layout"
	"github.com/dmcopy/dmcopy/remap"
	"github.com/dmcopy/dmcopy/test/vm"
)

// Tags lie between runs of data, or on a device of their own.
var integrityKinds = []kind{
	{name: "integrity/direct", needs: []string{"integrity"}, trials: 3, build: func(b *bench) []*subject { return buildIntegrity(b, "D", false) }},
	{name: "integrity/bitmap", needs: []string{"integrity"}, trials: 2, build: func(b *bench) []*subject { return buildIntegrity(b, "B", false) }},
	{name: "integrity/recovery", needs: []string{"integrity"}, build: func(b *bench) []*subject { return buildIntegrity(b, "R", false) }},
	{name: "integrity/journal", needs: []string{"integrity"}, build: func(b *bench) []*subject { return buildIntegrity(b, "J", false) }},
	{name: "integrity/apart", needs: []string{"integrity"}, trials: 3, build: func(b *bench) []*subject { return buildIntegrity(b, pick(b, "D", "B"), true) }},
}

// buildIntegrity formats as the kernel does: the first table of one block makes
// the superblock, whose status tells the size of the second.
func buildIntegrity(b *bench, mode string, apart bool) []*subject {
	block := pick(b, remap.Sector(1), 2, 8)
	options := []string{"internal_hash:crc32c", fmt.Sprintf("block_size:%d", block.Bytes()), fmt.Sprintf("interleave_sectors:%d", pick(b, 128, 1024, 4096, 32768)),
		fmt.Sprintf("journal_sectors:%d", 256*(1+b.IntN(4)))}
	if b.IntN(2) == 0 {
		options = append(options, "fix_padding")
	}
	n := b.between(6000, 9000, 8)
	var lower string
	if apart {
		// The start is that of the device with the tags.
		data, meta := b.part(b.take(n)), b.zeroed(4096)
		options = append(options, "meta_device:"+b.part(meta))
		lower = data + " 0"
	} else {
		skip := b.upTo(100, block)
		r := b.take(skip + n)
		b.wipe(r.disk.path, r.start+skip, 256)
		lower = fmt.Sprintf("%s %d", b.part(r), skip)
	}
	line := func(mode string, n remap.Sector) string {
		text := fmt.Sprintf("0 %d integrity %s 4 %s %d", n, lower, mode, len(options))
		for _, o := range options {
			text += " " + o
		}
		return text
	}
	name := b.newName()
	vm.Map(b, name, line("J", block))
	provided, err := strconv.Atoi(vm.Status(b, "/dev/mapper/"+name)[1])
	if err != nil {
		b.Fatal(err)
	}
	vm.Run(b, "dmsetup", "remove", name)
	size := remap.Sector(provided) / block * block
	s := &subject{path: "/dev/mapper/" + name, name: mode, read: inPlace, write: opaque, trust: layout.Trust{Integrity: true}}
	switch mode {
	case "R": // read-only, so that something else has to fill it
		vm.Map(b, name, line("D", size))
		b.fill("/dev/mapper/" + name)
		vm.Run(b, "dmsetup", "remove", name)
	case "J":
		s.read = opaque
	}
	vm.Map(b, name, line(mode, size))
	vm.Unmap(b, name)
	if mode != "R" {
		b.fill(s.path)
	}
	return []*subject{s}
}
