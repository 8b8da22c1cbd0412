// Package graft is where the worker depends on what tailscale and gVisor keep to themselves. Each dependence is one file, which
// says what it reaches, what is lost without it, and when it can go. All of them are looked for when the process starts: an
// upgrade of tailscale that moves one is told in the log, by `tsnsrv-worker --build`, and by a test that fails.
package graft

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/arsfeld/tsnsrv-sup/worker/internal/unexported"
)

// Graft is one dependence on a field that is not exported.
type Graft struct {
	Name    string // short and lasting: people search for it
	Without string // what is lost when it is not there
	Until   string // what would let it go

	of    reflect.Type // struct that has the field
	field string
	fits  func(reflect.Type) bool
	took  bool // it is there
}

var all []*Graft

// register looks for the field in the version that this program is built with.
func register(g Graft) *Graft {
	field, ok := g.of.FieldByName(g.field)
	g.took = ok && g.fits(field.Type)
	all = append(all, &g)
	return &g
}

// All gives every graft, by name.
func All() []*Graft {
	return slices.SortedFunc(slices.Values(all), func(a, b *Graft) int { return strings.Compare(a.Name, b.Name) })
}

// Missing gives those that this version of the libraries has no place for.
func Missing() []*Graft {
	return slices.DeleteFunc(All(), func(g *Graft) bool { return g.took })
}

func (g *Graft) String() string {
	return fmt.Sprintf("%s (%v.%s): %s", g.Name, g.of, g.field, g.Without)
}

// get gives the field of the struct that this points to. It is not ok when it is not there.
func (g *Graft) get(pointer any) (field reflect.Value, ok bool) {
	if !g.took || reflect.TypeOf(pointer) != reflect.PointerTo(g.of) {
		return reflect.Value{}, false
	}
	return unexported.Field(pointer, g.field)
}

// has tells whether a type, or a pointer to it, has the methods of T.
func has[T any](field reflect.Type) bool {
	wanted := reflect.TypeFor[T]()
	return field.Implements(wanted) || reflect.PointerTo(field).Implements(wanted)
}

// is tells whether a type is T.
func is[T any](field reflect.Type) bool { return field == reflect.TypeFor[T]() }
