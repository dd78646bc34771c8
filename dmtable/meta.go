package dmtable

import "github.com/dmcopy/dmcopy/remap"

// What a target needs besides its line is on disk, and somebody has to read it:
// tables are read without any I/O.

// ExceptionStore tells on which device the exceptions of a snapshot are;
// they go to Exceptions.
func (t *Target) ExceptionStore() (cow remap.Dev, ok bool) {
	if t.Type != typeSnapshot || t.Start != 0 || snapshotVital(t.Status) != snapshotWorks {
		return remap.Dev{}, false
	}
	var a args
	a.reset(t.Params)
	m := readSnapshot(&a)
	return m.cow, a.done() && !m.transient
}
