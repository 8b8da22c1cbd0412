package tailnet_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"tailscale.com/ipn"
	"tailscale.com/tsnet"

	"github.com/arsfeld/tsnsrv-sup/worker/internal/tailnet"
)

const patience = 30 * time.Second

func startTailnet(t *testing.T, options tailnet.Options) *tailnet.Tailnet {
	t.Helper()
	tn, err := tailnet.Start(options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(tn.Close)
	return tn
}

// newNode makes a node that is closed at the end of the test, or before by its own Close.
func newNode(t *testing.T, tn *tailnet.Tailnet, hostname, authKey string) *tsnet.Server {
	t.Helper()
	node := &tsnet.Server{
		Dir:        t.TempDir(),
		Hostname:   hostname,
		ControlURL: tn.ControlURL(),
		AuthKey:    authKey,
		UserLogf:   func(string, ...any) {},
	}
	t.Cleanup(func() { node.Close() })
	return node
}

func bringUp(t *testing.T, node *tsnet.Server) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if _, err := node.Up(ctx); err != nil {
		t.Fatalf("bringing up %s: %v", node.Hostname, err)
	}
}

func await(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !condition(); {
		if time.Now().After(deadline) {
			t.Fatalf("waited %v in vain for %s", patience, what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// serve answers requests on the node's port 80 with text.
func serve(t *testing.T, node *tsnet.Server, text string) {
	t.Helper()
	listener, err := node.Listen("tcp", ":80")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, text) })}
	go server.Serve(listener)
	t.Cleanup(func() { server.Close() })
}

// get asks a node for its page from another one.
func get(t *testing.T, from, to *tsnet.Server) string {
	t.Helper()
	ip, _ := to.TailscaleIPs()
	client := &http.Client{Transport: &http.Transport{DialContext: from.Dial, DisableKeepAlives: true}, Timeout: patience}
	response, err := client.Get("http://" + ip.String())
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

func TestNodesReachEachOther(t *testing.T) {
	tn := startTailnet(t, tailnet.Options{RequireAuthKey: "lab-key", MagicDNSDomain: "example.ts.net"})
	photos, visitor := newNode(t, tn, "photos", "lab-key"), newNode(t, tn, "visitor", "lab-key")
	bringUp(t, photos)
	bringUp(t, visitor)
	serve(t, photos, "photo wall")

	if got := get(t, visitor, photos); got != "photo wall" {
		t.Errorf("the page is %q", got)
	}
	nodes := tn.Nodes()
	if len(nodes) != 2 || nodes[0].Hostname != "photos" || nodes[1].Hostname != "visitor" {
		t.Fatalf("nodes: %+v", nodes)
	}
	ip, _ := photos.TailscaleIPs()
	if n := nodes[0]; !n.Online || n.DNSName != "photos.example.ts.net" || n.Addresses[0] != ip.String() {
		t.Errorf("photos: %+v", n)
	}

	photos.Close()
	await(t, "photos to be offline", func() bool { return !tn.Nodes()[0].Online })
	for _, session := range tn.Sessions() {
		if session.Twice != 0 {
			t.Errorf("nothing ran twice, and yet: %+v", session)
		}
	}
}

func TestWrongAuthKeyIsRefused(t *testing.T) {
	tn := startTailnet(t, tailnet.Options{RequireAuthKey: "lab-key"})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	_, err := newNode(t, tn, "stranger", "other-key").Up(ctx)
	if err == nil || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("want a refusal, got %v", err)
	}
}

func TestInteractiveLogin(t *testing.T) {
	tn := startTailnet(t, tailnet.Options{RequireAuth: true})
	node := newNode(t, tn, "photos", "")
	local, err := node.LocalClient()
	if err != nil {
		t.Fatal(err)
	}
	var loginURL string
	await(t, "a login URL", func() bool {
		status, err := local.StatusWithoutPeers(t.Context())
		if err == nil {
			loginURL = status.AuthURL
		}
		return loginURL != ""
	})
	if err := tn.CompleteLogin(loginURL + "x"); err == nil {
		t.Error("an unknown login URL was completed")
	}
	// The way of a person: open the page and press the button.
	response, err := http.Post(loginURL, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	bringUp(t, node)
}

func TestExpire(t *testing.T) {
	tn := startTailnet(t, tailnet.Options{})
	node := newNode(t, tn, "photos", "")
	bringUp(t, node)
	if err := tn.Expire("nobody", time.Now().Add(-time.Minute)); err == nil {
		t.Error("a node that does not exist has expired")
	}
	if err := tn.Expire("photos", time.Now().Add(-time.Minute)); err != nil {
		t.Fatal(err)
	}
	local, err := node.LocalClient()
	if err != nil {
		t.Fatal(err)
	}
	await(t, "the node to need a login", func() bool {
		status, err := local.StatusWithoutPeers(t.Context())
		return err == nil && status.BackendState == ipn.NeedsLogin.String()
	})
}

func TestPauseBreaksControlButNotTheNodes(t *testing.T) {
	tn := startTailnet(t, tailnet.Options{})
	photos, visitor := newNode(t, tn, "photos", ""), newNode(t, tn, "visitor", "")
	bringUp(t, photos)
	bringUp(t, visitor)
	serve(t, photos, "photo wall")
	get(t, visitor, photos)

	tn.Pause()
	await(t, "both nodes to lose control", func() bool { return !tn.Nodes()[0].Online && !tn.Nodes()[1].Online })
	if got := get(t, visitor, photos); got != "photo wall" {
		t.Errorf("the page is %q", got)
	}
	tn.Resume()
	await(t, "both nodes to be back", func() bool { return tn.Nodes()[0].Online && tn.Nodes()[1].Online })
}

func TestIdentityInUseTwiceIsCounted(t *testing.T) {
	tn := startTailnet(t, tailnet.Options{})
	first := newNode(t, tn, "photos", "")
	bringUp(t, first)
	second := newNode(t, tn, "photos", "")
	// Same directory, so the same node key in two nodes.
	second.Dir = first.Dir
	bringUp(t, second)
	await(t, "the double use to be seen", func() bool {
		sessions := tn.Sessions()
		return len(sessions) == 1 && sessions[0].Twice > 0 && sessions[0].Starts == 2
	})
}

func TestCloseFreesEverything(t *testing.T) {
	before := runtime.NumGoroutine()
	tn := startTailnet(t, tailnet.Options{HoldMapRequests: 10 * time.Millisecond})
	node := newNode(t, tn, "photos", "")
	bringUp(t, node)
	node.Close()
	tn.Close()
	address := strings.TrimPrefix(tn.ControlURL(), "http://")
	again, err := tailnet.Start(tailnet.Options{Listen: address})
	if err != nil {
		t.Fatalf("the port is still in use: %v", err)
	}
	again.Close()
	await(t, "all goroutines to end", func() bool { return runtime.NumGoroutine() <= before })
}
