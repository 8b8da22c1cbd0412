package proxy

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tailscale.com/tsnet"

	"github.com/arsfeld/tsnsrv-sup/worker/internal/interfaces"
	"github.com/arsfeld/tsnsrv-sup/worker/internal/node"
	"github.com/arsfeld/tsnsrv-sup/worker/internal/origin"
	"github.com/arsfeld/tsnsrv-sup/worker/internal/protocol"
	"github.com/arsfeld/tsnsrv-sup/worker/internal/tailnet"
)

// ownName is what the services of this package's tests are called on the tailnet.
const ownName = "web.example.ts.net"

func TestMain(m *testing.M) {
	node.ForgetEnvironment()
	node.DisableLogUpload()
	code := m.Run()
	endLab()
	os.Exit(code)
}

// A reach is a way from a client to a front. The kernel's TCP and a node's (gVisor's) differ in their errors, deadlines and
// buffers, so what concerns connections and bodies is tried over each.
type reach struct {
	name   string
	scheme protocol.ListenSpecScheme
	listen func(testing.TB) net.Listener
	dial   func(ctx context.Context, listener net.Addr) (net.Conn, error)
	whoIs  origin.WhoIs
}

var loopback = reach{
	name:   "loopback",
	scheme: protocol.ListenSpecSchemeHttp,
	listen: func(t testing.TB) net.Listener {
		t.Helper()
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		return listener
	},
	dial: func(ctx context.Context, listener net.Addr) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "tcp", listener.String())
	},
	whoIs: alice,
}

// overNodes are the ways over a tailnet of real nodes: without TLS, with it, and from the internet through funnel.
func overNodes(t *testing.T) []reach {
	t.Helper()
	nodes := startedLab(t)
	onTailnet := func(name string, scheme protocol.ListenSpecScheme) reach {
		return reach{
			name: name, scheme: scheme, whoIs: nodes.service.WhoIs,
			listen: func(t testing.TB) net.Listener {
				t.Helper()
				listener, err := nodes.service.Listen(fmt.Sprintf(":%d", 1000+nodes.ports.Add(1)))
				if err != nil {
					t.Fatal(err)
				}
				return listener
			},
			dial: func(ctx context.Context, listener net.Addr) (net.Conn, error) {
				_, port, err := net.SplitHostPort(listener.String())
				if err != nil {
					return nil, err
				}
				return nodes.visitor.Dial(ctx, "tcp", net.JoinHostPort(nodes.address, port))
			},
		}
	}
	fromInternet := reach{
		name: "funnel", scheme: protocol.ListenSpecSchemeFunnel, whoIs: nodes.service.WhoIs,
		listen: func(t testing.TB) net.Listener {
			t.Helper()
			open := make(chan error, 1)
			listener := nodes.service.ListenFunnel(":443", func(err error) { open <- err })
			select {
			case err := <-open:
				if err != nil {
					t.Fatal(err)
				}
			case <-time.After(patience):
				t.Fatal("the funnel does not open")
			}
			return listener
		},
		dial: func(ctx context.Context, _ net.Addr) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "tcp", nodes.ingress.Addresses[443])
		},
	}
	return []reach{
		onTailnet("tailnet", protocol.ListenSpecSchemeHttp), onTailnet("tailnet with TLS", protocol.ListenSpecSchemeHttps), fromInternet,
	}
}

// everyReach is overNodes, and loopback for comparison.
func everyReach(t *testing.T) []reach { return append([]reach{loopback}, overNodes(t)...) }

// from gives a listener the origin that its connections have.
func (r reach) from(listener net.Listener, whoIs origin.WhoIs) origin.Listener {
	return origin.Of(listener, origin.Origin{Internet: r.scheme == protocol.ListenSpecSchemeFunnel, WhoIs: whoIs})
}

func (r reach) isSecure() bool { return r.scheme != protocol.ListenSpecSchemeHttp }

// lab is a tailnet with the node of a service, a visitor and the relay of funnel; one for all tests, as it takes a second.
type lab struct {
	network   *tailnet.Tailnet
	service   *node.Node
	visitor   *tsnet.Server
	ingress   *tailnet.Ingress
	table     *interfaces.Table
	address   string // of the service
	ports     atomic.Int32
	directory string
}

var (
	oneLab  lab
	labOnce = sync.OnceValue(oneLab.start)
)

func startedLab(t *testing.T) *lab {
	t.Helper()
	if err := labOnce(); err != nil {
		t.Fatal(err)
	}
	return &oneLab
}

func (l *lab) start() (err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 3*patience)
	defer cancel()
	if l.directory, err = os.MkdirTemp("", "proxy-lab"); err != nil {
		return err
	}
	if l.network, err = tailnet.Start(tailnet.Options{MagicDNSDomain: "example.ts.net"}); err != nil {
		return err
	}
	if l.table, err = interfaces.New(nil, discard); err != nil {
		return err
	}
	directories := [3]string{}
	for i, name := range []string{"web", "visitor", "funnel"} {
		directories[i] = l.directory + "/" + name
		if err := os.Mkdir(directories[i], 0o700); err != nil {
			return err
		}
	}
	l.service, err = node.Start(node.Config{
		Dir: directories[0], Hostname: "web", ControlURL: l.network.ControlURL(), Interfaces: l.table, Log: discard,
	})
	if err != nil {
		return err
	}
	l.service.Listening()
	for l.address == "" {
		select {
		case status := <-l.service.Updates():
			if status.State == node.Running && len(status.Addresses) > 0 {
				l.address = status.Addresses[0]
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	l.visitor = &tsnet.Server{
		Dir: directories[1], Hostname: "visitor", ControlURL: l.network.ControlURL(), UserLogf: func(string, ...any) {},
	}
	if _, err := l.visitor.Up(ctx); err != nil {
		return err
	}
	l.ingress, err = l.network.StartIngress(ctx, directories[2])
	return err
}

func endLab() {
	l := &oneLab
	if l.ingress != nil {
		l.ingress.Close()
	}
	if l.visitor != nil {
		l.visitor.Close()
	}
	if l.service != nil {
		l.service.Close()
	}
	if l.table != nil {
		l.table.Close()
	}
	if l.network != nil {
		l.network.Close()
	}
	os.RemoveAll(l.directory)
}

// connect opens a connection to the front, with TLS where it speaks that; the protocols are for ALPN.
func (f *front) connect(protocols ...string) net.Conn {
	f.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := f.dialFront(ctx, protocols...)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(patience))
	return conn
}

func (f *front) dialFront(ctx context.Context, protocols ...string) (net.Conn, error) {
	conn, err := f.over.dial(ctx, f.address)
	if err != nil || !f.over.isSecure() {
		return conn, err
	}
	secured := tls.Client(conn, &tls.Config{InsecureSkipVerify: true, ServerName: ownName, NextProtos: protocols})
	if err := secured.HandshakeContext(ctx); err != nil {
		conn.Close()
		return nil, err
	}
	return secured, nil
}

// http2 is a client that speaks HTTP/2 with the front, which has to do TLS.
func (f *front) http2() *http.Client {
	var protocols http.Protocols
	protocols.SetHTTP2(true)
	transport := &http.Transport{
		DisableCompression: true, Protocols: &protocols,
		DialTLSContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return f.dialFront(ctx, "h2") },
	}
	f.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: patience}
}

// raw sends bytes as they are, and gives the status and header of the answer.
func (f *front) raw(bytes string) *http.Response {
	f.Helper()
	conn := f.connect()
	defer conn.Close()
	if _, err := io.WriteString(conn, bytes); err != nil {
		f.Fatal(err)
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		f.Fatalf("%v after %q", err, bytes)
	}
	body, err := io.ReadAll(response.Body)
	if err != nil && response.StatusCode != http.StatusSwitchingProtocols {
		f.Errorf("the body of the answer to %q: %v", bytes, err)
	}
	response.Body = io.NopCloser(strings.NewReader(string(body)))
	return response
}
