package tailnet

import (
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"

	"tailscale.com/derp/derpserver"
	"tailscale.com/net/stun"
	"tailscale.com/tailcfg"
	"tailscale.com/types/key"
	"tailscale.com/types/logger"
)

const loopback = "127.0.0.1"

// relay is one DERP region with a STUN responder: nodes meet through it before they find each other's UDP port.
type relay struct {
	host string // IPv4 address
	derp *derpserver.Server
	http *httptest.Server
	stun net.PacketConn
}

// StartRelay runs DERP and STUN on an IPv4 address of this host, for a control server other than this package's. The caller
// tells that one the map's only region, and ends the relay with stop.
func StartRelay(host string) (derpMap *tailcfg.DERPMap, stop func(), err error) {
	relay, err := startRelayOn(host)
	if err != nil {
		return nil, nil, err
	}
	return relay.derpMap(), relay.close, nil
}

func startRelay() (*relay, error) { return startRelayOn(loopback) }

func startRelayOn(host string) (*relay, error) {
	listener, err := net.Listen("tcp4", net.JoinHostPort(host, "0"))
	if err != nil {
		return nil, fmt.Errorf("starting the relay: %w", err)
	}
	stunConn, err := net.ListenPacket("udp4", net.JoinHostPort(host, "0"))
	if err != nil {
		listener.Close()
		return nil, fmt.Errorf("starting the STUN responder: %w", err)
	}
	go answerSTUN(stunConn)

	derp := derpserver.New(key.NewNode(), logger.Discard)
	// httptest for its self-signed certificate, which the nodes accept as the region is marked InsecureForTests.
	server := httptest.NewUnstartedServer(derpserver.AddWebSocketSupport(derp, derpserver.Handler(derp)))
	server.Listener.Close()
	server.Listener = listener
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	// A DERP connection is an upgraded HTTP/1.1 one.
	server.Config.TLSNextProto = map[string]func(*http.Server, *tls.Conn, http.Handler){}
	server.StartTLS()
	return &relay{host: host, derp: derp, http: server, stun: stunConn}, nil
}

func (r *relay) derpMap() *tailcfg.DERPMap {
	node := &tailcfg.DERPNode{
		Name:             "1a",
		RegionID:         1,
		HostName:         r.host,
		IPv4:             r.host,
		IPv6:             "none",
		STUNPort:         r.stun.LocalAddr().(*net.UDPAddr).Port,
		DERPPort:         r.http.Listener.Addr().(*net.TCPAddr).Port,
		InsecureForTests: true,
		STUNTestIP:       r.host,
	}
	region := &tailcfg.DERPRegion{RegionID: 1, RegionCode: "lab", RegionName: "Lab", Nodes: []*tailcfg.DERPNode{node}}
	return &tailcfg.DERPMap{Regions: map[int]*tailcfg.DERPRegion{1: region}}
}

func (r *relay) close() {
	// DERP first: the HTTP server's Close waits for the handlers of connections that only DERP can end.
	r.derp.Close()
	r.http.CloseClientConnections()
	r.http.Close()
	r.stun.Close()
}

// answerSTUN tells nodes under which address they are seen, until conn is closed.
func answerSTUN(conn net.PacketConn) {
	buffer := make([]byte, 1500)
	for {
		n, from, err := conn.ReadFrom(buffer)
		if err != nil {
			return
		}
		transaction, err := stun.ParseBindingRequest(buffer[:n])
		if err != nil {
			continue
		}
		// A lost answer is asked for again.
		_, _ = conn.WriteTo(stun.Response(transaction, from.(*net.UDPAddr).AddrPort()), from)
	}
}
