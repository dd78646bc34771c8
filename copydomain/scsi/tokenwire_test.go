package scsi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/dmcopy/dmcopy/copydomain/blocks"
)

func tokenOf(b byte) *Token {
	var t Token
	for i := range t.secret {
		t.secret[i] = b
	}
	return &t
}

// Written out from SBC-3, 5.12.2.
func TestPopulateListGolden(t *testing.T) {
	for name, tc := range map[string]struct {
		list PopulateList
		want string
	}{
		"one range":  {PopulateList{0, []Range{{0x0102030405060708, 0x11121314}}}, "001E 00 00 00000000 00000000 0000 0010 0102030405060708 11121314 00000000"},
		"two ranges": {PopulateList{60, []Range{{1, 2}, {3, 0xFFFFFFFF}}}, "002E 00 00 0000003C 00000000 0000 0020 0000000000000001 00000002 00000000 0000000000000003 FFFFFFFF 00000000"},
	} {
		buf := bytes.Repeat([]byte{0xAA}, 64)
		n, err := tc.list.Encode(buf)
		want := unhex(t, tc.want)
		if err != nil || n != tc.list.Size() || !bytes.Equal(buf[:n], want) {
			t.Errorf("%s: % x, %v, want % x", name, buf[:n], err, want)
		}
		if got, err := DecodePopulateList(want); err != nil || !reflect.DeepEqual(*got, tc.list) {
			t.Errorf("%s: decoded %+v, %v", name, got, err)
		}
	}
}

// Written out from SBC-3, 5.49.2.
func TestWriteListGolden(t *testing.T) {
	token := strings.Repeat("5a", tokenSize)
	for name, tc := range map[string]struct {
		list WriteList
		want string
	}{
		"one range":  {WriteList{0, tokenOf(0x5A), true, []Range{{0x0102030405060708, 0x11121314}}}, "0226 02 00 00000000 0000000000000000" + token + "000000000000 0010 0102030405060708 11121314 00000000"},
		"two ranges": {WriteList{0x0A0B0C0D0E0F1011, tokenOf(0x5A), false, []Range{{1, 2}, {3, 4}}}, "0236 00 00 00000000 0A0B0C0D0E0F1011" + token + "000000000000 0020 0000000000000001 00000002 00000000 0000000000000003 00000004 00000000"},
	} {
		buf := bytes.Repeat([]byte{0xAA}, 1024)
		n, err := tc.list.Encode(buf)
		want := unhex(t, tc.want)
		if err != nil || n != tc.list.Size() || !bytes.Equal(buf[:n], want) {
			t.Errorf("%s: % x, %v, want % x", name, buf[:n], err, want)
		}
		if got, err := DecodeWriteList(want); err != nil || !reflect.DeepEqual(*got, tc.list) {
			t.Errorf("%s: decoded %+v, %v", name, got, err)
		}
	}
}

func TestTokenListsRefuse(t *testing.T) {
	buf := make([]byte, 1<<16)
	for name, ranges := range map[string][]Range{"no ranges": nil, "too many": make([]Range, maxRanges+1), "an empty one": {{5, 0}}, "one that wraps": {{^uint64(0), 1}}} {
		if _, err := (&PopulateList{Ranges: ranges}).Encode(buf); !errors.Is(err, blocks.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := (&WriteList{Token: tokenOf(1), Ranges: ranges}).Encode(buf); !errors.Is(err, blocks.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	one := []Range{{1, 1}}
	if _, err := (&WriteList{Ranges: one}).Encode(buf); !errors.Is(err, blocks.ErrInvalid) {
		t.Errorf("no token: %v", err)
	}
	if _, err := (&PopulateList{Ranges: one}).Encode(buf[:31]); !errors.Is(err, blocks.ErrShort) {
		t.Errorf("no room: %v", err)
	}
}

// A list with any bit in it that Encode does not write is refused.
func TestTokenListsRefuseStrangeBits(t *testing.T) {
	populate, write := make([]byte, 32), make([]byte, 552)
	if _, err := (&PopulateList{60, []Range{{1, 5}}}).Encode(populate); err != nil {
		t.Fatal(err)
	}
	if _, err := (&WriteList{7, tokenOf(0x5A), false, []Range{{1, 5}}}).Encode(write); err != nil {
		t.Fatal(err)
	}
	// Bytes whose bits mean something that is free.
	freeIn := func(at, from, to int) bool { return at >= from && at < to }
	for at := range populate {
		for bit := range 8 {
			b := bytes.Clone(populate)
			b[at] ^= 1 << bit
			_, err := DecodePopulateList(b)
			if free := freeIn(at, 4, 8) || freeIn(at, 16, 28); (err == nil) != free {
				t.Errorf("populate, byte %d bit %d: %v", at, bit, err)
			}
		}
	}
	for at := range write {
		for bit := range 8 {
			b := bytes.Clone(write)
			b[at] ^= 1 << bit
			_, err := DecodeWriteList(b)
			if free := at == 2 && bit == 1 || freeIn(at, 8, 528) || freeIn(at, 536, 548); (err == nil) != free {
				t.Errorf("write, byte %d bit %d: %v", at, bit, err)
			}
		}
	}
}

func TestTokenCDBGolden(t *testing.T) {
	list := make([]byte, 0x228)
	for name, tc := range map[string]struct {
		c    Command
		want string
	}{
		"populate": {populateToken(0xA1B2C3D4, list[:0x30]), "83 10 00000000 a1b2c3d4 00000030 00 00"},
		"write":    {writeUsingToken(0xA1B2C3D4, list), "83 11 00000000 a1b2c3d4 00000228 00 00"},
		"abort":    {abortOperation(0xA1B2C3D4), "83 1c a1b2c3d4 0000000000000000 00 00"},
		"receive":  {receiveToken(0xA1B2C3D4), "84 07 a1b2c3d4 00000000 00000400 00 00"},
	} {
		if want := unhex(t, tc.want); !bytes.Equal(tc.c.CDB, want) {
			t.Errorf("%s: % x, want % x", name, tc.c.CDB, want)
		}
	}
}

// Only what is made here leaves.
func TestTokenCommandsThatLeave(t *testing.T) {
	good := func() []byte {
		b := make([]byte, 32)
		if _, err := (&PopulateList{0, []Range{{1, 2}}}).Encode(b); err != nil {
			t.Fatal(err)
		}
		return b
	}
	fields := func(at int) Command {
		c := populateToken(1, good())
		c.CDB[at] = 1
		return c
	}
	immediate := populateToken(1, good())
	immediate.Data[2] = 1
	longer := populateToken(1, append(good(), 0))
	aborts := abortOperation(1)
	aborts.Data = []byte{1}
	for name, tc := range map[string]struct {
		c    Command
		fine bool
	}{
		"populate": {populateToken(1, good()), true}, "abort": {abortOperation(1), true}, "receive": {receiveToken(1), true},
		"reserved": {fields(2), false}, "group": {fields(14), false}, "immediate": {immediate, false}, "longer": {longer, false},
		"abort with data": {aborts, false}, "no list": {writeUsingToken(1, nil), false},
	} {
		if err := check(&tc.c); (err == nil) != tc.fine {
			t.Errorf("%s: %v", name, err)
		}
	}
}

const doneHead = "00000222 10 01 0000 FFFFFFFE 00 00 00 F1 0000000000000010 0000 000000000000"

func TestParseOperation(t *testing.T) {
	token := "00000202 0000" + strings.Repeat("5a", tokenSize)
	for name, tc := range map[string]struct {
		data string
		want Operation
		err  error
	}{
		"a token":           {doneHead + token, Operation{Action: 0x10, State: OperationDone, Blocks: 16, Token: tokenOf(0x5A)}, nil},
		"more room":         {doneHead + token + "0000", Operation{Action: 0x10, State: OperationDone, Blocks: 16, Token: tokenOf(0x5A)}, nil},
		"written":           {"00000020 11 03 0000 FFFFFFFF 00 00 00 F1 0000000000000010 0000 000000000000 00000000", Operation{Action: 0x11, State: OperationDone, Blocks: 16}, nil},
		"no descriptors":    {"0000001C 11 04 0000 00000000 00 00 00 F1 0000000000000010 0000 000000000000", Operation{Action: 0x11, State: OperationDone, Blocks: 16}, nil},
		"in progress":       {"0000001C 11 12 0001 00000064 00 00 00 F1 0000000000000001 0000 000000000000", Operation{Action: 0x11, State: OperationRunning, Delay: 100 * time.Millisecond, Blocks: 1}, nil},
		"in bytes":          {"0000001C 11 01 0000 00000000 00 00 00 00 0000000000001FFF 0000 000000000000", Operation{Action: 0x11, State: OperationDone, Blocks: 15}, nil},
		"in KiB":            {"0000001C 11 01 0000 00000000 00 00 00 01 0000000000000003 0000 000000000000", Operation{Action: 0x11, State: OperationDone, Blocks: 6}, nil},
		"in EiB":            {"0000001C 11 01 0000 00000000 00 00 00 06 0000000000000001 0000 000000000000", Operation{Action: 0x11, State: OperationDone, Blocks: 1 << 51}, nil},
		"terminated":        {"0000001C 11 E0 0000 00000000 00 00 00 F1 0000000000000000 0000 000000000000", Operation{Action: 0x11, State: OperationTerminated}, nil},
		"failed":            {"00000026 11 02 0000 00000000 02 0A 08 F1 0000000000000000 0000 000000000000 7203110000000000 0000", Operation{Action: 0x11, State: OperationFailed, Status: CheckCondition, Sense: unhex(t, "7203110000000000")}, nil},
		"too much":          {"0000001C 11 01 0000 00000000 00 00 00 06 0000000000000010 0000 000000000000", Operation{}, blocks.ErrInvalid},
		"other units":       {"0000001C 11 01 0000 00000000 00 00 00 07 0000000000000010 0000 000000000000", Operation{}, blocks.ErrInvalid},
		"other status":      {"0000001C 11 05 0000 00000000 00 00 00 F1 0000000000000010 0000 000000000000", Operation{}, blocks.ErrInvalid},
		"cut off":           {doneHead + "00000202 0000 5a5a", Operation{}, blocks.ErrShort},
		"less than it says": {"00000021 11 01 0000 00000000 00 00 00 F1 0000000000000010 0000 000000000000 00000000", Operation{}, blocks.ErrShort},
		"two tokens":        {"00000020 10 01 0000 00000000 00 00 00 F1 0000000000000010 0000 000000000000 00000404", Operation{}, blocks.ErrInvalid},
		"no length":         {"0000001E 10 01 0000 00000000 00 00 00 F1 0000000000000010 0000 000000000000 0000", Operation{}, blocks.ErrShort},
		"sense past end":    {"0000001C 11 02 0000 00000000 02 12 12 F1 0000000000000010 0000 000000000000", Operation{}, blocks.ErrShort},
		"sense past field":  {"00000020 11 02 0000 00000000 02 02 04 F1 0000000000000010 0000 000000000000 00000000", Operation{}, blocks.ErrShort},
		"nothing":           {"", Operation{}, blocks.ErrShort},
	} {
		got, err := ParseOperation(unhex(t, tc.data), 512)
		if !errors.Is(err, tc.err) || tc.err == nil && !reflect.DeepEqual(got, tc.want) && !(len(got.Sense) == 0 && len(tc.want.Sense) == 0 && equalOperation(got, tc.want)) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

func equalOperation(a, b Operation) bool {
	a.Sense, b.Sense = nil, nil
	return reflect.DeepEqual(a, b)
}

// Whatever prints a token, or what holds one, prints nothing of it.
func TestTokensAreSecret(t *testing.T) {
	token := tokenOf('S')
	list := WriteList{Token: token, Ranges: []Range{{1, 2}}}
	var logged bytes.Buffer
	slog.New(slog.NewTextHandler(&logged, nil)).Info("x", "token", *token, "pointer", token, "list", list, "operation", Operation{Token: token})
	marshalled, err := json.Marshal(list)
	if err != nil {
		t.Fatal(err)
	}
	said := logged.String() + string(marshalled)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%q", "%d"} {
		said += fmt.Sprintf(verb+verb+verb+verb, token, *token, list, &list)
	}
	for _, hint := range []string{"SSS", "535353", "83 83", "83, 83", "0x53"} {
		if strings.Contains(said, hint) {
			t.Errorf("%q in %s", hint, said)
		}
	}
	token.wipe()
	if !zero(token.secret[:]) {
		t.Error("not wiped")
	}
}

func TestTokenIDs(t *testing.T) {
	var ids tokenIDs
	seen := make(map[uint32]bool)
	for range 5000 { // more than milliseconds pass
		id := ids.take()
		if seen[id] {
			t.Fatalf("%08x twice", id)
		}
		seen[id] = true
	}
	ids.last = 1<<tokenIDBits - 1 // ahead of the clock, and round
	if id := ids.take() & (1<<tokenIDBits - 1); id == 1<<tokenIDBits-1 {
		t.Errorf("%08x again", id)
	}
}

func TestTokenLimits(t *testing.T) {
	told := TokenLimits{Ranges: 8, Blocks: 1000, MaxInactivity: 600}
	if got := told.Min(TokenLimits{}); got != (TokenLimits{1, 1000, 600}) {
		t.Errorf("%+v", got)
	}
	if got := told.Min(TokenLimits{Ranges: 2000, Blocks: 10, MaxInactivity: 30}); got != (TokenLimits{8, 10, 30}) {
		t.Errorf("%+v", got)
	}
	if got := told.Cap(4096, 512); got != (TokenLimits{8, 8, 600}) || got.Cap(1, 512).Blocks != 1 {
		t.Errorf("%+v", got)
	}
	steps := 0
	for l, ok := told.Half(); ok; l, ok = l.Half() {
		steps++
		if l.Ranges == 0 || l.Blocks == 0 || steps > 12 {
			t.Fatalf("%+v", l)
		}
	}
}

// Descriptors of page 8Fh, written out from SBC-3, 6.6.6.3 and SPC-4, 7.8.17.4.
func TestParseTokenPage(t *testing.T) {
	const limits = "0000 0020 000000000000 0040 00000258 0000003C 0000000000010000 0000000000004000"
	commands := func(list string) string { return "0001 000C" + list }
	page := func(body string) []byte {
		b := unhex(t, body)
		return append([]byte{0, 0x8F, 0, byte(len(b))}, b...)
	}
	for name, tc := range map[string]struct {
		body string
		want string // reason, empty: able
	}{
		"all":             {commands("09 83 03 10 11 1C 84 02 05 07 0000") + limits, ""},
		"no RECEIVE":      {commands("08 83 03 10 11 1C 84 01 05 000000") + limits, "domain:no-copy-command"},
		"no POPULATE":     {commands("07 83 01 11 84 02 05 07 00000000") + limits, "domain:no-copy-command"},
		"EXTENDED COPY":   {commands("06 83 01 00 84 01 03 0000000000") + limits, "domain:no-copy-command"},
		"no list":         {limits, "domain:no-copy-command"},
		"nothing bounded": {commands("09 83 03 10 11 1C 84 02 05 07 0000"), "limit:zero"},
	} {
		got, err := ParseThirdParty(page(tc.body))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if s := got.judgeTokens(); s.Reason != tc.want || (s.Able == blocks.Yes) != (tc.want == "") {
			t.Errorf("%s: %+v", name, s)
		}
		if got.Tokens != nil && *got.Tokens != (TokenLimits{64, 65536, 600}) {
			t.Errorf("%s: %+v", name, got.Tokens)
		}
	}
	if _, err := ParseThirdParty(page("0000 001C" + strings.Repeat("00", 28))); !errors.Is(err, blocks.ErrShort) {
		t.Errorf("limits cut off: %v", err)
	}
}

func FuzzParseOperation(f *testing.F) {
	f.Add(unhex(f, doneHead+"00000202 0000"+strings.Repeat("5a", tokenSize)), uint32(512))
	f.Add(unhex(f, "00000026 11 02 0000 00000000 02 0A 08 F1 0000000000000000 0000 000000000000 7203110000000000 0000"), uint32(4096))
	f.Fuzz(func(t *testing.T, b []byte, block uint32) {
		before := bytes.Clone(b)
		op, err := ParseOperation(b, block)
		if err != nil && op.Token != nil {
			t.Error("a token with an error")
		}
		if !bytes.Equal(b, before) {
			t.Error("the data were changed")
		}
		if err == nil {
			judgeOperation(op)
		}
	})
}

func FuzzDecodeTokenLists(f *testing.F) {
	populate, write := make([]byte, 32), make([]byte, 552)
	if _, err := (&PopulateList{60, []Range{{1, 2}}}).Encode(populate); err != nil {
		f.Fatal(err)
	}
	if _, err := (&WriteList{7, tokenOf(0x5A), true, []Range{{1, 2}}}).Encode(write); err != nil {
		f.Fatal(err)
	}
	f.Add(populate)
	f.Add(write)
	f.Fuzz(func(t *testing.T, b []byte) {
		again := make([]byte, len(b))
		if l, err := DecodePopulateList(b); err == nil {
			if n, err := l.Encode(again); err != nil || !bytes.Equal(again[:n], b) {
				t.Errorf("%+v, %v", l, err)
			}
		}
		if l, err := DecodeWriteList(b); err == nil {
			if n, err := l.Encode(again); err != nil || !bytes.Equal(again[:n], b) {
				t.Errorf("%+v, %v", l, err)
			}
		}
	})
}
