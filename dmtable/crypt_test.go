package dmtable

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/dmcopy/dmcopy/remap"
	"github.com/dmcopy/dmcopy/test/golden"
)

const (
	keyA  = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
	keyB  = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeefe"
	zeros = "0000000000000000000000000000000000000000000000000000000000000000"
)

// sameCipher pairs a range of one table with a range of another and tells
// whether all of its pieces can be moved as they are.
func sameCipher(t golden.TB, src, dst *Table, from, to, n remap.Sector) bool {
	t.Helper()
	srcDev, dstDev := remap.Dev{Major: 253}, remap.Dev{Major: 253, Minor: 1}
	nodes := []*remap.Node{
		{Dev: srcDev, Name: "dm-0", Size: src.Size(), BlockSize: 512, Layer: src.Layer(), Condition: remap.Condition{Mutable: true}},
		{Dev: dstDev, Name: "dm-1", Size: dst.Size(), BlockSize: 512, Layer: dst.Layer(), Condition: remap.Condition{Mutable: true}},
	}
	for i := range 2 {
		disk := remap.Dev{Major: 8, Minor: uint32(i + 1)}
		nodes = append(nodes, &remap.Node{Dev: disk, Name: disk.String(), Size: 1 << 41, BlockSize: 512, Leaf: &remap.Leaf{}})
	}
	st, err := remap.New(nodes)
	if err != nil {
		t.Fatal(err)
	}
	same, covered := true, remap.Sector(0)
	for p, err := range remap.Pair(st, remap.Range{Dev: srcDev, Start: from, Len: n}, st, remap.Range{Dev: dstDev, Start: to, Len: n}) {
		if err != nil {
			t.Fatal(err)
		}
		same = same && remap.SameCipher(&p.Src, &p.Dst)
		covered += p.Len()
	}
	if covered != n {
		t.Fatalf("%d of %d sectors", covered, n)
	}
	return same
}

// What may be moved as ciphertext, and what may not: C1 to C7 are the moves that
// were decrypted by a kernel, or asserted by a model of it.
func TestCiphertextMoves(t *testing.T) {
	const large = " 2 sector_size:4096 iv_large_sectors"
	plain64 := func(key, rest string) string { return "crypt aes-xts-plain64 " + key + " " + rest }
	both := func(line string, move ...remap.Sector) ciphertextMove {
		return ciphertextMove{line, line, move[0], move[1], false}
	}
	yes := func(m ciphertextMove) ciphertextMove { m.same = true; return m }
	a, c := plain64(keyA, "0 8:1 4096"), plain64(keyA, "8 8:2 0")
	for name, m := range map[string]ciphertextMove{
		"C1 in place":               {a, a, 100, 100, true},
		"C2 elsewhere":              {a, a, 100, 108, false},
		"C3 clone":                  {a, plain64(keyA, "0 8:2 32768"), 100, 100, true},
		"C4 offset":                 {a, c, 108, 100, true},
		"C4 offset, same place":     {a, c, 100, 100, false},
		"C6 offset, large sectors":  {plain64(keyA, "0 8:1 0"+large), plain64(keyA, "8 8:2 0"+large), 16, 8, true},
		"C5, C7 counted in another": {plain64(keyA, "0 8:1 0"+large), plain64(keyA, "0 8:2 0 1 sector_size:4096"), 16, 16, false},
		"key in capitals":           {a, plain64(strings.ToUpper(keyA), "0 8:2 0"), 100, 100, true},
		"flags that change nothing": {a, plain64(keyA, "0 8:2 0 3 allow_discards same_cpu_crypt no_read_workqueue"), 100, 100, true},
		"other key":                 {a, plain64(keyB, "0 8:2 0"), 100, 100, false},
		"longer key":                {a, plain64(keyA+keyA, "0 8:2 0"), 100, 100, false},
		"key of zeroes":             {plain64(zeros, "0 8:1 0"), plain64(zeros, "0 8:2 0"), 100, 100, false},
		"other cipher":              {a, "crypt serpent-xts-plain64 " + keyA + " 0 8:2 0", 100, 100, false},
		"other generator":           {a, "crypt aes-xts-plain " + keyA + " 0 8:2 0", 100, 100, false},
		"other hash":                {"crypt aes-cbc-essiv:sha256 " + keyA + " 0 8:1 0", "crypt aes-cbc-essiv:sha512 " + keyA + " 0 8:2 0", 8, 8, false},
		"other sector size":         {plain64(keyA, "0 8:1 0"+large), plain64(keyA, "0 8:2 0 2 sector_size:2048 iv_large_sectors"), 16, 16, false},
		"spelled otherwise":         {"crypt aes " + keyA + " 0 8:1 0", "crypt aes:1-cbc-plain " + keyA + " 0 8:2 0", 8, 8, true},
		"plain wraps at 32 bits":    {"crypt aes-cbc-plain " + keyA + " 0 8:1 0", "crypt aes-cbc-plain " + keyA + " 4294967296 8:2 0", 8, 8, false},
		"crypt and inlinecrypt":     {plain64(keyA+keyA, "0 8:1 0"), "inlinecrypt aes-xts-plain64 " + keyA + keyA + " 1 0 8:2 0", 8, 8, false},
		"inlinecrypt, clone":        {"inlinecrypt aes-xts-plain64 " + keyA + keyA + " 1 0 8:1 0", "inlinecrypt aes-xts-plain64 " + keyA + keyA + " 1 8 8:2 0", 108, 100, true},
		"inlinecrypt, elsewhere":    both("inlinecrypt aes-xts-plain64 "+keyA+keyA+" 1 0 8:1 0", 100, 108),
		"inlinecrypt, other key":    {"inlinecrypt aes-xts-plain64 " + keyA + keyA + " 1 0 8:1 0", "inlinecrypt aes-xts-plain64 " + keyA + keyB + " 1 0 8:2 0", 8, 8, false},
		"inlinecrypt, wrapped":      both("inlinecrypt aes-xts-plain64 "+keyA+keyA+" 2 0 8:1 0", 100, 100),
		"inlinecrypt, short key":    both("inlinecrypt aes-xts-plain64 "+keyA+" 1 0 8:1 0", 100, 100),
		"inlinecrypt, other cipher": both("inlinecrypt aes-xts-plain65 "+keyA+keyA+" 1 0 8:1 0", 100, 100),
		"ecb":                       yes(both("crypt aes-ecb "+keyA+" 0 8:1 0", 100, 108)),
		"null vectors":              yes(both("crypt aes-cbc-null "+keyA+" 0 8:1 0", 100, 108)),
		"null vectors, many keys":   both("crypt aes:2-cbc-null "+keyA+" 0 8:1 0", 100, 101),
		"ecb, many keys":            both("crypt aes:64-ecb "+keyA+" 0 8:1 0", 100, 108),
		"ecb, other key":            {"crypt aes-ecb " + keyA + " 0 8:1 0", "crypt aes-ecb " + keyB + " 0 8:2 0", 8, 8, false},
		"lmk":                       yes(both("crypt aes:64-cbc-lmk "+strings.Repeat(keyA, 32)+" 0 8:1 0", 100, 100)),
		"tcw":                       yes(both("crypt aes-cbc-tcw "+keyA+keyA+" 0 8:1 0", 100, 100)),
		"capi":                      both("crypt capi:xts(aes)-plain64 "+keyA+" 0 8:1 0", 100, 100),
		"no key":                    both("crypt aes-xts-plain64 - 0 8:1 0", 100, 100),
		"integrity":                 both("crypt aes-xts-plain64 "+keyA+" 0 8:1 0 1 integrity:4:none", 100, 100),
		"re-encrypted, with a description that stayed": both("crypt aes-xts-plain64 :64:logon:cryptsetup:0b3d-d0 0 8:1 0", 100, 100),
	} {
		t.Run(name, func(t *testing.T) {
			if got := sameCipher(t, tableOf(t, "0 1000 "+m.src), tableOf(t, "0 1000 "+m.dst), m.from, m.to, 8); got != m.same {
				t.Errorf("%s [%d] and %s [%d]: same %v", m.src, m.from, m.dst, m.to, got)
			}
		})
	}
}

type ciphertextMove struct {
	src, dst string
	from, to remap.Sector
	same     bool
}

// Two snapshots of one LUKS volume have one description for their keys, and no
// key: nothing makes them the same, not even the digest of somebody else.
func TestKeyringProvesNothing(t *testing.T) {
	for _, kind := range keyrings {
		table := tableOf(t, "0 100 crypt aes-xts-plain64 :64:"+kind+":cryptsetup:0b3d-d0 0 8:1 0")
		if p := table.Layer().Map(remap.Read, 0, 8); p.Kind != remap.Cipher || p.Cipher.ID != "" {
			t.Errorf("%s: %+v, %+v", kind, p, p.Cipher)
		}
		table.Targets[0].Crypt.KeyDigest = keyDigest([]byte(keyA))
		if err := table.Check(); !errors.Is(err, ErrBadTable) {
			t.Errorf("%s with a digest: %v", kind, err)
		}
	}
}

// What a table says of keys is stored, and what is read back is the same cipher
// as what it was stored of.
func TestStoredCipher(t *testing.T) {
	for _, line := range []string{
		"0 1000 crypt aes-xts-plain64 " + keyA + " 0 8:1 0",
		"0 1000 inlinecrypt aes-xts-plain64 " + keyA + keyB + " 1 0 8:1 0",
	} {
		table := tableOf(t, line)
		stored, err := json.Marshal(table)
		if err != nil {
			t.Fatal(err)
		}
		var back Table
		if err := json.Unmarshal(stored, &back); err != nil {
			t.Fatal(err)
		}
		if err := back.Check(); err != nil {
			t.Fatal(err)
		}
		if !sameCipher(t, table, &back, 100, 100, 8) || sameCipher(t, table, &back, 100, 108, 8) {
			t.Errorf("%s is another cipher once it has been stored", line)
		}
	}
}

func TestCheckDigest(t *testing.T) {
	good := keyDigest([]byte(keyA))
	for what, c := range map[string]Crypt{
		"short":       {KeyKind: keyRaw, KeyBytes: 32, KeyDigest: good[2:]},
		"long":        {KeyKind: keyRaw, KeyBytes: 32, KeyDigest: good + "00"},
		"odd":         {KeyKind: keyRaw, KeyBytes: 32, KeyDigest: good[1:]},
		"capitals":    {KeyKind: keyRaw, KeyBytes: 32, KeyDigest: strings.Repeat("AB", digestBytes)},
		"no hex":      {KeyKind: keyRaw, KeyBytes: 32, KeyDigest: strings.Repeat("xy", digestBytes)},
		"no key":      {KeyKind: keyNone, KeyDigest: good},
		"empty key":   {KeyKind: keyRaw, KeyDigest: good},
		"keyring":     {KeyKind: "logon", KeyBytes: 32, KeyDigest: good},
		"wrapped key": {KeyKind: keyWrapped, KeyBytes: 32, KeyDigest: good},
	} {
		c.Cipher = inlineCipher
		for typ := range cryptLines {
			table := Table{Targets: []Target{{Len: 8, Type: typ, Crypt: &c}}}
			if err := table.Check(); !errors.Is(err, ErrBadTable) {
				t.Errorf("%s: %s: %v", typ, what, err)
			}
		}
	}
	for typ := range cryptLines {
		table := Table{Targets: []Target{{Len: 8, Type: typ, Crypt: &Crypt{Cipher: inlineCipher, KeyKind: keyRaw, KeyBytes: 32, KeyDigest: good}}}}
		if err := table.Check(); err != nil {
			t.Errorf("%s: %v", typ, err)
		}
	}
}

// Equal keys have equal digests, others have others, and no digest is a plain
// one.
func TestKeyDigest(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := rapid.SliceOfN(rapid.Byte(), 0, 200).Draw(t, "a")
		b := rapid.SliceOfN(rapid.Byte(), 0, 200).Draw(t, "b")
		if rapid.Bool().Draw(t, "extended") {
			b = append(slices.Clone(a), make([]byte, len(b))...)
		}
		lower, upper := hex.EncodeToString(a), strings.ToUpper(hex.EncodeToString(a))
		got := keyDigest([]byte(lower))
		switch {
		case got != keyDigest([]byte(upper)):
			t.Fatal("the case of the digits counts")
		case (got == "") != (strings.Trim(lower, "0") == ""):
			t.Fatalf("key %s has digest %q", lower, got)
		case slices.Equal(a, b) != (got == keyDigest([]byte(hex.EncodeToString(b)))) && got != "":
			t.Fatalf("keys %x and %x", a, b)
		}
	})
}

// Ciphertext of two lines moves exactly where every input of the cipher is the
// same.
func TestCipherIsWhatItDependsOn(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		draw := func(name string) (line string, inputs [6]string, block uint64) {
			cipher := rapid.SampledFrom([]string{"aes-xts-plain64", "aes-cbc-plain", "aes-cbc-essiv:sha256", "serpent-xts-plain64"}).Draw(t, name+" cipher")
			key := rapid.SampledFrom([]string{keyA, keyB}).Draw(t, name+" key")
			size := rapid.SampledFrom([]uint64{512, 4096}).Draw(t, name+" size")
			large := rapid.SampledFrom([]string{"", " iv_large_sectors"}).Draw(t, name+" large")
			offset := rapid.Uint64Range(0, 2).Draw(t, name+" offset") * 8
			count := 1 + len(strings.Fields(large))
			line = fmt.Sprintf("0 1000 crypt %s %s %d 8:1 0 %d sector_size:%d%s", cipher, key, offset, count, size, large)
			return line, [6]string{cipher, key, fmt.Sprint(size), large}, offset
		}
		src, a, srcOffset := draw("src")
		dst, b, dstOffset := draw("dst")
		from := remap.Sector(rapid.IntRange(0, 3).Draw(t, "from") * 8)
		to := remap.Sector(rapid.IntRange(0, 3).Draw(t, "to") * 8)
		want := a == b && srcOffset+uint64(from) == dstOffset+uint64(to)
		if got := sameCipher(t, tableOf(t, src), tableOf(t, dst), from, to, 8); got != want {
			t.Fatalf("%s [%d] and %s [%d]: same %v", src, from, dst, to, got)
		}
	})
}

func TestCipherSpecs(t *testing.T) {
	for text, want := range map[string]string{
		"aes": "aes:1-cbc-plain:", "aes-plain": "aes:1-cbc-plain:", "aes-cbc-plain": "aes:1-cbc-plain:", "aes:1-cbc-plain": "aes:1-cbc-plain:",
		"aes:64-cbc-lmk": "aes:64-cbc-lmk:", "aes-xts-plain64": "aes:1-xts-plain64:", "aes-cbc-essiv:sha256": "aes:1-cbc-essiv:sha256",
		"aes-cbc-essiv:xxhash64-generic": "aes:1-cbc-essiv:xxhash64-generic", "xchacha12,aes-adiantum-plain64": "xchacha12,aes:1-adiantum-plain64:",
		"aes-ecb": "aes:1-ecb-:", "serpent-lrw-benbi": "serpent:1-lrw-benbi:", "aes-cbc-eboiv": "aes:1-cbc-eboiv:",
		"aes-cbc-elephant": "aes:1-cbc-elephant:", "des3_ede-cbc-tcw": "des3_ede:1-cbc-tcw:", "aes-xts-plain64be": "aes:1-xts-plain64be:",
		"aes-cbc-null": "aes:1-cbc-null:",

		"": "", "-": "", "aes-": "", "aes-cbc": "", "aes-cbc-": "", "aes-ecb-": "", "aes-ecb-plain": "", "aes-xts-random": "", "aes-xts-plain65": "",
		"aes-cbc-essiv": "", "aes-cbc-essiv:": "", "aes-xts-plain64:": "", "aes-xts-plain64:x": "", "aes-xts-plain64-x": "", "AES-xts-plain64": "",
		"aes:0-cbc-plain": "", "aes:3-cbc-plain": "", "aes:-cbc-plain": "", "aes:02-cbc-plain": "", "aes:+2-cbc-plain": "", "aes:99999999-cbc-plain": "",
		"aes:2:2-cbc-plain": "", "aes-plain-": "", "arc4-ecb": "", "paes-xts-plain64": "", "aes-gcm-plain64": "", "cipher_null-ecb": "", "cipher_null-cbc-null": "",
		"capi:xts(aes)-plain64": "", "capi:ecb(aes)": "",
	} {
		spec, ok := parseCipherSpec(text)
		if ok != (want != "") || ok && spec.String() != want {
			t.Errorf("%q is %q, %v, want %q", text, spec, ok, want)
		}
	}
}

// FuzzCipherSpec: the one spelling of a cipher has itself as its one spelling.
func FuzzCipherSpec(f *testing.F) {
	for _, text := range []string{"aes", "aes-xts-plain64", "aes:64-cbc-lmk", "aes-cbc-essiv:sha256", "aes-ecb", "capi:xts(aes)-plain64", "aes-plain"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		spec, ok := parseCipherSpec(text)
		if !ok {
			return
		}
		again := spec.String()
		if spec.options == "" {
			again = strings.TrimSuffix(strings.TrimSuffix(again, ":"), "-") // ECB has neither
		}
		if back, ok := parseCipherSpec(again); !ok || back != spec {
			t.Fatalf("%q is %+v, whose spelling %q is %+v, %v", text, spec, again, back, ok)
		}
	})
}

// Nothing of a line that could be a key is kept, and what is kept can be stored.
func FuzzCryptLine(f *testing.F) {
	for typ := range cryptLines {
		for _, v := range vectors(f, typ) {
			for _, line := range v.lines {
				_, params, _ := strings.Cut(line, typ)
				f.Add(strings.TrimPrefix(params, " "))
			}
		}
	}
	f.Fuzz(func(t *testing.T, params string) {
		for typ, parse := range cryptLines {
			line := []byte(params)
			c := parse(line)
			if string(line) != params {
				t.Fatal("the line was changed")
			}
			if c == nil {
				continue
			}
			if !c.valid(typ) {
				t.Fatalf("kept %+v of %q, which is not valid", c, params)
			}
			words := strings.Split(params, " ")
			key := words[1]
			elsewhere := strings.Contains(words[0], key) || slices.Contains(words[2:], key)
			if isHex([]byte(key)) && len(key) >= 8 && strings.Contains(fmt.Sprintf("%+v", *c), key) && !elsewhere {
				t.Fatalf("the key of %q is in %+v", params, *c)
			}
		}
	})
}
