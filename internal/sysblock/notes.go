package sysblock

// kindNotes say of kinds of devices, by the stem of their kernel names, where their
// data is and what follows from it.
var kindNotes = map[Kind]string{
	"nbd":   "served by a process, here or on another machine: no disk is known below it",
	"ublkb": "served by a process of this machine: no disk is known below it",
	"rbd":   "an image in a Ceph cluster: no disk is known below it",
	"zram":  "compressed memory: there is no disk below it",
	"ram":   "memory: there is no disk below it",
	"pmem":  "persistent memory: there is no disk below it",
	"drbd":  "mirrored to other machines, which have to get every write: dmcopy neither reads nor writes below",
}

// Note says for people where the data of such a device is; "" if the name of its kind
// says so.
func (f *Facts) Note() string {
	if f.Part != nil {
		return ""
	}
	return kindNotes[f.Kind]
}
