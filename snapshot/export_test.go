package snapshot

// NoteName is for tests.
var NoteName = noteName

// Hurry takes the pauses between attempts away.
func (r *Reader) Hurry() { r.pause = 0 }
