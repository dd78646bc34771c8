package journal

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/dmcopy/dmcopy/test/golden"
)

// example is a state with everything in it.
func example() *State {
	s := &State{
		Job:     [16]byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16},
		Created: time.Date(2026, 11, 21, 17, 0, 0, 0, time.UTC), Directory: "/root",
		Command: []string{"copy", "--state", "move it.state", "vg/home", "vg/clone", "--range", "0:1M:64M", "--range", "96M:256M:32M"},
		Plan: Plan{
			Source:      End{Name: "vg/home", Identity: "dm:LVM-en0EVmYRVOvtRNPdzfeh2uBO7P0LOVUD", Size: 128 << 20},
			Destination: End{Name: "bild.raw\n", Identity: "file:1234:1700000000000000000", Size: 512 << 20, Version: "seconds 1.5"},
			Ranges:      SumUp([]Range{{0, 1 << 20, 64 << 20}, {96 << 20, 256 << 20, 32 << 20}}),
		},
		Samples: []Sample{"0123456789abcdef", Unread, "ffffffffffffffff"},
		Writer:  Process{PID: 4711, Started: 815, Boot: "2f1b0a56-2a0f-4c62-9b39-1d9d2a3a7b11"},
		Stage:   Copying,
	}
	for _, e := range []Extent{
		{1 << 20, 16 << 20, Done, "nvme-copy"}, {17 << 20, 1 << 20, Done, "host"}, {18 << 20, 512, Bad, ""},
		{256 << 20, 4096, Done, ""},
	} {
		s.Map.Put(e)
	}
	return s
}

func encode(t testing.TB, s *State) []byte {
	t.Helper()
	data, err := s.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// TestGolden: files of earlier versions of the program are read and written
// byte for byte.
func TestGolden(t *testing.T) {
	got := encode(t, example())
	golden.File(t, "testdata/state.txt", got)
	s, err := Parse(got)
	if err != nil || !reflect.DeepEqual(s, example()) {
		t.Errorf("%v, %+v", err, s)
	}
}

// TestDamaged: a file of which one byte was changed, or that was cut off
// anywhere, is refused.
func TestDamaged(t *testing.T) {
	whole := encode(t, example())
	refused := func(what string, data []byte) {
		s, err := Parse(data)
		if s != nil || !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrFormat) && !errors.Is(err, ErrVersion) {
			t.Errorf("%s: %v", what, err)
		}
	}
	for i := range whole {
		refused(fmt.Sprintf("cut off after %d bytes", i), whole[:i])
		for _, bit := range []byte{1, 0x20, 0x80} {
			changed := bytes.Clone(whole)
			changed[i] ^= bit
			refused(fmt.Sprintf("byte %d", i), changed)
		}
	}
	refused("doubled", append(bytes.Clone(whole), whole...))
	refused("appended", append(bytes.Clone(whole), '\n'))
	refused("zeroes", make([]byte, len(whole)))
}

// seal gives a body the checksum that it needs to be looked at.
func seal(body []byte) []byte {
	return fmt.Appendf(bytes.Clone(body), "%s%x\n", trailer, sha256.Sum256(body))
}

// TestForged: what has the right checksum is not trusted either.
func TestForged(t *testing.T) {
	whole := string(encode(t, example()))
	body := whole[:strings.LastIndex(whole, trailer)]
	for _, c := range []struct{ from, to string }{
		{"# stage copying", "# stage done"},
		{"# job 01", "# job 0x01"},
		{"# created 2026-11-21T17:00:00Z", "# created 2026-11-21T18:00:00+01:00"},
		{"  +  # nvme-copy", "  +  # nvme copy"},
		{"  +  # nvme-copy", "  +   # nvme-copy"},
		{"  +  # nvme-copy", "  *  # nvme-copy"},
		{"0x00100000  0x01000000", "0x00100000  0x01000001"},
		{"0x00100000  0x01000000", "0x00200000  0x00F00000"},
		{"0x00100000  0x01000000", "0x00000000  0x01100000"},
		{"0x01100000  0x00100000", "0x01100000 0x00100000"},
		{"# ranges 2", "# ranges 1"},
		{"# ranges 2", "# ranges -2"},
		{"# ranges 2 100663296", "# ranges 2 1"},
		{"# ranges 2 100663296", "# ranges 2 99999999999999999999"},
		{"# samples 0", "# samples g"},
		{"# samples 0", "# samples  0"},
		{"# source 134217728", "# source -1"},
		{"# destination 536870912", "# destination 1"},
		{`"copy"`, `"copy`},
		{`"copy" `, `"copy"  `},
		{"# writer 4711", "# writer +4711"},
		{preamble, ""},
		{"# writer 4711 815 \"2f1b0a56-2a0f-4c62-9b39-1d9d2a3a7b11\"\n", ""},
	} {
		changed := strings.Replace(body, c.from, c.to, 1)
		if changed == body {
			t.Fatalf("%q is not there", c.from)
		}
		if s, err := Parse(seal([]byte(changed))); s != nil || !errors.Is(err, ErrFormat) {
			t.Errorf("%q for %q: %v", c.to, c.from, err)
		}
	}
	if _, err := Parse([]byte(strings.Replace(whole, magic+"1", magic+"2", 1))); !errors.Is(err, ErrVersion) {
		t.Error(err)
	}
	if _, err := Parse([]byte("something else\n")); !errors.Is(err, ErrFormat) {
		t.Error(err)
	}
	if _, err := Parse(nil); !errors.Is(err, ErrFormat) {
		t.Error(err)
	}
}

// TestImpossible: what makes no sense is not written.
func TestImpossible(t *testing.T) {
	for name, change := range map[string]func(*State){
		"outside": func(s *State) { s.Map.Put(Extent{Off: 1, Len: 10, Status: Done}) },
		"beyond":  func(s *State) { s.Map.Put(Extent{Off: 288 << 20, Len: 1, Status: Done}) },
		"more":    func(s *State) { s.Map.Put(Extent{Off: 1 << 20, Len: 200 << 20, Status: Done}) },
		"status":  func(s *State) { s.Map.extents[0].Status = '*' },
		"method":  func(s *State) { s.Map.extents[0].Method = "a b" },
		"sample":  func(s *State) { s.Samples[0] = "0123" },
		"size":    func(s *State) { s.Plan.Destination.Size = -1 },
	} {
		s := example()
		change(s)
		if _, err := s.Encode(); !errors.Is(err, ErrFormat) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// text is any text, of bytes that mean something and others.
func text() *rapid.Generator[string] {
	return rapid.OneOf(rapid.String(), rapid.Map(rapid.SliceOf(rapid.Byte()), func(b []byte) string { return string(b) }))
}

// states are states of copies that there can be.
func states() *rapid.Generator[*State] {
	return rapid.Custom(func(t *rapid.T) *State {
		s := &State{
			Created: time.Unix(rapid.Int64Range(0, 1<<37).Draw(t, "created"), 0).UTC(), Directory: text().Draw(t, "directory"),
			Command: rapid.SliceOfN(text(), 1, 5).Draw(t, "command"),
			Stage:   rapid.SampledFrom([]Stage{Copying, Complete}).Draw(t, "stage"),
			Writer:  Process{rapid.Int64Min(0).Draw(t, "pid"), rapid.Int64Min(0).Draw(t, "started"), text().Draw(t, "boot")},
			Samples: rapid.SliceOfN(rapid.SampledFrom([]Sample{Unread, "00112233445566aa"}), 1, 9).Draw(t, "samples"),
		}
		copy(s.Job[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "job"))
		at := rapid.Int64Range(0, 1<<50).Draw(t, "from")
		var ranges []Range
		for range rapid.IntRange(0, 4).Draw(t, "ranges") {
			r := Range{rapid.Int64Range(0, 1<<50).Draw(t, "src"), at, rapid.Int64Range(1, 1<<50).Draw(t, "len")}
			ranges = append(ranges, r)
			if part := rapid.Int64Range(0, r.Len).Draw(t, "part"); part > 0 {
				s.Map.Put(Extent{Off: at + r.Len - part, Len: part, Status: Done, Method: rapid.SampledFrom([]string{"", "host"}).Draw(t, "method")})
				s.Map.Put(Extent{Off: at + r.Len - part/2, Len: part / 2, Status: Bad})
			}
			at += r.Len + rapid.Int64Range(0, 10).Draw(t, "gap")
		}
		s.Plan = Plan{
			Source:      End{text().Draw(t, "name"), text().Draw(t, "identity"), rapid.Int64Min(0).Draw(t, "size"), text().Draw(t, "version")},
			Destination: End{"dst", "identity", at, ""},
			Ranges:      SumUp(rapid.Permutation(ranges).Draw(t, "order")),
		}
		return s
	})
}

// TestRoundTrip: what was written is what is read.
func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := states().Draw(t, "state")
		data, err := s.Encode()
		if err != nil {
			t.Fatal(err)
		}
		again, err := Parse(data)
		if err != nil {
			t.Fatalf("%v\n%s", err, data)
		}
		if !reflect.DeepEqual(again, s) {
			t.Fatalf("%+v\nis not\n%+v", again, s)
		}
	})
}

// FuzzParse: nothing that is read makes it panic, and what passes is written
// again as it was. Bodies get the checksum that they need.
func FuzzParse(f *testing.F) {
	whole, err := example().Encode()
	if err != nil {
		f.Fatal(err)
	}
	body, err := sealed(whole)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(whole, false)
	f.Add(body, true)
	f.Add([]byte(magic), false)
	f.Fuzz(func(t *testing.T, data []byte, sealIt bool) {
		if sealIt {
			data = seal(data)
		}
		s, err := Parse(data)
		if err != nil {
			return
		}
		if again := encode(t, s); !bytes.Equal(again, data) {
			t.Errorf("read\n%s\nwrote\n%s", data, again)
		}
	})
}
