package scsi

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/dmcopy/dmcopy/copydomain/blocks"
)

// unhex reads bytes with spaces and line ends between them.
func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

var (
	nameA = Designator{codeBinary, LogicalUnit, TypeNAA, []byte{0x60, 0x01, 0x40, 0x51, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13}}
	nameB = Designator{codeBinary, LogicalUnit, TypeNAA, []byte{0x60, 0x01, 0x40, 0x5F, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 14}}
)

// Written out from SPC-4, 6.4 and 6.5.
func TestListGolden(t *testing.T) {
	cscdA := "e4000000 01030010 60014051020304050607080 90a0b0c0d 00000000 00000200"
	cscdB := "e4000000 01030010 6001405f020304050607080 90a0b0c0e 00000000 00000200"
	for name, tc := range map[string]struct {
		list List
		want string
	}{
		"within a unit, no identifier": {
			List{LID1, 0, []Unit{{nameA, 512}}, []Segment{{0, 0, piece(0x0102030405060708, 0x1112131415161718, 0xFFFE)}}},
			"00 18 0020 00000000 0000001c 00000000" + cscdA +
				"02 00 0018 0000 0000 0000 fffe 0102030405060708 1112131415161718",
		},
		"between units, identifier 7, two segments": {
			List{LID1, 7, []Unit{{nameA, 512}, {nameB, 512}}, []Segment{{0, 1, piece(1, 2, 3)}, {0, 1, piece(4, 5, 6)}}},
			"07 10 0040 00000000 00000038 00000000" + cscdA + cscdB +
				"02 00 0018 0000 0001 0000 0003 0000000000000001 0000000000000002" +
				"02 00 0018 0000 0001 0000 0006 0000000000000004 0000000000000005",
		},
		"long form, identifier": {
			List{LID4, 0xA1B2C3D4, []Unit{{nameA, 512}}, []Segment{{0, 0, piece(1, 2, 3)}}},
			"01 10 0020 0000000000000000000000 00 ff 000000 a1b2c3d4 000000000000000000000000000000000000 0020 001c 0000" + cscdA +
				"02 00 0018 0000 0000 0000 0003 0000000000000001 0000000000000002",
		},
		"blocks of 4096 and a short name": {
			List{LID1, 0, []Unit{{Designator{codeBinary, LogicalUnit, TypeNAA, []byte{0x50, 1, 2, 3, 4, 5, 6, 7}}, 4096}}, []Segment{{0, 0, piece(1, 2, 3)}}},
			"00 18 0020 00000000 0000001c 00000000 e4000000 01030008 5001020304050607 000000000000000000000000 00001000" +
				"02 00 0018 0000 0000 0000 0003 0000000000000001 0000000000000002",
		},
	} {
		buf := bytes.Repeat([]byte{0xAA}, 4096)
		n, err := tc.list.Encode(buf)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if want := unhex(t, tc.want); !bytes.Equal(buf[:n], want) {
			t.Errorf("%s:\n got %x\nwant %x", name, buf[:n], want)
		}
		if buf[n] != 0xAA {
			t.Errorf("%s: wrote behind the end", name)
		}
		back, err := DecodeList(tc.list.Form, buf[:n])
		if err != nil || !reflect.DeepEqual(*back, tc.list) {
			t.Errorf("%s: %+v, %v", name, back, err)
		}
		if _, err := tc.list.Encode(buf[:n-1]); !errors.Is(err, blocks.ErrShort) {
			t.Errorf("%s: one byte less: %v", name, err)
		}
	}
}

func TestListRefuses(t *testing.T) {
	good := func() List {
		return List{LID1, 0, []Unit{{nameA, 512}, {nameB, 512}}, []Segment{{0, 1, piece(1, 2, 3)}}}
	}
	for name, edit := range map[string]func(*List){
		"no unit":              func(l *List) { l.Units = nil },
		"three units":          func(l *List) { l.Units = append(l.Units, l.Units[0]) },
		"no segment":           func(l *List) { l.Segments = nil },
		"too many segments":    func(l *List) { l.Segments = slices.Repeat(l.Segments, maxSegments+1) },
		"no blocks":            func(l *List) { l.Segments[0].Blocks = 0 },
		"65536 blocks":         func(l *List) { l.Segments[0].Blocks = 65536 },
		"source wraps":         func(l *List) { l.Segments[0].SrcLBA = ^uint64(0) },
		"destination wraps":    func(l *List) { l.Segments[0].DstLBA = ^uint64(0) - 1 },
		"unit of nobody":       func(l *List) { l.Segments[0].Dst = 2 },
		"wide identifier":      func(l *List) { l.ListID = 256 },
		"unknown form":         func(l *List) { l.Form = 2 },
		"name of a port":       func(l *List) { l.Units[0].Designator.Association = TargetPort },
		"name too long":        func(l *List) { l.Units[0].Designator.Value = make([]byte, 21) },
		"no name":              func(l *List) { l.Units[0].Designator.Value = nil },
		"blocks of no bytes":   func(l *List) { l.Units[0].BlockSize = 0 },
		"blocks of many bytes": func(l *List) { l.Units[0].BlockSize = 1 << 24 },
	} {
		l := good()
		edit(&l)
		if _, err := l.Encode(make([]byte, 8192)); !errors.Is(err, blocks.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Whatever bit of a list is changed: it is another list that Encode could have
// made, or it is refused.
func TestDecodeListRefusesStrangeBits(t *testing.T) {
	for _, form := range []Form{LID1, LID4} {
		l := List{form, 0, []Unit{{nameA, 512}, {nameB, 512}}, []Segment{{0, 1, piece(1, 2, 3)}}}
		wire := make([]byte, l.Size())
		if _, err := l.Encode(wire); err != nil {
			t.Fatal(err)
		}
		accepted := 0
		for bit := range len(wire) * 8 {
			b := bytes.Clone(wire)
			b[bit/8] ^= 1 << (bit % 8)
			other, err := DecodeList(form, b)
			if err != nil {
				continue
			}
			accepted++
			again := make([]byte, other.Size())
			if _, err := other.Encode(again); err != nil || !bytes.Equal(again, b) {
				t.Errorf("form %d, bit %d: %+v, %v", form, bit, other, err)
			}
		}
		// Names (but for the first nibble), block lengths, places and LBAs.
		if accepted < 2*15*8 {
			t.Errorf("form %d: only %d of the changed lists are lists", form, accepted)
		}
		for n := range wire {
			if _, err := DecodeList(form, wire[:n]); err == nil {
				t.Errorf("form %d: %d bytes of %d are a list", form, n, len(wire))
			}
		}
	}
}

func TestCDBGolden(t *testing.T) {
	var copyLID1, copyLID4 [16]byte
	extendedCopy(&copyLID1, LID1, 0x01020304)
	extendedCopy(&copyLID4, LID4, 0x01020304)
	for name, tc := range map[string]struct {
		got  []byte
		want string
	}{
		"TEST UNIT READY":                   {testUnitReady().CDB, "000000000000"},
		"INQUIRY":                           {inquiry().CDB, "120000002400"},
		"INQUIRY page 83h":                  {inquiryPage(0x83).CDB, "1201833fff00"},
		"READ CAPACITY(10)":                 {readCapacity10().CDB, "25000000000000000000"},
		"READ CAPACITY(16)":                 {readCapacity16().CDB, "9e10 0000000000000000 00000020 0000"},
		"SYNCHRONIZE CACHE(10)":             {synchronizeCache(OpSynchronizeCache10).CDB, "35000000000000000000"},
		"SYNCHRONIZE CACHE(16)":             {synchronizeCache(OpSynchronizeCache16).CDB, "91000000000000000000000000000000"},
		"RECEIVE COPY OPERATING PARAMETERS": {receiveParameters().CDB, "8403 0000000000000000 00000200 0000"},
		"RECEIVE COPY STATUS(LID1)":         {receiveStatusLID1(0x5A).CDB, "8400 5a00000000000000 0000000c 0000"},
		"RECEIVE COPY STATUS(LID4)":         {receiveStatusLID4(0xA1B2C3D4).CDB, "8405 a1b2c3d400000000 00000200 0000"},
		"EXTENDED COPY(LID1)":               {copyLID1[:], "8300 0000000000000000 01020304 0000"},
		"EXTENDED COPY(LID4)":               {copyLID4[:], "8301 0000000000000000 01020304 0000"},
	} {
		if want := unhex(t, tc.want); !bytes.Equal(tc.got, want) {
			t.Errorf("%s: %x, want %x", name, tc.got, want)
		}
	}
}

// Nothing but the commands of this package leaves, in no other form.
func TestOnlyListedOpcodesLeave(t *testing.T) {
	list := List{LID1, 0, []Unit{{nameA, 512}}, []Segment{{0, 0, piece(1, 2, 3)}}}
	wire := make([]byte, list.Size())
	if _, err := list.Encode(wire); err != nil {
		t.Fatal(err)
	}
	var cdb [16]byte
	extendedCopy(&cdb, LID1, len(wire))
	good := []Command{
		testUnitReady(), inquiry(), inquiryPage(0x83), readCapacity10(), readCapacity16(), synchronizeCache(OpSynchronizeCache10),
		synchronizeCache(OpSynchronizeCache16), receiveParameters(), receiveStatusLID1(1), receiveStatusLID4(1), {CDB: cdb[:], Data: wire},
	}
	listed := make(map[byte]bool)
	for _, c := range good {
		if err := check(&c); err != nil {
			t.Errorf("% x: %v", c.CDB, err)
		}
		listed[c.CDB[0]] = true
		for bit := range 8 * len(c.CDB) {
			changed := Command{CDB: bytes.Clone(c.CDB), Data: c.Data}
			changed.CDB[bit/8] ^= 1 << (bit % 8)
			if check(&changed) == nil && !harmless(&c, &changed) {
				t.Errorf("% x became % x and would leave", c.CDB, changed.CDB)
			}
		}
		for n := range c.CDB {
			if short := (Command{CDB: c.CDB[:n], Data: c.Data}); check(&short) == nil {
				t.Errorf("% x would leave", short.CDB)
			}
		}
		if more := (Command{CDB: c.CDB, Data: append(bytes.Clone(c.Data), 0)}); check(&more) == nil {
			t.Errorf("% x would leave with another length of data", c.CDB)
		}
	}
	for op := range 256 {
		for _, length := range []int{6, 10, 12, 16, 32} {
			c := Command{CDB: append([]byte{byte(op)}, make([]byte, length-1)...)}
			if err := check(&c); err == nil && !listed[byte(op)] {
				t.Errorf("opcode %02xh of %d bytes would leave", op, length)
			}
		}
	}
}

// harmless: the changed command asks for another page or list identifier only.
func harmless(was, is *Command) bool {
	switch is.Opcode() {
	case OpInquiry:
		return was.Opcode() == OpInquiry
	case OpThirdPartyIn:
		return was.Opcode() == OpThirdPartyIn
	case OpThirdPartyOut: // the long form needs a longer list
		return false
	}
	return false
}

func TestParseInquiry(t *testing.T) {
	lio := unhex(t, "00 00 06 02 1f 08 00 02 4c494f2d4f524720 6469736b312020202020202020202020 342e3020")
	got, err := ParseInquiry(lio)
	if want := (Inquiry{0, 0, 6, true, false, "LIO-ORG", "disk1", "4.0"}); err != nil || got != want {
		t.Errorf("%+v, %v", got, err)
	}
	lio[5] = 0x01
	lio[0] = 0x61
	if got, err := ParseInquiry(lio); err != nil || got.ThirdParty || !got.Protect || got.Qualifier != 3 || got.DeviceType != 1 {
		t.Errorf("%+v, %v", got, err)
	}
	for name, edit := range map[string]func([]byte) []byte{
		"short":        func(b []byte) []byte { return b[:35] },
		"says short":   func(b []byte) []byte { b[4] = 30; return b },
		"old format":   func(b []byte) []byte { b[3] = 1; return b },
		"empty":        func([]byte) []byte { return nil },
		"other format": func(b []byte) []byte { b[3] = 3; return b },
	} {
		if got, err := ParseInquiry(edit(bytes.Clone(lio))); err == nil {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

// lioPage is page 83h as the Linux target writes it (drivers/target/
// target_core_spc.c, spc_emulate_evpd_83).
const lioPage = `00830070
	0201002c 4c494f2d4f52472065303735623865342d626463652d343662662d386237372d303030303030303030303031
	01030010 6001405e075b8e4bdce46bf8b7700000
	51940004 00000001
	53980020 6e61612e363030313430353032633464633566622c742c307830303031000000`

func TestParseDesignators(t *testing.T) {
	page := unhex(t, lioPage)
	all, err := ParseDesignators(page)
	if err != nil || len(all) != 4 {
		t.Fatalf("%v, %v", all, err)
	}
	best, ok := choose(all)
	if !ok || best.String() != "naa.6001405e075b8e4bdce46bf8b7700000" {
		t.Errorf("chose %v", best)
	}
	if ports := of(all, TargetPort); len(ports) != 2 || ports[1].Type != TypeName || ports[1].String() != "naa.600140502c4dc5fb,t,0x0001" {
		t.Errorf("ports %v", ports)
	}
	for n := 1; n < len(page); n++ {
		if all, err := ParseDesignators(page[:n]); !errors.Is(err, blocks.ErrShort) {
			t.Errorf("%d bytes: %v, %v", n, all, err)
		}
	}
	page[1] = 0x80
	if _, err := ParseDesignators(page); !errors.Is(err, blocks.ErrInvalid) {
		t.Errorf("another page: %v", err)
	}
}

func TestChooseDesignator(t *testing.T) {
	value := func(first byte, n int) []byte { return append([]byte{first}, bytes.Repeat([]byte{7}, n-1)...) }
	naa6 := Designator{codeBinary, LogicalUnit, TypeNAA, value(0x60, 16)}
	naa5 := Designator{codeBinary, LogicalUnit, TypeNAA, value(0x50, 8)}
	naa2 := Designator{codeBinary, LogicalUnit, TypeNAA, value(0x20, 8)}
	eui := Designator{codeBinary, LogicalUnit, TypeEUI, value(0x11, 8)}
	t10 := Designator{codeASCII, LogicalUnit, TypeT10, value('A', 20)}
	for name, tc := range map[string]struct {
		all  []Designator
		want Designator
	}{
		"best last":         {[]Designator{t10, eui, naa5, naa6}, naa6},
		"best first":        {[]Designator{naa6, naa5, eui, t10}, naa6},
		"short name":        {[]Designator{t10, eui, naa5}, naa5},
		"first of two":      {[]Designator{naa2, naa5}, naa2},
		"EUI-64":            {[]Designator{t10, eui}, eui},
		"last resort":       {[]Designator{t10}, t10},
		"nothing":           {nil, Designator{}},
		"of a port":         {[]Designator{{codeBinary, TargetPort, TypeNAA, value(0x60, 16)}}, Designator{}},
		"NAA in ASCII":      {[]Designator{{codeASCII, LogicalUnit, TypeNAA, value(0x60, 16)}}, Designator{}},
		"locally assigned":  {[]Designator{{codeBinary, LogicalUnit, TypeNAA, value(0x30, 8)}}, Designator{}},
		"NAA 6, half":       {[]Designator{{codeBinary, LogicalUnit, TypeNAA, value(0x60, 8)}}, Designator{}},
		"vendor too long":   {[]Designator{{codeASCII, LogicalUnit, TypeT10, value('A', 21)}}, Designator{}},
		"vendor and no ID":  {[]Designator{{codeASCII, LogicalUnit, TypeT10, value('A', 8)}}, Designator{}},
		"made up by vendor": {[]Designator{{codeBinary, LogicalUnit, 0, value(1, 8)}}, Designator{}},
		"name string":       {[]Designator{{codeUTF8, LogicalUnit, TypeName, value('i', 16)}}, Designator{}},
	} {
		got, ok := choose(tc.all)
		if !got.Equal(tc.want) || ok != (tc.want.Type != 0) {
			t.Errorf("%s: %+v, %v", name, got, ok)
		}
	}
}

func TestParseSerialAndPages(t *testing.T) {
	if s, err := ParseSerial(unhex(t, "00 80 0008 2061626320202020")); err != nil || s != "abc" {
		t.Errorf("%q, %v", s, err)
	}
	if s, err := ParseSerial(unhex(t, "00 80 0004 20202020")); err != nil || s != "" {
		t.Errorf("%q, %v", s, err)
	}
	if p, err := ParsePages(unhex(t, "00 00 0003 00 80 83 ffff")); err != nil || !bytes.Equal(p, []byte{0, 0x80, 0x83}) {
		t.Errorf("%x, %v", p, err)
	}
	for _, page := range []string{"", "00", "008000", "00 80 0001", "00 83 0001 41"} {
		if s, err := ParseSerial(unhex(t, page)); err == nil {
			t.Errorf("%s: %q", page, s)
		}
	}
}

// lioParameters are what drivers/target/target_core_xcopy.c answers,
// target_rcr_operating_parameters.
const lioParameters = "0000002a 01 000000 0002 0001 00000400 10000000 00000000 00000000 00000000 0000 0001 01 09 09 09 000000 02 02 e4"

func TestParseParameters(t *testing.T) {
	wire := unhex(t, lioParameters)
	got, err := ParseParameters(append(bytes.Clone(wire), make([]byte, 100)...))
	if err != nil || !reflect.DeepEqual(got, LIO().Parameters) {
		t.Errorf("%+v, %v", got, err)
	}
	for n := range wire {
		if p, err := ParseParameters(wire[:n]); !errors.Is(err, blocks.ErrShort) {
			t.Errorf("%d bytes: %+v, %v", n, p, err)
		}
	}
	wire[3]--
	if p, err := ParseParameters(wire); !errors.Is(err, blocks.ErrShort) {
		t.Errorf("less available than listed: %+v, %v", p, err)
	}
	wire[3]++
	wire[37] = 41
	if p, err := ParseParameters(wire); !errors.Is(err, blocks.ErrInvalid) {
		t.Errorf("granularity: %+v, %v", p, err)
	}
	for _, b := range []Behaviour{LIO(), TCMURunner(), SCST(), CTL()} {
		if back, err := ParseParameters(b.Parameters.encode()); err != nil || !reflect.DeepEqual(back, b.Parameters) {
			t.Errorf("%+v became %+v, %v", b.Parameters, back, err)
		}
	}
}

func TestParseThirdParty(t *testing.T) {
	const (
		commands   = "0001 000c 0a 83 03 00 01 10 84 03 00 03 05 00"
		parameters = "0004 0010 00000000 0003 0005 00000300 00000000"
		types      = "0008 0004 02 02 e4 00"
		general    = "8001 0010 00000009 00000000 00100000 0a 00 0000"
		tokens     = "0106 0004 00000000"
	)
	page := func(parts ...string) []byte {
		body := unhex(t, strings.Join(parts, ""))
		return append([]byte{0, 0x8F, byte(len(body) >> 8), byte(len(body))}, body...)
	}
	got, err := ParseThirdParty(page(commands, parameters, tokens, types, general, tokens))
	want := ThirdParty{
		Commands:    []ServiceAction{{0x83, 0}, {0x83, 1}, {0x83, 0x10}, {0x84, 0}, {0x84, 3}, {0x84, 5}},
		Parameters:  &ParameterData{3, 5, 0x300},
		Descriptors: []uint8{2, 0xE4},
		General:     &GeneralCopy{9, 1 << 20, 1024},
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v", got, err)
	}
	if got, err := ParseThirdParty(page()); err != nil || !reflect.DeepEqual(got, ThirdParty{}) {
		t.Errorf("empty: %+v, %v", got, err)
	}
	for name, b := range map[string][]byte{
		"no head":              {0, 0x8F, 0},
		"descriptor past end":  page("0004 0011 00000000 0003 0005 00000300 00000000"),
		"half a head":          page(commands, "00"),
		"twice":                page(parameters, parameters),
		"list past end":        page("0001 0002 03 83"),
		"actions past end":     page("0001 0004 02 83 05 00"),
		"short parameters":     page("0004 000c 00000000 0003 0005 00000300"),
		"short general":        page("8001 000c 00000009 00000000 00100000"),
		"granularity":          page("8001 0010 00000009 00000000 00100000 ff 00 0000"),
		"empty descriptor":     page("0001 0000"),
		"list of types behind": page("0008 0001 01"),
	} {
		if got, err := ParseThirdParty(b); err == nil {
			t.Errorf("%s: %+v", name, got)
		}
	}

	p := Parameters{Descriptors: 2, Segments: 9, ListBytes: 1024, SegmentBytes: 0, TotalConcurrent: 3, Granularity: 512}
	if m := p.merge(want); m.Descriptors != 2 || m.Segments != 5 || m.ListBytes != 0x300 || m.SegmentBytes != 1<<20 || m.TotalConcurrent != 3 || m.Granularity != 1024 {
		t.Errorf("%+v", m)
	}
	if m := p.merge(ThirdParty{}); !reflect.DeepEqual(m, p) {
		t.Errorf("%+v", m)
	}
	for name, tc := range map[string]struct {
		commands []ServiceAction
		form     Form
		ok       bool
	}{
		"not told": {nil, LID1, true},
		"both":     {want.Commands, LID1, true},
		"long":     {[]ServiceAction{{0x83, 1}}, LID4, true},
		"none":     {[]ServiceAction{}, LID4, false},
		"tokens":   {[]ServiceAction{{0x83, 0x10}, {0x84, 0}}, LID4, false},
	} {
		if form, ok := (ThirdParty{Commands: tc.commands}).form(); form != tc.form || ok != tc.ok {
			t.Errorf("%s: form %d, %v", name, form, ok)
		}
	}
}

func TestParseCapacity(t *testing.T) {
	for _, tc := range []struct {
		long bool
		wire string
		want Capacity
		err  error
	}{
		{true, "00000000000fffff 00000200 00 000000", Capacity{1 << 20, 512, false}, nil},
		{true, "00000000000fffff 00001000 05 000000", Capacity{1 << 20, 4096, true}, nil},
		{true, "00000000000fffff 00000200", Capacity{}, blocks.ErrShort},
		{true, "ffffffffffffffff 00000200 00", Capacity{}, blocks.ErrInvalid},
		{true, "00ffffffffffffff 00000200 00", Capacity{}, blocks.ErrInvalid},
		{true, "000000000000ffff 00000208 00", Capacity{}, blocks.ErrInvalid},
		{true, "000000000000ffff 00000000 00", Capacity{}, blocks.ErrInvalid},
		{true, "000000000000ffff 00200000 00", Capacity{}, blocks.ErrInvalid},
		{false, "000fffff 00000200", Capacity{1 << 20, 512, false}, nil},
		{false, "ffffffff 00000200", Capacity{}, errCapacity16},
		{false, "000fffff 000002", Capacity{}, blocks.ErrShort},
		{false, "000fffff 00000100", Capacity{}, blocks.ErrInvalid},
	} {
		parse := ParseCapacity10
		if tc.long {
			parse = ParseCapacity16
		}
		got, err := parse(unhex(t, tc.wire))
		if !errors.Is(err, tc.err) || err == nil && got != tc.want {
			t.Errorf("%s: %+v, %v", tc.wire, got, err)
		}
	}
}

func TestParseCopyStatus(t *testing.T) {
	for wire, want := range map[string]CopyState{
		"00000008 00 0003 00 00000000": CopyInProgress,
		"00000008 81 0003 f1 00000000": CopyDone,
		"00000008 02 0003 00 00000000": CopyFailed,
	} {
		if s, err := ParseCopyStatusLID1(unhex(t, wire)); err != nil || s.State != want || s.Segments != 3 {
			t.Errorf("%s: %+v, %v", wire, s, err)
		}
	}
	for _, wire := range []string{"", "00000008 00 0003 00 000000", "00000007 00 0003 00 00000000", "00000008 03 0003 00 00000000"} {
		if s, err := ParseCopyStatusLID1(unhex(t, wire)); err == nil {
			t.Errorf("%s: %+v", wire, s)
		}
	}
	long := func(status byte) []byte {
		b := unhex(t, "00000024 01 01 0000 ffffffff 00 08 02 f1 0000000000000005 0004 000000000000 7005000000000000")
		b[5] = status
		return b
	}
	for status, want := range map[byte]CopyState{1: CopyDone, 2: CopyFailed, 3: CopyFailed, 4: CopyFailed, 0x10: CopyInProgress, 0x91: CopyInProgress, 0x12: CopyInProgress, 0x60: CopyFailed} {
		s, err := ParseCopyStatusLID4(long(status))
		if err != nil || s.State != want || s.Segments != 4 || !bytes.Equal(s.Sense, []byte{0x70, 5}) {
			t.Errorf("%02x: %+v, %v", status, s, err)
		}
	}
	for n := range long(1) {
		if s, err := ParseCopyStatusLID4(long(1)[:n]); err == nil {
			t.Errorf("%d bytes: %+v", n, s)
		}
	}
	if s, err := ParseCopyStatusLID4(long(0)); !errors.Is(err, blocks.ErrInvalid) {
		t.Errorf("%+v, %v", s, err)
	}
}

func TestParseSense(t *testing.T) {
	none := func(key SenseKey, asc, ascq uint8) Sense { return Sense{SenseCode{key, asc, ascq}, false, -1, nil} }
	deferred := func(s Sense) Sense { s.Deferred = true; return s }
	busy := []Forwarded{{Status(0x18), nil}}
	for wire, want := range map[string]Sense{
		"70 00 05 00000000 0a 00000000 24 00 00 000000":                                none(IllegalRequest, 0x24, 0),
		"f0 00 23 00000001 0a 00000000 11 00 00 000000":                                none(MediumError, 0x11, 0),
		"71 00 03 00000000 0a 00000000 0c 02 00 000000":                                deferred(none(MediumError, 0x0C, 2)),
		"70 00 06 00000000 06 00000000 29 00":                                          none(UnitAttention, 0x29, 0),
		"72 05 26 06 000000 00":                                                        none(IllegalRequest, 0x26, 6),
		"73 04 44 00 000000 00":                                                        deferred(none(HardwareError, 0x44, 0)),
		"70 00 0a 00000000 0a 0000 0003 0d 02 00 000000":                               {SenseCode{CopyAborted, 0x0D, 2}, false, 3, nil},
		"70 00 0a 00000000 0b 1200 0003 0d 02 00 000000 18":                            {SenseCode{CopyAborted, 0x0D, 2}, false, 3, busy},
		"70 00 0a 00000000 0b 0012 0003 0d 02 00 000000 18":                            {SenseCode{CopyAborted, 0x0D, 2}, false, 3, busy},
		"70 00 0a 00000000 0a ff01 0003 0d 02 00 000000 18":                            {SenseCode{CopyAborted, 0x0D, 2}, false, 3, nil},
		"72 0a 0d 02 000000 10 01 0a 00 00 0000000000000009 0c 02 00 18":               {SenseCode{CopyAborted, 0x0D, 2}, false, 9, busy},
		"72 0a 0d 02 000000 06 0c 04 00 02 7003":                                       {SenseCode{CopyAborted, 0x0D, 2}, false, -1, []Forwarded{{CheckCondition, []byte{0x70, 3}}}},
		"72 0a 0d 02 000000 ff 0c 04 00 02 70":                                         {SenseCode{CopyAborted, 0x0D, 2}, false, -1, nil},
		"70 00 05 00000000 ff 00000000 26 00 00 000000 " + strings.Repeat("00", 300):   none(IllegalRequest, 0x26, 0),
		"72 05 26 00 000000 0c 00 0a 80 00 0000000000000009" + strings.Repeat("ff", 9): none(IllegalRequest, 0x26, 0),
	} {
		got, err := ParseSense(unhex(t, wire))
		for i := range got.Forwarded {
			if len(got.Forwarded[i].Sense) == 0 {
				got.Forwarded[i].Sense = nil
			}
		}
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s:\n got %+v, %v\nwant %+v", wire, got, err, want)
		}
	}
	for _, wire := range []string{"", "00", "7f05240000000000", "70 00 05 00000000 05 00000000 24 00", "70 00 05 00000000 0a 00000000 24", "72 05 26 00 0000", "70"} {
		if s, err := ParseSense(unhex(t, wire)); err == nil {
			t.Errorf("%q: %+v", wire, s)
		}
	}
}

func TestLimitsOf(t *testing.T) {
	for name, tc := range map[string]struct {
		p     Parameters
		block uint32
		want  Limits
	}{
		"LIO, 512":             {LIO().Parameters, 512, Limits{65535, 65535, 1, 1}},
		"LIO, 4096":            {LIO().Parameters, 4096, Limits{65535, 65535, 1, 1}},
		"tcmu-runner":          {TCMURunner().Parameters, 512, Limits{32768, 32768, 1, 1}},
		"SCST":                 {SCST().Parameters, 512, Limits{65408, 6540800, 100, 128}},
		"CTL, no limit":        {CTL().Parameters, 512, Limits{65535, 64 * 65535, 64, 1}},
		"short lists":          {Parameters{Segments: 50, ListBytes: 64 + 3*28 + 27}, 512, Limits{65535, 3 * 65535, 3, 1}},
		"no list":              {Parameters{Segments: 50}, 512, Limits{65535, 0, 0, 1}},
		"no segments":          {Parameters{ListBytes: 1024}, 512, Limits{65535, 0, 0, 1}},
		"less than a block":    {Parameters{Segments: 1, ListBytes: 1024, SegmentBytes: 511}, 512, Limits{0, 0, 1, 1}},
		"granule over segment": {Parameters{Segments: 1, ListBytes: 1024, SegmentBytes: 4096, Granularity: 8192}, 512, Limits{0, 0, 1, 16}},
		"granule over 16 bits": {Parameters{Segments: 1, ListBytes: 1024, Granularity: 1 << 25}, 512, Limits{}},
		"very many segments":   {Parameters{Segments: 65535, ListBytes: 1 << 30}, 512, Limits{65535, 128 * 65535, 128, 1}},
	} {
		got := limitsOf(tc.p, tc.block)
		if got != tc.want {
			t.Errorf("%s: %+v", name, got)
		}
		if valid := tc.want.CommandBlocks > 0; got.Valid() != valid {
			t.Errorf("%s: valid %v", name, got.Valid())
		}
	}
}

func TestLimitsShrink(t *testing.T) {
	l := Limits{65535, 64 * 65535, 64, 1}
	steps := 0
	for ok := true; ok; steps++ {
		var smaller Limits
		if smaller, ok = l.Half(); ok && (!smaller.Valid() || smaller.CommandBlocks >= l.CommandBlocks && smaller.Segments >= l.Segments) {
			t.Fatalf("%v became %v", l, smaller)
		}
		l = smaller
	}
	if (l != Limits{1, 1, 1, 1}) || steps > maxShrinks {
		t.Errorf("%v after %d steps", l, steps)
	}
	l = Limits{65408, 6540800, 100, 128}
	for ok := true; ok; {
		l, ok = l.Half()
		if l.SegmentBlocks%128 != 0 || l.CommandBlocks%128 != 0 || !l.Valid() {
			t.Fatalf("%v", l)
		}
	}
	if capped := (Limits{65535, 65535, 1, 1}).Cap(1<<20, 512); capped != (Limits{2048, 2048, 1, 1}) {
		t.Errorf("%v", capped)
	}
	if capped := (Limits{1280, 1280, 1, 128}).Cap(1, 512); capped != (Limits{128, 128, 1, 128}) {
		t.Errorf("%v", capped)
	}
	if m := (Limits{1000, 3000, 3, 1}).Min(Limits{512, 5120, 10, 128}); m != (Limits{512, 2944, 3, 128}) {
		t.Errorf("%v", m)
	}
	if fmt.Sprint(l) != "128 blocks a segment, 128 blocks in 1 segments a command, granules of 128 blocks" {
		t.Error(l)
	}
}
