// Command tsnsrv-specs tells of each service specification on its standard input, one JSON value a line, whether a worker
// could run it. It answers with one line for each: empty for yes, else why not. The tests compare it with what
// "tsnsrv-sup validate" accepts; it is no part of the product.
package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http/httptest"
	"net/netip"
	"os"
	"strings"

	"tailscale.com/tailcfg"

	"github.com/arsfeld/tsnsrv-sup/worker/internal/limit"
	"github.com/arsfeld/tsnsrv-sup/worker/internal/protocol"
	"github.com/arsfeld/tsnsrv-sup/worker/internal/proxy"
)

const longestLine = 1 << 20

func main() {
	if err := run(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "tsnsrv-specs:", err)
		os.Exit(1)
	}
}

func run(specs io.Reader, answers io.Writer) error {
	lines := bufio.NewScanner(specs)
	lines.Buffer(nil, longestLine)
	for lines.Scan() {
		problem := ""
		if err := check(lines.Bytes()); err != nil {
			problem = strings.ReplaceAll(err.Error(), "\n", " ")
		}
		if _, err := fmt.Fprintln(answers, problem); err != nil {
			return err
		}
	}
	return lines.Err()
}

// check takes a spec as far as a worker does without a tailnet: decodes it, makes its proxy, and sends a request through.
func check(line []byte) error {
	spec, err := protocol.Decode[protocol.ServiceSpec](line)
	if err != nil {
		return err
	}
	for _, tag := range spec.Exposure.Node.Tags {
		if err := tailcfg.CheckTag(tag); err != nil {
			return err
		}
	}
	for _, listen := range spec.Listeners {
		if err := checkListen(listen.Address); err != nil {
			return err
		}
	}
	if spec.Proxy == nil {
		return nil
	}
	made, _, err := newProxy(spec.Name, *spec.Proxy)
	if err != nil {
		return err
	}
	made.Close()
	return reachUpstream(spec.Name, *spec.Proxy)
}

// checkListen is what tsnet asks of an address.
func checkListen(address string) error {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return err
	}
	if _, err := net.LookupPort("tcp", port); err != nil {
		return err
	}
	if host == "" {
		return nil
	}
	_, err = netip.ParseAddr(host)
	return err
}

// dialer stands for the node. Nobody is behind it.
type dialer struct{ asked bool }

var errNobody = errors.New("nobody is there")

func (d *dialer) Dial(context.Context, string, string) (net.Conn, error) {
	d.asked = true
	return nil, errNobody
}

func newProxy(name string, spec protocol.ProxySpec) (*proxy.Proxy, *dialer, error) {
	spec.CaFile = "" // the file is a matter of its own
	node := &dialer{}
	upstream, err := proxy.OpenUpstream(spec, node, limit.NewFiles().Join())
	if err != nil {
		return nil, nil, err
	}
	limits, nobody := limit.New(), slog.New(slog.DiscardHandler)
	health := proxy.NewHealth(func(error) {})
	backends := proxy.Backends{Upstream: health, Auth: health}
	made, err := proxy.New(proxy.Config{
		Service:   name,
		Spec:      spec,
		Upstream:  upstream,
		Canonical: func(_ context.Context, host string) (string, bool) { return host, true },
		Counters:  proxy.NewMetrics().Add(name, limits, backends),
		Limits:    limits,
		Backends:  backends,
		Log:       nobody,
		AccessLog: nobody,
	})
	return made, node, err
}

// reachUpstream finds out whether a request that nothing forbids gets as far as a connection to the upstream.
func reachUpstream(name string, spec protocol.ProxySpec) error {
	spec.Allow, spec.Prefixes, spec.ForwardAuth, spec.Whois = nil, nil, nil, false
	spec.DialUnixPath, spec.DialAddress, spec.UseTailnetDialer = "", "192.0.2.1:80", true // by our dialer, whatever the spec says
	made, node, err := newProxy(name, spec)
	if err != nil {
		return err
	}
	defer made.Close()
	answer := httptest.NewRecorder()
	made.ServeHTTP(answer, httptest.NewRequest("GET", "/x", nil))
	if !node.asked {
		return fmt.Errorf("no request gets to the upstream %q: %s", spec.Upstream, answer.Body)
	}
	return nil
}
