package proxy

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestHealth(t *testing.T) {
	refused := errors.New("refused")
	for _, c := range []struct {
		what  string
		steps func(*Health)
		told  string // + unhealthy, - well again
	}{
		{"all is well", func(h *Health) { h.Good(); h.Good() }, ""},
		{"the first answer is a failure", func(h *Health) { h.Bad(refused) }, "+"},
		{"more failures are the same trouble", func(h *Health) { h.Bad(refused); h.Bad(refused); h.Bad(refused) }, "+"},
		{"the first good answer ends it", func(h *Health) { h.Bad(refused); h.Good() }, "+-"},
		{"one page of many fails", func(h *Health) { h.Good(); h.Bad(refused); h.Good(); h.Bad(refused); h.Bad(refused); h.Good() }, ""},
		{"three in a row", func(h *Health) { h.Good(); h.Bad(refused); h.Bad(refused); h.Bad(refused) }, "+"},
		{"a failure long after the last good answer", func(h *Health) { h.Good(); time.Sleep(wellFor); h.Bad(refused) }, "+"},
	} {
		synctest.Test(t, func(t *testing.T) {
			told := ""
			h := NewHealth(func(err error) {
				if err == nil {
					told += "-"
					return
				}
				told += "+"
				if !strings.HasPrefix(err.Error(), "refused, since 2000-01-01T00:0") {
					t.Errorf("%s: %v", c.what, err)
				}
			})
			if _, known := h.Up(); known {
				t.Errorf("%s: known before it was asked", c.what)
			}
			c.steps(h)
			if told != c.told {
				t.Errorf("%s: told %q, want %q", c.what, told, c.told)
			}
			if up, known := h.Up(); !known || up == strings.HasSuffix(c.told, "+") {
				t.Errorf("%s: up %v, known %v", c.what, up, known)
			}
		})
	}
}
