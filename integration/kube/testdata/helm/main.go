// Command helm prints what the chart in a folder gives, as `helm template` does:
//
//	helm CHART [VALUES AGENT]
//
// VALUES is a file of the chart's values, AGENT an agent.yaml that becomes its
// value config. It runs in the module deploy/helm/charttest, which has Helm.
package main

import (
	"fmt"
	"log"
	"maps"
	"os"
	"slices"
	"strings"

	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
)

func main() {
	log.SetFlags(0)
	files, err := render(os.Args[1:])
	if err != nil {
		log.Fatal(err)
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if text := strings.TrimSpace(files[name]); text != "" && strings.HasSuffix(name, ".yaml") {
			fmt.Printf("---\n%s\n", text)
		}
	}
}

func render(args []string) (map[string]string, error) {
	chart, err := loader.Load(args[0])
	if err != nil {
		return nil, err
	}
	values := chartutil.Values{}
	if len(args) == 3 {
		if values, err = chartutil.ReadValuesFile(args[1]); err != nil {
			return nil, err
		}
		agent, err := chartutil.ReadValuesFile(args[2])
		if err != nil {
			return nil, err
		}
		values["config"] = alone(agent)
	}
	release := chartutil.ReleaseOptions{Name: "causeway", Namespace: "causeway", Revision: 1, IsInstall: true}
	all, err := chartutil.ToRenderValues(chart, values, release, chartutil.DefaultCapabilities)
	if err != nil {
		return nil, err
	}
	return engine.Render(chart, all)
}

// alone takes the chart's own defaults out of an agent.yaml: Helm would lay it
// over them.
func alone(agent map[string]any) map[string]any {
	for section, key := range map[string]string{"destinations": "local", "collect": "otlp"} {
		m, _ := agent[section].(map[string]any)
		if m == nil {
			agent[section] = nil
		} else if m[key] == nil {
			m[key] = nil
		}
	}
	return agent
}
