package layercopies

import (
	"strings"

	"github.com/dmcopy/dmcopy/remap"
	"github.com/dmcopy/dmcopy/test/vm"
)

// source is the outcome of a copy from a layer that has a reason against it,
// or none.
func source(why remap.Reason) *outcome {
	if why == "" {
		return raw
	}
	return host(why)
}

// verity makes a device of blocks that a tree of hashes covers.
func (b *bench) verity(args []string, why remap.Reason) *subject {
	b.Helper()
	data, hash, name := b.filledPart(volumeSize), b.part(2*mib), b.newName()
	text := vm.Run(b, "veritysetup", "format", data, hash)
	_, after, _ := strings.Cut(text, "Root hash:")
	root := strings.Fields(after)[0]
	vm.Run(b, "veritysetup", "open", data, name, hash, root)
	vm.Unmap(b, name)
	return &subject{path: "/dev/mapper/" + name, args: args, filled: true, source: source(why), check: func() {
		vm.Run(b, "veritysetup", "verify", data, hash, root)
	}}
}

// integrity makes a device with tags. The kernel checks each block that is read.
func (b *bench) integrity(mode string, args []string, from, to remap.Reason) *subject {
	b.Helper()
	lower, name := b.part(volumeSize), b.newName()
	options := map[string][]string{"journal": nil, "direct": {"--integrity-no-journal"}, "bitmap": {"--integrity-bitmap-mode"}}[mode]
	vm.Run(b, "integritysetup", append([]string{"format", "--batch-mode", "--integrity=crc32c", "--sector-size=4096", lower}, options...)...)
	open := func() {
		vm.Run(b, "integritysetup", append([]string{"open", "--integrity=crc32c", lower, name}, options...)...)
	}
	open()
	vm.Unmap(b, name)
	path := "/dev/mapper/" + name
	return &subject{path: path, args: args, source: source(from), target: host(to), check: func() {
		want := b.read(path, 0, b.size(path))
		vm.Run(b, "dmsetup", "remove", "--retry", name)
		open()
		b.same("device that was opened again", path, b.read(path, 0, int64(len(want))), want)
	}}
}
