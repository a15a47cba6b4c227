package signal

// Names of the agent's metrics about its own collectors, filled by collect.Poll.
const (
	SourceDuration = "causeway.source.duration" // s, gauge: the last call of a sampler
	SourceSuccess  = "causeway.source.success"  // 1, gauge: 1 if it returned no error
	SourceItems    = "causeway.source.items"    // {item}, gauge: what it produced
)
