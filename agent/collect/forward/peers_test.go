//go:build peers

package forward

import (
	"fmt"
	"net"
	"os/exec"
	"strings"
	"testing"

	"github.com/causeway-agent/causeway/config/secret"
)

// What the client library @fluent-org/logger sends in each mode, with
// acknowledgements, which it waits for, and with a shared key. NODE_PATH says
// where the library is.
func TestTheClientOfNode(t *testing.T) {
	for _, mode := range []string{"Message", "Forward", "PackedForward", "CompressedPackedForward"} {
		for _, key := range []string{"", "secret"} {
			c := config()
			c.SharedKey = secret.String(key)
			out := newSink()
			s, stop := start(t, c, out)
			_, at, _ := strings.Cut(s.Addresses()[0], "://")
			_, port, _ := net.SplitHostPort(at)
			const n = 500
			if p, err := exec.CommandContext(t.Context(), "node", "testdata/client.js", port, mode, key, fmt.Sprint(n)).CombinedOutput(); err != nil {
				t.Fatalf("%s: %v\n%s", mode, err, p)
			}
			got := out.wait(t, n)
			seen := map[string]bool{}
			for _, l := range got {
				_, text, _ := strings.Cut(l, " 4 message ")
				seen[text] = true
			}
			for i := range n {
				if !seen[fmt.Sprintf("%d {n=%d}", i, i)] {
					t.Errorf("%s: record %d is missing, the first is %s", mode, i, got[0])
					break
				}
			}
			stop()
			if st := s.Stats(); len(got) != n || st.Acked.Load() != st.Messages.Load() || st.Malformed.Load() != 0 {
				t.Errorf("%s: %d lines, %d of %d acknowledged", mode, len(got), st.Acked.Load(), st.Messages.Load())
			}
		}
	}
}
