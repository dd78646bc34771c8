package lint

import (
	"errors"
	"os"
	"regexp"
	"strconv"
	"testing"

	"github.com/dmcopy/dmcopy/copydomain/blocks"
	"github.com/dmcopy/dmcopy/copydomain/nvme"
	"github.com/dmcopy/dmcopy/copydomain/scsi"
)

// command is one that may leave: to what, its opcode, and the service action or
// feature where these decide.
type command struct {
	to           string
	opcode, part int // part is -1 where there is none
}

const (
	toController = "NVMe controller"
	toNamespace  = "NVMe namespace"
	toUnit       = "SCSI"
)

var commandRow = regexp.MustCompile(`(?m)^\| (NVMe controller|NVMe namespace|SCSI) \| ([0-9A-F]{2})h \| (?:([0-9A-F]{2})h )?\| `)

// documented are the commands of docs/security.md.
func documented(t *testing.T) map[command]bool {
	t.Helper()
	text, err := os.ReadFile("../../docs/security.md")
	if err != nil {
		t.Fatal(err)
	}
	all := make(map[command]bool)
	for _, m := range commandRow.FindAllStringSubmatch(string(text), -1) {
		c := command{to: m[1], opcode: number(t, m[2]), part: -1}
		if m[3] != "" {
			c.part = number(t, m[3])
		}
		all[c] = true
	}
	return all
}

func number(t *testing.T, hex string) int {
	t.Helper()
	n, err := strconv.ParseUint(hex, 16, 8)
	if err != nil {
		t.Fatal(err)
	}
	return int(n)
}

// TestCommandsAreListed: what may leave is what docs/security.md says, no more and no
// less. The loopbacks take commands as the transports of the kernel do.
func TestCommandsAreListed(t *testing.T) {
	want := documented(t)
	if len(want) < 20 {
		t.Fatalf("only %d commands found: has the form of the table changed?", len(want))
	}
	found := make(map[command]bool)
	for op := range 256 {
		nvmeLeaves(t, op, found)
		unitLeaves(t, op, found)
	}
	for c := range found {
		if !want[c] {
			t.Errorf("%s: %02Xh %02X may leave, and is not listed", c.to, c.opcode, c.part)
		}
	}
	for c := range want {
		if !found[c] {
			t.Errorf("%s: %02Xh %02X is listed, and may not leave", c.to, c.opcode, c.part)
		}
	}
}

// nvmeLeaves tries the forms that commands of NVMe can have.
func nvmeLeaves(t *testing.T, op int, found map[command]bool) {
	t.Helper()
	l := nvme.NewLoopback(nvme.Controller{})
	l.AllowSetBehavior()
	for feature := range 256 {
		c := nvme.Command{Opcode: nvme.Opcode(op), CDW10: uint32(feature), Data: make([]byte, 512)}
		if _, err := l.Admin(t.Context(), &c); errors.Is(err, blocks.ErrNotAllowed) {
			continue
		}
		part := feature
		if c.Opcode == nvme.OpIdentify || c.Opcode == nvme.OpGetLogPage { // with any number
			part = -1
		}
		found[command{toController, op, part}] = true
	}
	const reportAll = 1 << 16
	for _, c := range []nvme.Command{
		{NSID: 1, Data: make([]byte, 32)},
		{NSID: 1, Data: make([]byte, 64), CDW12: 15, CDW13: reportAll},
	} {
		c.Opcode = nvme.Opcode(op)
		if _, err := l.IO(t.Context(), &c); !errors.Is(err, blocks.ErrNotAllowed) {
			found[command{toNamespace, op, -1}] = true
		}
	}
}

// unitLeaves tries the forms that commands of SCSI can have.
func unitLeaves(t *testing.T, op int, found map[command]bool) {
	t.Helper()
	l := scsi.NewMemoryLoopback(scsi.CTL(), 512, make([]byte, 4096))
	for action := range 256 {
		for _, length := range []int{6, 10, 12, 16, 32} {
			for _, data := range []int{0, 8, 512} {
				cdb := make([]byte, length)
				cdb[0], cdb[1] = byte(op), byte(action)
				_, err := l.Unit(0).Do(t.Context(), &scsi.Command{CDB: cdb, Data: make([]byte, data)})
				if errors.Is(err, blocks.ErrNotAllowed) || errors.Is(err, blocks.ErrInvalid) && length != usual(op) {
					continue
				}
				part := -1
				switch op {
				case 0x83, 0x84, 0x9E:
					part = action
				}
				found[command{toUnit, op, part}] = true
			}
		}
	}
}

// usual is the length of a CDB by its group code. SPC-4, 4.2.5.1.
func usual(op int) int {
	switch op >> 5 {
	case 0:
		return 6
	case 1, 2:
		return 10
	case 5:
		return 12
	}
	return 16
}
