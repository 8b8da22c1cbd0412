package proxy

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/arsfeld/tsnsrv-sup/worker/internal/protocol"
)

// withPriorKnowledge is a client that speaks HTTP/2 with the front at once, with TLS where it has that.
func (f *front) withPriorKnowledge() *http.Client {
	if f.over.isSecure() {
		return f.http2()
	}
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	transport := &http.Transport{
		DisableCompression: true, Protocols: &protocols,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return f.dialFront(ctx) },
	}
	f.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: patience}
}

// talking is an upstream that takes HTTP/2 without TLS only. It answers each line as it comes, and says in trailers how many
// there were.
func talking(t *testing.T) string {
	t.Helper()
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Trailer", "Lines")
		fmt.Fprintln(w, r.Proto, r.Header.Get("Te"), r.Header.Get("Upgrade"))
		w.(http.Flusher).Flush()
		lines, count := bufio.NewScanner(r.Body), 0
		for lines.Scan() {
			count++
			fmt.Fprintln(w, strings.ToUpper(lines.Text()))
			w.(http.Flusher).Flush()
		}
		w.Header().Set("Lines", fmt.Sprint(count, " ", r.Trailer.Get("Checksum")))
	}))
	server.Config.Protocols = new(http.Protocols)
	server.Config.Protocols.SetUnencryptedHTTP2(true)
	server.Start()
	t.Cleanup(server.Close)
	return strings.Replace(server.URL, "http://", "H2C://", 1)
}

func TestUpstreamsOfHTTP2WithoutTLS(t *testing.T) {
	for _, over := range everyReach(t) {
		t.Run(over.name, func(t *testing.T) {
			f := serveOver(t, over, protocol.ProxySpec{Upstream: talking(t), Upgrades: []string{websocketProtocol}}, over.whoIs)
			body, words := io.Pipe()
			request, err := http.NewRequest(http.MethodPost, f.url, body)
			if err != nil {
				t.Fatal(err)
			}
			request.Header.Set("Te", "trailers")
			request.Trailer = http.Header{"Checksum": {"abc"}}
			response, err := f.withPriorKnowledge().Do(request)
			if err != nil {
				t.Fatal(err)
			}
			defer response.Body.Close()
			answers := bufio.NewReader(response.Body)
			expect := func(want string) {
				t.Helper()
				if line, err := answers.ReadString('\n'); line != want+"\n" {
					t.Fatalf("got %q, %v, want %q", line, err, want)
				}
			}
			expect("HTTP/2.0 trailers ")
			for _, word := range []string{"one", "two", "three"} { // each is said after the answer to the one before
				fmt.Fprintln(words, word)
				expect(strings.ToUpper(word))
			}
			words.Close()
			if rest, err := io.ReadAll(answers); err != nil || len(rest) > 0 || response.Trailer.Get("Lines") != "3 abc" {
				t.Errorf("%q, %v, trailers %v", rest, err, response.Trailer)
			}
			// Clients of HTTP/1.1 are served as well; what HTTP/2 has not is ignored.
			plain, dump := f.send(http.MethodGet, "/", http.Header{
				"Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Sec-Websocket-Version": {"13"}, "Sec-Websocket-Key": {sampleKey},
			})
			if plain.StatusCode != http.StatusOK || dump != "HTTP/2.0  \n" {
				t.Errorf("HTTP/1.1: %s %q", plain.Status, dump)
			}
		})
	}
}

// A server of gRPC that refuses a call says so in a head that ends the stream, also while the client is still sending.
func TestTrailersOnlyEndTheStream(t *testing.T) {
	refusing := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/grpc")
		w.Header().Set("Grpc-Status", "6")
	}))
	refusing.Config.Protocols = new(http.Protocols)
	refusing.Config.Protocols.SetUnencryptedHTTP2(true)
	refusing.Start()
	t.Cleanup(refusing.Close)
	for _, over := range overNodes(t) {
		if !over.isSecure() {
			continue
		}
		t.Run(over.name, func(t *testing.T) {
			f := serveOver(t, over, protocol.ProxySpec{Upstream: strings.Replace(refusing.URL, "http://", "h2c://", 1)}, over.whoIs)
			framer := greet(t, f.connect("h2"))
			var head bytes.Buffer
			encoder := hpack.NewEncoder(&head)
			for _, field := range [][2]string{{":method", "POST"}, {":scheme", "https"}, {":authority", ownName}, {":path", "/echo.Echo/Upload"}} {
				_ = encoder.WriteField(hpack.HeaderField{Name: field[0], Value: field[1]})
			}
			if err := framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: head.Bytes(), EndHeaders: true}); err != nil {
				t.Fatal(err)
			}
			for {
				frame, err := framer.ReadFrame()
				if err != nil {
					t.Fatal(err)
				}
				if answer, isHead := frame.(*http2.HeadersFrame); isHead {
					if !answer.StreamEnded() {
						t.Error("the stream goes on after the head")
					}
					return
				}
			}
		})
	}
}

func TestGRPCWithoutTLS(t *testing.T) {
	f := serve(t, protocol.ProxySpec{Upstream: "h2c://" + python(t, "grpc", "app.py", "serve"), Whois: true, WhoisTimeoutMs: 1000}, alice)
	said, err := pythonProgram(t, "grpc", "app.py", "call", f.host()).CombinedOutput()
	const want = "unary hello 5\ndownload x0 x1 x2\nupload ab\ntalk ONE TWO THREE\nfail ALREADY_EXISTS it is there\n"
	if err != nil || string(said) != want {
		t.Errorf("%v\n%s", err, said)
	}
}
