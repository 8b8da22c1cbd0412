package node

import (
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"time"

	"tailscale.com/health"
	"tailscale.com/ipn"
	"tailscale.com/tsconst"
	"tailscale.com/types/key"
)

// State is where a node stands on its way into the tailnet.
type State int

const (
	Starting      State = iota
	NeedsLogin          // a person has to open LoginURL
	NeedsApproval       // an administrator has to approve the machine
	Running
	Refused // control will not have it; Problem is what it says
	Stopped // switched itself off; Problem may say why
)

// Status is what is known of a node.
type Status struct {
	State     State
	LoginURL  string // with NeedsLogin, as soon as it is known
	DNSName   string // full name without the last dot
	Addresses []string
	NodeKey   string    // "nodekey:..."
	KeyExpiry time.Time // of the node key; zero for never, or while it is not known
	Problem   string    // the last trouble with the login, in the words of the control server or the network

	// A node that started with a kept network map runs before control has answered, and even if control then refuses it.
	confirmed bool      // control has answered in this run
	backend   ipn.State // as last told
}

func (s Status) equal(other Status) bool {
	return s.State == other.State && s.LoginURL == other.LoginURL && s.DNSName == other.DNSName &&
		slices.Equal(s.Addresses, other.Addresses) && s.NodeKey == other.NodeKey && s.KeyExpiry.Equal(other.KeyExpiry) &&
		s.Problem == other.Problem
}

// A control server refuses a registration either in its reply, which the backend shows as ErrMessage, or by an HTTP status
// (Headscale), which it only mentions in its health. Other statuses are worth another try.
var httpRefusal = regexp.MustCompile(`^register request: http 4\d\d: `)

// These messages on the bus are no refusal, although they come as critical errors.
var passing = []string{"node registration rate limited", "IPN bus consumer fell behind"}

// apply folds one notice of the IPN bus. It is pure; what a notice leaves out has not changed.
func (s Status) apply(notice *ipn.Notify) Status {
	if s.State == Refused {
		return s // the backend keeps trying with the same key; for us that is over
	}
	if notice.LoginFinished != nil && s.State == NeedsLogin {
		s.State, s.LoginURL, s.Problem = Starting, "", ""
		s = s.enter(s.backend)
	}
	if notice.State != nil {
		s = s.enter(*notice.State)
	}
	if notice.SelfChange != nil {
		s.confirmed = true
	}
	settled := s.State == Running && s.confirmed
	if url := notice.BrowseToURL; url != nil && *url != "" && !settled {
		s.State, s.LoginURL = NeedsLogin, *url
	}
	// While the backend goes over from a kept map to control's, it may say that it is nobody.
	if self := notice.SelfChange; self != nil && len(self.Addresses) > 0 && s.State == Running {
		addresses := make([]netip.Addr, len(self.Addresses))
		for i, prefix := range self.Addresses {
			addresses[i] = prefix.Addr()
		}
		s = s.withSelf(self.Name, addresses, self.Key, self.KeyExpiry)
	}
	if settled {
		return s // what the bus complains of now concerns a node that serves
	}
	if message := notice.ErrMessage; message != nil {
		s = s.withProblem(*message, !slices.ContainsFunc(passing, func(prefix string) bool { return strings.HasPrefix(*message, prefix) }))
	}
	if notice.Health != nil {
		if warning, ok := notice.Health.Warnings[tsconst.HealthWarnableLoginState]; ok {
			if message := warning.Args[health.ArgError]; message != "" {
				s = s.withProblem(message, httpRefusal.MatchString(message))
			}
		}
	}
	return s
}

func (s Status) enter(state ipn.State) Status {
	s.backend = state
	switch state {
	case ipn.Running:
		s.State, s.LoginURL, s.Problem = Running, "", ""
	case ipn.NeedsMachineAuth:
		s.State, s.LoginURL = NeedsApproval, ""
	case ipn.Stopped:
		s.State = Stopped
	case ipn.NeedsLogin:
		// Every node passes through this state while its key is being checked. It needs a person only if it was up before
		// (the key has expired), or once control has given a URL.
		if s.State == Running || s.State == NeedsApproval {
			s.State = NeedsLogin
		}
	default:
		if s.State != NeedsLogin || s.LoginURL == "" {
			s.State = Starting
		}
	}
	return s
}

func (s Status) withProblem(message string, refused bool) Status {
	switch {
	case refused:
		s.State, s.Problem = Refused, message
	case s.State != Running: // a node that serves on while control is away has no problem
		s.Problem = message
	}
	return s
}

func (s Status) withSelf(name string, addresses []netip.Addr, nodeKey key.NodePublic, keyExpiry time.Time) Status {
	s.DNSName = strings.TrimSuffix(name, ".")
	s.Addresses = make([]string, len(addresses))
	for i, address := range slices.SortedStableFunc(slices.Values(addresses), netip.Addr.Compare) { // IPv4 sorts first
		s.Addresses[i] = address.String()
	}
	s.NodeKey = nodeKey.String()
	s.KeyExpiry = keyExpiry
	return s
}
