package proxy

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/arsfeld/tsnsrv-sup/worker/internal/protocol"
)

// stalled are requests whose body begins and does not end.
var stalled = map[string]string{
	"nothing of a short body":   "Content-Length: 5\r\n\r\n",
	"the beginning of a body":   "Content-Length: 100\r\n\r\na beginning",
	"the beginning of a long":   "Content-Length: 10000000\r\n\r\na beginning",
	"a chunk without an end":    "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
	"half a chunk":              "Transfer-Encoding: chunked\r\n\r\n5\r\nhel",
	"waiting for 100 Continue":  "Content-Length: 5\r\nExpect: 100-continue\r\n\r\n",
	"and will close afterwards": "Content-Length: 5\r\nConnection: close\r\n\r\n",
}

const tooLong = "Content-Length: 10000000"

// refusals are ways in which a request is answered without its body having been read.
func refusals(t *testing.T) (protocol.ProxySpec, map[string]int) {
	auth := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) }))
	t.Cleanup(auth.Close)
	spec := guarded(t)
	spec.MaxRequestBodyBytes = 1 << 20
	spec.Allow = []protocol.AccessRule{
		{Path: "/", Kind: protocol.AccessRuleKindAnyone},
		{Path: "/admin", Kind: protocol.AccessRuleKindTag, Value: "tag:nobody"},
	}
	spec.Prefixes = []protocol.PrefixSpec{{From: protocol.PrefixSpecFromAny, Path: "/public"}, {From: protocol.PrefixSpecFromAny, Path: "/admin"}}
	return spec, map[string]int{"POST /admin": http.StatusForbidden, "POST /elsewhere": http.StatusNotFound,
		"CONNECT /": http.StatusMethodNotAllowed}
}

// Whoever sends a body that does not end gets the answer all the same, and is held for a bounded time.
func TestRefusalsDoNotWaitForTheBody(t *testing.T) {
	for _, over := range everyReach(t) {
		t.Run(over.name, func(t *testing.T) {
			spec, answers := refusals(t)
			f := serveOver(t, over, spec, over.whoIs)
			type sent struct {
				what   string
				answer *bufio.Reader
				status int
			}
			var all []sent
			for what, body := range stalled {
				for line, status := range answers {
					if strings.Contains(body, tooLong) && status != http.StatusMethodNotAllowed {
						status = http.StatusRequestEntityTooLarge
					}
					conn := f.connect()
					fmt.Fprintf(conn, "%s HTTP/1.1\r\nHost: %s\r\n%s", line, ownName, body)
					all = append(all, sent{line + ", " + what, bufio.NewReader(conn), status})
				}
			}
			for _, each := range all {
				response, err := http.ReadResponse(each.answer, nil)
				if err != nil || response.StatusCode != each.status {
					t.Errorf("%s: %v, %v", each.what, response, err)
					continue
				}
				// The end of the connection: a rest of the body cannot be told from a next request.
				if rest, err := io.ReadAll(each.answer); err != nil {
					t.Errorf("%s: after %q: %v", each.what, rest, err)
				}
			}
		})
	}
}

// A client that was refused and has sent its body goes on with the same connection.
func TestRefusalKeepsAConnectionWhoseBodyIsComplete(t *testing.T) {
	for _, over := range everyReach(t) {
		t.Run(over.name, func(t *testing.T) {
			spec, _ := refusals(t)
			f := serveOver(t, over, spec, over.whoIs)
			conn := f.connect()
			answers := bufio.NewReader(conn)
			for range 3 {
				fmt.Fprintf(conn, "POST /admin HTTP/1.1\r\nHost: %s\r\nContent-Length: 3\r\n\r\nabc", ownName)
				response, err := http.ReadResponse(answers, nil)
				if err != nil || response.StatusCode != http.StatusForbidden {
					t.Fatalf("%v, %v", response, err)
				}
				if _, err := io.Copy(io.Discard, response.Body); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

func TestRefusalsDoNotWaitForTheBodyOverHTTP2(t *testing.T) {
	for _, over := range overNodes(t) {
		if !over.isSecure() {
			continue
		}
		t.Run(over.name, func(t *testing.T) {
			spec, answers := refusals(t)
			f := serveOver(t, over, spec, over.whoIs)
			client := f.http2()
			for line, status := range answers {
				method, path, _ := strings.Cut(line, " ")
				if method == http.MethodConnect {
					continue
				}
				body, never := io.Pipe()
				request, err := http.NewRequestWithContext(t.Context(), method, f.url+path, body)
				if err != nil {
					t.Fatal(err)
				}
				response, err := client.Do(request)
				if err != nil || response.StatusCode != status {
					t.Errorf("%s: %v, %v", line, response, err)
					continue
				}
				if _, err := io.Copy(io.Discard, response.Body); err != nil { // ends with the stream
					t.Errorf("%s: %v", line, err)
				}
				never.Close()
			}
			if begun := f.counters.running.counts[0].Load() + f.counters.running.counts[1].Load(); begun != 0 {
				t.Errorf("%d requests still run", begun)
			}
		})
	}
}

// A client that only reads when it has sent everything gets its answer, too.
func TestRefusalReachesAClientThatIsStillSending(t *testing.T) {
	const size = 4 << 20 // more than buffers take
	for _, over := range everyReach(t) {
		t.Run(over.name, func(t *testing.T) {
			spec, _ := refusals(t)
			spec.MaxRequestBodyBytes = 0
			f := serveOver(t, over, spec, over.whoIs)
			conn := f.connect()
			fmt.Fprintf(conn, "POST /admin HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\n\r\n", ownName, size)
			if _, err := io.CopyN(conn, zeros{}, size); err != nil {
				t.Fatal(err)
			}
			response, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil || response.StatusCode != http.StatusForbidden {
				t.Errorf("%v, %v", response, err)
			}
		})
	}
}

// No more than a bound of what is not wanted is read.
func TestRefusedBodyIsReadWithinBounds(t *testing.T) {
	for _, over := range everyReach(t) {
		t.Run(over.name, func(t *testing.T) {
			spec, _ := refusals(t)
			spec.MaxRequestBodyBytes = 0
			f := serveOver(t, over, spec, over.whoIs)
			conn := f.connect()
			fmt.Fprintf(conn, "POST /admin HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\n\r\n", ownName, 1<<40)
			sent, err := io.Copy(conn, zeros{})
			if err == nil || f.counters.bytesIn.Load() > lingerBytes+4<<20 {
				t.Errorf("%d bytes were sent and %d taken: %v", sent, f.counters.bytesIn.Load(), err)
			}
		})
	}
}

func TestBodyThatStopsArriving(t *testing.T) {
	for _, over := range everyReach(t) {
		t.Run(over.name, func(t *testing.T) {
			spec := guarded(t)
			spec.Upstream, spec.BodyReadTimeoutMs = uploads(t), 50
			f := serveOver(t, over, spec, over.whoIs)
			open := map[string]net.Conn{}
			for what, body := range stalled {
				conn := f.connect()
				open[what] = conn
				fmt.Fprintf(conn, "POST / HTTP/1.1\r\nHost: %s\r\n%s", ownName, body)
			}
			for what, conn := range open {
				answer, err := io.ReadAll(conn) // to the end of the connection
				text := strings.TrimPrefix(string(answer), "HTTP/1.1 100 Continue\r\n\r\n")
				if err != nil || !strings.HasPrefix(text, "HTTP/1.1 408 ") {
					t.Errorf("%s: %q, %v", what, answer, err)
				}
			}
			if over.isSecure() {
				body, never := io.Pipe()
				defer never.Close()
				response, err := f.http2().Post(f.url, "text/plain", body)
				if err != nil || response.StatusCode != http.StatusRequestTimeout {
					t.Errorf("HTTP/2: %v, %v", response, err)
				}
			}
		})
	}
}

func TestBodyMayTakeLongerThanItsPauses(t *testing.T) {
	for _, over := range everyReach(t) {
		t.Run(over.name, func(t *testing.T) {
			spec := guarded(t)
			spec.Upstream, spec.BodyReadTimeoutMs = uploads(t), 2000
			f := serveOver(t, over, spec, over.whoIs)
			body, slow := io.Pipe()
			go func() {
				for range 20 {
					_, _ = slow.Write([]byte("x"))
				}
				slow.Close()
			}()
			for range 2 { // the second on the connection of the first: no deadline may be left on it
				response, err := f.client.Post(f.url, "text/plain", body)
				if err != nil {
					t.Fatal(err)
				}
				response.Body.Close()
				if response.StatusCode != http.StatusOK {
					t.Errorf("%d", response.StatusCode)
				}
				body, slow = io.Pipe()
				slow.Close()
			}
		})
	}
}

// Once the upstream answers, both sides talk as long as they like: a stream of gRPC may be silent for hours.
func TestConversationMayPause(t *testing.T) {
	const pauseMs = 50
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		control := http.NewResponseController(w)
		_ = control.EnableFullDuplex()
		_ = control.Flush()
		_, _ = io.Copy(w, r.Body)
	}))
	t.Cleanup(upstream.Close)
	for _, over := range overNodes(t) {
		if !over.isSecure() {
			continue
		}
		t.Run(over.name, func(t *testing.T) {
			spec := guarded(t)
			spec.Upstream, spec.BodyReadTimeoutMs = upstream.URL, pauseMs
			f := serveOver(t, over, spec, over.whoIs)
			body, say := io.Pipe()
			response, err := f.http2().Post(f.url, "text/plain", body)
			if err != nil {
				t.Fatal(err)
			}
			// Longer than the pause: what would end the stream is seen in its context.
			ended, cancel := context.WithTimeout(t.Context(), 4*milliseconds(pauseMs))
			defer cancel()
			<-ended.Done()
			go func() {
				_, _ = io.WriteString(say, "still here")
				say.Close()
			}()
			heard, err := io.ReadAll(response.Body)
			if err != nil || string(heard) != "still here" {
				t.Errorf("%q, %v", heard, err)
			}
		})
	}
}

func TestOptionsForTheServer(t *testing.T) {
	for _, over := range everyReach(t) {
		t.Run(over.name, func(t *testing.T) {
			spec, _ := refusals(t)
			f := serveOver(t, over, spec, over.whoIs)
			conn := f.connect()
			fmt.Fprintf(conn, "OPTIONS * HTTP/1.1\r\nHost: %s\r\nContent-Length: 5\r\n\r\n", ownName)
			answer, err := io.ReadAll(conn)
			if err != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 400 ") {
				t.Errorf("%q, %v", answer, err)
			}
		})
	}
}
