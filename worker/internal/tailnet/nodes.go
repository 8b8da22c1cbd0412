package tailnet

import (
	"cmp"
	"fmt"
	"html/template"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"tailscale.com/tailcfg"
	"tailscale.com/types/key"

	"github.com/arsfeld/tsnsrv-sup/worker/internal/unexported"
)

// Node is one node as the control server knows it.
type Node struct {
	Hostname string `json:"hostname"`
	// DNSName is the full name without the last dot.
	DNSName   string   `json:"dnsName"`
	NodeKey   string   `json:"nodeKey"`
	Addresses []string `json:"addresses"`
	// Online is whether the node holds a connection to control now.
	Online bool `json:"online"`
}

// Nodes lists all nodes that ever registered, by host name; of several with one name the online ones come first.
func (t *Tailnet) Nodes() []Node {
	list := []Node{}
	for _, known := range t.control.AllNodes() {
		addresses := make([]string, 0, len(known.Addresses))
		for _, prefix := range known.Addresses {
			addresses = append(addresses, prefix.Addr().String())
		}
		list = append(list, Node{
			Hostname:  known.Hostinfo.Hostname(),
			DNSName:   strings.TrimSuffix(known.Name, "."),
			NodeKey:   known.Key.String(),
			Addresses: addresses,
			Online:    t.sessions.online(known.Key),
		})
	}
	slices.SortStableFunc(list, func(a, b Node) int {
		return cmp.Or(cmp.Compare(a.Hostname, b.Hostname), onlineFirst(a, b))
	})
	return list
}

// NetInfo is what the node with this host name has told of its network last; invalid if nothing.
func (t *Tailnet) NetInfo(hostname string) tailcfg.NetInfoView {
	for _, known := range t.control.AllNodes() {
		if known.Hostinfo.Hostname() == hostname {
			return known.Hostinfo.NetInfo()
		}
	}
	return tailcfg.NetInfoView{}
}

// CompleteLogin authenticates the node that was given this login URL, as if a person had done so.
func (t *Tailnet) CompleteLogin(url string) error {
	if !t.control.CompleteAuth(url) {
		return fmt.Errorf("completing a login: no node waits at %q", url)
	}
	return nil
}

// Expire has the node keys of all nodes with this host name end at a time, as an administrator can. Past that, the nodes lose the
// tailnet until they log in again. The zero time is never.
func (t *Tailnet) Expire(hostname string, at time.Time) error {
	var found bool
	for _, known := range t.control.AllNodes() {
		if known.Hostinfo.Hostname() == hostname {
			known.KeyExpiry = at
			t.control.UpdateNode(known)
			found = true
		}
	}
	if !found {
		return fmt.Errorf("expiring a node: there is none with the host name %q", hostname)
	}
	return nil
}

// nameUser gives a display name to the user of all nodes that have registered. The control server has no call for it, and makes
// its network maps of what it keeps.
func (t *Tailnet) nameUser(name string) {
	lock, ok := unexported.Field(t.control, "mu")
	users, known := unexported.Field(t.control, "users")
	if !ok || !known {
		panic("tailnet: the control server keeps its users elsewhere")
	}
	mu := lock.Addr().Interface().(sync.Locker)
	mu.Lock()
	defer mu.Unlock()
	for _, user := range users.Interface().(map[key.NodePublic]*tailcfg.User) {
		user.DisplayName = name
	}
}

var loginPage = template.Must(template.New("login").Parse(`<!doctype html><meta charset="utf-8"><title>Log in</title>
<body style="font:16px system-ui;display:grid;place-content:center;min-height:90vh;text-align:center">
{{if .}}<h1>{{.}}</h1>{{else}}<h1>Add this node to the tailnet?</h1><form method="post"><button style="font:inherit;padding:.5em 2em">Log in</button></form>{{end}}
`))

// serveLogin is the page behind a login URL: a button in place of an identity provider.
func (t *Tailnet) serveLogin(w http.ResponseWriter, r *http.Request) {
	message := ""
	if r.Method == http.MethodPost {
		message = "The node is in."
		if err := t.CompleteLogin(r.URL.Path); err != nil {
			w.WriteHeader(http.StatusNotFound)
			message = "This login URL is not known."
		}
	}
	// What a browser that went away does not read is no concern.
	_ = loginPage.Execute(w, message)
}

func onlineFirst(a, b Node) int {
	switch {
	case a.Online == b.Online:
		return 0
	case a.Online:
		return -1
	default:
		return 1
	}
}
