package dmtable

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"pgregory.net/rapid"
)

// stateful are the types whose maps depend on more than the numbers of their
// lines, and those that are read below only. Each draws a line of so many
// sectors, and what belongs to it: "status …", "super …".
var stateful = map[string]func(t *rapid.T, length int64) (params string, more []string){
	"ebs":             func(t *rapid.T, _ int64) (string, []string) { return genDev(t) + " 2048 1", nil },
	"era":             func(t *rapid.T, _ int64) (string, []string) { return genDev(t) + " " + genDev(t) + " 128", nil },
	"log-writes":      func(t *rapid.T, _ int64) (string, []string) { return genDev(t) + " " + genDev(t), nil },
	"snapshot-origin": func(t *rapid.T, _ int64) (string, []string) { return genDev(t), nil },
	"mirror":          genMirror,
	"multipath":       genMultipath,
	"verity":          genVerity,
	typeIntegrity:     genIntegrity,
	"writecache":      genWritecache,
	"cache":           genCache,
	"clone":           genClone,
	"raid":            genRaid,
}

// statefulTypes are the keys in a fixed order, so that a failure can be repeated.
var statefulTypes = slices.Sorted(maps.Keys(stateful))

func genDev(t *rapid.T) string { return fmt.Sprintf("8:%d", rapid.IntRange(0, 3).Draw(t, "minor")) }

// genHealth draws a letter for each of so many devices, the first of them alive
// most of the time.
func genHealth(t *rapid.T, n int, letters string) string {
	health := ""
	for range n {
		health += string(rapid.SampledFrom([]byte(letters)).Draw(t, "health"))
	}
	return health
}

func genMirror(t *rapid.T, _ int64) (params string, more []string) {
	n := rapid.IntRange(1, 3).Draw(t, "legs")
	params, devs := fmt.Sprintf("core 1 1024 %d", n), ""
	for range n {
		dev := genDev(t)
		params += fmt.Sprintf(" %s %d", dev, rapid.IntRange(0, 1000).Draw(t, "start"))
		devs += " " + dev
	}
	synced := rapid.IntRange(8, 9).Draw(t, "synced")
	return params, []string{fmt.Sprintf("status %d%s %d/9 1 %s 1 core", n, devs, synced, genHealth(t, n, "AAADR"))}
}

func genMultipath(t *rapid.T, _ int64) (params string, more []string) {
	groups := rapid.IntRange(1, 3).Draw(t, "groups")
	current := rapid.IntRange(0, groups).Draw(t, "group in use")
	params, status := fmt.Sprintf("0 0 %d 1", groups), fmt.Sprintf("status 2 0 0 0 %d 1", groups)
	for i := range groups {
		mark := rapid.SampledFrom([]string{"E", "D"}).Draw(t, "mark")
		if i == current {
			mark = "A"
		}
		n := rapid.IntRange(1, 3).Draw(t, "paths")
		params += fmt.Sprintf(" service-time 0 %d 2", n)
		status += fmt.Sprintf(" %s 0 %d 2", mark, n)
		for j := range n {
			dev := fmt.Sprintf("8:%d", 3*i+j)
			params += " " + dev + " 1 1"
			status += fmt.Sprintf(" %s %s 0 0 1", dev, genHealth(t, 1, "AF"))
		}
	}
	return params + " ", []string{status + " "}
}

func genVerity(t *rapid.T, _ int64) (params string, more []string) {
	options := rapid.SampledFrom([]string{"", " 1 ignore_zero_blocks", " 1 check_at_most_once"}).Draw(t, "options")
	return fmt.Sprintf("1 %s 8:9 4096 4096 1000000 1 sha256 00ff -%s", genDev(t), options),
		[]string{rapid.SampledFrom([]string{"status V -", "status V", "status C -", "status V 3"}).Draw(t, "status")}
}

func genIntegrity(t *rapid.T, length int64) (params string, more []string) {
	interleave := int64(8) << rapid.IntRange(0, 4).Draw(t, "interleave")
	mode := rapid.SampledFrom([]string{"D", "B", "R", "J", "I"}).Draw(t, "mode")
	tag := rapid.IntRange(1, 32).Draw(t, "tag")
	meta := rapid.SampledFrom([]string{"", " meta_device:8:9"}).Draw(t, "meta device")
	params = fmt.Sprintf("%s %d %d %s %d interleave_sectors:%d%s", genDev(t), rapid.IntRange(0, 1000).Draw(t, "start"), tag, mode, 1+len(strings.Fields(meta)), interleave, meta)
	return params, []string{fmt.Sprintf(`super {"Version":1,"TagSize":%d,"JournalSections":3,"Provided":%d,"Interleave":%d,"BlockSize":1}`, tag, length, interleave)}
}

func genWritecache(t *rapid.T, _ int64) (params string, more []string) {
	options := rapid.SampledFrom([]string{"0", "1 cleaner", "3 cleaner max_age 7"}).Draw(t, "options")
	free := rapid.SampledFrom([]int{50, 50, 49}).Draw(t, "free")
	return "s " + genDev(t) + " 8:9 4096 " + options, []string{fmt.Sprintf("status 0 50 %d 0 1 2 3 4 5 6 7 8 9 10", free)}
}

func genCache(t *rapid.T, _ int64) (params string, more []string) {
	mode := rapid.SampledFrom([]string{"writeback", "writethrough", "passthrough"}).Draw(t, "mode")
	dirty := rapid.SampledFrom([]int{0, 0, 7}).Draw(t, "dirty")
	return fmt.Sprintf("8:8 8:9 %s 128 1 %s smq 0", genDev(t), mode),
		[]string{fmt.Sprintf("status 8 72/2048 128 5/16 1 2 3 4 5 6 %d 1 %s 2 migration_threshold 2048 smq 0 rw - ", dirty, mode)}
}

func genClone(t *rapid.T, _ int64) (params string, more []string) {
	hydrated := rapid.SampledFrom([]int{9, 9, 8}).Draw(t, "hydrated")
	return "8:8 " + genDev(t) + " 8:9 8", []string{fmt.Sprintf("status 8 17/2048 8 %d/9 0 0 0 rw", hydrated)}
}

// genRaid draws arrays of 240 sectors a member that is a whole number of
// chunks for each number of members that is drawn.
func genRaid(t *rapid.T, length int64) (params string, more []string) {
	typ := rapid.SampledFrom([]string{"raid0", "raid1", "raid4", "raid5_ls", "raid5_n", "raid6_nc", "raid6_ls_6", "raid10"}).Draw(t, "raid type")
	n := rapid.IntRange(4, 6).Draw(t, "members")
	options, reported := "1 8", typ
	if typ == "raid10" {
		format := rapid.SampledFrom([]string{"near", "offset", "far"}).Draw(t, "format")
		options, reported = "5 8 raid10_copies 2 raid10_format "+format, "raid10_"+format
	}
	params = fmt.Sprintf("%s %s %d", typ, options, n)
	for i := range n {
		params += fmt.Sprintf(" 8:%d 9:%d", i, i)
	}
	return params, []string{fmt.Sprintf("status %s %d %s 9/9 idle 0 0 -", reported, n, genHealth(t, n, "AAAAAAAADA"))}
}

// wholeStripes is a length of which each number of members that genRaid draws
// has whole chunks.
const wholeStripes = 960
