package tailnet

import (
	"slices"
	"strings"
	"sync"
	"time"

	"tailscale.com/tailcfg"
	"tailscale.com/types/key"
)

// sessions watches the streams over which nodes receive their network map: a node is online while it holds one, and its
// identity is in use twice when there are two at the same time: a process ends its stream before it asks for another.
//
// The end of a process that was killed is heard of when the server gets round to reading its connection, and its successor may
// ask before that. So other streams count only once nothing is left unheard.
type sessions struct {
	unheard func() bool // whether there are connections whose other side has ended, and no handler knows yet

	mu      sync.Mutex
	streams map[key.NodePublic]int
	started map[key.NodePublic]map[key.DiscoPublic]struct{}
	twice   map[key.NodePublic]int
}

// Session is what is known of one node's connections to control.
type Session struct {
	NodeKey string `json:"nodeKey"`
	// Live is how many map streams there are for this key now; more than one is a stolen or doubled identity.
	Live int `json:"live"`
	// Starts is how many disco keys it has had so far: a node makes one at each start, unless it was handed over.
	Starts int `json:"starts"`
	// Twice is how often one was opened while there was another.
	Twice int `json:"twice"`
}

const (
	hearingTimeout = 10 * time.Second
	// handlerTimeout is for the handler of a stream to return once its connection is closed.
	handlerTimeout = 2 * time.Second
)

func newSessions(unheard func() bool) *sessions {
	return &sessions{
		unheard: unheard,
		streams: map[key.NodePublic]int{},
		started: map[key.NodePublic]map[key.DiscoPublic]struct{}{},
		twice:   map[key.NodePublic]int{},
	}
}

// begin notes a map request. The result, which is nil for a request that is no stream, notes its end. It waits while there seems
// to be another stream.
func (s *sessions) begin(request *tailcfg.MapRequest) (end func()) {
	if !request.Stream {
		return nil
	}
	node := request.NodeKey
	s.hear(node)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.started[node] == nil {
		s.started[node] = map[key.DiscoPublic]struct{}{}
	}
	if s.streams[node] > 0 {
		s.twice[node]++
	}
	s.streams[node]++
	s.started[node][request.DiscoKey] = struct{}{}
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.streams[node]--
	}
}

// hear returns as soon as there is no stream of this node, or when all that have ended are known to have.
func (s *sessions) hear(node key.NodePublic) {
	deadline := time.Now().Add(hearingTimeout)
	heardAt := time.Now()
	for now := heardAt; s.online(node) && now.Before(deadline) && now.Sub(heardAt) < handlerTimeout; now = time.Now() {
		if s.unheard() {
			heardAt = now
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func (s *sessions) online(node key.NodePublic) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.streams[node] > 0
}

// Sessions lists every node key that ever held a map stream, by key.
func (t *Tailnet) Sessions() []Session {
	s := t.sessions
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]Session, 0, len(s.streams))
	for node := range s.streams {
		list = append(list, Session{NodeKey: node.String(), Live: s.streams[node], Starts: len(s.started[node]), Twice: s.twice[node]})
	}
	slices.SortFunc(list, func(a, b Session) int { return strings.Compare(a.NodeKey, b.NodeKey) })
	return list
}
