package layout

// NoteName is for tests.
var NoteName = noteName

// Hurry makes so many attempts, without pauses in between.
func (r *Reader) Hurry(attempts int) { r.attempts, r.pause = attempts, 0 }
