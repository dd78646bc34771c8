package snapshot

// NoteName is for tests.
var NoteName = noteName
