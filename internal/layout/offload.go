package layout

import "github.com/dmcopy/dmcopy/remap"

// Offload is what was found out about a leaf: how it copies within itself.
type Offload struct {
	// Method is empty if there is none; then Reason and Detail say why.
	Method string       `json:"method,omitempty"`
	Reason remap.Reason `json:"reason,omitempty"`
	Detail string       `json:"detail,omitempty"`
	Domain string       `json:"domain,omitempty"`
	// Block is the unit of positions and lengths in bytes.
	Block int `json:"block,omitempty"`
	// Limits describes the limits of one command to people.
	Limits string `json:"limits,omitempty"`
}

// valid tells whether the record makes sense.
func (o *Offload) valid() bool {
	if o.Method == "" {
		return o.Reason != "" && o.Block == 0
	}
	return o.Reason == "" && o.Block >= remap.SectorSize && o.Block&(o.Block-1) == 0
}
