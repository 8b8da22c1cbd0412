package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"slices"
	"strings"

	"golang.org/x/net/http2"
)

// attack is a way to use more of a service than one client should. It consists of many openings, which are spread evenly over
// its shapes.
type attack struct {
	Name  string `json:"name"`
	About string `json:"about"`
	Count int    `json:"count"` // of openings, unless told otherwise

	shapes []shape
}

// shape is an attack over one protocol.
type shape struct {
	name     string
	protocol protocol
	open     opener
}

// opener makes one opening: it asks the target for what the attack asks for, and returns what it holds from then on. An error
// means that it holds nothing. ctx bounds the opening and not what is held.
type opener func(ctx context.Context, to target) (held, error)

// held is what one opening has got of a service.
type held interface {
	// nudge sends a few bytes where nothing is read, as the end of such a connection shows in what is sent only. An end shows at
	// the second call, when the answer to the first one has had time to arrive.
	nudge()
	// tally adds what is held now, and what was answered up to now.
	tally(*tally)
	close()
}

// tally is what became of the openings of one shape. It counts requests where an opening makes several, and connections
// elsewhere.
type tally struct {
	Shape    string         `json:"shape"`
	Tried    int            `json:"tried"`
	Held     int            `json:"held"`
	Answers  map[string]int `json:"answers"`  // statuses, and how connections and streams ended
	Failures map[string]int `json:"failures"` // of openings, by reason
}

// protocol is what an opening speaks.
type protocol string

const (
	plainHTTP  protocol = "http" // HTTP/1.1 without TLS
	secureHTTP protocol = "https"
	http2TLS   protocol = "h2"
)

// overHTTP1 makes the shapes of an attack that speaks HTTP/1.1; variant tells them from others of the attack, and may be empty.
func overHTTP1(variant string, open opener) []shape {
	return []shape{shapeOf(plainHTTP, variant, open), shapeOf(secureHTTP, variant, open)}
}

func overHTTP2(variant string, open opener) []shape { return []shape{shapeOf(http2TLS, variant, open)} }

func shapeOf(protocol protocol, variant string, open opener) shape {
	return shape{strings.TrimSpace(string(protocol) + " " + variant), protocol, open}
}

// catalogue is all attacks. A new one is a function that opens it, and a line here.
var catalogue = []attack{
	{"unfinished-headers", "almost 1 MB of request header each, which never ends", 150,
		slices.Concat(overHTTP1("", unfinishedHeader), overHTTP2("", unfinishedHeaderBlock))},
	{"stalled-bodies", "one byte of a request body each and no more, to a path that is proxied or denied", 400, slices.Concat(
		overHTTP1("proxied", stalledBody(uploadPath)), overHTTP1("chunked", stalledChunk(uploadPath)), overHTTP1("denied", stalledBody(deniedPath)),
		overHTTP2("proxied", stalledStream(uploadPath)), overHTTP2("denied", stalledStream(deniedPath)))},
	{"slow-readers", "a long answer each, of which the client reads nothing", 90,
		slices.Concat(overHTTP1("", slowReader), overHTTP2("", slowStreamReader))},
	{"idle-websockets", "WebSockets without a message", 400, overHTTP1("", idleWebSocket)},
	{"zero-window-streams", "100 HTTP/2 streams each, whose window is 0", 5, overHTTP2("", zeroWindowStreams)},
	{"connection-floods", "new connections all the time, and connections on which nothing is asked", 100, slices.Concat(
		overHTTP1("close", connectAndClose), overHTTP1("hold", idleConnection), overHTTP2("hold", idleStreams))},
	{"denial-floods", "requests for paths of 27 KB that are denied, one after the other", 30,
		slices.Concat(overHTTP1("", deniedRequests), overHTTP2("", deniedRequests))},
}

func findAttack(name string) (attack, error) {
	at := slices.IndexFunc(catalogue, func(a attack) bool { return a.Name == name })
	if at < 0 {
		return attack{}, fmt.Errorf("there is no attack %q: tsnsrv-bench attacks lists them", name)
	}
	return catalogue[at], nil
}

// listAttacks prints the catalogue, an attack on each line.
func listAttacks(_ context.Context, c *console) error {
	if err := c.parse(); err != nil {
		return err
	}
	for _, each := range catalogue {
		c.lines.print(each)
	}
	return nil
}

// target is a service as one opening reaches it.
type target struct {
	name     string // the full one, for Host and TLS
	protocol protocol
	dial     func(ctx context.Context) (net.Conn, error) // up to TLS
}

// connect opens a connection on which the target's protocol can be spoken.
func (t target) connect(ctx context.Context) (net.Conn, error) {
	conn, err := t.dial(ctx)
	if err != nil || t.protocol == plainHTTP {
		return conn, err
	}
	next := "http/1.1"
	if t.protocol == http2TLS {
		next = http2.NextProtoTLS
	}
	secured := tls.Client(conn, &tls.Config{ServerName: t.name, InsecureSkipVerify: true, NextProtos: []string{next}})
	if err := secured.HandshakeContext(ctx); err != nil {
		conn.Close()
		return nil, err
	}
	// One that does not negotiate speaks HTTP/1.1.
	if agreed := secured.ConnectionState().NegotiatedProtocol; agreed != next && (agreed != "" || next == http2.NextProtoTLS) {
		conn.Close()
		return nil, fmt.Errorf("the service speaks %q and not %s", agreed, next)
	}
	return secured, nil
}
