package copies

import (
	"bytes"
	"encoding/binary"
	"io"
	"os/exec"
	"strings"
	"testing"

	"github.com/dmcopy/dmcopy/copydomain/nvme"
	"github.com/dmcopy/dmcopy/test/ioctltrace"
	"github.com/dmcopy/dmcopy/test/vm"
)

// TestSameAsNVMeCLI: for the same copy nvme-cli hands the kernel the command that
// we make, byte by byte, within a namespace and from one to another. What the kernel
// makes of it is another matter.
func TestSameAsNVMeCLI(t *testing.T) {
	command := nvme.CopyCommand{DstLBA: 0x8000, Ranges: []nvme.Range{{SrcLBA: 0, Blocks: 8}, {SrcLBA: 100, Blocks: 16}, {SrcLBA: 0x1234, Blocks: 1}}}
	var list [nvme.MaxRanges * nvme.RangeSize]byte
	for format, encode := range map[string]func(*nvme.Command) error{
		"--format=0":                func(c *nvme.Command) error { return command.Encode(c, 1, list[:]) },
		"--format=2 --snsids=2,2,2": func(c *nvme.Command) error { return command.EncodeFrom(c, 2, 1, list[:]) },
	} {
		args := append([]string{"copy", vm.Device(t, alpha), "--sdlba=32768", "--slbs=0,100,4660", "--blocks=7,15,0"}, strings.Fields(format)...)
		var theirs [][]byte
		ended := ioctltrace.Run(exec.Command("nvme", args...), func(request, arg uint64, memory io.ReaderAt) error {
			raw, err := copyOfCLI(request, arg, memory)
			if raw != nil {
				theirs = append(theirs, raw)
			}
			return err
		})
		var ours nvme.Command
		if err := encode(&ours); err != nil {
			t.Fatal(err)
		}
		if len(theirs) != 1 || !bytes.Equal(theirs[0], wire(&ours)) {
			t.Errorf("%s (%v): nvme-cli sends\n%x\nand we\n%x", format, ended, theirs, wire(&ours))
		}
	}
}

// wire is what a device sees of a command: opcode, namespace, dwords 10 to 15, data.
func wire(c *nvme.Command) []byte {
	b := []byte{byte(c.Opcode)}
	for _, word := range []uint32{c.NSID, c.CDW10, c.CDW11, c.CDW12, c.CDW13, c.CDW14, c.CDW15} {
		b = binary.LittleEndian.AppendUint32(b, word)
	}
	return append(b, c.Data...)
}

// copyOfCLI reads a Copy command out of the memory of the program that hands it to
// the kernel (struct nvme_passthru_cmd of <linux/nvme_ioctl.h>, whose first 64
// bytes are those of nvme_passthru_cmd64 as well).
func copyOfCLI(request, arg uint64, memory io.ReaderAt) ([]byte, error) {
	const ioCmd, io64Cmd = 0xC0484E43, 0xC0504E48
	if request != ioCmd && request != io64Cmd {
		return nil, nil
	}
	raw := make([]byte, 64)
	if _, err := memory.ReadAt(raw, int64(arg)); err != nil || nvme.Opcode(raw[0]) != nvme.OpCopy {
		return nil, err
	}
	data := make([]byte, binary.LittleEndian.Uint32(raw[36:]))
	_, err := memory.ReadAt(data, int64(binary.LittleEndian.Uint64(raw[24:])))
	b := append([]byte{raw[0]}, raw[4:8]...)
	return append(append(b, raw[40:64]...), data...), err
}
