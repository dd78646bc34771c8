package remap

// Place says where the first run of a mapped range lives, one layer down.
type Place struct {
	// Len is the length of the run in sectors: at least 1, at most what was
	// asked for.
	Len  Sector
	Kind Kind
	// Leg is the place of Data and Cipher on the device below.
	Leg Leg
	// Legs are the places of a Replica.
	Legs []Leg
	// Cipher and IV are set for Cipher: how the run is transformed, and the
	// position of its first sector that initialization vectors are made of.
	Cipher *CipherKey
	IV     uint64
	// Blank is set for Opaque where nothing has been written yet, so that the run reads
	// as zeroes. It is the unit, in sectors of the device that is mapped, counted from its
	// beginning, in which that stays so: what is written to one tells nothing of others.
	// 0: what the run reads as is not known.
	Blank Sector
	// Reason explains Opaque and Error.
	Reason Reason
	// Layer names what maps this run, such as "dm:linear". It must be a
	// constant string: chains are compared by it.
	Layer string
}

// A Layer maps the sectors of one device onto the devices below it.
//
// Implementations are immutable and safe for concurrent use: a changed layout
// is a new Layer.
type Layer interface {
	// Map answers for the run that starts at sector s of the device and is
	// at most n sectors long, 0 < n. It is arithmetic: no I/O, no error.
	// What it cannot map it calls Opaque.
	Map(op Op, s, n Sector) Place
	// Below lists every device that the layer rests on, metadata included.
	Below() []Dev
}

// OpaqueLayer answers Opaque for every sector. It stands for devices that are
// known to be made of others in a way that is not, or not yet, mapped.
type OpaqueLayer struct {
	// Layer names the layer, as in [Place].
	Layer  string
	Reason Reason
	Lower  []Dev
}

// Map implements [Layer].
func (l OpaqueLayer) Map(_ Op, _, n Sector) Place {
	return Place{Len: n, Kind: Opaque, Reason: l.Reason, Layer: l.Layer}
}

// Below implements [Layer].
func (l OpaqueLayer) Below() []Dev { return l.Lower }

// Shifted maps a device onto one contiguous run of another: a partition.
type Shifted struct {
	Layer string
	Dev   Dev
	Start Sector
}

// Map implements [Layer].
func (l Shifted) Map(_ Op, s, n Sector) Place {
	return Place{Len: n, Kind: Data, Leg: Leg{Dev: l.Dev, Start: l.Start + s, Readable: true}, Layer: l.Layer}
}

// Below implements [Layer].
func (l Shifted) Below() []Dev { return []Dev{l.Dev} }
