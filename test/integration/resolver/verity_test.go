package resolver

import (
	"fmt"
	"strings"

	"github.com/dmcopy/dmcopy/internal/layout"
	"github.com/dmcopy/dmcopy/remap"
	"github.com/dmcopy/dmcopy/test/vm"
)

var verityKinds = []kind{
	{name: "verity", needs: []string{"verity"}, trials: 2, build: func(b *bench) []*subject { return buildVerity(b, inPlace) }},
	// What these read is not what lies there, once something is wrong with it.
	{name: "verity-fec", needs: []string{"verity"}, build: func(b *bench) []*subject {
		return buildVerity(b, dataParts, "--fec-device="+b.part(b.zeroed(2048)), "--fec-roots=4")
	}},
	{name: "verity-zero-blocks", needs: []string{"verity"}, build: func(b *bench) []*subject {
		return buildVerity(b, dataParts, "--ignore-zero-blocks")
	}},
}

func buildVerity(b *bench, read answers, options ...string) []*subject {
	block := pick(b, remap.Sector(1), 8, 8)
	if len(options) > 0 {
		block = 8 // error correction wants blocks of this size
	}
	data, hash, name := b.part(b.take(b.between(1000, 4000, block))), b.part(b.zeroed(4096)), b.newName()
	var format, open []string
	for _, o := range options {
		if o != "--ignore-zero-blocks" {
			format = append(format, o)
		}
		open = append(open, o)
	}
	text := vm.Run(b, "veritysetup", append([]string{"format", fmt.Sprintf("--data-block-size=%d", block.Bytes()), "--hash-block-size=4096", data, hash}, format...)...)
	_, after, _ := strings.Cut(text, "Root hash:")
	root := strings.Fields(after)[0]
	vm.Run(b, "veritysetup", append([]string{"open", data, name, hash, root}, open...)...)
	vm.Unmap(b, name)
	return []*subject{{path: "/dev/mapper/" + name, read: read, write: answers{[]remap.Kind{remap.Error}, 0},
		trust: layout.Trust{Verity: true}}}
}
