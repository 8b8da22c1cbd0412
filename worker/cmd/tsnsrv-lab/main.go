// Tsnsrv-lab is everything around a tsnsrv-sup that would else be somewhere on the internet or in a rack, in one process
// on loopback: a tailnet to join, sample services to publish, and a gateway and a proxy that show clients what came out of it;
// when asked, Funnel's relays and, as a process of its own, an ACME server.
//
// It prints one JSON line on stdout when all of it is up (see ready), logs to stderr, and leaves nothing behind when it
// is told to end.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/arsfeld/tsnsrv-sup/worker/internal/tailnet"
)

// ready is the line that tells the parent process where everything is.
type ready struct {
	ControlURL  string `json:"controlURL"`
	GatewayURL  string `json:"gatewayURL"`
	GatewayPort int    `json:"gatewayPort"`
	// ProxyURL is an HTTP proxy into the tailnet, for clients that ask a service by its own name and speak TLS to it.
	ProxyURL  string   `json:"proxyURL"`
	AdminURL  string   `json:"adminURL"`
	Upstreams []string `json:"upstreams"`
	// Funnel says where the ports 443, 8443 and 10000 of the public internet are, as "127.0.0.1:41234"; with -funnel only.
	Funnel map[uint16]string `json:"funnel,omitempty"`
	// ACMEDirectoryURL and ACMERootFile are what a node's process needs as TS_DEBUG_ACME_DIRECTORY_URL and SSL_CERT_FILE, and
	// the second is what clients verify services by; with -acme-server only.
	ACMEDirectoryURL string `json:"acmeDirectoryURL,omitempty"`
	ACMERootFile     string `json:"acmeRootFile,omitempty"`
	PID              int    `json:"pid"`
}

type options struct {
	tailnet       tailnet.Options
	acme          tailnet.ACMEOptions
	funnel        bool
	gatewayAddr   string
	upstreams     int
	stateDir      string
	exitWithStdin bool
	verbose       bool
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	options, err := parseFlags(os.Args[1:], os.Stderr)
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err != nil {
		os.Exit(2)
	}
	if options.exitWithStdin {
		var cancel context.CancelFunc
		ctx, cancel = context.WithCancel(ctx)
		go func() {
			// A read error ends it as well: the parent is gone either way.
			_, _ = io.Copy(io.Discard, os.Stdin)
			cancel()
		}()
	}
	if err := run(ctx, options, os.Stdout, os.Stderr); err != nil {
		fmt.Fprintf(os.Stderr, "tsnsrv-lab: %v\n", err)
		os.Exit(1)
	}
}

func parseFlags(args []string, stderr io.Writer) (options, error) {
	var o options
	flags := flag.NewFlagSet("tsnsrv-lab", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&o.tailnet.Listen, "control-addr", "127.0.0.1:0", "`address` of the control server")
	flags.StringVar(&o.gatewayAddr, "gateway-addr", "127.0.0.1:0", "`address` of the gateway for browsers")
	flags.IntVar(&o.upstreams, "upstreams", 6, "how many sample services to run")
	flags.StringVar(&o.tailnet.RequireAuthKey, "auth-key", "", "refuse nodes that do not show this `key`")
	flags.BoolVar(&o.tailnet.RequireAuth, "login", false, "make each new node wait for an interactive login")
	flags.StringVar(&o.tailnet.UserName, "user-name", "", "display `name` of the user, whose all nodes are")
	flags.BoolVar(&o.tailnet.CacheNetworkMaps, "cache-network-maps", false, "let nodes keep their network map on disk")
	flags.DurationVar(&o.tailnet.HoldMapRequests, "hold", 0, "delay each map request by this `duration`, as a distant control server does")
	flags.BoolVar(&o.funnel, "funnel", false, "run what stands for Funnel's relays on the internet")
	flags.StringVar(&o.acme.Program, "acme-server", "", "run this `program` (built of test/pebble), for nodes to get certificates from")
	flags.DurationVar(&o.acme.Lifetime, "certificate-lifetime", 0, "`duration` for which certificates are valid; default 90 days")
	flags.StringVar(&o.stateDir, "state-dir", "", "`directory` of the lab's own nodes; default a temporary one that is removed at the end")
	flags.BoolVar(&o.exitWithStdin, "exit-with-stdin", false, "end when stdin closes, so that the lab does not outlive its parent")
	flags.BoolVar(&o.verbose, "verbose", false, "log what the control server does")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	var err error
	switch {
	case flags.NArg() > 0:
		err = fmt.Errorf("unexpected argument %q: the lab takes flags only", flags.Arg(0))
	case o.upstreams < 0:
		err = fmt.Errorf("-upstreams is %d: want 0 or more", o.upstreams)
	case o.acme.Lifetime != 0 && o.acme.Program == "":
		err = errors.New("-certificate-lifetime is of use only with -acme-server")
	}
	if err != nil {
		fmt.Fprintf(stderr, "tsnsrv-lab: %v\n", err)
	}
	return o, err
}

// run is the lab from its start until ctx is done. What it has started is ended in reverse order, also after an error.
func run(ctx context.Context, o options, stdout, stderr io.Writer) error {
	log := slog.New(slog.NewTextHandler(stderr, nil))
	if o.verbose {
		o.tailnet.Logf = func(format string, args ...any) { log.Info(fmt.Sprintf(format, args...)) }
	}
	tn, err := tailnet.Start(o.tailnet)
	if err != nil {
		return err
	}
	defer tn.Close()

	line := ready{ControlURL: tn.ControlURL(), Upstreams: []string{}, PID: os.Getpid()}
	for i := range o.upstreams {
		url, closeUpstream, err := serve(ctx, "127.0.0.1:0", newUpstream(sampleAt(i)))
		if err != nil {
			return fmt.Errorf("starting sample service %d: %w", i+1, err)
		}
		defer closeUpstream()
		line.Upstreams = append(line.Upstreams, url.String())
	}

	stateDir := o.stateDir
	if stateDir == "" {
		if stateDir, err = os.MkdirTemp("", "tsnsrv-lab-"); err != nil {
			return err
		}
		defer os.RemoveAll(stateDir)
	}
	member, err := tn.Join(ctx, "lab-gateway", filepath.Join(stateDir, "gateway"))
	if err != nil {
		return err
	}
	defer member.Close()
	transport := newTransport(member)
	defer transport.CloseIdleConnections()
	gatewayURL, closeGateway, err := serve(ctx, o.gatewayAddr, newGateway(tn, transport))
	if err != nil {
		return fmt.Errorf("starting the gateway: %w", err)
	}
	defer closeGateway()
	proxyURL, closeProxy, err := serve(ctx, "127.0.0.1:0", newProxy(member, transport))
	if err != nil {
		return fmt.Errorf("starting the proxy: %w", err)
	}
	defer closeProxy()
	if o.funnel {
		ingress, err := tn.StartIngress(ctx, filepath.Join(stateDir, "funnel"))
		if err != nil {
			return err
		}
		defer ingress.Close()
		line.Funnel, o.acme.Ingress = ingress.Addresses, ingress
	}
	var acme *tailnet.ACME
	if o.acme.Program != "" {
		if acme, err = tn.StartACME(ctx, o.acme, stateDir); err != nil {
			return err
		}
		defer acme.Close()
		line.ACMEDirectoryURL, line.ACMERootFile = acme.DirectoryURL, acme.RootFile
	}
	adminURL, closeAdmin, err := serve(ctx, "127.0.0.1:0", newAdmin(tn, acme))
	if err != nil {
		return fmt.Errorf("starting the lab's own API: %w", err)
	}
	defer closeAdmin()

	line.GatewayPort = gatewayURL.port
	line.GatewayURL = fmt.Sprintf("http://localhost:%d", gatewayURL.port)
	line.ProxyURL = proxyURL.String()
	line.AdminURL = adminURL.String()
	if err := json.NewEncoder(stdout).Encode(line); err != nil {
		return fmt.Errorf("telling the parent that the lab is ready: %w", err)
	}
	log.Info("ready", "control", line.ControlURL, "gateway", line.GatewayURL, "admin", line.AdminURL, "upstreams", o.upstreams)
	<-ctx.Done()
	log.Info("ending")
	return nil
}

// listening is where a server listens.
type listening struct {
	host string
	port int
}

func (l listening) String() string {
	return fmt.Sprintf("http://%s", net.JoinHostPort(l.host, fmt.Sprint(l.port)))
}

// serve answers on address until the returned function is called, which also breaks what is still open. The end of ctx ends
// what requests have begun.
func serve(ctx context.Context, address string, handler http.Handler) (listening, func(), error) {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return listening{}, nil, err
	}
	server := &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 10 * time.Second,
		BaseContext:       func(net.Listener) context.Context { return ctx },
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		// Always ErrServerClosed, by the function below.
		_ = server.Serve(listener)
	}()
	at := listener.Addr().(*net.TCPAddr)
	return listening{at.IP.String(), at.Port}, func() {
		server.Close()
		<-done
	}, nil
}
