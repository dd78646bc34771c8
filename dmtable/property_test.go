package dmtable

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/dmcopy/dmcopy/remap"
	"github.com/dmcopy/dmcopy/test/golden"
)

// genLine draws a line of a type that is mapped: parameters and length, and the
// lines of a vector that belong to it.
func genLine(t *rapid.T) (typ, params string, length int64, more []string) {
	dev := func() string { return fmt.Sprintf("8:%d", rapid.IntRange(0, 3).Draw(t, "minor")) }
	start := func() int64 { return rapid.Int64Range(0, 1<<40).Draw(t, "start") }
	chunk := rapid.Int64Range(1, 40).Draw(t, "chunk")
	rows := rapid.Int64Range(1, 6).Draw(t, "rows")
	stripes := rapid.IntRange(1, 5).Draw(t, "stripes")
	typ = rapid.SampledFrom([]string{"linear", "striped", "unstriped", "error", "zero", "delay", "thin", typeCrypt, "stateful"}).Draw(t, "type")
	length = rapid.Int64Range(1, 200).Draw(t, "length")
	switch typ {
	case "linear":
		params = fmt.Sprintf("%s %d", dev(), start())
	case "striped":
		params, length = fmt.Sprintf("%d %d", stripes, chunk), rows*chunk*int64(stripes)
		for range stripes {
			params += fmt.Sprintf(" %s %d", dev(), start())
		}
	case "unstriped":
		params = fmt.Sprintf("%d %d %d %s %d", stripes, chunk, rapid.IntRange(0, stripes-1).Draw(t, "stripe"), dev(), start())
	case "delay":
		params = fmt.Sprintf("%s %d 5", dev(), start())
		if rapid.Bool().Draw(t, "write leg") {
			params += fmt.Sprintf(" %s %d 7", dev(), start())
		}
	case "thin":
		params = "253:4 1"
	case typeCrypt:
		params = fmt.Sprintf("aes-xts-plain64 00112233 %d %s %d", start(), dev(), start())
	case "stateful":
		typ = rapid.SampledFrom(statefulTypes).Draw(t, "stateful type")
		if typ == "raid" {
			length = wholeStripes
		}
		params, more = stateful[typ](t, length)
	}
	return typ, params, length, more
}

// genTable draws a table of several lines.
func genTable(t *rapid.T) []string {
	var lines []string
	end := int64(0)
	for range rapid.IntRange(1, 6).Draw(t, "lines") {
		typ, params, length, more := genLine(t)
		lines = append(lines, strings.TrimSuffix(fmt.Sprintf("%d %d %s %s", end, length, typ, params), " "))
		lines = append(lines, more...)
		end += length
	}
	return lines
}

// sectors answers for each sector of a range alone.
func sectors(t golden.TB, l remap.Layer, op remap.Op, s, n remap.Sector) []string {
	var got []string
	for ; n > 0; s, n = s+1, n-1 {
		p := l.Map(op, s, 1)
		if p.Len != 1 {
			t.Fatalf("Map(%v, %d, 1) is %d sectors long", op, s, p.Len)
		}
		got = append(got, describe(p))
	}
	return got
}

// runs answers for a range run by run, spelled out sector by sector.
func runs(t golden.TB, l remap.Layer, op remap.Op, s, n remap.Sector) []string {
	var got []string
	for n > 0 {
		p := l.Map(op, s, n)
		if p.Len < 1 || p.Len > n {
			t.Fatalf("Map(%v, %d, %d) is %d sectors long", op, s, n, p.Len)
		}
		for range p.Len {
			got = append(got, describe(p))
			p.Leg.Start++
			p.IV++
			p.Legs = slices.Clone(p.Legs)
			for i := range p.Legs {
				p.Legs[i].Start++
			}
		}
		s, n = s+p.Len, n-p.Len
	}
	return got
}

// A range is covered without gaps, and however it is split, each sector has
// one and the same place.
func TestSplitQueriesAreTheWhole(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		lines := genTable(t)
		table := tableOf(t, lines...)
		l := table.TrustedLayer(Trust{Verity: true, Integrity: true})
		start := remap.Sector(rapid.Int64Range(0, int64(table.Size())-1).Draw(t, "from"))
		n := remap.Sector(rapid.Int64Range(1, int64(table.Size()-start)).Draw(t, "n"))
		for _, op := range []remap.Op{remap.Read, remap.Write} {
			whole := runs(t, l, op, start, n)
			if alone := sectors(t, l, op, start, n); !slices.Equal(whole, alone) {
				t.Fatalf("%v %s [%d,+%d)\n whole %v\nsplit %v", lines, op, start, n, whole, alone)
			}
		}
	})
}

// A striped line deals its sectors like cards, and the unstriped line of each
// stripe is its inverse.
func TestStripedDealsChunks(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		stripes := rapid.IntRange(1, 7).Draw(t, "stripes")
		chunk := rapid.IntRange(1, 33).Draw(t, "chunk")
		rows := rapid.IntRange(1, 6).Draw(t, "rows")
		begin := rapid.IntRange(0, 50).Draw(t, "begin")
		params := fmt.Sprintf("%d %d", stripes, chunk)
		for i := range stripes {
			params += fmt.Sprintf(" 8:%d %d", i, 1000*i)
		}
		length := stripes * chunk * rows
		lines := []string{fmt.Sprintf("%d %d striped %s", begin, length, params)}
		if begin > 0 {
			lines = append([]string{fmt.Sprintf("0 %d zero", begin)}, lines...)
		}
		striped := tableOf(t, lines...).Layer()

		var want []string
		dealt := make([]int, stripes)
		for len(want) < length {
			for i := range stripes {
				for range chunk {
					want = append(want, fmt.Sprintf("8:%d:%d", i, 1000*i+dealt[i]))
					dealt[i]++
				}
			}
		}
		got := sectors(t, striped, remap.Read, remap.Sector(begin), remap.Sector(length))
		if !slices.Equal(got, want) {
			t.Fatalf("%v\n got %v\nwant %v", lines, got, want)
		}

		for i := range stripes {
			line := fmt.Sprintf("0 %d unstriped %d %d %d 253:1 %d", chunk*rows, stripes, chunk, i, begin)
			unstriped := tableOf(t, line).Layer()
			for s := range chunk * rows {
				p := unstriped.Map(remap.Read, remap.Sector(s), 1)
				p = striped.Map(remap.Read, p.Leg.Start, 1)
				if got, want := describe(p), fmt.Sprintf("8:%d:%d", i, 1000*i+s); got != want {
					t.Fatalf("sector %d of stripe %d is %s, want %s", s, i, got, want)
				}
			}
		}
	})
}

// Every type that has a state is mapped in some state, or the properties above
// would say nothing of it.
func TestGeneratedLinesAreMapped(t *testing.T) {
	for _, typ := range statefulTypes {
		mapped := false
		for seed := range 200 {
			lines := rapid.Custom(func(t *rapid.T) []string {
				params, more := stateful[typ](t, wholeStripes)
				return append([]string{fmt.Sprintf("0 %d %s %s", wholeStripes, typ, params)}, more...)
			}).Example(seed)
			p := tableOf(t, lines...).TrustedLayer(Trust{Verity: true, Integrity: true}).Map(remap.Read, 0, wholeStripes)
			mapped = mapped || p.Kind != remap.Opaque
			if strings.HasSuffix(string(p.Reason), "-unparsed") || strings.HasSuffix(string(p.Reason), "-status") {
				t.Fatalf("%q: %s", lines, describe(p))
			}
		}
		if !mapped {
			t.Errorf("no line of type %s is mapped", typ)
		}
	}
}

// The hint of the last line makes no difference: any order of queries gives
// the same answers.
func TestOrderOfQueries(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		table := tableOf(t, genTable(t)...)
		want := sectors(t, table.Layer(), remap.Read, 0, table.Size())
		l := table.Layer()
		for range 50 {
			s := rapid.IntRange(0, len(want)-1).Draw(t, "s")
			if got := describe(l.Map(remap.Read, remap.Sector(s), 1)); got != want[s] {
				t.Fatalf("sector %d is %s, in order it is %s", s, got, want[s])
			}
		}
	})
}

// Cutting a line in two, with the parameters moved along, maps the same.
func TestCutLinearLine(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(2, 300).Draw(t, "n")
		cut := rapid.IntRange(1, n-1).Draw(t, "cut")
		start := rapid.IntRange(0, 1<<40).Draw(t, "start")
		one := tableOf(t, fmt.Sprintf("0 %d linear 8:16 %d", n, start)).Layer()
		two := tableOf(t, fmt.Sprintf("0 %d linear 8:16 %d", cut, start), fmt.Sprintf("%d %d linear 8:16 %d", cut, n-cut, start+cut)).Layer()
		if !slices.Equal(runs(t, one, remap.Write, 0, remap.Sector(n)), runs(t, two, remap.Write, 0, remap.Sector(n))) {
			t.Fatal("the halves map to another place")
		}
	})
}

// Any line of any type ends in a mapping that stays inside of the line and
// below the end of all devices, or in an opaque one that says why.
func FuzzLine(f *testing.F) {
	for typ := range targets {
		for _, v := range vectors(f, typ) {
			for i, line := range v.lines {
				if isAttachment(line) {
					continue
				}
				status := ""
				if i+1 < len(v.lines) {
					_, status, _ = strings.Cut(v.lines[i+1], "status ")
				}
				words := append(strings.SplitN(line, " ", 4), "")
				f.Add(words[2], words[3], int64(parseInt(f, words[1])), status)
			}
		}
	}
	f.Fuzz(func(t *testing.T, typ, params string, length int64, status string) {
		if length < 1 || remap.Sector(length) > remap.MaxSectors || !validType(typ) || strings.Contains(params, "\x00") {
			return
		}
		n := remap.Sector(length)
		var k keeper
		target, err := k.keep(line{length: uint64(length), typ: []byte(typ), params: []byte(params)})
		if err != nil {
			t.Fatal(err)
		}
		if condense := targets[typ].condense; condense != nil {
			target.Status = status
			condense(status)
		}
		if err := target.check(); err != nil {
			t.Fatalf("what is kept of the line is impossible: %v", err)
		}
		table := Table{Targets: []Target{target}}
		table.Notes()
		checkLine(t, typ, n, table.Layer())
		checkLine(t, typ, n, table.TrustedLayer(Trust{Verity: true, Integrity: true}))
	})
}

// checkLine asks for parts of a line of n sectors.
func checkLine(t *testing.T, typ string, n remap.Sector, l remap.Layer) {
	t.Helper()
	for _, op := range []remap.Op{remap.Read, remap.Write} {
		for _, s := range []remap.Sector{0, 1, n / 3, n / 2, n - 1} {
			if s >= n {
				continue
			}
			p := l.Map(op, s, n-s)
			switch {
			case p.Len < 1 || p.Len > n-s:
				t.Fatalf("Map(%v, %d, %d) is %d sectors long", op, s, n-s, p.Len)
			case (p.Kind == remap.Data || p.Kind == remap.Cipher) && (p.Leg.Start < 0 || !slices.Contains(l.Below(), p.Leg.Dev)):
				t.Fatalf("Map(%v, %d) leads to %+v, below are %v", op, s, p.Leg, l.Below())
			case p.Kind == remap.Replica && slices.ContainsFunc(p.Legs, func(leg remap.Leg) bool { return leg.Start < 0 || !slices.Contains(l.Below(), leg.Dev) }):
				t.Fatalf("Map(%v, %d) leads to %+v, below are %v", op, s, p.Legs, l.Below())
			case p.Kind == remap.Opaque && !strings.HasPrefix(string(p.Reason), "layer:"+typ):
				t.Fatalf("Map(%v, %d) has reason %q", op, s, p.Reason)
			}
			one := l.Map(op, s+p.Len-1, 1)
			if p.Kind == remap.Data && one.Leg.Start != p.Leg.Start+p.Len-1 {
				t.Fatalf("the run at %d ends at %d, its last sector alone is %d", s, p.Leg.Start+p.Len-1, one.Leg.Start)
			}
			if p.Kind == remap.Cipher && (one.IV != p.IV+uint64(p.Len-1) || one.IV < p.IV || one.Cipher != p.Cipher || p.Cipher.Block < 1) {
				t.Fatalf("the run at %d has position %d, its last sector alone %d", s, p.IV, one.IV)
			}
		}
	}
}

func TestLVMNames(t *testing.T) {
	uuid := "LVM-" + strings.Repeat("x", 64)
	for _, test := range []struct {
		name, uuid, label string
		owner             remap.Owner
	}{
		{"vg-home", uuid, "vg/home", remap.Owner{Manager: "lvm", Group: "vg"}},
		{"my--vg-my--lv", uuid, "my-vg/my-lv", remap.Owner{Manager: "lvm", Group: "my-vg"}},
		{"a----b-c", uuid, "a--b/c", remap.Owner{Manager: "lvm", Group: "a--b"}},
		{"vg-pool-tpool", uuid + "-tpool", "vg-pool-tpool", remap.Owner{Manager: "lvm", Group: "vg"}},
		{"vg-pool_tdata", uuid + "-tdata", "vg-pool_tdata", remap.Owner{Manager: "lvm", Group: "vg"}},
		{"vg-home-real", uuid + "-real", "vg-home-real", remap.Owner{Manager: "lvm", Group: "vg"}},
		{"renamed", uuid, "renamed", remap.Owner{Manager: "lvm"}},
		{"vg-home", "", "vg-home", remap.Owner{}},
		{"vg-home", "home", "vg-home", remap.Owner{}},
		{"luks", "CRYPT-LUKS2-0b3d-luks", "luks", remap.Owner{Manager: "crypt"}},
		{"mpatha", "mpath-360000", "mpatha", remap.Owner{Manager: "mpath"}},
		{"mpatha-part1", "part1-mpath-360000", "mpatha-part1", remap.Owner{Manager: "part"}},
		{"x", "partner-1", "x", remap.Owner{}},
		{"x", "part-1", "x", remap.Owner{}},
		{"isw", "DMRAID-isw", "isw", remap.Owner{Manager: "dmraid"}},
		{"stratis-1-private-x", "stratis-1-private-x", "stratis-1-private-x", remap.Owner{Manager: "stratis"}},
	} {
		info := Info{Name: test.name, UUID: test.uuid}
		if got := info.Label(); got != test.label {
			t.Errorf("%s (%s): label %q, want %q", test.name, test.uuid, got, test.label)
		}
		if got := info.Owner(); got != test.owner {
			t.Errorf("%s (%s): owner %+v, want %+v", test.name, test.uuid, got, test.owner)
		}
	}
}

// What LVM builds is split into what it was built of.
func TestLVMNameRoundTrip(t *testing.T) {
	part := rapid.StringMatching(`[a-zA-Z0-9+_.][a-zA-Z0-9+_.-]{0,8}`)
	rapid.Check(t, func(t *rapid.T) {
		want := LVMName{VG: part.Draw(t, "vg"), LV: part.Draw(t, "lv")}
		if rapid.Bool().Draw(t, "layered") {
			want.Layer = part.Draw(t, "layer")
		}
		if got, ok := ParseLVMName(want.String()); !ok || got != want {
			t.Fatalf("%+v is built as %q and split as %+v, %v", want, want.String(), got, ok)
		}
	})
}

func FuzzLVMName(f *testing.F) {
	for _, name := range []string{"vg-home", "my--vg-my--lv", "a---b", "-", "--", "a-", "-b", "a-b-c-d", "vg-pool-tpool", ""} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		parts, ok := ParseLVMName(name)
		if ok && (parts.VG == "" || parts.LV == "" || parts.String() != name) {
			t.Fatalf("%q is split as %+v, which builds %q", name, parts, parts.String())
		}
	})
}
