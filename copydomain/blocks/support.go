package blocks

import "fmt"

// Tristate answers a question whose answer may not be known.
type Tristate uint8

const (
	// Unknown: it could not be found out. For a copy that means no.
	Unknown Tristate = iota
	// Yes, the device said so.
	Yes
	// No, for the reason given.
	No
)

func (v Tristate) String() string {
	switch v {
	case Yes:
		return "yes"
	case No:
		return "no"
	}
	return "unknown"
}

// Support says whether a device, or a pair of them, can copy.
type Support struct {
	Able   Tristate
	Reason string // slug, empty when Yes
	Detail string // for people
}

// Unsupported is a No with its reason.
func Unsupported(reason, format string, args ...any) Support {
	return Support{Able: No, Reason: reason, Detail: fmt.Sprintf(format, args...)}
}
