package emulation

// Requests is what an engine needs of a ring.
type Requests = requests

// NewRingOver makes an engine on something else than a ring of the kernel.
func NewRingOver(options Options, open func(entries int) (Requests, error)) (*Ring, error) {
	return newRing(options, open)
}

// NewAnyOver is New with something else than a ring of the kernel.
func NewAnyOver(options Options, open func(entries int) (Requests, error)) (Engine, error) {
	return newAny(options, open)
}
