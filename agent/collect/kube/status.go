package kube

import (
	"slices"
	"time"
)

// Status is what is to be shown of the room; it is JSON as it stands.
type Status struct {
	Absent    string           `json:"absent,omitempty"`     // why there is no cluster; nothing else is set then
	Server    string           `json:"server,omitempty"`     // the API server's address
	Pods      *PodsStatus      `json:"pods,omitempty"`       // nil where this agent watches none
	Leader    string           `json:"leader,omitempty"`     // who leads, as far as this agent knows
	Leading   bool             `json:"leading"`              // this agent does
	Since     time.Time        `json:"since,omitzero"`       // the leader leads
	Election  string           `json:"election,omitempty"`   // why this agent cannot stand for election
	Resources []ResourceStatus `json:"resources,omitempty"`  // while leading
	APIServer string           `json:"api_server,omitempty"` // what is wrong with asking it
	Events    *EventsStatus    `json:"events,omitempty"`     // since the agent's start; nil where it never led
}

// PodsStatus is about the pods of this node.
type PodsStatus struct {
	Synced bool   `json:"synced"` // all have been read once
	Here   int    `json:"here"`
	Gone   int    `json:"gone"` // deleted and remembered
	Error  string `json:"error,omitempty"`
}

// ResourceStatus is about one resource the leader reads. Error names the rule
// that is missing, if one is.
type ResourceStatus struct {
	Group    string `json:"group,omitempty"`
	Resource string `json:"resource"`
	Synced   bool   `json:"synced"`
	Objects  int    `json:"objects"`
	Series   int    `json:"series"`
	Error    string `json:"error,omitempty"`
}

// EventsStatus is EventStats as numbers, and what is wrong.
type EventsStatus struct {
	Seen     int64  `json:"seen"`
	Taken    int64  `json:"taken"`
	Repeated int64  `json:"repeated"`
	Filtered int64  `json:"filtered"`
	Old      int64  `json:"old"`
	Lost     int64  `json:"lost"`
	Relists  int64  `json:"relists"`
	Error    string `json:"error,omitempty"`
}

// Trouble returns what is wrong with the election and with what the leader
// reads; nil if nothing is. What is wrong with the pods is PodState's error.
func (s Status) Trouble() []string {
	list := []string{s.Election, s.APIServer}
	for _, r := range s.Resources {
		list = append(list, r.Error)
	}
	if s.Events != nil {
		list = append(list, s.Events.Error)
	}
	return slices.DeleteFunc(list, func(text string) bool { return text == "" })
}

// Status returns how the room is. It may be called at any time.
func (k *Kube) Status() Status {
	if err := k.absent(); err != nil {
		return Status{Absent: brief(err)}
	}
	s := Status{Server: k.server()}
	if k.conf.Pods && k.id.Role != "cluster" {
		s.Pods = k.pods.status()
	}
	k.cluster.status(&s)
	return s
}

// server is the API server's address, "" before the first connect.
func (k *Kube) server() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.address
}

func (p *Pods) status() *PodsStatus {
	s := &PodsStatus{Here: len(p.live()), Error: text(p.feed.err())}
	p.mu.RLock()
	defer p.mu.RUnlock()
	s.Synced, s.Gone = p.filled, len(p.gone)
	return s
}

func (c *cluster) status(s *Status) {
	c.mu.Lock()
	s.Leader, s.Leading, s.Since = c.leader, c.leading, c.since
	tables, server := c.tables, c.server
	c.mu.Unlock()
	s.Election = text(c.leases.err())
	for _, t := range tables {
		r := ResourceStatus{Group: t.table.kind.group, Resource: t.table.kind.resource, Error: text(t.feed.err())}
		r.Objects, r.Series, r.Synced = t.table.size()
		s.Resources = append(s.Resources, r)
	}
	if server != nil {
		s.APIServer = text(server.err())
	}
	if st := &c.events.stats; s.Leading || st.Seen.Load() > 0 {
		s.Events = &EventsStatus{
			Seen: st.Seen.Load(), Taken: st.Taken.Load(), Repeated: st.Repeated.Load(), Filtered: st.Filtered.Load(),
			Old: st.Old.Load(), Lost: st.Lost.Load(), Relists: st.Relists.Load(), Error: text(c.events.err()),
		}
	}
}

// text is an error in a line, "" for none.
func text(err error) string {
	if err == nil {
		return ""
	}
	return brief(err)
}
