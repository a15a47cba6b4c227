package store

import (
	"log/slog"
	"maps"
	"slices"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// zapTo returns a logger for the engine that passes warnings and errors on to
// log. Each distinct text passes once a minute: the engine repeats itself for
// every write while, say, the disk is full.
func zapTo(log *slog.Logger) *zap.Logger {
	core := zapcore.NewSamplerWithOptions(&bridge{log: log}, time.Minute, 1, 0)
	return zap.New(core)
}

// bridge hands zap's entries to slog.
type bridge struct {
	log    *slog.Logger
	fields []zapcore.Field
}

// Enabled says that warnings and worse are wanted.
func (b *bridge) Enabled(l zapcore.Level) bool { return l >= zapcore.WarnLevel }

// With returns a bridge that adds fields to each entry.
func (b *bridge) With(fields []zapcore.Field) zapcore.Core {
	return &bridge{b.log, append(b.fields[:len(b.fields):len(b.fields)], fields...)}
}

// Check adds the bridge to the entry's writers if it wants it.
func (b *bridge) Check(e zapcore.Entry, ce *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if b.Enabled(e.Level) {
		return ce.AddCore(e, b)
	}
	return ce
}

// Write logs one entry: a constant message, the engine's words as attributes.
func (b *bridge) Write(e zapcore.Entry, fields []zapcore.Field) error {
	enc := zapcore.NewMapObjectEncoder()
	for _, f := range b.fields {
		f.AddTo(enc)
	}
	for _, f := range fields {
		f.AddTo(enc)
	}
	args := []any{"text", e.Message[:min(len(e.Message), 4096)]} // a panic brings its stack
	for _, k := range slices.Sorted(maps.Keys(enc.Fields)) {
		args = append(args, k, enc.Fields[k])
	}
	if e.Level >= zapcore.ErrorLevel {
		b.log.Error("the store's engine reports", args...)
	} else {
		b.log.Warn("the store's engine reports", args...)
	}
	return nil
}

// Sync does nothing: slog keeps nothing back.
func (b *bridge) Sync() error { return nil }
