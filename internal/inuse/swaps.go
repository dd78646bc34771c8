package inuse

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/dmcopy/dmcopy/internal/sysfs"
)

// swapArea is one line of /proc/swaps.
type swapArea struct {
	// path is as the process that reads it would have to spell it; where the name is of
	// another mount namespace, only its own root is left out.
	path string
	// ids are what has that name, as [sysfs.IDOf] has it, at any of the roots.
	ids []string
}

// swaps reads /proc/swaps, which a kernel without swap does not have, and looks for
// the areas below each of the roots.
func readSwaps(root sysfs.Root, roots []string) ([]swapArea, error) {
	path := root.Path("proc/swaps")
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, sysfs.About(path, err)
	}
	defer file.Close()
	swaps, err := parseSwaps(file)
	if err != nil {
		return nil, sysfs.About(path, err)
	}
	for i := range swaps {
		for _, below := range roots {
			if info, err := os.Stat(root.Path(below, swaps[i].path)); err == nil {
				swaps[i].ids = append(swaps[i].ids, sysfs.IDOf(info))
			}
		}
	}
	return swaps, nil
}

// parseSwaps reads the paths: the first word of each line but the first
// (mm/swapfile.c, swap_show).
func parseSwaps(r io.Reader) ([]swapArea, error) {
	var swaps []swapArea
	lines := bufio.NewScanner(r)
	for first := true; lines.Scan(); first = false {
		words := strings.Fields(lines.Text())
		switch {
		case first && (len(words) == 0 || words[0] != "Filename"), len(words) < 5:
			return nil, fmt.Errorf("%w: line %q", sysfs.ErrValue, lines.Text())
		case !first:
			swaps = append(swaps, swapArea{path: sysfs.Unescape(words[0])})
		}
	}
	return swaps, lines.Err()
}
