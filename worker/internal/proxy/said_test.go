package proxy

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http/httpguts"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/arsfeld/tsnsrv-sup/worker/internal/claim"
	"github.com/arsfeld/tsnsrv-sup/worker/internal/protocol"
)

// heard is what an upstream was told.
type heard struct {
	host            string
	header, trailer http.Header
}

// listening is an upstream that tells what it heard.
func listening(t testing.TB) (url string, told <-chan heard) {
	t.Helper()
	channel := make(chan heard, 100)
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		channel <- heard{r.Host, r.Header, r.Trailer}
	}))
	t.Cleanup(server.Close)
	return server.URL, channel
}

// guardedNames is a spec with names that clients may not say.
func guardedNames(upstream string) protocol.ProxySpec {
	return protocol.ProxySpec{
		Upstream: upstream, Whois: true, WhoisTimeoutMs: 1000, RemoveUpstreamHeaders: []string{"X-Debug-Token"},
		UpstreamHeaders: protocol.ProxySpecUpstreamHeaders{"X-Role": "viewer"},
	}
}

func TestTheOperatorsHeadersAreNotSpelledOtherwise(t *testing.T) {
	url, told := listening(t)
	f := serve(t, guardedNames(url), alice)
	f.send(http.MethodGet, "/", http.Header{
		"X_Role": {"admin"}, "x.role": {"admin"}, "X-role": {"admin"}, "X_Debug_Token": {"1"}, "x-debug.token": {"1"}, "X_Request_Id": {"admin"}, "X-Roles": {"kept"},
	})
	header := receive(t, told, "the request").header
	for name, values := range header {
		folded := claim.Folded(name)
		if folded == "X-Debug-Token" || folded == "X-Role" && !(name == "X-Role" && values[0] == "viewer") || folded == requestIDHeader && name != folded {
			t.Errorf("%s: %q", name, values)
		}
	}
	if header.Get("X-Role") != "viewer" || header.Get("X-Roles") != "kept" {
		t.Errorf("%v", header)
	}
}

// withheld are names that no client may say, in a header or after a body.
var withheld = []string{"X-Tailscale-User-LoginName", "Remote-User", "remote_groups", "X-Forwarded-For", "Tailscale-User-Login", "X-Role", "x_role",
	"X-Debug-Token", "Authorization", "Cookie", "X-Request-Id"}

func TestTrailersClaimNothing(t *testing.T) {
	for _, over := range everyReach(t) {
		t.Run(over.name, func(t *testing.T) {
			url, told := listening(t)
			f := serveOver(t, over, guardedNames(url), alice)
			check := func(what string) {
				t.Helper()
				trailer := receive(t, told, "the request").trailer
				if fmt.Sprint(trailer) != "map[Checksum:[abc]]" {
					t.Errorf("%s: trailers %v", what, trailer)
				}
			}
			names := append([]string{"Checksum"}, withheld...)
			for _, announced := range []string{strings.Join(names, ", "), "Checksum"} {
				var trailers strings.Builder
				for _, name := range withheld {
					fmt.Fprintf(&trailers, "%s: evil\r\n", name)
				}
				response := f.raw("POST / HTTP/1.1\r\nHost: web\r\nConnection: close\r\nTransfer-Encoding: chunked\r\nTrailer: " + announced +
					"\r\n\r\n1\r\nx\r\n0\r\nChecksum: abc\r\n" + trailers.String() + "\r\n")
				if response.StatusCode != http.StatusOK {
					t.Fatal(response.Status)
				}
				check("HTTP/1.1, announced " + announced)
			}
			if !over.isSecure() {
				return
			}
			fields := [][2]string{{":method", "POST"}, {":scheme", "https"}, {":authority", ownName}, {":path", "/"}, {"trailer", strings.Join(names, ", ")}}
			trailers := [][2]string{{"checksum", "abc"}}
			for _, name := range slices.DeleteFunc(slices.Clone(withheld), func(name string) bool { return !httpguts.ValidTrailerHeader(name) }) { // net/http ends the rest
				trailers = append(trailers, [2]string{strings.ToLower(name), "evil"})
			}
			f.sendFrames(fields, trailers)
			check("HTTP/2")
		})
	}
}

// sendFrames makes a request by HTTP/2 that a client of net/http would not.
func (f *front) sendFrames(header, trailers [][2]string) {
	f.Helper()
	conn := f.connect("h2")
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	encode := func(fields [][2]string) []byte {
		block.Reset()
		for _, field := range fields {
			_ = encoder.WriteField(hpack.HeaderField{Name: field[0], Value: field[1]})
		}
		return block.Bytes()
	}
	_, _ = io.WriteString(conn, http2.ClientPreface)
	framer := http2.NewFramer(conn, conn)
	_ = framer.WriteSettings()
	_ = framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: encode(header), EndHeaders: true})
	_ = framer.WriteData(1, false, []byte("x"))
	_ = framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: encode(trailers), EndHeaders: true, EndStream: true})
	for {
		switch frame, err := framer.ReadFrame(); frame := frame.(type) {
		case *http2.HeadersFrame:
			return
		case *http2.RSTStreamFrame, *http2.GoAwayFrame, nil:
			f.Fatalf("%v, %v", frame, err)
		}
	}
}

// A Host beside :authority is not the host, and reaches nobody.
func TestHTTP2HasOneHost(t *testing.T) {
	for _, over := range overNodes(t) {
		if !over.isSecure() {
			continue
		}
		t.Run(over.name, func(t *testing.T) {
			url, told := listening(t)
			spec := guardedNames(url)
			spec.RecommendedProxyHeaders = true
			f := serveOver(t, over, spec, alice)
			f.sendFrames([][2]string{{":method", "POST"}, {":scheme", "https"}, {":authority", ownName}, {":path", "/"}, {"host", "evil.example"}}, nil)
			if heard := receive(t, told, "the request"); heard.host != ownName || strings.Contains(fmt.Sprint(heard.header), "evil") {
				t.Errorf("%+v", heard)
			}
		})
	}
}

func TestWhatIsTakenOutOfResponsesIsNowhereInThem(t *testing.T) {
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Secret", "1")
		w.Header().Set("Link", "</a.css>")
		w.WriteHeader(http.StatusEarlyHints)
		w.Header().Set("Trailer", "X-Secret")
		fmt.Fprint(w, "body")
		w.(http.Flusher).Flush()
		w.Header().Set("X-Secret", "2")
		w.Header().Set(http.TrailerPrefix+"Digest", "abc")
	}))
	t.Cleanup(upstream.Close)
	for _, over := range everyReach(t) {
		t.Run(over.name, func(t *testing.T) {
			f := serveOver(t, over, protocol.ProxySpec{Upstream: upstream.URL, RemoveResponseHeaders: []string{"x-secret"}}, nil)
			hints := make(chan textproto.MIMEHeader, 1)
			ctx := httptrace.WithClientTrace(context.Background(), &httptrace.ClientTrace{Got1xxResponse: func(_ int, header textproto.MIMEHeader) error {
				hints <- header
				return nil
			}})
			request, err := http.NewRequestWithContext(ctx, http.MethodGet, f.url, nil)
			if err != nil {
				t.Fatal(err)
			}
			response, err := f.client.Do(request)
			if err != nil {
				t.Fatal(err)
			}
			defer response.Body.Close()
			if _, err := io.ReadAll(response.Body); err != nil {
				t.Fatal(err)
			}
			if early := receive(t, hints, "the early hints"); early.Get("Link") == "" || early.Get("X-Secret") != "" {
				t.Errorf("early hints %v", early)
			}
			if response.Header.Get("X-Secret") != "" || fmt.Sprint(response.Trailer) != "map[Digest:[abc]]" {
				t.Errorf("header %v, trailers %v", response.Header, response.Trailer)
			}
		})
	}
}

// Whatever a client sends, raw, and in however many requests it arrives, it claims nothing. It is no fuzz target: tailscale would
// have to be built for that, which takes minutes.
func TestNothingClaimedReachesTheUpstream(t *testing.T) {
	url, told := listening(t)
	front := serveOver(t, loopback, guardedNames(url), alice)
	front.send(http.MethodGet, "/", nil)
	own := (<-told).header
	arrived := 0
	random := rand.New(rand.NewPCG(1, 2))
	for range 1000 {
		name, trailer, announced := spelled(random), spelled(random), spelled(random)
		value, said, connection := "root", "admin", spelled(random)+", "+spelled(random)
		for len(told) > 0 {
			<-told
		}
		conn, err := front.over.dial(t.Context(), front.address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(patience))
		fmt.Fprintf(conn, "POST / HTTP/1.1\r\nHost: web\r\nConnection: close\r\nConnection: %s\r\nTransfer-Encoding: chunked\r\nTrailer: %s\r\n%s: %s\r\n\r\n"+
			"1\r\nx\r\n0\r\n%s: %s\r\n\r\n", connection, announced, name, value, trailer, said)
		_ = conn.(*net.TCPConn).CloseWrite()
		_, _ = io.Copy(io.Discard, conn)
		for len(told) > 0 {
			heard := <-told
			arrived++
			for name, values := range heard.header {
				folded := claim.Folded(name)
				theirs := claim.Is(name) || folded == "X-Role" || folded == "X-Debug-Token" || name == "Upgrade" || name == "Http2-Settings"
				if theirs && !slices.Equal(values, own[name]) && name != "X-Forwarded-Host" {
					t.Errorf("%s: %q", name, values)
				}
			}
			for name, values := range own {
				if claim.Is(name) && heard.header[name] == nil {
					t.Errorf("%s: %q is missing", name, values)
				}
			}
			for name, values := range heard.trailer {
				if folded := claim.Folded(name); claim.Is(name) || folded == "X-Role" || folded == "X-Debug-Token" {
					t.Errorf("trailer %s: %q", name, values)
				}
			}
		}
	}
	if arrived < 100 {
		t.Errorf("only %d requests arrived", arrived)
	}
}

// spelled is the name of a header that matters, as some client may spell it.
func spelled(random *rand.Rand) string {
	names := []string{"X-Tailscale-User", "Tailscale-User-Login", "Remote-User", "X-Forwarded-For", "X-Forwarded-Host", "Forwarded", "X-Real-Ip",
		"X-Role", "X-Debug-Token", "Upgrade", "HTTP2-Settings", "keep-alive", "X-Auth-Request-Email", "X-Webauth-User", "Host"}
	between := []string{"-", "-", "-", "_", ".", " ", "\t", "--", "\x00", "\r\n "}
	name := []byte(names[random.IntN(len(names))])
	for i, c := range name {
		if random.IntN(4) == 0 {
			name[i] = c ^ 0x20&-(c>>6&1) // the other case, of letters
		}
	}
	return strings.ReplaceAll(string(name), "-", between[random.IntN(len(between))])
}
