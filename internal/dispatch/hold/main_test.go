package hold

import (
	"os"
	"testing"

	"github.com/dmcopy/dmcopy/internal/rerun"
)

func TestMain(m *testing.M) {
	rerun.Main(Helper)
	os.Exit(m.Run())
}
