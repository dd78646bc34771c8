package sysblock

// remarks say of kinds of devices, by the stem of their kernel names, where their
// data is and what follows from it.
var remarks = map[Kind]string{
	"nbd":   "served by a process, here or on another machine: no disk is known below it",
	"ublkb": "served by a process of this machine: no disk is known below it",
	"rbd":   "an image in a Ceph cluster: no disk is known below it",
	"zram":  "compressed memory: there is no disk below it",
	"ram":   "memory: there is no disk below it",
	"pmem":  "persistent memory: there is no disk below it",
	"drbd":  "mirrored to other machines, which have to get every write: nothing is read or written below",
}

// Remark says for people where the data of such a device is; "" if its name says
// it.
func (f *Facts) Remark() string {
	if f.Part != nil {
		return ""
	}
	return remarks[f.Kind]
}
