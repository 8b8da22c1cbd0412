package proxy

import (
	"context"
	"maps"
	"net"
	"net/http/httputil"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/http/httpguts"
	"tailscale.com/client/tailscale/apitype"
)

// WhoIs tells who is behind a tailnet address ("ip:port").
type WhoIs func(ctx context.Context, address string) (*apitype.WhoIsResponse, error)

// identityMaxAge bounds for how long a connection is believed to be whom it was: roles and tags change while it is open.
const identityMaxAge = time.Minute

type header struct{ name, value string }

// peer is what is remembered of one client connection, so that only its first request pays for the lookup.
type peer struct {
	mu       sync.Mutex
	identity []header
	since    time.Time // zero: not known
}

type peerKey struct{}

// rememberPeer is the ConnContext of every server.
func rememberPeer(ctx context.Context, _ net.Conn) context.Context {
	return context.WithValue(ctx, peerKey{}, &peer{})
}

// setIdentity adds the X-Tailscale-* headers. A lookup that fails or takes too long leaves them out, and is tried again
// with the next request.
func setIdentity(r *httputil.ProxyRequest, config Config) {
	known, ok := r.In.Context().Value(peerKey{}).(*peer)
	if !ok {
		known = &peer{} // not behind our Server
	}
	known.mu.Lock()
	defer known.mu.Unlock()
	if known.since.IsZero() || time.Since(known.since) > identityMaxAge {
		known.since = time.Time{}
		timeout := time.Duration(config.Spec.WhoisTimeoutMs) * time.Millisecond
		ctx, cancel := context.WithTimeout(r.In.Context(), timeout)
		defer cancel()
		who, err := config.WhoIs(ctx, r.In.RemoteAddr)
		if err != nil {
			config.Counters.whoisErrors.Add(1)
			config.Log.Warn("identity of a client not known; its request goes on without", "peer", r.In.RemoteAddr, "error", err)
			return
		}
		known.identity, known.since = identityHeaders(who), time.Now()
	}
	for _, each := range known.identity {
		r.Out.Header.Set(each.name, each.value)
	}
}

// identityHeaders are tsnsrv's, by name and format (its proxy.go, setWhoisHeaders). A value that cannot stand in a header,
// such as a name with a line break, is left out.
func identityHeaders(who *apitype.WhoIsResponse) []header {
	if who == nil || who.UserProfile == nil || who.Node == nil {
		return nil
	}
	var headers []header
	set := func(name, value string) {
		if httpguts.ValidHeaderFieldValue(value) {
			headers = append(headers, header{identityPrefix + name, value})
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
