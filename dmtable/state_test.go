package dmtable

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/dmcopy/dmcopy/dmtable/integritysb"
	"github.com/dmcopy/dmcopy/remap"
	"github.com/dmcopy/dmcopy/test/golden"
)

// Types that are not known are opaque by name, and so is what is no type at
// all: path selectors, logs and policies.
func TestUnknownTypes(t *testing.T) {
	for _, typ := range []string{
		"bow", "default-key", "pcache", "switch", "user", "vdo", "zoned",
		"thin-pool2", "thin_pool", "thinpool", "cache2", "snapshot-cow", "raid1", "raid45", "mirror2", "crypto", "linear2",
		"smq", "mq", "cleaner", "default", "round-robin", "queue-length", "service-time", "historical-service-time",
		"io-affinity", "core", "disk", "userspace", "clustered-disk", "kcopyd", "bufio", "frobnicate",
	} {
		for _, params := range []string{"", " 8:16 0", " 2 64 0 8:16 0 8:32 0"} {
			l := tableOf(t, "0 8 "+typ+params).TrustedLayer(Trust{Verity: true, Integrity: true})
			for _, op := range []remap.Op{remap.Read, remap.Write} {
				if p := l.Map(op, 0, 8); p.Kind != remap.Opaque || p.Reason != remap.Reason("layer:"+typ) {
					t.Errorf("%s%s, %s: %s", typ, params, op, describe(p))
				}
			}
		}
	}
}

// What moves all the time does not count as a change, what the map depends on
// does.
func TestVitals(t *testing.T) {
	for _, test := range []struct {
		typ     string
		status  string
		same    []string
		changed []string
	}{
		{
			typ: "mirror", status: "2 8:1 8:2 1/98 1 AA 1 core",
			same:    []string{"2 8:1 8:2 97/98 1 AA 1 core"},
			changed: []string{"2 8:1 8:2 98/98 1 AA 1 core", "2 8:1 8:2 1/98 1 AD 1 core", "2 8:1 8:3 1/98 1 AA 1 core", "2 8:1 8:2 1/98 1 AA 1 core 1", ""},
		},
		{
			typ: "multipath", status: "2 0 0 0 2 1 A 0 1 2 8:0 A 0 0 1 E 0 1 0 8:16 A 0 ",
			same: []string{
				"2 1 7 0 2 1 A 0 1 2 8:0 A 5 3 1 E 0 1 0 8:16 F 9 ",
				"2 0 0 0 2 1 E 0 1 2 8:0 A 0 0 1 E 0 1 0 8:16 A 0 ",
			},
			changed: []string{
				"2 0 0 0 2 2 E 0 1 2 8:0 A 0 0 1 A 0 1 0 8:16 A 0 ",
				"2 0 0 0 2 1 A 0 1 2 8:0 F 1 0 1 E 0 1 0 8:16 A 0 ",
				"2 0 0 0 2 1 A 0 1 2 8:0 F 1 0 1 E 0 1 0 8:16 F 1 ",
				"",
			},
		},
		{
			typ: "verity", status: "V -",
			same:    []string{"V", "V 17"},
			changed: []string{"C -", "X", "V - -", ""},
		},
		{
			typ: "writecache", status: "0 50 50 0 1 2 3 4 5 6 7 8 9 10",
			same:    []string{"0 50 50 0 11 12 13 4 5 16 7 18 19 20"},
			changed: []string{"0 50 49 0 1 2 3 4 5 6 7 8 9 10", "0 50 50 1 1 2 3 4 5 6 7 8 9 10", "0 50 50 0 1 2 3 4 5 6 8 8 9 10", "-5 50 50 0 1 2 3 4 5 6 7 8 9 10", "0 50 50 0"},
		},
		{
			typ: "writecache", status: "0 50 49 0 1 2 3 4 5 6 7 8 9 10",
			same: []string{"0 50 48 1 11 12 13 14 15 16 17 18 19 20"},
		},
		{
			typ: "cache", status: "8 72/2048 128 5/16 1 2 3 4 5 6 0 1 writeback 2 migration_threshold 2048 smq 0 rw - ",
			same:    []string{"8 73/2048 128 6/16 11 12 3 4 5 6 0 1 writeback 2 migration_threshold 4096 smq 0 rw - "},
			changed: []string{"8 72/2048 128 5/16 1 2 3 4 5 6 1 1 writeback 2 migration_threshold 2048 smq 0 rw - ", "8 72/2048 128 5/16 1 2 4 4 5 6 0 1 writeback 2 migration_threshold 2048 smq 0 rw - ", "8 72/2048 128 5/16 1 2 3 4 5 6 0 1 writeback 2 migration_threshold 2048 smq 0 rw needs_check ", "Fail"},
		},
		{
			typ: "cache", status: "8 72/2048 128 5/16 1 2 3 4 5 6 0 1 writethrough 2 migration_threshold 2048 smq 0 rw - ",
			same:    []string{"8 72/2048 128 5/16 1 2 13 14 15 16 0 1 writethrough 2 migration_threshold 2048 smq 0 rw - "},
			changed: []string{"8 72/2048 128 5/16 1 2 3 4 5 6 0 1 writeback 2 migration_threshold 2048 smq 0 rw - "},
		},
		{
			typ: "clone", status: "8 17/2048 8 5/125 1 0 0 rw",
			same:    []string{"8 18/2048 8 125/125 1 0 0 rw"},
			changed: []string{"8 17/2048 8 125/125 0 0 0 rw", "8 17/2048 8 5/125 1 0 0 ro", "Fail"},
		},
		{
			typ: "raid", status: "raid1 2 AA 1000/1000 idle 0 0 -",
			same:    []string{"raid1 2 AA 1000/1000 frozen 12 0 -"},
			changed: []string{"raid1 2 AA 10/1000 resync 0 0 -", "raid1 2 AA 1000/1000 repair 0 0 -", "raid1 2 AD 1000/1000 idle 0 0 -", "raid1 2 AA 1000/1000 idle 0 8 -", "raid1 2 AA 1000/1000 reshape 0 0 -", "raid5_ls 2 AA 1000/1000 idle 0 0 -", "raid1 2 AA 1000/1000 idle 0 0 A", ""},
		},
	} {
		condense := targets[test.typ].condense
		for _, status := range test.same {
			if condense(status) != condense(test.status) {
				t.Errorf("%s: %q counts as a change of %q", test.typ, status, test.status)
			}
		}
		for _, status := range test.changed {
			if condense(status) == condense(test.status) {
				t.Errorf("%s: %q does not count as a change of %q", test.typ, status, test.status)
			}
		}
	}
}

func TestNotes(t *testing.T) {
	for _, test := range []struct {
		line, status string
		want         []string
	}{
		{"0 8 linear 8:16 0", "", nil},
		{"0 8 mirror core 1 1024 2 8:1 0 8:2 0", "2 8:1 8:2 98/98 1 AA 1 core", nil},
		{
			"0 8 mirror core 1 1024 2 8:1 0 8:2 0", "2 8:1 8:2 97/98 1 AD 1 core",
			[]string{"leg 8:2 of the mirror has failed (D)", "the legs of the mirror are not in sync yet"},
		},
		{"0 8 mirror core 1 1024 1 8:1 0", "1 8:1 98/98 1 R 1 core", []string{"leg 8:1 of the mirror has failed (R)"}},
		{
			"0 8 multipath 0 0 2 1 round-robin 0 1 1 8:0 1 round-robin 0 1 1 8:16 1 ", "2 0 0 0 2 1 A 0 1 0 8:0 F 1 E 0 1 0 8:16 A 0 ",
			[]string{"path 8:16 of the multipath device is used", "path 8:0 of the multipath device has failed"},
		},
		{
			"0 8 multipath 0 0 1 1 round-robin 0 1 1 8:0 1 ", "2 0 0 0 1 1 A 0 1 0 8:0 F 1 ",
			[]string{"no path of the multipath device works", "path 8:0 of the multipath device has failed"},
		},
		{"0 8 writecache s 8:16 8:32 4096 0", "0 50 47 1 1 2 3 4 5 6 7 8 9 10", []string{"3 blocks of the writecache are not on its origin yet"}},
		{
			"0 8 cache 253:1 253:2 253:3 128 0 default 0", "8 72/2048 128 5/16 1 2 3 4 5 6 9 1 writeback 0 smq 0 rw - ",
			[]string{"9 blocks of the cache are newer than its origin"},
		},
		{"0 8 clone 253:1 253:2 253:3 8", "8 17/2048 8 5/125 1 0 0 rw", []string{"the clone has copied 5 of 125 regions"}},
		{
			"0 8 raid raid1 1 0 3 253:1 253:2 253:3 253:4 - -", "raid1 3 AD- 8/8 idle 0 0 -",
			[]string{"member 1 (253:4) of the array has failed", "member 2 of the array is missing"},
		},
		{"0 8 raid raid1 1 0 2 253:1 253:2 253:3 253:4", "raid1 2 Aa 4/8 recover 0 0 -", []string{"member 1 (253:4) of the array is not in sync"}},
	} {
		lines := []string{test.line}
		if test.status != "" {
			lines = append(lines, "status "+test.status)
		}
		if got := tableOf(t, lines...).Notes(); !slices.Equal(got, test.want) {
			t.Errorf("%s, %s:\n got %q\nwant %q", test.line, test.status, got, test.want)
		}
	}
}

// Whoever reads superblocks is told where they are, if they are of use.
func TestIntegritySuper(t *testing.T) {
	for line, want := range map[string]string{
		"0 8 integrity 8:16 100 4 D 0":                    "8:16 100 true",
		"0 8 integrity 8:16 100 4 B 0":                    "8:16 100 true",
		"0 8 integrity 8:16 100 4 R 0":                    "8:16 100 true",
		"0 8 integrity 8:16 100 4 J 0":                    "0:0 0 false",
		"0 8 integrity 8:16 100 4 I 0":                    "0:0 0 false",
		"0 8 integrity 8:16 100 4 D 1 meta_device:8:32":   "0:0 0 false",
		"0 8 integrity 8:16 100 4 D 1 meta_device:8:32:0": "0:0 0 false",
		"0 8 linear 8:16 100":                             "0:0 0 false",
	} {
		dev, start, ok := tableOf(t, line).Targets[0].IntegritySuper()
		if got := strings.Join([]string{dev.String(), jsonOf(t, start), jsonOf(t, ok)}, " "); got != want {
			t.Errorf("%s: %s, want %s", line, got, want)
		}
	}
}

func jsonOf(t golden.TB, v any) string {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// A stored table is not trusted more than a live one.
func TestCheckIntegrity(t *testing.T) {
	const line = "0 8 integrity 8:16 100 4 D 0"
	for name, spoil := range map[string]func(*Target){
		"of another type":    func(t *Target) { t.Type = "linear" },
		"no mode":            func(t *Target) { t.Integrity.Mode = "" },
		"no block size":      func(t *Target) { t.Integrity.BlockSize = 0 },
		"before the device":  func(t *Target) { t.Integrity.Start = -1 },
		"parameters":         func(t *Target) { t.Params = "8:16 100 4 D 0" },
		"super without size": func(t *Target) { t.Integrity.Super = &integritysb.Super{Interleave: 8, Provided: 8} },
		"super with odd interleave": func(t *Target) {
			t.Integrity.Super = &integritysb.Super{Interleave: 9, BlockSize: 1, Provided: 8}
		},
		"super of nothing": func(t *Target) { t.Integrity.Super = &integritysb.Super{Interleave: 8, BlockSize: 1} },
	} {
		table := tableOf(t, line)
		if err := table.Check(); err != nil {
			t.Fatal(err)
		}
		spoil(&table.Targets[0])
		if err := table.Check(); !errors.Is(err, ErrBadTable) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// No key of an integrity line is kept, and what is kept comes back as it was.
func TestIntegrityKeepsNoKeys(t *testing.T) {
	const key = "00112233445566778899aabbccddeeff"
	table := tableOf(t, "0 8 integrity 8:16 0 32 J 3 internal_hash:hmac(sha256):"+key+" journal_crypt:ctr(aes):"+key+" journal_mac:hmac(sha256):"+key)
	text := jsonOf(t, table)
	if strings.Contains(text, key) || strings.Contains(text, "hmac") || table.Targets[0].Integrity == nil {
		t.Errorf("kept %s", text)
	}
	var back Table
	if err := json.Unmarshal([]byte(text), &back); err != nil || jsonOf(t, &back) != text {
		t.Errorf("%s came back as %s, %v", text, jsonOf(t, &back), err)
	}
}

// Nothing of an integrity line that could be a key is kept.
func FuzzIntegrityLine(f *testing.F) {
	for _, v := range vectors(f, "integrity") {
		for _, line := range v.lines {
			if _, params, ok := strings.Cut(line, " integrity "); ok {
				f.Add(params)
			}
		}
	}
	f.Fuzz(func(t *testing.T, params string) {
		before := strings.Clone(params)
		i := parseIntegrityLine([]byte(params))
		if params != before {
			t.Fatal("the line was changed")
		}
		if i == nil {
			return
		}
		if !i.valid() {
			t.Fatalf("kept %+v of %q, which is not valid", i, params)
		}
		if kept := jsonOf(t, i); strings.Contains(kept, "hash") || strings.Contains(kept, "journal_") {
			t.Fatalf("%s of %q", kept, params)
		}
	})
}
