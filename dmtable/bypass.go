package dmtable

import (
	"bytes"
	"slices"
)

// typeDefaultKey is Android's target for the encryption of metadata
// (drivers/md/dm-default-key.c of its kernels). It prints no key, and no line tells which one
// is in use.
const typeDefaultKey = "default-key"

// optionOverride has dm-crypt do the same (Android's kernels, dm-crypt.c).
const optionOverride = "allow_encrypt_override"

// Bypassed tells whether a file system above can have a line of the table leave blocks as
// they are: the contents of files that it has encrypted by itself (fscrypt). They are
// marked bio by bio, and nobody else knows which blocks they are: what is read through
// the device is deciphered although it never was enciphered.
func (t *Table) Bypassed() bool {
	return slices.ContainsFunc(t.Targets, func(t Target) bool { return t.Type == typeDefaultKey || t.Override })
}

// overrides tells whether a line of crypt has the option, be the rest understood or not.
func overrides(params []byte) bool {
	return slices.ContainsFunc(bytes.Split(params, []byte(" ")), func(word []byte) bool { return string(word) == optionOverride })
}
