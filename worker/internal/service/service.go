package service

import (
	"context"
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/arsfeld/tsnsrv-sup/worker/internal/exposure"
	"github.com/arsfeld/tsnsrv-sup/worker/internal/limit"
	"github.com/arsfeld/tsnsrv-sup/worker/internal/node"
	"github.com/arsfeld/tsnsrv-sup/worker/internal/protocol"
	"github.com/arsfeld/tsnsrv-sup/worker/internal/proxy"
)

// restartDrain is how long requests may take to end when a changed node setting restarts the node.
const restartDrain = 10 * time.Second

// controlMayBeLost is for how long before it is a problem. Shorter in tests.
var controlMayBeLost = 20 * time.Second

// longestShielded is how long clients may have to wait behind the shields: two repetitions of a lost packet.
const longestShielded = 3 * time.Second

// Service is the life of one service. What is wanted is set from outside under mu; everything that runs belongs to the
// goroutine of run, which takes one step after the other towards it.
type Service struct {
	name string
	set  *Set
	log  *slog.Logger
	lasting
	wake     chan struct{}   // something wanted has changed
	quiet    context.Context // done when requests that take long have been waited for long enough
	endQuiet context.CancelFunc
	hurry    context.Context // done when draining has lasted long enough
	cutShort context.CancelFunc

	mu      sync.Mutex
	want    protocol.ServiceSpec // its authKey is dropped once used
	pending bool                 // want is not yet taken up
	restart bool                 // and the instance that runs is to be replaced
	leaving bool
	order   bool                   // a certificate may be ordered
	applied *protocol.IdentitySpec // of the instance that runs; nil without one
	exposed exposure.Exposure      // the same
	status  protocol.ServiceStatus

	// Owned by run.
	next      protocol.ServiceSpec // of the instance that is to start
	directory *directory           // of it, until it has started; nil for none
	queued    bool                 // waits for a slot to start
	starting  bool                 // holds a slot
	instance  *instance
	deadline  *time.Timer // of the start; nil for none
}

func newService(set *Set, spec protocol.ServiceSpec) *Service {
	hurry, cutShort := context.WithCancel(context.Background())
	quiet, endQuiet := context.WithCancel(hurry)
	s := &Service{
		name:     spec.Name,
		set:      set,
		log:      set.options.Log.With("service", spec.Name),
		wake:     make(chan struct{}, 1),
		quiet:    quiet,
		endQuiet: endQuiet,
		hurry:    hurry,
		cutShort: cutShort,
		want:     spec,
		pending:  true,
		status:   protocol.ServiceStatus{Name: spec.Name, SpecHash: spec.SpecHash, Identity: protocol.IdentityStatus{Addresses: []string{}}, Problems: []protocol.ServiceProblem{}},
	}
	s.backends = proxy.Backends{
		Upstream: proxy.NewHealth(func(err error) { s.problem(partUpstream, err) }),
		Auth:     proxy.NewHealth(func(err error) { s.problem(partAuth, err) }),
	}
	s.limits = limit.New()
	s.counters = set.options.Metrics.Add(spec.Name, s.limits, s.backends)
	s.enterQueue(spec)
	signal(s.wake)
	return s
}

// enterQueue enters the phase that comes before the start.
func (s *Service) enterQueue(spec protocol.ServiceSpec) {
	if standsBy(spec) {
		s.enter(protocol.ServiceStatusPhaseStandby, protocol.ServiceStatusReasonStandby, "Starts as soon as another worker lets go of its node.")
	} else {
		s.enterQueued()
	}
}

func (s *Service) enterQueued() {
	s.enter(protocol.ServiceStatusPhaseStarting, protocol.ServiceStatusReasonQueued, "Waiting for its turn to start.")
}

func standsBy(spec protocol.ServiceSpec) bool { return spec.Standby != nil && *spec.Standby }

// put sets what is wanted. It answers with the phase that the change leads to, and leaves the work to run.
func (s *Service) put(spec protocol.ServiceSpec) (protocol.ServiceStatus, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.leaving {
		return protocol.ServiceStatus{}, ErrLeaving
	}
	stuck := s.status.Phase == protocol.ServiceStatusPhaseFailed || s.status.Phase == protocol.ServiceStatusPhaseNeedsLogin
	again := spec.Retry != nil && *spec.Retry && stuck
	if spec.OrderCertificate != nil && *spec.OrderCertificate {
		s.order = true
		if known := s.status.Certificate; known != nil && known.Phase == protocol.CertificateStatusPhaseMissing {
			ordering := *known
			ordering.Phase = protocol.CertificateStatusPhaseOrdering
			s.status.Certificate = &ordering
		}
		signal(s.wake)
	}
	if spec.SpecHash == s.want.SpecHash && !again {
		return s.snapshot(), nil
	}
	s.want, s.pending = spec, true
	s.restart = s.applied != nil && (s.restart || again || !reflect.DeepEqual(*s.applied, spec.Exposure.Node))
	switch {
	case s.applied == nil || s.restart && stuck:
		s.status.SpecHash = spec.SpecHash
		s.enterQueue(spec)
	case s.restart:
		s.enter(protocol.ServiceStatusPhaseDraining, protocol.ServiceStatusReasonDraining, "Restarting the node with changed settings.")
	}
	signal(s.wake)
	return s.snapshot(), nil
}

// leave sets that the service is to end, and by when. Of several calls the earliest deadline holds.
func (s *Service) leave(drain time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	time.AfterFunc(drain-min(drain/4, longestShielded), s.endQuiet)
	time.AfterFunc(drain, s.cutShort)
	if s.leaving {
		return
	}
	s.leaving = true
	s.enter(protocol.ServiceStatusPhaseDraining, protocol.ServiceStatusReasonDraining, "Open requests are ending.")
	signal(s.wake)
}

// Status gives the state of the service as it is now.
func (s *Service) Status() protocol.ServiceStatus {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.snapshot()
}

func (s *Service) snapshot() protocol.ServiceStatus {
	status := s.status             // addresses are replaced, never changed
	status.Revision = s.set.draw() // drawn under the lock: the later look has the higher number
	status.Counters = s.counters.Snapshot()
	return status
}

// enter changes phase, reason and message. The caller holds mu, and tells the set once it has let go: the set's lock comes
// before ours.
func (s *Service) enter(phase protocol.ServiceStatusPhase, reason protocol.ServiceStatusReason, message string) {
	if s.status.Phase != phase || s.status.Reason != reason {
		s.status.Since = int(time.Now().UnixMilli())
		s.log.Info("service is "+string(phase), "phase", phase, "reason", reason, "message", message)
	}
	s.status.Phase, s.status.Reason, s.status.Message = phase, reason, message
	if phase != protocol.ServiceStatusPhaseNeedsLogin {
		s.status.Identity.LoginURL = ""
	}
}

// update changes the status from run, and tells the watches.
func (s *Service) update(change func()) {
	s.mu.Lock()
	if !s.leaving { // what happens while leaving is only the way out
		change()
	}
	s.mu.Unlock()
	s.set.changed(s.name)
}

// run takes steps until the service has left.
func (s *Service) run() {
	for {
		select {
		case <-s.wake:
			if s.isLeaving() {
				s.end()
				return
			}
			s.advance()
		case opened := <-s.opened():
			s.queue(opened)
		case s.slot() <- struct{}{}:
			s.starting = true
			s.start()
		case status := <-s.updates():
			s.observe(status)
		case <-s.timeout():
			s.fail(protocol.ServiceStatusReasonConnectTimeout, s.timeoutMessage())
		}
	}
}

func (s *Service) isLeaving() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.leaving
}

// The channels below are nil, and so never ready, unless their event is waited for.

func (s *Service) slot() chan<- struct{} {
	if !s.queued {
		return nil
	}
	return s.set.slots
}

func (s *Service) opened() <-chan openedDirectory {
	if s.directory == nil || s.directory.held != nil {
		return nil
	}
	return s.directory.opened
}

func (s *Service) updates() <-chan node.Status {
	if s.instance == nil {
		return nil
	}
	return s.instance.exposure.Updates()
}

func (s *Service) timeout() <-chan time.Time {
	if s.deadline == nil {
		return nil
	}
	return s.deadline.C
}

// advance takes up what is wanted: in place where it can be, else on the way to a new node.
func (s *Service) advance() {
	s.mu.Lock()
	spec, pending, inPlace, order := s.want, s.pending, s.applied != nil && !s.restart, s.order
	s.pending, s.order, s.want.AuthKey = false, false, nil
	s.mu.Unlock()
	switch {
	case !pending:
		if order && s.instance != nil {
			s.instance.certificates.order()
		}
	case inPlace:
		if err := s.instance.apply(spec); err != nil {
			s.failWith(err)
			return
		}
		s.update(func() { s.status.SpecHash = spec.SpecHash })
	default:
		ctx, cancel := context.WithTimeout(s.hurry, restartDrain)
		defer cancel()
		quiet, endQuiet := context.WithTimeout(ctx, restartDrain-longestShielded)
		defer endQuiet()
		s.stop(quiet, ctx)
		s.next = spec
		s.directory = openDirectory(spec, s.set.options)
		s.update(func() { s.enterQueue(spec) })
	}
}

// queue waits for a slot: the directory is locked for us, or cannot be.
func (s *Service) queue(opened openedDirectory) {
	if opened.err != nil {
		s.failWith(opened.err)
		return
	}
	s.directory.held = opened.dir
	s.queued = true
	s.update(s.enterQueued)
}

// start brings up what is next. run holds a slot for it.
func (s *Service) start() {
	s.queued = false
	spec := s.next
	s.mu.Lock()
	outdated := s.pending
	if !outdated {
		s.applied = &spec.Exposure.Node
	}
	s.mu.Unlock()
	if outdated {
		s.settle() // advance is about to bring something newer
		return
	}
	s.update(func() {
		s.status.SpecHash = spec.SpecHash
		s.enter(protocol.ServiceStatusPhaseStarting, protocol.ServiceStatusReasonStarting, "The node is starting.")
	})
	running, err := startInstance(s.set.options, spec, s.directory.take(), s.lasting, s, s.log)
	s.next, s.directory = protocol.ServiceSpec{}, nil // with the auth key
	if err != nil {
		s.failWith(err)
		return
	}
	s.instance = running
	s.update(func() {
		s.exposed = running.exposure
		s.status.Identity.UdpPort = int(running.exposure.UDPPort())
	})
	s.armDeadline()
}

// armDeadline gives the node its time to connect, unless the spec says that it may take for ever.
func (s *Service) armDeadline() {
	s.disarmDeadline()
	if limit := s.instance.spec.Exposure.Node.ConnectTimeoutMs; limit > 0 {
		s.deadline = time.NewTimer(time.Duration(limit) * time.Millisecond)
	}
}

func (s *Service) disarmDeadline() {
	if s.deadline != nil {
		s.deadline.Stop()
		s.deadline = nil
	}
}

// observe follows the node. A node that waits for a person is no longer starting: it has no deadline and no slot.
func (s *Service) observe(status node.Status) {
	s.instance.learn(status)
	switch status.State {
	case node.Starting:
		if s.deadline == nil && !s.starting {
			s.armDeadline() // someone has logged in, or approved; the connection must follow
		}
		s.moveTo(status, protocol.ServiceStatusPhaseStarting, protocol.ServiceStatusReasonStarting, startingMessage(status))
	case node.NeedsLogin:
		s.settle()
		s.moveTo(status, protocol.ServiceStatusPhaseNeedsLogin, protocol.ServiceStatusReasonNeedsLogin,
			"A person has to log the node in: open loginURL, or give it an auth key.")
	case node.NeedsApproval:
		s.settle()
		s.moveTo(status, protocol.ServiceStatusPhaseNeedsLogin, protocol.ServiceStatusReasonNeedsApproval,
			"An administrator has to approve the machine in the admin console of the tailnet.")
	case node.Running:
		s.settle()
		s.moveTo(status, protocol.ServiceStatusPhaseReady, protocol.ServiceStatusReasonReady, "Serving.")
	case node.Refused:
		s.fail(s.refusal(status))
	case node.Stopped:
		s.fail(protocol.ServiceStatusReasonNodeFailed, "The node has switched itself off: "+orUnknown(status.Problem))
	}
}

func (s *Service) moveTo(status node.Status, phase protocol.ServiceStatusPhase, reason protocol.ServiceStatusReason, message string) {
	s.update(func() {
		if s.restart {
			return // put has answered with the phase that follows this node
		}
		s.enter(phase, reason, message)
		s.status.Identity.LoginURL = status.LoginURL
		s.status.Identity.DNSName = status.DNSName
		s.status.Identity.NodeKey = status.NodeKey
		s.status.Identity.NodeKeyExpiry = nil
		if !status.KeyExpiry.IsZero() {
			ends := int(status.KeyExpiry.UnixMilli())
			s.status.Identity.NodeKeyExpiry = &ends
		}
		if status.Addresses != nil {
			s.status.Identity.Addresses = status.Addresses
		}
	})
}

// settle ends the start: the next in the queue may begin.
func (s *Service) settle() {
	s.disarmDeadline()
	if s.starting {
		s.starting = false
		<-s.set.slots
	}
}

// stop ends what runs; requests have until ctx is done. See instance.close.
func (s *Service) stop(quiet, ctx context.Context) {
	s.mu.Lock()
	s.exposed = nil
	s.mu.Unlock()
	s.settle()
	s.queued = false
	if s.directory != nil {
		s.directory.close()
		s.directory = nil
	}
	if s.instance != nil {
		s.instance.close(quiet, ctx)
		s.instance = nil
		s.backends.Upstream.Forget()
		s.backends.Auth.Forget()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.applied, s.restart = nil, false
	s.status.Problems, s.status.Certificate = []protocol.ServiceProblem{}, nil
}

// problem implements teller.
func (s *Service) problem(part string, err error) {
	s.mu.Lock()
	after := slices.DeleteFunc(slices.Clone(s.status.Problems), func(known protocol.ServiceProblem) bool { return known.Part == part })
	if err != nil {
		after = append(after, protocol.ServiceProblem{Part: part, Message: sentence(err.Error())})
		slices.SortFunc(after, func(a, b protocol.ServiceProblem) int { return strings.Compare(a.Part, b.Part) })
	}
	changed := !s.leaving && !slices.Equal(s.status.Problems, after)
	if changed {
		s.status.Problems = after // replaced and not changed: snapshots share it
	}
	s.mu.Unlock()
	if !changed {
		return
	}
	if err != nil {
		s.log.Warn("a part of the service does not work", "part", part, "error", err)
	}
	s.set.changed(s.name)
}

// lookAtControl tells whether the node has its connection to the control server. What it does without one for a moment, as when the
// server starts anew, is no problem.
func (s *Service) lookAtControl() {
	s.mu.Lock()
	exposed, ready := s.exposed, s.status.Phase == protocol.ServiceStatusPhaseReady
	s.mu.Unlock()
	var problem error
	if exposed != nil && ready {
		if since, lost := exposed.ControlLost(); lost && time.Since(since) >= controlMayBeLost {
			problem = fmt.Errorf("the node has had no connection to its control server since %s. It keeps serving as the tailnet was then: new "+
				"peers, and changes of names and rules, do not reach it. See whether this host reaches the server, and whether that runs",
				since.UTC().Format(time.RFC3339))
		}
	}
	s.problem(partControl, problem)
}

// certificate implements teller.
func (s *Service) certificate(status *protocol.CertificateStatus) {
	s.update(func() { s.status.Certificate = status })
}

// fail frees node and lock, and stays failed until it is put again or deleted.
func (s *Service) fail(reason protocol.ServiceStatusReason, message string) {
	s.stop(expired(), expired())
	s.update(func() {
		if !s.pending {
			s.enter(protocol.ServiceStatusPhaseFailed, reason, message)
		}
	})
}

func (s *Service) failWith(err error) { s.fail(explain(err)) }

// end leaves nothing behind.
func (s *Service) end() {
	s.stop(s.quiet, s.hurry)
	s.cutShort()
	s.set.options.Metrics.Remove(s.counters)
	s.log.Info("service is removed")
	s.set.remove(s)
}

func (s *Service) timeoutMessage() string {
	return fmt.Sprintf("The node was not up after %v: %s", time.Duration(s.instance.spec.Exposure.Node.ConnectTimeoutMs)*time.Millisecond,
		orUnknown(s.instance.last.Problem))
}
