package blocks

import "fmt"

// Verdict answers a question whose answer may not be known.
type Verdict uint8

const (
	// Unknown: it could not be found out. For a copy that means no.
	Unknown Verdict = iota
	// Yes, the device said so.
	Yes
	// No, for the reason given.
	No
)

func (v Verdict) String() string {
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
	Verdict Verdict
	Reason  string // slug, empty when Yes
	Detail  string // for people
}

// Unsupported is a No with its reason.
func Unsupported(reason, format string, args ...any) Support {
	return Support{Verdict: No, Reason: reason, Detail: fmt.Sprintf(format, args...)}
}
