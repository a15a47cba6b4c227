package google

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"cloud.google.com/go/logging/apiv2/loggingpb"
	"cloud.google.com/go/monitoring/apiv3/v2/monitoringpb"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/causeway-agent/causeway/exporters"
)

// classOf says what a code means for the items it is about:
//
//	InvalidArgument, OutOfRange, FailedPrecondition, AlreadyExists   Permanent
//	Unauthenticated, PermissionDenied, NotFound, Unimplemented        Hold
//	anything else                                                     Retry
func classOf(code codes.Code) exporters.Class {
	switch code {
	case codes.InvalidArgument, codes.OutOfRange, codes.FailedPrecondition, codes.AlreadyExists:
		return exporters.Permanent
	case codes.Unauthenticated, codes.PermissionDenied, codes.NotFound, codes.Unimplemented:
		return exporters.Hold
	}
	return exporters.Retry
}

// quotaWait is how long to wait at least where a quota is used up and Google
// does not say how long: quotas are per minute.
const quotaWait = 10 * time.Second

// mostWait bounds what an answer can make us wait, as for other vendors.
const mostWait = 15 * time.Minute

// classify says what a failed call means for its whole body. what and role are
// for the words of a missing permission.
func classify(err error, project, what, role string) *exporters.Error {
	if x := (*exporters.Error)(nil); errors.As(err, &x) {
		return x
	}
	st, ok := status.FromError(err)
	if !ok {
		if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
			return &exporters.Error{Class: exporters.Retry, Err: err}
		}
		return &exporters.Error{Class: exporters.Retry, Err: fmt.Errorf("no answer that can be read: %w", err)}
	}
	x := &exporters.Error{Class: classOf(st.Code()), Status: int(st.Code()), Words: exporters.Words([]byte(st.Code().String() + ": " + st.Message()))}
	x.Unsent = x.Class != exporters.Retry
	reason := ""
	for _, d := range st.Details() {
		switch d := d.(type) {
		case *errdetails.RetryInfo:
			x.After = min(max(d.GetRetryDelay().AsDuration(), 0), mostWait)
		case *errdetails.ErrorInfo:
			reason = d.GetReason()
		}
	}
	switch st.Code() {
	case codes.ResourceExhausted:
		x.Unsent = true
		if strings.Contains(st.Message(), "larger than max") {
			x.Class = exporters.Permanent // Delivery halves it
			break
		}
		x.After = max(x.After, quotaWait)
	case codes.PermissionDenied:
		x.Err = denied(reason, project, what, role)
	case codes.Unauthenticated:
		x.Err = errors.New("the service does not know us: check credentials_file, or the application default credentials of this machine")
	case codes.NotFound:
		x.Err = fmt.Errorf("there is no project %q: check project", project)
	case codes.Unimplemented:
		x.Err = errors.New("who answers there is not Google's service: check url and logs_url")
	}
	return x
}

// denied explains a missing permission.
func denied(reason, project, what, role string) error {
	switch reason {
	case "SERVICE_DISABLED":
		api := "monitoring.googleapis.com"
		if role == "roles/logging.logWriter" {
			api = "logging.googleapis.com"
		}
		return fmt.Errorf("the API is off in project %s: gcloud services enable %s --project %s", project, api, project)
	case "ACCESS_TOKEN_SCOPE_INSUFFICIENT":
		return fmt.Errorf("the access scopes of this machine do not allow to write %s: give it the scope cloud-platform, or use workload identity", what)
	case "BILLING_DISABLED":
		return fmt.Errorf("billing is off in project %s", project)
	}
	return fmt.Errorf("not allowed to write %s to project %s: the account lacks %s (gcloud projects add-iam-policy-binding %s --member MEMBER --role %s)",
		what, project, role, project, role)
}

// summaryOf returns the details of a CreateTimeSeries of which a part failed.
func summaryOf(err error) *monitoringpb.CreateTimeSeriesSummary {
	st, ok := status.FromError(err)
	if !ok {
		return nil
	}
	for _, d := range st.Details() {
		if s, ok := d.(*monitoringpb.CreateTimeSeriesSummary); ok {
			return s
		}
	}
	return nil
}

// outOfOrder reports whether a message is that of points that are not newer
// than what Google has.
func outOfOrder(message string) bool { return strings.Contains(message, "must be written in order") }

// partialMetrics turns a summary into what Delivery is to do: what failed for
// good is dropped, what may pass is sent again, and of a repetition what is not
// newer is there already. It returns nil if there is nothing left to say.
//
// The summary has numbers only; which series they are stands in the message. If
// the two do not agree, all is sent again where some of it must: Google does not
// take a point twice.
func partialMetrics(s *monitoringpb.CreateTimeSeriesSummary, message string, x *exporters.Error, body []byte, repetition bool) *exporters.Error {
	var refused, again, ours int
	for _, e := range s.GetErrors() {
		n := int(e.GetPointCount())
		switch code := codes.Code(e.GetStatus().GetCode()); {
		case classOf(code) != exporters.Permanent:
			again += n
			if classOf(code) == exporters.Hold {
				x.After = max(x.After, time.Minute)
			}
		case repetition && outOfOrder(e.GetStatus().GetMessage()):
			ours += n
		default:
			refused += n
		}
	}
	if refused+again+ours == 0 { // nothing that says what became of it
		return x
	}
	items := itemsOf(body)
	x.Class, x.Unsent, x.Err = exporters.Partial, false, nil
	if again == 0 && ours == 0 {
		x.Dropped = min(countItems(items, failed(message, len(items)), refused), itemCount(items))
		return x
	}
	if again == 0 && refused == 0 {
		return nil
	}
	if again > 0 {
		// Which of them may pass is in no part of the answer.
		x.Again = []exporters.Range{{Lo: 0, Hi: itemCount(items)}}
		if at := failed(message, len(items)); refused == 0 && ours == 0 && len(at) == again {
			x.Again = rangesOf(items, at)
		}
		return x
	}
	x.Dropped = min(refused, itemCount(items))
	return x
}

// countItems returns how many items the failed series belong to, or their
// number where the message does not name them all.
func countItems(items, at []int, n int) int {
	if len(at) != n {
		return n
	}
	seen, last := 0, -1
	for _, i := range at {
		if items[i] != last {
			seen, last = seen+1, items[i]
		}
	}
	return seen
}

func itemCount(items []int) int {
	if len(items) == 0 {
		return 0
	}
	return items[len(items)-1] + 1
}

// rangesOf returns the items of the series at the ascending places at.
func rangesOf(items, at []int) (r []exporters.Range) {
	for _, i := range at {
		n := items[i]
		switch {
		case len(r) > 0 && r[len(r)-1].Hi > n:
		case len(r) > 0 && r[len(r)-1].Hi == n:
			r[len(r)-1].Hi++
		default:
			r = append(r, exporters.Range{Lo: n, Hi: n + 1})
		}
	}
	return r
}

// failed returns the places that an error's message names, ascending:
// "… timeSeries[0,3-5] …; … timeSeries[7] …". Places from n on are left out.
func failed(message string, n int) (at []int) {
	const key = "timeSeries["
	named := make([]bool, n)
	for {
		_, rest, ok := strings.Cut(message, key)
		if !ok {
			break
		}
		list, _, ok := strings.Cut(rest, "]")
		message = rest
		if !ok {
			break
		}
		for part := range strings.SplitSeq(list, ",") {
			first, last, isRange := strings.Cut(strings.TrimSpace(part), "-")
			lo, err := strconv.Atoi(first)
			hi := lo
			if isRange && err == nil {
				hi, err = strconv.Atoi(last)
			}
			if err != nil || lo < 0 {
				continue
			}
			for i := lo; i <= hi && i < n; i++ {
				named[i] = true
			}
		}
	}
	for i, is := range named {
		if is {
			at = append(at, i)
		}
	}
	return at
}

// itemsOf returns for each series of a body the number of its item: an item's
// first series begins with the field metric, its others with resource.
func itemsOf(body []byte) (items []int) {
	body = unpack(body)
	item := -1
	for len(body) > 0 {
		field, typ, n := protowire.ConsumeTag(body)
		if n < 0 {
			return items
		}
		body = body[n:]
		if field == 2 && typ == protowire.BytesType {
			series, n := protowire.ConsumeBytes(body)
			if n < 0 {
				return items
			}
			if first, _, n := protowire.ConsumeTag(series); n > 0 && first == 1 || item < 0 {
				item++
			}
			items = append(items, item)
			body = body[n:]
			continue
		}
		if n = protowire.ConsumeFieldValue(field, typ, body); n < 0 {
			return items
		}
		body = body[n:]
	}
	return items
}

// entryErrors returns which entries of a WriteLogEntries were not written.
func entryErrors(err error) map[int32]codes.Code {
	st, ok := status.FromError(err)
	if !ok {
		return nil
	}
	for _, d := range st.Details() {
		if p, ok := d.(*loggingpb.WriteLogEntriesPartialErrors); ok {
			errs := map[int32]codes.Code{}
			for i, s := range p.GetLogEntryErrors() {
				errs[i] = codes.Code(s.GetCode())
			}
			return errs
		}
	}
	return nil
}

// partialLogs turns them into what Delivery is to do. All that is not named was
// written.
func partialLogs(errs map[int32]codes.Code, x *exporters.Error) *exporters.Error {
	var again []exporters.Range
	dropped := 0
	held := true
	for i, code := range errs {
		class := classOf(code)
		held = held && class == exporters.Hold
		if class == exporters.Permanent {
			dropped++
		} else {
			again = append(again, exporters.Range{Lo: int(i), Hi: int(i) + 1})
		}
	}
	if held && x.Class == exporters.Hold {
		return x // nothing of it may be written: a person's work
	}
	x.Class, x.Dropped, x.Again, x.Unsent, x.Err = exporters.Partial, dropped, again, false, nil
	if len(again) == 0 {
		x.After = 0
	}
	return x
}

// unpack undoes the compression of a body; of what is damaged as much as there is.
func unpack(body []byte) []byte {
	if !isPacked(body) {
		return body
	}
	r, err := gzip.NewReader(bytes.NewReader(body))
	if err != nil {
		return nil
	}
	body, _ = io.ReadAll(r)
	return body
}
