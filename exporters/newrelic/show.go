package newrelic

import (
	"bytes"
	"encoding/json"
	"fmt"

	logspb "go.opentelemetry.io/proto/otlp/logs/v1"
	metricspb "go.opentelemetry.io/proto/otlp/metrics/v1"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/causeway-agent/causeway/agent/signal"
)

// Show returns a body of Encode for people, as "once --format vendor" prints it:
// JSON as it is, and of OTLP its JSON form (protobuf's: ids are in base64).
// What cannot be read is shown as it is.
func (c *client) Show(body []byte) string {
	if !c.otlp {
		return string(body)
	}
	var msg proto.Message = new(logspb.LogsData)
	if c.kind == signal.Metric {
		msg = new(metricspb.MetricsData)
	}
	if err := proto.Unmarshal(body, msg); err != nil {
		return fmt.Sprintf("%q", body)
	}
	text, err := protojson.Marshal(msg)
	if err != nil {
		return fmt.Sprintf("%q", body)
	}
	var w bytes.Buffer
	if err := json.Indent(&w, text, "", " "); err != nil { // protojson puts blanks where it likes
		return string(text)
	}
	return w.String()
}
