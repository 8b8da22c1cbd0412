package tailnet

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"tailscale.com/ipn/ipnstate"
)

// funnelPorts are those on which Tailscale's relays listen.
var funnelPorts = []uint16{443, 8443, 10000}

// helloTimeout is how long a client may take to say whom it asks for.
const helloTimeout = 10 * time.Second

// Ingress stands for Tailscale's Funnel relays, with loopback in place of the internet: it learns from the first message of
// TLS whom a client wants, and hands the connection, still encrypted, to that node with the client's address. Who connects from
// 127.0.0.2 is another client than who connects from 127.0.0.1.
type Ingress struct {
	// Addresses say where a client finds the public ports 443, 8443 and 10000, such as "127.0.0.1:41234".
	Addresses map[uint16]string

	tailnet   *Tailnet
	member    *Member
	listeners []net.Listener
	cancel    context.CancelFunc
	handlers  sync.WaitGroup
}

// StartIngress joins the tailnet as Funnel's relays do, with its state in the directory. From then on the control server
// lists for each node who may reach it, as it must when there is a relay. The caller closes the result before the tailnet.
func (t *Tailnet) StartIngress(ctx context.Context, stateDir string) (*Ingress, error) {
	member, err := t.Join(ctx, "lab-funnel", stateDir)
	if err != nil {
		return nil, err
	}
	// A peer that may use what a node offers to Tailscale itself (PeerAPI) and none of the node's own ports.
	t.control.SetUnsignedPeerAPIOnly(member.key, true)
	serving, cancel := context.WithCancel(context.Background())
	i := &Ingress{Addresses: map[uint16]string{}, tailnet: t, member: member, cancel: cancel}
	for _, port := range funnelPorts {
		listener, err := net.Listen("tcp4", net.JoinHostPort(loopback, "0"))
		if err != nil {
			i.Close()
			return nil, fmt.Errorf("starting the ingress of port %d: %w", port, err)
		}
		i.Addresses[port] = listener.Addr().String()
		i.listeners = append(i.listeners, listener)
		i.handlers.Go(func() { i.serve(serving, listener, port) })
	}
	return i, nil
}

// Close ends the ingress and all connections through it.
func (i *Ingress) Close() {
	i.cancel()
	for _, listener := range i.listeners {
		listener.Close()
	}
	i.member.Close()
	i.handlers.Wait()
}

func (i *Ingress) serve(ctx context.Context, listener net.Listener, port uint16) {
	for {
		client, err := listener.Accept()
		if err != nil {
			return
		}
		i.handlers.Go(func() {
			defer client.Close()
			defer context.AfterFunc(ctx, func() { client.Close() })()
			// The client sees no more than a connection that ends, as on the internet.
			if err := i.relay(ctx, client, port); err != nil {
				i.tailnet.control.Logf("ingress, port %d: %v", port, err)
			}
		})
	}
}

func (i *Ingress) relay(ctx context.Context, client net.Conn, port uint16) error {
	name, client, err := readServerName(client)
	if err != nil {
		return fmt.Errorf("reading whom %v asks for: %w", client.RemoteAddr(), err)
	}
	node, err := i.dial(ctx, client.RemoteAddr(), net.JoinHostPort(name, strconv.Itoa(int(port))))
	if err != nil {
		return err
	}
	Pipe(ctx, client, node)
	return nil
}

// readServerName says whom the client asks for, by the first message of its TLS. The connection that it returns begins with
// that message again.
func readServerName(client net.Conn) (string, net.Conn, error) {
	var name string
	var read bytes.Buffer
	enough := errors.New("the name is all that was wanted")
	client.SetReadDeadline(time.Now().Add(helloTimeout))
	err := tls.Server(listening{client, io.TeeReader(client, &read)}, &tls.Config{
		GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			name = strings.ToLower(hello.ServerName)
			return nil, enough
		},
	}).Handshake()
	client.SetReadDeadline(time.Time{})
	if !errors.Is(err, enough) {
		return "", client, err
	}
	if name == "" {
		return "", client, errors.New("it names no server (SNI)")
	}
	return name, Replayed{client, io.MultiReader(&read, client)}, nil
}

// listening is a connection that only listens: TLS would tell the client why it stops.
type listening struct {
	net.Conn
	reader io.Reader
}

func (l listening) Read(p []byte) (int, error)  { return l.reader.Read(p) }
func (l listening) Write(p []byte) (int, error) { return len(p), nil }

// dial asks the node that has the target's name to take a connection of the client as one to the target.
func (i *Ingress) dial(ctx context.Context, client net.Addr, target string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	name, _, err := net.SplitHostPort(target)
	if err != nil {
		return nil, err
	}
	peer, err := i.member.find(ctx, name, func(peer *ipnstate.PeerStatus) bool { return len(peer.PeerAPIURL) > 0 })
	if err != nil {
		return nil, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, peer.PeerAPIURL[0]+"/v0/ingress", nil)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Tailscale-Ingress-Src", client.String())
	request.Header.Set("Tailscale-Ingress-Target", target)
	conn, err := i.member.node.Dial(ctx, "tcp", request.URL.Host)
	if err != nil {
		return nil, fmt.Errorf("dialling the PeerAPI of %s: %w", name, err)
	}
	reader, err := exchange(conn, request)
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("handing a connection to %s: %w", name, err)
	}
	return Replayed{conn, reader}, nil
}

// exchange sends the request and reads the answer's head; what follows it belongs to the client's connection.
func exchange(conn net.Conn, request *http.Request) (*bufio.Reader, error) {
	deadline, _ := request.Context().Deadline()
	conn.SetDeadline(deadline)
	defer conn.SetDeadline(time.Time{})
	if err := request.Write(conn); err != nil {
		return nil, err
	}
	reader := bufio.NewReader(conn)
	response, err := http.ReadResponse(reader, request)
	if err != nil {
		return nil, err
	}
	if response.StatusCode != http.StatusSwitchingProtocols {
		return nil, fmt.Errorf("it answers %s: does it listen with Funnel on this port?", response.Status)
	}
	return reader, nil
}
