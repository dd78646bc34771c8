package scsi

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
)

// Code sets of a designator. SPC-4, table 25.
const (
	codeBinary = 1
	codeASCII  = 2
	codeUTF8   = 3
)

// Association says what a designator is the name of. SPC-4, table 591.
type Association uint8

// Associations.
const (
	LogicalUnit  Association = 0
	TargetPort   Association = 1
	TargetDevice Association = 2
)

// DesignatorType is the kind of a name. SPC-4, table 592.
type DesignatorType uint8

// Designator types that name something in the whole world.
const (
	TypeT10  DesignatorType = 1
	TypeEUI  DesignatorType = 2
	TypeNAA  DesignatorType = 3
	TypeMD5  DesignatorType = 7
	TypeName DesignatorType = 8 // SCSI name string
	TypeUUID DesignatorType = 0xA
)

// unitNames are the types that name one logical unit. The others number ports and
// groups, or mean what their vendor likes: the group of a logical unit (6h), which
// is associated with the unit, is the same for all units of Linux by default.
var unitNames = []DesignatorType{TypeT10, TypeEUI, TypeNAA, TypeMD5, TypeName, TypeUUID}

// names are the designators that name the logical unit itself.
func names(all []Designator) []Designator {
	return slices.DeleteFunc(of(all, LogicalUnit), func(d Designator) bool { return !slices.Contains(unitNames, d.Type) })
}

// maxDesignator is the longest designator that an identification descriptor of
// EXTENDED COPY holds, in bytes.
const maxDesignator = 20

// Designator is one name out of page 83h.
type Designator struct {
	CodeSet     uint8
	Association Association
	Type        DesignatorType
	Value       []byte
}

// Equal: the same name of the same kind.
func (d Designator) Equal(o Designator) bool {
	return d.CodeSet == o.CodeSet && d.Association == o.Association && d.Type == o.Type && bytes.Equal(d.Value, o.Value)
}

// String is the name in the spelling of the kernel's wwid attribute
// (drivers/scsi/scsi_lib.c, scsi_vpd_lun_id), where it has one.
func (d Designator) String() string {
	switch {
	case d.Type == TypeNAA:
		return "naa." + hex.EncodeToString(d.Value)
	case d.Type == TypeEUI:
		return "eui." + hex.EncodeToString(d.Value)
	case d.Type == TypeT10:
		return "t10." + strings.TrimRight(string(d.Value), " \x00")
	case d.Type == TypeName:
		return strings.TrimRight(string(d.Value), "\x00")
	}
	return fmt.Sprintf("type %d.%x", uint8(d.Type), d.Value)
}

// ParseDesignators parses the device identification page (83h). SPC-4, 7.8.6.
// Descriptors of any type are kept: those that nobody knows still tell two
// logical units apart, or not.
func ParseDesignators(b []byte) ([]Designator, error) {
	const op = "parse device identification"
	body, err := pageBody(op, pageDesignator, b)
	if err != nil {
		return nil, err
	}
	var all []Designator
	for len(body) > 0 {
		if len(body) < 4 {
			return nil, short(op, len(body), 4)
		}
		end := 4 + int(body[3])
		if end > len(body) {
			return nil, short(op, len(body), end)
		}
		all = append(all, Designator{
			CodeSet:     body[0] & 0xF,
			Association: Association(body[1] >> 4 & 0x3),
			Type:        DesignatorType(body[1] & 0xF),
			Value:       bytes.Clone(body[4:end]),
		})
		body = body[end:]
	}
	return all, nil
}

// of are the designators of one kind of thing.
func of(all []Designator, a Association) []Designator {
	var some []Designator
	for _, d := range all {
		if d.Association == a {
			some = append(some, d)
		}
	}
	return some
}

// rank orders the designators that EXTENDED COPY can name a logical unit by: the
// long NAA name, which is the only one that Linux accepts
// (drivers/target/target_core_xcopy.c), other NAA names, EUI-64, and the one that
// a vendor made up. 0 is not usable.
func (d Designator) rank() int {
	binary := d.CodeSet == codeBinary
	switch n := len(d.Value); {
	case d.Association != LogicalUnit || n == 0 || n > maxDesignator:
		return 0
	case d.Type == TypeNAA && binary && n == 16 && d.Value[0]>>4 == 6:
		return 4
	case d.Type == TypeNAA && binary && n == 8 && (d.Value[0]>>4 == 2 || d.Value[0]>>4 == 5):
		return 3
	case d.Type == TypeEUI && binary && (n == 8 || n == 12 || n == 16):
		return 2
	case d.Type == TypeT10 && (d.CodeSet == codeASCII || d.CodeSet == codeUTF8) && n > 8:
		return 1
	}
	return 0
}

// choose returns the designator to name a logical unit by. Of two of a kind the
// first counts.
func choose(all []Designator) (best Designator, ok bool) {
	for _, d := range all {
		if d.rank() > best.rank() {
			best = d
		}
	}
	return best, best.rank() > 0
}

// share finds a designator that is in both lists.
func share(a, b []Designator) (Designator, bool) {
	for _, d := range a {
		if slices.ContainsFunc(b, d.Equal) {
			return d, true
		}
	}
	return Designator{}, false
}
