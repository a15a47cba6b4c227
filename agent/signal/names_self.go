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

	HubParsed   = "causeway.hub.parsed"   // {line}, counter: had the form of their stream
	HubUnparsed = "causeway.hub.unparsed" // {line}, counter: had not, and stay as they are
	HubRedacted = "causeway.hub.redacted" // {match}, counter by reason, the marker's name

	ScrapeCount     = "causeway.scrape.count"     // {scrape}, counter
	ScrapeFailed    = "causeway.scrape.failed"    // {scrape}, counter by reason
	ScrapeLate      = "causeway.scrape.late"      // {scrape}, counter: left out because the one before was not done
	ScrapeDropped   = "causeway.scrape.dropped"   // {sample}, counter by reason: in good pages and not given on
	ScrapeExemplars = "causeway.scrape.exemplars" // {exemplar}, counter: left out

	StatsDLines     = "causeway.statsd.lines"     // {line}, counter
	StatsDMalformed = "causeway.statsd.malformed" // {line}, counter by reason
	StatsDRefused   = "causeway.statsd.refused"   // {line}, counter: good ones for which a bound left no room
	StatsDDropped   = "causeway.statsd.dropped"   // {packet}, counter: the kernel had no room for them

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
