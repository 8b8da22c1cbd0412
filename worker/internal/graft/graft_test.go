package graft

import (
	"reflect"
	"testing"
)

// An upgrade of tailscale or gVisor that moves something is seen here first.
func TestEveryGraftTakes(t *testing.T) {
	for _, missing := range Missing() {
		t.Errorf("this version of the libraries has no place for the %v. It can go when %s.", missing, missing.Until)
	}
	if len(All()) != 5 {
		t.Errorf("%d grafts; docs/architecture.md lists 5", len(All()))
	}
}

type library struct{ inside int }

func TestAGraftThatDoesNotTakeIsToldAndLeftOut(t *testing.T) {
	before := all
	defer func() { all = before }()
	there := register(Graft{Name: "there", of: reflect.TypeFor[library](), field: "inside", fits: is[int]})
	gone := register(Graft{Name: "gone", of: reflect.TypeFor[library](), field: "moved", fits: is[int]})
	changed := register(Graft{Name: "changed", of: reflect.TypeFor[library](), field: "inside", fits: is[string]})
	if field, ok := there.get(&library{inside: 3}); !ok || field.Int() != 3 {
		t.Errorf("got %v, %v", field, ok)
	}
	for _, each := range []*Graft{gone, changed} {
		if _, ok := each.get(&library{}); ok {
			t.Errorf("%s is there", each.Name)
		}
	}
	for _, other := range []any{nil, 3, (*library)(nil), &struct{ inside int }{}} {
		if _, ok := there.get(other); ok {
			t.Errorf("found in %v", other)
		}
	}
	var names []string
	for _, missing := range Missing() {
		names = append(names, missing.Name)
	}
	if !reflect.DeepEqual(names, []string{"changed", "gone"}) {
		t.Errorf("missing: %v", names)
	}
}
