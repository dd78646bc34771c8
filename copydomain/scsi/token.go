package scsi

import (
	"fmt"
	"io"
	"log/slog"
)

// tokenSize is the length of a ROD token in bytes. SPC-4, 5.17.6.5; another length is not in use.
const tokenSize = 512

// Token stands for data of a logical unit, as they are or as they were (SPC-4,
// 5.17.6). Whoever shows it to the target may read them, without any right of his
// own, so it is a secret: nothing prints it, and it is wiped when it has served.
type Token struct{ secret [tokenSize]byte }

func (t *Token) wipe() {
	if t != nil {
		clear(t.secret[:])
	}
}

// Format implements [fmt.Formatter]: nothing of a token is ever printed.
func (Token) Format(f fmt.State, _ rune) { io.WriteString(f, "token") }

// LogValue implements [slog.LogValuer].
func (Token) LogValue() slog.Value { return slog.StringValue("token") }
