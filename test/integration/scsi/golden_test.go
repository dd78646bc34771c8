package scsi

import (
	"bytes"
	"encoding/binary"
	"io"
	"os/exec"
	"testing"

	"github.com/dmcopy/dmcopy/copydomain/blocks"
	"github.com/dmcopy/dmcopy/copydomain/scsi"
	"github.com/dmcopy/dmcopy/test/ioctltrace"
	"github.com/dmcopy/dmcopy/test/vm"
)

// TestSameAsSGXcopy: for the same copy sg3_utils sends the parameter list that we
// make. The list identifier, what becomes of held data, and the priority are the
// choice of whoever sends it.
func TestSameAsSGXcopy(t *testing.T) {
	disks := target(t, wwn, lun{"a", serialA, 16 * mib}, lun{"b", serialB, 16 * mib})
	vm.Stamp(t, disks[0], 1, 0, 16*mib)
	cmd := exec.Command("sg_xcopy", "if="+disks[0], "of="+disks[1], "bs=512", "skip=64", "seek=4096", "count=24")
	var theirs []byte
	err := ioctltrace.Run(cmd, func(request, arg uint64, memory io.ReaderAt) error {
		list, err := extendedCopy(request, arg, memory)
		if list != nil {
			theirs = list
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(theirs) < 16 {
		t.Fatalf("sg_xcopy sends %x", theirs)
	}
	a, b := probe(t, disks[0]), probe(t, disks[1])
	list := scsi.List{
		Form: scsi.LID1, ListID: uint32(theirs[0]),
		Units:    []scsi.Unit{{Designator: a.Name, BlockSize: 512}, {Designator: b.Name, BlockSize: 512}},
		Segments: []scsi.Segment{{Src: 0, Dst: 1, Piece: blocks.Piece{SrcLBA: 64, DstLBA: 4096, Blocks: 24}}},
	}
	ours := make([]byte, list.Size())
	if _, err := list.Encode(ours); err != nil {
		t.Fatal(err)
	}
	ours[1] = theirs[1]
	if !bytes.Equal(theirs, ours) {
		t.Errorf("sg_xcopy sends\n%x\nand we\n%x", theirs, ours)
	}
}

// extendedCopy reads the parameter list of an EXTENDED COPY out of the memory of the
// program that hands it to the kernel (struct sg_io_hdr of <scsi/sg.h>).
func extendedCopy(request, arg uint64, memory io.ReaderAt) ([]byte, error) {
	const sgIO, opcode = 0x2285, 0x83
	if request != sgIO {
		return nil, nil
	}
	var header [88]byte
	if _, err := memory.ReadAt(header[:], int64(arg)); err != nil {
		return nil, err
	}
	cdb := make([]byte, header[8])
	if _, err := memory.ReadAt(cdb, int64(binary.LittleEndian.Uint64(header[24:]))); err != nil || cdb[0] != opcode || cdb[1]&0x1F != 0 {
		return nil, err
	}
	list := make([]byte, binary.BigEndian.Uint32(cdb[10:]))
	_, err := memory.ReadAt(list, int64(binary.LittleEndian.Uint64(header[16:])))
	return list, err
}
