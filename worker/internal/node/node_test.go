package node

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/arsfeld/tsnsrv-sup/worker/internal/interfaces"
	"github.com/arsfeld/tsnsrv-sup/worker/internal/tailnet"
)

const patience = 30 * time.Second

var discard = slog.New(slog.DiscardHandler)

func TestMain(m *testing.M) {
	ForgetEnvironment()
	DisableLogUpload()
	mapQuiet, mapInterval = time.Millisecond, time.Millisecond
	os.Exit(m.Run())
}

func startTailnet(t *testing.T, options tailnet.Options) *tailnet.Tailnet {
	t.Helper()
	network, err := tailnet.Start(options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(network.Close)
	return network
}

func config(t *testing.T, network *tailnet.Tailnet, hostname, authKey string) Config {
	t.Helper()
	table, err := interfaces.New(nil, discard)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { table.Close() })
	return Config{Dir: t.TempDir(), Hostname: hostname, ControlURL: network.ControlURL(), AuthKey: authKey, Interfaces: table, Log: discard}
}

func start(t *testing.T, config Config) *Node {
	t.Helper()
	n, err := Start(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Close() })
	return n
}

// await returns the first status that is in the state.
func await(t *testing.T, n *Node, state State) Status {
	t.Helper()
	deadline := time.After(patience)
	var last Status
	for {
		select {
		case last = <-n.Updates():
			if last.State == state {
				return last
			}
		case <-deadline:
			t.Fatalf("waited %v for state %d; last was %+v", patience, state, last)
		}
	}
}

func TestNodeJoinsListensDialsAndKnowsItsPeers(t *testing.T) {
	network := startTailnet(t, tailnet.Options{RequireAuthKey: "secret", MagicDNSDomain: "example.ts.net"})
	server := start(t, config(t, network, "web", "secret"))
	client := start(t, config(t, network, "visitor", "secret"))
	up := await(t, server, Running)
	await(t, client, Running)
	if up.DNSName != "web.example.ts.net" || len(up.Addresses) != 2 || strings.Contains(up.Addresses[0], ":") {
		t.Errorf("identity: %+v", up)
	}
	if !strings.HasPrefix(up.NodeKey, "nodekey:") {
		t.Errorf("node key %q", up.NodeKey)
	}
	listener, err := server.Listen(":80")
	if err != nil {
		t.Fatal(err)
	}
	site := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		who, err := server.WhoIs(r.Context(), r.RemoteAddr)
		if err != nil {
			t.Error(err)
			return
		}
		fmt.Fprint(w, who.Node.ComputedName)
	})}
	go site.Serve(listener)
	t.Cleanup(func() { site.Close() })
	// By MagicDNS name, as an upstream on the tailnet would be.
	visitor := &http.Client{Transport: &http.Transport{DialContext: client.Dial, DisableKeepAlives: true}, Timeout: patience}
	response, err := visitor.Get("http://web.example.ts.net/")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if body, _ := io.ReadAll(response.Body); !strings.HasPrefix(string(body), "visitor") {
		t.Errorf("the server saw %q", body)
	}
}

func TestIdentityAndPortSurviveARestart(t *testing.T) {
	network := startTailnet(t, tailnet.Options{RequireAuthKey: "secret"})
	first := config(t, network, "web", "secret")
	first.Port = freePort(t)
	n := start(t, first)
	before := await(t, n, Running)
	if n.UDPPort() != first.Port {
		t.Errorf("bound %d, want %d", n.UDPPort(), first.Port)
	}
	n.Close()
	again := start(t, first)
	after := await(t, again, Running)
	if after.NodeKey != before.NodeKey || again.UDPPort() != first.Port {
		t.Errorf("before %+v, after %+v on port %d", before, after, again.UDPPort())
	}
}

func freePort(t *testing.T) uint16 {
	t.Helper()
	socket, err := net.ListenUDP("udp", &net.UDPAddr{})
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	return uint16(socket.LocalAddr().(*net.UDPAddr).Port)
}

func TestWrongAuthKeyIsRefusedPromptly(t *testing.T) {
	network := startTailnet(t, tailnet.Options{RequireAuthKey: "secret"})
	status := await(t, start(t, config(t, network, "web", "wrong")), Refused)
	if !strings.Contains(status.Problem, "invalid authkey") {
		t.Errorf("problem: %q", status.Problem)
	}
}

// There is no cloud here that could say who the node is: without a login it cannot start, and with one it need not ask.
func TestWorkloadIdentityIsAskedForTheFirstLoginOnly(t *testing.T) {
	network := startTailnet(t, tailnet.Options{})
	c := config(t, network, "web", "")
	c.ClientID, c.Audience, c.Tags = "kABC", "api.tailscale.com/kABC", []string{"tag:web"}
	if n, err := Start(c); err == nil {
		n.Close()
		t.Fatal("it started")
	} else if !strings.Contains(err.Error(), "resolving auth key") {
		t.Errorf("refused for another reason: %v", err)
	}
	byPerson := c
	byPerson.ClientID, byPerson.Audience = "", ""
	first := start(t, byPerson)
	await(t, first, Running)
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	await(t, start(t, c), Running)
}

func TestLoginByAPerson(t *testing.T) {
	network := startTailnet(t, tailnet.Options{RequireAuth: true})
	n := start(t, config(t, network, "web", ""))
	waiting := await(t, n, NeedsLogin)
	if !strings.HasPrefix(waiting.LoginURL, network.ControlURL()) {
		t.Fatalf("login URL %q", waiting.LoginURL)
	}
	if err := network.CompleteLogin(waiting.LoginURL); err != nil {
		t.Fatal(err)
	}
	if up := await(t, n, Running); up.LoginURL != "" {
		t.Errorf("login URL still there: %q", up.LoginURL)
	}
}

func TestLostLoginIsNoticed(t *testing.T) {
	network := startTailnet(t, tailnet.Options{})
	n := start(t, config(t, network, "web", ""))
	await(t, n, Running)
	if err := network.Expire("web", time.Now().Add(-time.Minute)); err != nil {
		t.Fatal(err)
	}
	await(t, n, NeedsLogin)
}

func TestDamagedKeyFileIsAnErrorAndStaysAsItIs(t *testing.T) {
	network := startTailnet(t, tailnet.Options{})
	broken := config(t, network, "web", "")
	path := filepath.Join(broken.Dir, "tailscaled.state")
	if err := os.WriteFile(path, []byte("{half"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Start(broken)
	var state *StateError
	if !errors.As(err, &state) || state.Path != path {
		t.Fatalf("got %v", err)
	}
	if text, _ := os.ReadFile(path); string(text) != "{half" {
		t.Errorf("the file was changed to %q", text)
	}
}

// visit has a client make a session with the node, and leaves a connection open.
func visit(t *testing.T, client, server *Node, address string) {
	t.Helper()
	listener, err := server.Listen(":80")
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			io.WriteString(connection, "x")
		}
	}()
	connection, err := client.Dial(t.Context(), "tcp", address+":80")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { connection.Close() })
	if _, err := connection.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
}
