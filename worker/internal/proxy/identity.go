package proxy

import (
	"context"
	"maps"
	"mime"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"golang.org/x/net/http/httpguts"
	"tailscale.com/client/tailscale/apitype"
	"tailscale.com/tailcfg"

	"github.com/arsfeld/tsnsrv-sup/worker/internal/access"
	"github.com/arsfeld/tsnsrv-sup/worker/internal/origin"
)

const (
	// identityMaxAge bounds for how long a connection is believed to be whom it was: roles and tags change while it is open.
	identityMaxAge = time.Minute

	// identityShared bounds for how long a new connection is believed to be who had the address a moment ago. A lookup costs
	// about as much CPU as all the rest of a connection with one request. It is short because an address can pass to another
	// node, which takes longer than this: the first has to leave, and the second to join and to be made known by control.
	identityShared = 500 * time.Millisecond
)

// caller is what is known of who sends requests. The zero value is nobody.
type caller struct {
	who     access.Who
	headers http.Header // X-Tailscale-*; nobody may change it
}

// identities asks who the clients of one service are, once for all connections that an address opens within identityShared.
type identities struct {
	config Config

	mu     sync.Mutex
	recent map[string]*lookup // by IP address
}

// lookup is a question to WhoIs, and its answer once done is closed.
type lookup struct {
	done   chan struct{}
	caller caller
	err    error
}

func newIdentities(config Config) *identities {
	return &identities{config: config, recent: map[string]*lookup{}}
}

// callerOf tells who sends a request.
func (i *identities) callerOf(r *http.Request) caller {
	return i.behind(r.Context(), peerOf(r), r.RemoteAddr)
}

// behind tells who is behind a connection from address. A lookup that fails or takes too long tells of nobody, and is tried
// again with the next request.
func (i *identities) behind(ctx context.Context, known *peer, address string) caller {
	if known.origin.Internet {
		return caller{who: access.Who{Funnel: true}}
	}
	known.mu.Lock()
	defer known.mu.Unlock()
	if known.since.IsZero() || time.Since(known.since) > identityMaxAge {
		known.since, known.caller = time.Time{}, caller{}
		found, err := i.of(ctx, known.origin, address)
		if err != nil {
			return caller{}
		}
		known.caller, known.since = found, time.Now()
	}
	return known.caller
}

// knownCaller is the caller as far as it has been looked up.
func knownCaller(r *http.Request) caller {
	known := peerOf(r)
	known.mu.Lock()
	defer known.mu.Unlock()
	if known.origin.Internet {
		return caller{who: access.Who{Funnel: true}}
	}
	return known.caller
}

// of tells who is behind address ("ip:port"); the port makes no difference on a tailnet.
func (i *identities) of(ctx context.Context, from origin.Origin, address string) (caller, error) {
	if from.WhoIs == nil {
		return caller{}, nil
	}
	ip, _, err := net.SplitHostPort(address)
	if err != nil {
		return caller{}, err
	}
	i.mu.Lock()
	asked, ok := i.recent[ip]
	if !ok {
		asked = &lookup{done: make(chan struct{})}
		i.recent[ip] = asked
	}
	i.mu.Unlock()
	if !ok {
		i.ask(context.WithoutCancel(ctx), from.WhoIs, ip, address, asked) // others wait for it, whose clients are still there
	}
	<-asked.done
	return asked.caller, asked.err
}

// ask does a lookup, and forgets it when it is too old to be shared; at once when it failed.
func (i *identities) ask(ctx context.Context, whoIs origin.WhoIs, ip, address string, asked *lookup) {
	defer close(asked.done)
	forget := func() {
		i.mu.Lock()
		defer i.mu.Unlock()
		delete(i.recent, ip)
	}
	timeout := time.Duration(i.config.Spec.WhoisTimeoutMs) * time.Millisecond
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	who, err := whoIs(ctx, address)
	if err != nil {
		forget()
		i.config.Counters.whoisErrors.Add(1)
		i.config.Log.Warn("identity of a client not known; it counts as nobody", "peer", address, "error", err)
		asked.err = err
		return
	}
	time.AfterFunc(identityShared, forget)
	asked.caller = caller{who: whoOf(who), headers: identityHeaders(who)}
}

// whoOf is what access rules look at. A host name that a client gave itself is no name to go by.
func whoOf(who *apitype.WhoIsResponse) access.Who {
	if who == nil || who.Node == nil {
		return access.Who{}
	}
	known := access.Who{Tags: who.Node.Tags, Capabilities: func(name string) bool {
		_, ok := who.CapMap[tailcfg.PeerCapability(name)]
		return ok
	}}
	if who.UserProfile != nil && who.UserProfile.ID != 0 {
		known.Login = who.UserProfile.LoginName
	}
	if who.Node.Name != "" {
		known.Node = who.Node.ComputedName
	}
	return known
}

// identityHeaders are tsnsrv's, by name and format (its proxy.go, setWhoisHeaders). A value that cannot stand in a header,
// such as a name with a line break, is left out; one that is not ASCII is encoded as "tailscale serve" does (RFC 2047, Q): many
// upstreams refuse a header with other bytes, or read them as Latin-1.
func identityHeaders(who *apitype.WhoIsResponse) http.Header {
	if who == nil || who.UserProfile == nil || who.Node == nil {
		return nil
	}
	headers := http.Header{}
	set := func(name, value string) {
		if httpguts.ValidHeaderFieldValue(value) && utf8.ValidString(value) {
			headers.Set(identityPrefix+name, mime.QEncoding.Encode("utf-8", value))
		}
	}
	user, node := who.UserProfile, who.Node
	set("User", user.ID.String())
	set("User-LoginName", user.LoginName)
	if local, domain, ok := strings.Cut(user.LoginName, "@"); ok {
		set("User-LoginName-Localpart", local)
		set("User-LoginName-Domain", domain)
	}
	set("User-DisplayName", user.DisplayName)
	if user.ProfilePicURL != "" {
		set("User-ProfilePicURL", user.ProfilePicURL)
	}
	if len(who.CapMap) > 0 {
		set("Caps", joined(maps.Keys(who.CapMap)))
	}
	set("Node", node.ID.String())
	set("Node-Name", node.ComputedName)
	if len(node.CapMap) > 0 {
		set("Node-Caps", joined(maps.Keys(node.CapMap)))
	}
	if len(node.Tags) > 0 {
		set("Node-Tags", strings.Join(node.Tags, ", "))
	}
	return headers
}

func joined[S ~string](names func(yield func(S) bool)) string {
	var list []string
	for _, name := range slices.Sorted(names) {
		list = append(list, string(name))
	}
	return strings.Join(list, ", ")
}
