package blocks

import "fmt"

// Action is what an answer or an error means: what has to be done next. It is the one
// vocabulary of all methods. Those that [Action.Again] names, a protocol deals with by
// itself; the others concern its caller.
type Action uint8

const (
	// ActionDone: everything was copied.
	ActionDone Action = iota
	// ActionShrink: the command was too large for the device. The protocol makes
	// smaller ones.
	ActionShrink
	// ActionRetry: the device is busy and has not begun. The protocol waits and
	// tries again, a few times.
	ActionRetry
	// ActionRecheck: something happened to the device. The protocol makes sure
	// that it is still the same and tries again, a few times.
	ActionRecheck
	// ActionNextID: somebody else uses the identifier of the command. The
	// protocol takes another one.
	ActionNextID
	// ActionNotSupported: this device, or this pair, does not support the command.
	// Copy through the host, and do not try the pair again.
	ActionNotSupported
	// ActionEmulate: copy this piece through the host, go on with the others.
	ActionEmulate
	// ActionBackOff: the device is short of something for now. Copy the rest of
	// the batch through the host and offer less later.
	ActionBackOff
	// ActionRetryPath: the path has failed, and the command has ended. Choose
	// another path, or copy through the host.
	ActionRetryPath
	// ActionReresolve: the device does not look as it did. Resolve again before
	// anything else is written.
	ActionReresolve
	// ActionSurface: report it to the user. Copying through the host would work
	// around a deliberate refusal, or hide damage.
	ActionSurface
	// ActionCanceled: the caller's context ended before the piece was issued.
	ActionCanceled
	// ActionExpired: the moment after which no command is begun had passed before the
	// piece was issued.
	ActionExpired
	// ActionFence: nobody knows what became of the command. It may still run and
	// write later, so nobody may touch its destination.
	ActionFence
)

var actionNames = [...]string{
	"done", "shrink", "retry", "recheck", "next-id", "not-supported", "emulate", "back-off",
	"retry-path", "re-resolve", "surface", "canceled", "expired", "fence",
}

func (a Action) String() string {
	if int(a) < len(actionNames) {
		return actionNames[a]
	}
	return fmt.Sprintf("action(%d)", uint8(a))
}

// Again says that the protocol tries the same blocks once more.
func (a Action) Again() bool {
	return a == ActionShrink || a == ActionRetry || a == ActionRecheck || a == ActionNextID
}

// Stops says whether the rest of a batch is not issued after a.
func (a Action) Stops() bool { return a != ActionDone && a != ActionEmulate && !a.Again() }
