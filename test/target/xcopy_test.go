package target

import (
	"bytes"
	"strings"
	"testing"

	"github.com/dmcopy/dmcopy/copydomain/scsi"
)

// Parameter lists written by hand, from the tables of SPC-4, 6.4.
const (
	cscd0 = "E4 00 0000 01 03 00 10 62DC09E0000000000000000000000000 00000000 00 000200"
	cscd1 = "E4 00 0000 01 03 00 10 62DC09E0000100000000000000000001 00000000 00 000200"
	cscd2 = "E4 00 0000 01 03 00 10 62DC09E0000200000000000000000002 00000000 00 001000"
	// 16 blocks from block 8 of the first unit to block 64 of the second one.
	segment01 = "02 00 0018 0000 0001 0000 0010 0000000000000008 0000000000000040"
	// The list has the identifier 5.
	copyHead = "05 00 0040 00000000 0000001C 00000000"
	copyCDB  = "83 00 00000000 00000000 0000006C 00 00"
	copyOf01 = copyHead + cscd0 + cscd1 + segment01

	copyStatusCDB  = "84 00 05 00000000000000 00000400 00 00"
	copyFailureCDB = "84 04 05 00000000000000 00000400 00 00"
)

func copiers(t testing.TB) *Target {
	return twoDisks(t, func(c *Config) { c.XCopy = DefaultCopyLimits() })
}

func TestExtendedCopy(t *testing.T) {
	made := copiers(t)
	for _, receiver := range []int{0, 1} {
		if err := made.Fill(1, make([]byte, 64<<10), 0); err != nil {
			t.Fatal(err)
		}
		if r := made.do(t, receiver, copyCDB, unhex(t, copyOf01), 0); r.Status != scsi.Good {
			t.Fatalf("sent to unit %d: %v", receiver, r.code)
		}
		if !bytes.Equal(made.blocksOf(t, 1, 64, 16), made.blocksOf(t, 0, 8, 16)) {
			t.Error("other blocks arrived")
		}
		for _, lba := range []int64{63, 80} {
			if !bytes.Equal(made.blocksOf(t, 1, lba, 1), make([]byte, 512)) {
				t.Errorf("block %d was written, too", lba)
			}
		}
		// One segment, 8 KiB.
		if r := made.do(t, receiver, copyStatusCDB, nil, 1024); !bytes.Equal(r.In, unhex(t, "00000008 01 0001 01 00000008")) {
			t.Errorf("% x", r.In)
		}
		if r := made.do(t, receiver, copyFailureCDB, nil, 1024); r.code != invalidCDB {
			t.Errorf("details of no failure: %v", r.code)
		}
	}
	if r := made.do(t, 0, "84 03 00 00000000000000 00000400 00 00", nil, 1024); !bytes.Equal(r.In,
		unhex(t, "0000002A 01 000000 0002 0001 00000400 10000000 00000000 00000000 00000000 0000 00FF FF 09 00 00 000000 02 02 E4")) {
		t.Errorf("operating parameters: % x", r.In)
	}
}

// Ranges that overlap spread: nothing promises otherwise.
func TestExtendedCopyOverlaps(t *testing.T) {
	made := copiers(t)
	want := append(made.blocksOf(t, 0, 8, 512), made.blocksOf(t, 0, 8, 488)...) // the second chunk reads what the first wrote
	list := strings.NewReplacer("0000 0001", "0000 0000", " 0010 ", " 03E8 ", "0000000000000040", "0000000000000208").Replace(segment01)
	if r := made.do(t, 0, copyCDB, unhex(t, copyHead+cscd0+cscd1+list), 0); r.Status != scsi.Good {
		t.Fatal(r.code)
	}
	if !bytes.Equal(made.blocksOf(t, 0, 0x208, 1000), want) {
		t.Error("not in ascending chunks")
	}
}

func TestExtendedCopyRefusals(t *testing.T) {
	for _, c := range []struct {
		name     string
		old, new string
		want     scsi.SenseCode
	}{
		{"another length of the list", "000000", "000000", scsi.SenseCode{}}, // see below
		{"a third unit", copyHead + cscd0, "05 00 0060 00000000 0000001C 00000000" + cscd0 + cscd0, tooManyUnits},
		{"half a unit", "0040 00000000 0000001C", "0030 00000000 0000002C", invalidList},
		{"two segments", "0000001C 00000000" + cscd0, "00000038 00000000" + cscd0, tooManySegments},
		{"inline data", "0000001C 00000000", "00000018 00000004", invalidList},
		{"a reserved field of the head", "0040 00000000", "0040 00000001", invalidList},
		{"a usage that does not exist", "05 00 0040", "05 08 0040", invalidList},
		{"an identifier that is not to be", "05 00 0040", "05 18 0040", invalidList},
		{"a type of unit", "E4 00", "E0 00", unknownUnitType},
		{"a long name", "01 03 00 10", "01 03 00 15", invalidList},
		{"another device type", "E4 00 0000", "E4 01 0000", invalidList},
		{"another block length", "00 000200", "00 001000", invalidList},
		{"a type of segment", "02 00 0018", "0A 00 0018", unknownSegment},
		{"another length of a segment", "02 00 0018", "02 00 0014", invalidList},
		{"a reserved field of a segment", "0001 0000 0010", "0001 0001 0010", invalidList},
		{"a unit that is not in the list", "0000 0001 0000", "0000 0002 0000", unreachable},
		{"a unit that is not there", "62DC09E00001", "62DC09E00101", notReachable},
		{"neither unit got the command", "62DC09E0000000000000000000000000", "62DC09E0000100000000000000000001", notReachable},
		{"behind the end of the source", "0000000000000008", "0000000000001FF1", notReachable},
		{"behind the end of the destination", "0000000000000040", "0000000000001FF1", notReachable},
		{"far behind it", "0000000000000040", "FFFFFFFFFFFFFFFF", notReachable},
		{"not whole blocks", cscd1 + "02 00 0018 0000 0001 0000 0010", cscd2 + "02 00 0018 0000 0001 0000 0011", inexactSegment},
	} {
		t.Run(c.name, func(t *testing.T) {
			made := copiers(t)
			before := append(made.blocksOf(t, 0, 0, 8192), made.blocksOf(t, 1, 0, 8192)...)
			list := strings.Replace(copyOf01, c.old, c.new, 1)
			cdb := copyCDB
			switch c.name {
			case "another length of the list":
				cdb, c.want = strings.Replace(cdb, "6C", "6B", 1), listLength
			case "two segments":
				list += segment01
			}
			b := unhex(t, list)
			if c.want != listLength {
				cdb = strings.Replace(cdb, "6C", string("0123456789ABCDEF"[len(b)>>4])+string("0123456789ABCDEF"[len(b)&15]), 1)
			}
			r := made.do(t, 0, cdb, b, 0)
			if r.Status != scsi.CheckCondition || r.code != c.want {
				t.Errorf("%v %v, want %v", r.Status, r.code, c.want)
			}
			if !bytes.Equal(before, append(made.blocksOf(t, 0, 0, 8192), made.blocksOf(t, 1, 0, 8192)...)) {
				t.Error("something was written")
			}
		})
	}
	made := copiers(t)
	if r := made.do(t, 0, "83 00 00000000 00000000 00000000 00 00", nil, 0); r.Status != scsi.Good {
		t.Errorf("a list of no bytes: %v", r.code)
	}
	if r := twoDisks(t, nil).do(t, 0, copyCDB, unhex(t, copyOf01), 0); r.code != invalidOpcode {
		t.Errorf("a target without the command: %v", r.code)
	}
}

// A copy that fails in the middle says which segment it was, and tells the details once.
func TestExtendedCopyFails(t *testing.T) {
	made := copiers(t)
	made.Inject(Fault{Command: "extended-copy", Times: 1, Short: 3})
	r := made.do(t, 0, copyCDB, unhex(t, copyOf01), 0)
	if r.code != notReachable {
		t.Fatal(r.code)
	}
	if !bytes.Equal(made.blocksOf(t, 1, 64, 3), made.blocksOf(t, 0, 8, 3)) || bytes.Equal(made.blocksOf(t, 1, 67, 1), made.blocksOf(t, 0, 11, 1)) {
		t.Error("it did not end after 3 blocks")
	}
	if s := made.do(t, 0, copyStatusCDB, nil, 1024); !bytes.Equal(s.In, unhex(t, "00000008 02 0000 01 00000001")) {
		t.Errorf("% x", s.In)
	}
	details := made.do(t, 0, copyFailureCDB, nil, 1024)
	if len(details.In) != 78 || details.In[56] != byte(scsi.CheckCondition) || !bytes.Equal(details.In[60:], r.Sense) {
		t.Errorf("% x", details.In)
	}
	if again := made.do(t, 0, copyFailureCDB, nil, 1024); again.code != invalidCDB {
		t.Errorf("told twice: %v", again.code)
	}
}

// A name that two units have means the one that got the command.
func TestExtendedCopyOfDuplicates(t *testing.T) {
	made := copiers(t)
	if err := made.Impersonate(1, 0); err != nil {
		t.Fatal(err)
	}
	third := made.blocksOf(t, 1, 8, 16)
	list := strings.Replace(copyOf01, cscd1, cscd0, 1)
	if r := made.do(t, 1, copyCDB, unhex(t, list), 0); r.Status != scsi.Good {
		t.Fatal(r.code)
	}
	if !bytes.Equal(made.blocksOf(t, 1, 64, 16), third) {
		t.Error("the copy was not within the unit that got the command")
	}
}
