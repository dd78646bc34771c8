package remap

// Change tells that a device is not what it was in an earlier snapshot.
type Change struct {
	Dev  Dev
	Name string
	// What is "gone", "new", "layout changed", or the transition.
	What string
	// Gone tells that there is no such device any more.
	Gone bool
	// Moving tells that the device is in transition, and that its layout is
	// still, or again, the one of the earlier snapshot.
	Moving bool
}

func (c Change) String() string { return c.Name + " (" + c.Dev.String() + "): " + c.What }

// Changes compares st, the earlier snapshot, with a later one of the same
// devices. No result means that at the time of the later snapshot the layout
// was the one of the earlier, and nothing was about to change it.
func (st *Stack) Changes(later *Stack) []Change {
	var changes []Change
	for _, n := range st.order {
		now := later.nodes[n.Dev]
		switch {
		case now == nil:
			changes = append(changes, Change{Dev: n.Dev, Name: n.DisplayName(), What: "gone", Gone: true})
		case now.Print != n.Print:
			changes = append(changes, Change{Dev: n.Dev, Name: n.DisplayName(), What: "layout changed"})
		case now.Transition != "":
			changes = append(changes, Change{Dev: n.Dev, Name: n.DisplayName(), What: now.Transition, Moving: true})
		}
	}
	for _, n := range later.order {
		if st.nodes[n.Dev] == nil {
			changes = append(changes, Change{Dev: n.Dev, Name: n.DisplayName(), What: "new"})
		}
	}
	return changes
}

// Moved keeps of changes those that are more than a transition.
func Moved(changes []Change) []Change {
	var moved []Change
	for _, c := range changes {
		if !c.Moving {
			moved = append(moved, c)
		}
	}
	return moved
}
