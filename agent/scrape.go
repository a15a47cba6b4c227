package agent

import (
	"context"

	"github.com/causeway-agent/causeway/agent/collect/container"
	"github.com/causeway-agent/causeway/agent/collect/kube"
)

// specified tells the reader of containers what the pods of this node ask for,
// in its words.
type specified struct{ pods *kube.Pods }

func (s specified) Pods(ctx context.Context, yield func(*container.PodSpec)) error {
	return s.pods.Specs(ctx, func(p *kube.PodSpec) {
		q := container.PodSpec{Namespace: p.Namespace, Name: p.Name, UID: p.UID, HostNetwork: p.HostNetwork, Start: p.Start}
		for _, c := range p.Containers {
			q.Containers = append(q.Containers, container.ContainerSpec(c))
		}
		yield(&q)
	})
}

// specs returns who tells what the pods of this node ask for; nil, which lets
// the kubelet be asked, where nobody watches them or there is no cluster to ask.
// It is only asked once the pods were waited for.
func (c cluster) specs() container.PodSpecs {
	if !c.watched() || c.room.Status().Absent != "" {
		return nil
	}
	return specified{c.room.Pods()}
}
