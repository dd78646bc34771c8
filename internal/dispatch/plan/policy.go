package plan

// Policy says whether to offload.
type Policy string

const (
	// OffloadAuto offloads what can be offloaded and copies the rest.
	OffloadAuto Policy = "auto"
	// OffloadRequire fails with ErrPolicy instead of copying through the host.
	OffloadRequire Policy = "require"
	// OffloadNever copies everything through the host.
	OffloadNever Policy = "never"
)
