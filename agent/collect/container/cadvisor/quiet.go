package cadvisor

import (
	"context"
	"log/slog"
	"runtime"
	"strings"

	"k8s.io/klog/v2"
)

// QuietKlog sends what the process logs through klog to slog's default logger.
// cAdvisor's lines become debug output, its errors too: it repeats them every
// minute, and what matters of them Read returns. Those of others, such as
// client-go's, keep their level.
//
// klog has one output per process and guards it by nothing: the agent calls
// this once, before it starts anything.
func QuietKlog() { klog.SetSlogLogger(slog.New(demote{})) }

// demote is a slog.Handler in front of the default one, whichever that is when
// a line comes.
type demote struct {
	wrap func(slog.Handler) slog.Handler
}

func (d demote) next() slog.Handler {
	h := slog.Default().Handler()
	if d.wrap != nil {
		h = d.wrap(h)
	}
	return h
}

// Enabled lets everything through to Handle, which knows who is speaking.
func (d demote) Enabled(ctx context.Context, l slog.Level) bool {
	return l >= slog.LevelInfo || d.next().Enabled(ctx, l)
}

// Handle passes r on, lowered to debug if cAdvisor said it.
func (d demote) Handle(ctx context.Context, r slog.Record) error {
	f, _ := runtime.CallersFrames([]uintptr{r.PC}).Next()
	if strings.HasPrefix(f.Function, "github.com/google/cadvisor/") {
		r.Level = slog.LevelDebug
	}
	h := d.next()
	if !h.Enabled(ctx, r.Level) {
		return nil
	}
	return h.Handle(ctx, r)
}

// WithAttrs is part of slog.Handler.
func (d demote) WithAttrs(attrs []slog.Attr) slog.Handler {
	return demote{func(h slog.Handler) slog.Handler { return d.base(h).WithAttrs(attrs) }}
}

// WithGroup is part of slog.Handler.
func (d demote) WithGroup(name string) slog.Handler {
	return demote{func(h slog.Handler) slog.Handler { return d.base(h).WithGroup(name) }}
}

func (d demote) base(h slog.Handler) slog.Handler {
	if d.wrap != nil {
		return d.wrap(h)
	}
	return h
}
