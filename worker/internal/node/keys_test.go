package node

import (
	"errors"
	"testing"

	"tailscale.com/ipn"
	"tailscale.com/ipn/store/mem"
)

// countedStore counts what is written to the file.
type countedStore struct {
	mem.Store
	writes int
}

func (s *countedStore) WriteState(id ipn.StateKey, text []byte) error {
	s.writes++
	return s.Store.WriteState(id, text)
}

func TestKeysThatAreHeldBackAreReadAtOnceAndWrittenOnce(t *testing.T) {
	file := &countedStore{}
	k := &keys{file: file}
	for id, text := range map[ipn.StateKey]string{"changed": "old", "removed": "old"} {
		if err := k.WriteState(id, []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	file.writes = 0

	k.hold()
	for _, text := range []string{"a", "b", "c", "new"} {
		if err := k.WriteState("changed", []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := k.WriteState("removed", nil); err != nil {
		t.Fatal(err)
	}
	check := func(when string) {
		if text, err := k.ReadState("changed"); err != nil || string(text) != "new" {
			t.Errorf("%s: read %q, %v", when, text, err)
		}
		if text, err := k.ReadState("removed"); !errors.Is(err, ipn.ErrStateNotExist) {
			t.Errorf("%s: what was removed is still %q, %v", when, text, err)
		}
	}
	check("held back")
	if file.writes != 0 {
		t.Errorf("%d writes although they are held back", file.writes)
	}
	if err := k.release(); err != nil {
		t.Fatal(err)
	}
	check("released")
	if file.writes != 2 {
		t.Errorf("%d writes, want one for each key", file.writes)
	}
	if err := k.WriteState("changed", []byte("later")); err != nil || file.writes != 3 {
		t.Errorf("%d writes, %v: what comes after the release is not written at once", file.writes, err)
	}
}
