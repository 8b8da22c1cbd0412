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
// identity is in use twice when two processes hold one at the same time. Processes are told apart by the disco key,
// which a node makes anew each time it starts; one process that merely reconnects keeps it.
//
// The end of a process that was killed is heard of when the server gets round to reading its connection, and its successor may
// ask before that. So the streams of others count only once nothing is left unheard.
type sessions struct {
	unheard func() bool // whether there are connections whose other side has ended, and no handler knows yet

	mu      sync.Mutex
	streams map[key.NodePublic]map[key.DiscoPublic]int
	started map[key.NodePublic]map[key.DiscoPublic]struct{}
	twice   map[key.NodePublic]int
}

// Session is what is known of one node's connections to control.
type Session struct {
	NodeKey string `json:"nodeKey"`
	// Live is how many processes hold a map stream for this key now; more than one is a stolen or doubled identity.
	Live int `json:"live"`
	// Starts is how many processes have held one so far.
	Starts int `json:"starts"`
	// Twice is how often a process opened one while another process still had its own.
	Twice int `json:"twice"`
}

const (
	hearingTimeout = 10 * time.Second
	// handlerTimeout is for the handler of a stream to return once its connection is closed.
	handlerTimeout = 500 * time.Millisecond
)

func newSessions(unheard func() bool) *sessions {
	return &sessions{
		unheard: unheard,
		streams: map[key.NodePublic]map[key.DiscoPublic]int{},
		started: map[key.NodePublic]map[key.DiscoPublic]struct{}{},
		twice:   map[key.NodePublic]int{},
	}
}

// begin notes a map request. The result, which is nil for a request that is no stream, notes its end. It waits while another
// process seems to have a stream of its own.
func (s *sessions) begin(request *tailcfg.MapRequest) (end func()) {
	if !request.Stream {
		return nil
	}
	node, process := request.NodeKey, request.DiscoKey
	s.hear(node, process)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.streams[node] == nil {
		s.streams[node] = map[key.DiscoPublic]int{}
		s.started[node] = map[key.DiscoPublic]struct{}{}
	}
	if s.hasOthers(node, process) {
		s.twice[node]++
	}
	s.streams[node][process]++
	s.started[node][process] = struct{}{}
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.streams[node][process]--
		if s.streams[node][process] == 0 {
			delete(s.streams[node], process)
		}
	}
}

// hear returns as soon as no other process has a stream of this node, or when all that have ended are known to have.
func (s *sessions) hear(node key.NodePublic, process key.DiscoPublic) {
	hasOthers := func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.hasOthers(node, process)
	}
	deadline := time.Now().Add(hearingTimeout)
	heardAt := time.Now()
	for now := heardAt; hasOthers() && now.Before(deadline) && now.Sub(heardAt) < handlerTimeout; now = time.Now() {
		if s.unheard() {
			heardAt = now
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// hasOthers tells whether a process that begins its first stream finds one of another. The caller holds mu.
func (s *sessions) hasOthers(node key.NodePublic, process key.DiscoPublic) bool {
	return s.streams[node][process] == 0 && len(s.streams[node]) > 0
}

func (s *sessions) online(node key.NodePublic) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.streams[node]) > 0
}

// Sessions lists every node key that ever held a map stream, by key.
func (t *Tailnet) Sessions() []Session {
	s := t.sessions
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]Session, 0, len(s.streams))
	for node := range s.streams {
		list = append(list, Session{NodeKey: node.String(), Live: len(s.streams[node]), Starts: len(s.started[node]), Twice: s.twice[node]})
	}
	slices.SortFunc(list, func(a, b Session) int { return strings.Compare(a.NodeKey, b.NodeKey) })
	return list
}
