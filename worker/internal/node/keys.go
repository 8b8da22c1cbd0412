package node

import (
	"bytes"
	"errors"
	"sync"

	"tailscale.com/ipn"
)

// keys is what tailscale stores of a node: its keys and preferences, in a file that is synced to disk at each change.
//
// A node that starts changes its preferences back and forth four times. That is held back until it has started: with many
// nodes at once the disk would be what they wait for. For a node that has a login, so that there is nothing in it which the
// next start would not make anew.
type keys struct {
	file ipn.StateStore

	mu   sync.Mutex
	held map[ipn.StateKey][]byte // nil: nothing is held back
}

// ReadState implements ipn.StateStore.
func (k *keys) ReadState(id ipn.StateKey) ([]byte, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if text, ok := k.held[id]; ok {
		if text == nil {
			return nil, ipn.ErrStateNotExist
		}
		return text, nil
	}
	return k.file.ReadState(id)
}

// WriteState implements ipn.StateStore.
func (k *keys) WriteState(id ipn.StateKey, text []byte) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.held == nil {
		return k.file.WriteState(id, text)
	}
	k.held[id] = bytes.Clone(text)
	return nil
}

// hold begins to hold back.
func (k *keys) hold() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.held = map[ipn.StateKey][]byte{}
}

// release writes what was held back and is not in the file anyway, and holds back no more.
func (k *keys) release() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	var problems []error
	for id, text := range k.held {
		problems = append(problems, k.file.WriteState(id, text))
	}
	k.held = nil
	return errors.Join(problems...)
}
