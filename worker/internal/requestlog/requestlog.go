// Package requestlog writes down what requests cause, such as denials, so that no client can fill a log. Of what repeats it
// writes the first few lines of each minute, and at the minute's end how many more there were.
package requestlog

import (
	"cmp"
	"context"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	window     = time.Minute
	mostOfKey  = 5      // lines of one message about one client
	mostInAll  = 100    // lines of one service
	mostKeys   = 1000   // told apart; others count together
	mostAtEnd  = 50     // summaries of one service
	countedKey = "more" // attribute of a summary: how many lines were left out
)

// clientKeys are the attributes that name a client, with or without its port.
var clientKeys = map[string]bool{"peer": true, "client": true}

// Handler is a slog.Handler that passes to another what does not repeat. Each counts for itself, as do those made of it.
type Handler struct {
	next    slog.Handler
	counted *counted
}

// New puts a Handler before next. Each logger made of it by With("service", …) counts for itself.
func New(next slog.Handler) *Handler { return &Handler{next: next, counted: newCounted()} }

// Enabled implements slog.Handler.
func (h *Handler) Enabled(ctx context.Context, level slog.Level) bool {
	return h.next.Enabled(ctx, level)
}

// WithAttrs implements slog.Handler. The result counts for itself.
func (h *Handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &Handler{next: h.next.WithAttrs(attrs), counted: newCounted()}
}

// WithGroup implements slog.Handler.
func (h *Handler) WithGroup(name string) slog.Handler {
	return &Handler{next: h.next.WithGroup(name), counted: newCounted()}
}

// Handle implements slog.Handler.
func (h *Handler) Handle(ctx context.Context, record slog.Record) error {
	if h.counted.admit(keyOf(record), record, h.summarise) {
		return h.next.Handle(ctx, record)
	}
	return nil
}

// summarise writes, for each message that was left out, its last line, and how many there were.
func (h *Handler) summarise(left []repeated) {
	for _, each := range left {
		each.last.AddAttrs(slog.Uint64(countedKey, each.count))
		_ = h.next.Handle(context.Background(), each.last)
	}
}

// key is what repeats.
type key struct{ message, client string }

func keyOf(record slog.Record) key {
	k := key{message: record.Message}
	record.Attrs(func(attr slog.Attr) bool {
		if !clientKeys[attr.Key] {
			return true
		}
		k.client = attr.Value.String()
		if host, _, err := net.SplitHostPort(k.client); err == nil {
			k.client = host
		}
		return false
	})
	k.client = strings.Clone(k.client)
	return k
}

// repeated are the lines of one key within a window.
type repeated struct {
	written int
	count   uint64 // of those left out
	last    slog.Record
}

// counted are the lines of one window. A new one begins with the first line after the last has ended.
type counted struct {
	mu      sync.Mutex
	begun   time.Time
	written int
	keys    map[key]*repeated
	ending  bool // a timer summarises at the end
}

func newCounted() *counted { return &counted{keys: map[key]*repeated{}} }

// admit tells whether to write a line. What it leaves out is given to summarise later.
func (c *counted) admit(k key, record slog.Record, summarise func([]repeated)) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	if !c.ending && now.Sub(c.begun) >= window {
		c.begun, c.written = now, 0
		clear(c.keys)
	}
	known, ok := c.keys[k]
	if !ok {
		if len(c.keys) >= mostKeys {
			k = key{message: k.message}
			known = c.keys[k]
		}
		if known == nil {
			known = &repeated{}
			c.keys[k] = known
		}
	}
	if known.written < mostOfKey && c.written < mostInAll {
		known.written++
		c.written++
		return true
	}
	known.count++
	known.last = record.Clone()
	if !c.ending {
		c.ending = true
		time.AfterFunc(window-now.Sub(c.begun), func() { summarise(c.end()) })
	}
	return false
}

// end closes the window and gives what was left out, the most frequent apart and the rest as one.
func (c *counted) end() []repeated {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ending, c.begun = false, time.Time{}
	var left []repeated
	for _, each := range c.keys {
		if each.count > 0 {
			left = append(left, *each)
		}
	}
	clear(c.keys)
	return atMost(left, mostAtEnd)
}

// atMost keeps the most frequent, and counts those that it leaves out in the last that it keeps.
func atMost(left []repeated, most int) []repeated {
	slices.SortFunc(left, func(a, b repeated) int { return cmp.Compare(b.count, a.count) })
	if len(left) <= most {
		return left
	}
	kept := left[:most]
	for _, other := range left[most:] {
		kept[most-1].count += other.count
	}
	return kept
}
