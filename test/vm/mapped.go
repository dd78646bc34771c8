package vm

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
)

// Mapped makes a device of device-mapper of the lines of a table, gone with the test, and returns its path.
func Mapped(t testing.TB, name string, lines ...string) string {
	t.Helper()
	Map(t, name, lines...)
	Unmap(t, name)
	return "/dev/mapper/" + name
}

// Map makes a mapped device that somebody else removes.
func Map(t testing.TB, name string, lines ...string) {
	t.Helper()
	load(t, []string{"create", name}, lines)
}

// MappedAs is Mapped with a uuid, by which other programs tell what a device is.
func MappedAs(t testing.TB, name, uuid string, lines ...string) string {
	t.Helper()
	load(t, []string{"create", name, "--uuid", uuid}, lines)
	Unmap(t, name)
	return "/dev/mapper/" + name
}

// Linear is a mapped device on length bytes of another one from start.
func Linear(t testing.TB, name, lower string, start, length int64) string {
	t.Helper()
	return Mapped(t, name, fmt.Sprintf("0 %d linear %s %d", length/sectorSize, lower, start/sectorSize))
}

// Unmap removes a mapped device with the test. A failure does not keep others from being removed.
func Unmap(t testing.TB, name string) {
	t.Cleanup(func() {
		if _, err := TryRun("dmsetup", "remove", "--retry", name); err != nil {
			t.Error(err)
		}
	})
}

// Reload swaps the table of a mapped device.
func Reload(t testing.TB, path string, lines ...string) {
	t.Helper()
	load(t, []string{"load", filepath.Base(path)}, lines)
	Run(t, "dmsetup", "resume", filepath.Base(path))
}

// load hands a table to the kernel, which says in its log what it does not like.
func load(t testing.TB, command, lines []string) {
	t.Helper()
	if _, err := TryRun("dmsetup", append(command, "--table", strings.Join(lines, "\n"))...); err != nil {
		text, _ := TryRun("sh", "-c", "dmesg | tail -n 4")
		t.Fatalf("%v\n%s", err, text)
	}
}

// Message sends a message to the target of a mapped device.
func Message(t testing.TB, path string, words ...string) {
	t.Helper()
	Run(t, "dmsetup", append([]string{"message", filepath.Base(path), "0"}, words...)...)
}

// Status is the fields of the status line of a mapped device, without start, length and type.
func Status(t testing.TB, path string) []string {
	t.Helper()
	fields := strings.Fields(Run(t, "dmsetup", "status", "--noflush", filepath.Base(path)))
	if len(fields) < 3 {
		t.Fatalf("status of %s: %q", path, fields)
	}
	return fields[3:]
}
