package access

import (
	"slices"
	"strings"

	"github.com/arsfeld/tsnsrv-sup/worker/internal/protocol"
)

// taggedDevices is the login name that Tailscale gives all tagged nodes instead of a person's.
const taggedDevices = "tagged-devices"

// Who is behind a request, as far as WhoIs tells. The zero value is nobody known.
type Who struct {
	// Login is the login name of the person.
	Login string

	// Tags are those of the node. A tagged node is nobody's: then Login counts for nothing.
	Tags []string

	// Node is the first label of the node's DNS name. It is tailcfg.Node.ComputedName where tailcfg.Node.Name is not empty, else
	// nothing: without a DNS name, ComputedName is a host name that the client chose itself. That of a node shared in from
	// another tailnet has dots in it and matches no rule, as strangers chose it.
	Node string

	// Capabilities tells whether grants give the node a capability towards this service. Nil for none.
	Capabilities func(name string) bool

	// Funnel is whether the request came from the internet. Then all the rest counts for nothing.
	Funnel bool
}

// String names who it is, for the log.
func (w Who) String() string {
	names := w.Tags
	if w.Node != "" {
		names = append([]string{"node " + w.Node}, w.Tags...)
	}
	switch {
	case w.Funnel:
		return "a client from the internet"
	case w.IsPerson():
		return w.Login
	case len(names) == 0:
		return "a client that is not known"
	}
	return strings.Join(names, " ")
}

// IsPerson tells whether it is a person on the tailnet, and no tagged node.
func (w Who) IsPerson() bool {
	return !w.Funnel && w.Login != "" && w.Login != taggedDevices && len(w.Tags) == 0
}

func (w Who) matches(rule protocol.AccessRule) bool {
	if rule.Kind != protocol.AccessRuleKindAnyone && (w.Funnel || rule.Value == "") {
		return false
	}
	switch rule.Kind {
	case protocol.AccessRuleKindAnyone:
		return true
	case protocol.AccessRuleKindLogin:
		return w.IsPerson() && sameName(w.Login, rule.Value)
	case protocol.AccessRuleKindDomain:
		at := strings.LastIndexByte(w.Login, '@')
		return w.IsPerson() && at > 0 && sameName(w.Login[at+1:], rule.Value)
	case protocol.AccessRuleKindTag:
		return slices.Contains(w.Tags, rule.Value)
	case protocol.AccessRuleKindNode:
		return sameName(w.Node, rule.Value)
	case protocol.AccessRuleKindCapability:
		return w.Capabilities != nil && w.Capabilities(rule.Value)
	}
	return false
}

// sameName ignores the case of ASCII letters only: strings.EqualFold takes the Kelvin sign for a k, and would let somebody in
// whose name or domain merely looks like another.
func sameName(a, b string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range len(a) {
		if lower(a[i]) != lower(b[i]) {
			return false
		}
	}
	return true
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}
