package node

import (
	"sync"

	"tailscale.com/ipn"
	"tailscale.com/tsnet"
)

// preparedStore is the store of a server that is changed before it has sent anything, for which tsnet has no hook: the backend
// reads its store when device, sockets and TCP are there, and none is in use.
type preparedStore struct {
	ipn.StateStore
	prepare func()
}

// prepare has each step taken while the server starts, once it has made its parts and before it uses them.
func prepare(server *tsnet.Server, steps ...func(*tsnet.Server)) {
	server.Store = &preparedStore{server.Store, sync.OnceFunc(func() {
		for _, step := range steps {
			step(server)
		}
	})}
}

// ReadState implements ipn.StateStore.
func (s *preparedStore) ReadState(id ipn.StateKey) ([]byte, error) {
	s.prepare()
	return s.StateStore.ReadState(id)
}
