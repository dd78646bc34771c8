package dmtable

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/dmcopy/dmcopy/remap"
)

// TestBypassed: it is known which layers a file system above can bypass, whether the line
// is understood or not, and a capture keeps it.
func TestBypassed(t *testing.T) {
	const hex = "00112233445566778899aabbccddeeff"
	for line, want := range map[string]bool{
		"0 8 default-key aes-xts-plain64 - 0 259:13 0 3 allow_discards sector_size:4096 iv_large_sectors": true,
		"0 8 default-key AES-256-XTS - 259:13 0 1 set_dun":                                                true,
		"0 8 default-key": true,
		"0 8 crypt aes-cbc-essiv:sha256 " + hex + " 0 179:65 0 2 allow_discards allow_encrypt_override": true,
		"0 8 crypt aes-cbc-essiv:sha256 " + hex + " 0 179:65 0 2 new_option allow_encrypt_override":     true,
		"0 8 crypt aes-cbc-essiv:sha256 " + hex + " 0 179:65 0 1 allow_discards":                        false,
		"0 8 crypt aes-cbc-essiv:sha256 " + hex + " 0 179:65 0 1 integrity:16:allow_encrypt_override":   false,
		"0 8 inlinecrypt aes-xts-plain64 " + strings.Repeat(hex, 4) + " 1 0 259:13 0":                   false,
		"0 8 linear 8:0 0": false,
	} {
		live := tableOf(t, line)
		text, err := json.Marshal(live)
		if err != nil {
			t.Fatal(err)
		}
		var back Table
		if err := json.Unmarshal(text, &back); err != nil || back.Check() != nil {
			t.Errorf("%s: %v, %v", line, err, back.Check())
		}
		for _, table := range []*Table{live, &back} {
			if table.Bypassed() != want || slices.ContainsFunc(table.Notes(), func(n string) bool { return strings.Contains(n, "copy the device below") }) != want {
				t.Errorf("%s: %v, %q", line, table.Bypassed(), table.Notes())
			}
		}
	}
}

// TestOverrideIsPartOfTheCipher: lines that differ in it do not hold the same for a file
// system.
func TestOverrideIsPartOfTheCipher(t *testing.T) {
	const line = "0 8 crypt aes-xts-plain64 00112233445566778899aabbccddeeff 0 179:65 0"
	id := func(options string) string {
		return tableOf(t, line+options).Layer().Map(remap.Read, 0, 8).Cipher.ID
	}
	with, without := id(" 1 allow_encrypt_override"), id("")
	if with == "" || without == "" || with == without || with != id(" 2 allow_discards allow_encrypt_override") {
		t.Errorf("%q, %q", with, without)
	}
}

// TestVerifiedBoot: the lines of Android name the partition below.
func TestVerifiedBoot(t *testing.T) {
	const line = "0 1933952 verity 1 254:4 254:4 4096 4096 241744 241744 sha256 00ff 00ff "
	for options, zeroes := range map[string]bool{
		"2 restart_on_corruption ignore_zero_blocks": true,
		"10 restart_on_corruption ignore_zero_blocks use_fec_from_device 254:4 fec_blocks 243648 fec_start 243648 fec_roots 2": true,
		"9 restart_on_corruption use_fec_from_device 254:4 fec_blocks 243648 fec_start 243648 fec_roots 2":                     false,
	} {
		notes := tableOf(t, line+options).Notes()
		if len(notes) != 1 || !strings.Contains(notes[0], "254:4") || strings.Contains(notes[0], "zeroes") != zeroes {
			t.Errorf("%s: %q", options, notes)
		}
	}
	if notes := tableOf(t, line+"1 restart_on_corruption").Notes(); len(notes) != 0 {
		t.Errorf("%q", notes)
	}
}
