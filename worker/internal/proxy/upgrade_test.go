package proxy

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/arsfeld/tsnsrv-sup/worker/internal/protocol"
)

// A client that may ask for /public only, of an upstream that takes h2c upgrades.
func TestNoClientSpeaksHTTPWithTheUpstreamPastTheRules(t *testing.T) {
	willing := hypercorn(t)
	auth := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Forwarded-Uri") != "/public" {
			w.WriteHeader(http.StatusForbidden)
		}
	}))
	t.Cleanup(auth.Close)
	anyone := protocol.AccessRule{Path: "/", Kind: protocol.AccessRuleKindAnyone}
	for name, spec := range map[string]protocol.ProxySpec{
		"no guard":      {},
		"allow":         {Allow: []protocol.AccessRule{anyone, {Path: "/admin", Kind: protocol.AccessRuleKindTag, Value: "tag:admin"}}},
		"prefixes":      {Prefixes: []protocol.PrefixSpec{{From: protocol.PrefixSpecFromAny, Path: "/public"}}},
		"authURL":       {ForwardAuth: &protocol.ForwardAuthSpec{URL: auth.URL + "/", TimeoutMs: 5000}},
		"authPassPaths": {ForwardAuth: &protocol.ForwardAuthSpec{URL: willing + "/verify", TimeoutMs: 5000, PassPaths: []string{"/public"}}},
	} {
		spec.Upstream, spec.WhoisTimeoutMs, spec.Upgrades = willing, 1000, []string{websocketProtocol}
		for _, over := range everyReach(t) {
			t.Run(name+" over "+over.name, func(t *testing.T) {
				seen := serveOver(t, over, spec, over.whoIs).tunnel("/public", "/admin")
				if seen.HTTPVersion != "1.1" || seen.Path != "/public" {
					t.Errorf("the upstream saw %+v", seen)
				}
			})
		}
	}
}

// tunnel asks for one path with an h2c upgrade, and for another one by HTTP/2 if it is granted. It gives what the upstream saw
// last.
func (f *front) tunnel(path, hidden string) (seen seenByHypercorn) {
	f.Helper()
	conn := f.connect()
	fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"+
		"HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n", path, f.host())
	reader := bufio.NewReader(conn)
	response, err := http.ReadResponse(reader, nil)
	if err != nil {
		f.Fatal(err)
	}
	body := io.Reader(response.Body)
	if response.StatusCode == http.StatusSwitchingProtocols {
		body = bytes.NewReader(smuggled(f.TB, conn, reader, hidden))
	}
	text, err := io.ReadAll(body)
	if err != nil {
		f.Fatal(err)
	}
	if err := json.Unmarshal(text, &seen); err != nil {
		f.Fatalf("%s: %q", response.Status, text)
	}
	return seen
}

// smuggled is the answer to a request by HTTP/2 on a connection that was switched to it.
func smuggled(t testing.TB, conn io.Writer, reader io.Reader, path string) []byte {
	t.Helper()
	const second = 3 // the stream; the first is that of the request with the upgrade
	if _, err := io.WriteString(conn, http2.ClientPreface); err != nil {
		t.Fatal(err)
	}
	var header bytes.Buffer
	encoder := hpack.NewEncoder(&header)
	for _, field := range [][2]string{{":method", "GET"}, {":scheme", "http"}, {":authority", "inside"}, {":path", path}, {"remote-user", "admin"}} {
		_ = encoder.WriteField(hpack.HeaderField{Name: field[0], Value: field[1]})
	}
	framer := http2.NewFramer(conn, reader)
	if err := framer.WriteSettings(); err != nil {
		t.Fatal(err)
	}
	if err := framer.WriteHeaders(http2.HeadersFrameParam{
		StreamID: second, BlockFragment: header.Bytes(), EndStream: true, EndHeaders: true,
	}); err != nil {
		t.Fatal(err)
	}
	var body []byte
	for {
		frame, err := framer.ReadFrame()
		if err != nil {
			t.Fatal(err)
		}
		switch frame := frame.(type) {
		case *http2.SettingsFrame:
			if !frame.IsAck() {
				_ = framer.WriteSettingsAck()
			}
		case *http2.DataFrame:
			if frame.StreamID == second {
				body = append(body, frame.Data()...)
				if frame.StreamEnded() {
					return body
				}
			}
		}
	}
}

// sampleKey is RFC 6455's, with what is to be answered to it.
const sampleKey, sampleAccept = "dGhlIHNhbXBsZSBub25jZQ==", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

// switching is an upstream that answers any request with the given response to an upgrade, and then with what it is sent. It
// tells on asked whether it was asked to upgrade.
func switching(t *testing.T, response string) (url string, asked chan bool, closed chan struct{}) {
	asked, closed = make(chan bool, 1), make(chan struct{}, 1)
	listener := upstreamOf(t, func(conn *net.TCPConn) {
		reader := bufio.NewReader(conn)
		request, err := http.ReadRequest(reader)
		if err != nil {
			return
		}
		asked <- request.Header.Get("Upgrade") != ""
		_, _ = io.WriteString(conn, response)
		_, _ = io.Copy(conn, reader)
		closed <- struct{}{}
	})
	return "http://" + listener.Addr().String(), asked, closed
}

func TestWhichUpgradesAreForwarded(t *testing.T) {
	websocket := "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + sampleKey + "\r\n"
	for what, c := range map[string]struct {
		request string // from the method to the last header line, without Host
		want    bool
	}{
		"a WebSocket":                             {"GET / HTTP/1.1\r\n" + websocket, true},
		"a WebSocket, spelled otherwise":          {"GET / HTTP/1.1\r\n" + strings.ReplaceAll(strings.ReplaceAll(websocket, "Upgrade: websocket", "uPGRADE: WebSocket"), "Connection: Upgrade", "connection: keep-alive, upgrade"), true},
		"a listed protocol with any method":       {"POST / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: 0\r\n", true},
		"a protocol that is not listed":           {"GET / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: spdy/3.1\r\n", false},
		"h2c":                                     {"GET / HTTP/1.1\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n", false},
		"two protocols in one line":               {"GET / HTTP/1.1\r\n" + strings.Replace(websocket, "websocket", "websocket, h2c", 1), false},
		"two protocols in two lines":              {"GET / HTTP/1.1\r\n" + websocket + "Upgrade: h2c\r\n", false},
		"a version of the protocol":               {"GET / HTTP/1.1\r\n" + strings.Replace(websocket, "websocket", "websocket/13", 1), false},
		"a WebSocket by POST":                     {"POST / HTTP/1.1\r\nContent-Length: 0\r\n" + websocket, false},
		"a WebSocket with a body":                 {"GET / HTTP/1.1\r\nContent-Length: 1\r\n" + websocket, false},
		"HTTP/1.0":                                {"GET / HTTP/1.0\r\n" + websocket, false},
		"no Connection":                           {"GET / HTTP/1.1\r\n" + strings.Replace(websocket, "Connection: Upgrade", "Connection: close", 1), false},
		"another version of WebSockets":           {"GET / HTTP/1.1\r\n" + strings.Replace(websocket, "13", "8", 1), false},
		"two versions":                            {"GET / HTTP/1.1\r\n" + websocket + "Sec-WebSocket-Version: 13\r\n", false},
		"no key":                                  {"GET / HTTP/1.1\r\n" + strings.Replace(websocket, "Key", "Nokey", 1), false},
		"a key of 15 bytes":                       {"GET / HTTP/1.1\r\n" + strings.Replace(websocket, sampleKey, "dGhlIHNhbXBsZSBub25j", 1), false},
		"a key that is no base64":                 {"GET / HTTP/1.1\r\n" + strings.Replace(websocket, sampleKey, "dGhlIHNhbXBsZSBub25jZ!==", 1), false},
		"two keys":                                {"GET / HTTP/1.1\r\n" + websocket + "Sec-WebSocket-Key: " + sampleKey + "\r\n", false},
		"the key taken off by Connection as well": {"GET / HTTP/1.1\r\n" + strings.Replace(websocket, "Connection: Upgrade", "Connection: Upgrade, Sec-WebSocket-Key", 1), false},
	} {
		url, asked, _ := switching(t, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
		f := serve(t, protocol.ProxySpec{Upstream: url, Upgrades: []string{websocketProtocol, "tcp"}}, nil)
		line, header, _ := strings.Cut(c.request, "\r\n")
		body := map[bool]string{true: "x"}[strings.Contains(header, "Content-Length: 1")]
		if response := f.raw(line + "\r\nHost: " + ownName + "\r\n" + header + "\r\n" + body); response.StatusCode != http.StatusOK {
			t.Errorf("%s: %s", what, response.Status)
		}
		if got := <-asked; got != c.want {
			t.Errorf("%s: forwarded as an upgrade: %v", what, got)
		}
	}
}

func TestAnswersToUpgrades(t *testing.T) {
	const asWebSocket = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: " + sampleAccept + "\r\n\r\n"
	for what, c := range map[string]struct {
		upgrade string // what the client asks for
		answer  string
		want    int
	}{
		"a WebSocket":                          {"websocket", asWebSocket, http.StatusSwitchingProtocols},
		"a WebSocket with the wrong answer":    {"websocket", strings.Replace(asWebSocket, sampleAccept, strings.ToLower(sampleAccept), 1), http.StatusBadGateway},
		"a WebSocket without an answer":        {"websocket", strings.Replace(asWebSocket, "-Accept", "-Other", 1), http.StatusBadGateway},
		"a WebSocket that becomes h2c":         {"websocket", strings.Replace(asWebSocket, ": websocket", ": h2c", 1), http.StatusBadGateway},
		"a WebSocket without Connection":       {"websocket", strings.Replace(asWebSocket, "Connection", "X-Connection", 1), http.StatusBadGateway},
		"another protocol":                     {"tcp", strings.Replace(asWebSocket, ": websocket", ": tcp", 1), http.StatusSwitchingProtocols},
		"another protocol than was asked for":  {"tcp", asWebSocket, http.StatusBadGateway},
		"what was not asked for":               {"", asWebSocket, http.StatusBadGateway},
		"a bare 101 that was not asked for":    {"", "HTTP/1.1 101 Switching Protocols\r\n\r\n", http.StatusBadGateway},
		"h2c, which was asked for in vain":     {"h2c", strings.Replace(asWebSocket, ": websocket", ": h2c", 1), http.StatusBadGateway},
		"a refusal":                            {"websocket", "HTTP/1.1 426 Upgrade Required\r\nContent-Length: 0\r\n\r\n", http.StatusUpgradeRequired},
		"a plain answer that says Upgrade too": {"", "HTTP/1.1 200 OK\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 0\r\n\r\n", http.StatusOK},
	} {
		for _, over := range everyReach(t) {
			t.Run(what+" over "+over.name, func(t *testing.T) {
				url, _, closed := switching(t, c.answer)
				f := serveOver(t, over, protocol.ProxySpec{Upstream: url, Upgrades: []string{websocketProtocol, "tcp"}}, nil)
				request := "GET / HTTP/1.1\r\nHost: " + f.host() + "\r\n"
				if c.upgrade != "" {
					request += "Connection: Upgrade\r\nUpgrade: " + c.upgrade + "\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + sampleKey + "\r\n"
				}
				conn := f.connect()
				_, _ = io.WriteString(conn, request+"\r\n")
				reader := bufio.NewReader(conn)
				response, err := http.ReadResponse(reader, nil)
				if err != nil {
					t.Fatal(err)
				}
				if response.StatusCode != c.want || response.Header.Get("Upgrade") != "" && c.want != http.StatusSwitchingProtocols {
					t.Errorf("%s %v", response.Status, response.Header)
				}
				switch c.want {
				case http.StatusSwitchingProtocols:
					_, _ = io.WriteString(conn, "ping\n")
					if echoed, err := reader.ReadString('\n'); echoed != "ping\n" {
						t.Errorf("got %q back, %v", echoed, err)
					}
				case http.StatusBadGateway:
					receive(t, closed, "the end of the connection to the upstream")
				}
			})
		}
	}
}

func TestExtendedConnectIsRefused(t *testing.T) {
	for _, over := range overNodes(t) {
		if !over.isSecure() {
			continue
		}
		t.Run(over.name, func(t *testing.T) {
			f := serveOver(t, over, protocol.ProxySpec{Upstream: echo(t).URL, Upgrades: []string{websocketProtocol}}, nil)
			conn := f.connect("h2")
			var header bytes.Buffer
			encoder := hpack.NewEncoder(&header)
			for _, field := range [][2]string{{":method", "CONNECT"}, {":protocol", "websocket"}, {":scheme", "https"}, {":authority", ownName}, {":path", "/"}} {
				_ = encoder.WriteField(hpack.HeaderField{Name: field[0], Value: field[1]})
			}
			_, _ = io.WriteString(conn, http2.ClientPreface)
			framer := http2.NewFramer(conn, conn)
			_ = framer.WriteSettings()
			_ = framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: header.Bytes(), EndHeaders: true})
			for {
				frame, err := framer.ReadFrame()
				if err != nil {
					t.Fatal(err)
				}
				switch frame := frame.(type) {
				case *http2.RSTStreamFrame, *http2.GoAwayFrame:
					return
				case *http2.HeadersFrame:
					t.Errorf("answered: %v", frame)
					return
				}
			}
		})
	}
}

func receive[T any](t *testing.T, from <-chan T, what string) (value T) {
	t.Helper()
	select {
	case value = <-from:
	case <-time.After(patience):
		t.Errorf("waited in vain for %s", what)
	}
	return value
}

// host is the name by which the front's url calls it.
func (f *front) host() string {
	_, host, _ := strings.Cut(f.url, "://")
	return host
}
