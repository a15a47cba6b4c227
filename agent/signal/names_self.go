package signal

// Names of the agent's metrics about itself: the collectors', filled by
// collect.Poll, and those of the agent as a whole.
const (
	SourceDuration = "causeway.source.duration" // s, gauge: the last call of a sampler
	SourceSuccess  = "causeway.source.success"  // 1, gauge: 1 if it returned no error
	SourceItems    = "causeway.source.items"    // {item}, gauge: what it produced

	HubItems   = "causeway.hub.items"   // {item}, counter: given to the hub
	HubDropped = "causeway.hub.dropped" // {item}, counter by reason: left out before the disk
	HubSeries  = "causeway.hub.series"  // {series}, gauge: known to the hub

	SpoolItems    = "causeway.spool.items"    // {item}, counter: ever appended
	SpoolBytes    = "causeway.spool.disk"     // By, gauge: on disk
	SpoolMemory   = "causeway.spool.memory"   // By, gauge: in memory, while the disk takes none
	SpoolDegraded = "causeway.spool.degraded" // 1, gauge: 1 while frames are kept in memory
	SpoolBad      = "causeway.spool.damaged"  // {record}, counter: places that could not be read

	DeliveryIn       = "causeway.delivery.in"       // {item}, counter: for this destination
	DeliverySent     = "causeway.delivery.sent"     // {item}, counter
	DeliveryWaiting  = "causeway.delivery.waiting"  // {item}, gauge
	DeliveryDropped  = "causeway.delivery.dropped"  // {item}, counter by reason
	DeliveryTwice    = "causeway.delivery.twice"    // {item}, counter: perhaps sent twice
	DeliveryLag      = "causeway.delivery.lag"      // s, gauge: age of the oldest that waits
	DeliveryRequests = "causeway.delivery.requests" // {request}, counter
	DeliveryFailures = "causeway.delivery.failures" // {request}, counter: not answered with success
	DeliveryBytes    = "causeway.delivery.packed"   // By, counter: as sent

	ConfigOK      = "causeway.config.ok"      // 1, gauge: 0 while the file on disk is not the one in force
	ProcessCPU    = "causeway.process.cpu"    // s, counter
	ProcessMemory = "causeway.process.memory" // By, gauge: what Go holds
	ProcessUptime = "causeway.process.uptime" // s, gauge
)
