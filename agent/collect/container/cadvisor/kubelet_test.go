package cadvisor

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	ccontainer "github.com/google/cadvisor/lib/container"
	"github.com/google/cadvisor/lib/metrics"
	"github.com/google/cadvisor/lib/model"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"k8s.io/utils/clock"

	"github.com/causeway-agent/causeway/agent/collect/container"
	"github.com/causeway-agent/causeway/agent/signal"
)

// machine is what the kubelet's page is made of.
type machine []model.ContainerInfo

func (m machine) GetRequestedContainersInfo(string, model.RequestOptions) (map[string]*model.ContainerInfo, error) {
	infos := map[string]*model.ContainerInfo{}
	for i := range m {
		infos[m[i].Name] = &m[i]
	}
	return infos, nil
}
func (m machine) GetVersionInfo() (*model.VersionInfo, error) { return &model.VersionInfo{}, nil }
func (m machine) GetMachineInfo() (*model.MachineInfo, error) {
	return &model.MachineInfo{MemoryCapacity: 8 << 30}, nil
}

// kubeletOf returns a server that shows infos on /metrics/cadvisor by cAdvisor's
// own exporter, with the labels the kubelet gives (its pkg/kubelet/server).
func kubeletOf(t *testing.T, infos []model.ContainerInfo) *httptest.Server {
	t.Helper()
	labels := func(c *model.ContainerInfo) map[string]string {
		l := c.Spec.Labels
		return map[string]string{
			"id": c.Name, "name": c.Id, "image": c.Spec.Image,
			"pod": l["io.kubernetes.pod.name"], "namespace": l["io.kubernetes.pod.namespace"], "container": l["io.kubernetes.container.name"],
		}
	}
	kinds := ccontainer.MetricSet{
		ccontainer.CpuUsageMetrics: {}, ccontainer.MemoryUsageMetrics: {}, ccontainer.DiskIOMetrics: {}, ccontainer.NetworkUsageMetrics: {},
		ccontainer.ProcessMetrics: {}, ccontainer.OOMMetrics: {}, ccontainer.PressureMetrics: {},
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(
		metrics.NewPrometheusCollector(machine(infos), labels, kinds, clock.RealClock{}, model.RequestOptions{}),
		metrics.NewPrometheusMachineCollector(machine(infos), kinds),
	)
	mux := http.NewServeMux()
	mux.Handle("/metrics/cadvisor", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("/stats/summary", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "{}") })
	mux.HandleFunc("/pods", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "{}") })
	mux.HandleFunc("/metrics/probes", func(http.ResponseWriter, *http.Request) {})
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s
}

// Both providers, fed from the same structures of cAdvisor's, give the same
// samples: names, labels, types, units, values, times and starts.
func TestKubeletAndCAdvisorSayTheSame(t *testing.T) {
	// The structures have whole seconds and no zero that one of the two leaves
	// out, since the page has no more: it says nothing of a start's milliseconds.
	web, pause := podContainer(60), sandbox(60)
	free := podContainer(60) // without limits
	free.Name = strings.Replace(free.Name, idA, idC, 1)
	free.Id = idC
	free.Spec.Labels = map[string]string{
		"io.cri-containerd.kind": "container", "io.kubernetes.container.name": "free",
		"io.kubernetes.pod.name": "web-0", "io.kubernetes.pod.namespace": "shop", "io.kubernetes.pod.uid": uid,
	}
	free.Spec.Cpu.Quota, free.Spec.Memory.Limit, free.Spec.Memory.Reservation = 0, 1<<63-4096, 0
	free.Stats[0].Cpu.CFS = model.CpuCFS{}
	free.Stats[0].DiskIo = nil
	free.Stats[0].Memory.MaxUsage, free.Stats[0].Memory.Swap = 0, 1<<64-50<<20
	free.Stats[0].Cpu.PSI, free.Stats[0].Memory.PSI = model.PSIStats{}, model.PSIStats{}
	infos := []model.ContainerInfo{web, pause, free}
	files := map[string]string{}
	for i := range infos {
		infos[i].Spec.StartTime = infos[i].Spec.CreationTime
		infos[i].Stats[0].Processes = &model.ProcessStats{ProcessCount: 3, ThreadsCurrent: 12, ThreadsMax: 100}
		infos[i].Stats[0].OOMEvents = 2
		files[infos[i].Name+"/pids.current"] = "12\n"
		files[infos[i].Name+"/pids.max"] = "100\n"
		files[infos[i].Name+"/cgroup.procs"] = "101\n102\n103\n"
		files[infos[i].Name+"/memory.events"] = "oom_kill 2\n"
	}

	conf := container.Default()
	sampled := func(p container.Provider) []string {
		t.Helper()
		b := &signal.Batch{Kind: signal.Metric}
		if err := container.New(conf, p).Sample(t.Context(), b); err != nil {
			t.Fatal(err)
		}
		return slices.Sorted(strings.Lines(signal.Format(b)))
	}
	fromCAdvisor := sampled(convertAll{v2(t, conf, files), infos})
	conf.Kubelet.URL = kubeletOf(t, infos).URL
	k := container.NewKubelet(conf, "node-a", func(string) string { return "" }, nil, slog.New(slog.DiscardHandler))
	defer k.Close()
	fromKubelet := sampled(k)
	if len(fromCAdvisor) < 70 {
		t.Errorf("%d samples prove little", len(fromCAdvisor))
	}
	for _, line := range fromCAdvisor {
		if !slices.Contains(fromKubelet, line) {
			t.Errorf("only cAdvisor: %s", line)
		}
	}
	for _, line := range fromKubelet {
		if !slices.Contains(fromCAdvisor, line) {
			t.Errorf("only the kubelet: %s", line)
		}
	}
}
