package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/dmcopy/dmcopy/internal/dispatch/account"
	"github.com/dmcopy/dmcopy/internal/journal"
)

// status is the JSON form of a state file.
type status struct {
	Schema  int           `json:"schema"`
	Stage   journal.Stage `json:"stage"`
	Running bool          `json:"running"`
	Created time.Time     `json:"created"`

	Source      string `json:"source"`
	Destination string `json:"destination"`

	Total   int64 `json:"bytes_total"`
	Done    int64 `json:"bytes_done"`
	Pending int64 `json:"bytes_pending"`
	Failed  int64 `json:"bytes_failed"`

	ByMethod  map[string]int64 `json:"by_method"`
	Bad       []badRange       `json:"bad"`
	Directory string           `json:"directory"`
	Command   []string         `json:"command"`
}

// badRange is a part of the destination whose source could not be read.
type badRange struct {
	Dst int64 `json:"dst_offset"`
	Len int64 `json:"length"`
}

func newStatus(s *journal.State, running bool) *status {
	st := &status{
		Schema: account.Schema, Stage: s.Stage, Running: running, Created: s.Created,
		Source: s.Plan.Source.Name, Destination: s.Plan.Destination.Name,
		Total: s.Plan.Ranges.Bytes, ByMethod: make(map[string]int64), Bad: []badRange{},
		Directory: s.Directory, Command: s.Command,
	}
	for _, e := range s.Map.Extents() {
		switch e.Status {
		case journal.Done:
			st.Done += e.Len
			if e.Method != "" {
				st.ByMethod[e.Method] += e.Len
			}
		case journal.Bad:
			st.Failed += e.Len
			st.Bad = append(st.Bad, badRange{e.Off, e.Len})
		}
	}
	st.Pending = st.Total - st.Done - st.Failed
	return st
}

// maxBadLines bounds how many bad parts are printed for people.
const maxBadLines = 20

// text is the form for people.
func (st *status) text() string {
	var b strings.Builder
	what := "interrupted"
	switch {
	case st.Stage == journal.Complete:
		what = "complete"
	case st.Running:
		what = "running"
	case st.Pending == 0 && st.Failed > 0:
		what = "ended, but parts could not be read: the same command tries them again"
	}
	fmt.Fprintf(&b, "copy from %s to %s: %s, begun %s\n", shown(st.Source), shown(st.Destination), what, st.Created.Format(time.RFC3339))
	for _, row := range []struct {
		what  string
		bytes int64
	}{{"done", st.Done}, {"pending", st.Pending}, {"unreadable", st.Failed}} {
		if row.bytes > 0 || row.what == "done" {
			fmt.Fprintf(&b, "  %-10s %10s  %7s\n", row.what, human(row.bytes), percent(row.bytes, st.Total))
		}
	}
	for i, bad := range st.Bad {
		if i == maxBadLines {
			fmt.Fprintf(&b, "  and %d more unreadable parts\n", len(st.Bad)-i)
			break
		}
		fmt.Fprintf(&b, "  unreadable: %d bytes for byte %d of %s\n", bad.Len, bad.Dst, shown(st.Destination))
	}
	return b.String()
}
