package inuse

import (
	"errors"
	"slices"
	"strings"

	"github.com/dmcopy/dmcopy/internal/sysblock"
	"github.com/dmcopy/dmcopy/internal/sysfs"
	"github.com/dmcopy/dmcopy/remap"
)

// Used lists what is used of all devices and files of this machine, by whoever uses them
// directly: what is only made of others is not among it. Whether one of them shares
// storage with another device is for who knows their tables.
func Used(sys sysblock.FS) ([]Use, error) {
	u, err := newUsers(sys)
	if err != nil {
		return nil, err
	}
	for i := range u.mounts {
		m := &u.mounts[i]
		for _, dev := range []remap.Dev{m.Dev, m.SourceDev} {
			u.use(sysfs.BlockID(dev), Use{Kind: m.kind(), Detail: m.where()})
		}
	}
	for dev, ids := range u.members {
		u.use(sysfs.BlockID(dev), Use{Kind: Member, Detail: "btrfs " + ids[0]})
	}
	for _, s := range u.swaps {
		for _, id := range s.ids {
			u.use(id, Use{Kind: Swap, Detail: s.path})
		}
	}
	if err := u.exported(); err != nil {
		return nil, err
	}
	for _, w := range u.writers {
		u.use(w.id, Use{Kind: Opened, Detail: w.String(), PID: w.PID, Own: !u.processes.isAnother(w.Process), LVM: u.processes.isLVM(w.Process)})
	}
	return u.uses, nil
}

// use adds a use of what package blockio calls by that ID, each kind once.
func (u *users) use(id string, use Use) {
	use.ID = id
	if text, ok := strings.CutPrefix(id, "block:"); ok {
		dev, err := remap.ParseDev(text)
		if err != nil {
			return
		}
		name, err := u.fs.Name(dev)
		if err != nil {
			return // no device, or gone
		}
		use.Dev, use.Name = dev, name
	}
	same := func(o Use) bool { return o.ID == use.ID && o.Kind == use.Kind && o.PID == use.PID }
	if id != "" && !slices.ContainsFunc(u.uses, same) {
		u.uses = append(u.uses, use)
	}
}

// exported adds what targets of the kernel offer to others.
func (u *users) exported() error {
	for i := range u.exports {
		e := &u.exports[i]
		u.use(e.id, Use{Kind: Exported, Detail: e.what})
		if e.controller == "" {
			continue
		}
		devs, err := u.fs.Devs()
		if err != nil {
			return err
		}
		for _, dev := range devs {
			facts, err := u.fs.Facts(dev)
			if errors.Is(err, sysblock.ErrGone) {
				continue
			}
			if err != nil {
				return err
			}
			if leadsTo(e.controller, facts) {
				u.use(sysfs.BlockID(dev), Use{Kind: Exported, Detail: e.what})
			}
		}
	}
	return nil
}
