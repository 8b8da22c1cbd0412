// Command tsnsrv-worker hosts the services of one shard: for each a node of its own on the tailnet and a proxy in front of
// its upstream. It is started by a supervisor, is told what to run over a Unix socket, and serves on when the supervisor
// is gone.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/arsfeld/tsnsrv-sup/worker/internal/collector"
	"github.com/arsfeld/tsnsrv-sup/worker/internal/control"
	"github.com/arsfeld/tsnsrv-sup/worker/internal/cores"
	"github.com/arsfeld/tsnsrv-sup/worker/internal/graft"
	"github.com/arsfeld/tsnsrv-sup/worker/internal/interfaces"
	"github.com/arsfeld/tsnsrv-sup/worker/internal/node"
	"github.com/arsfeld/tsnsrv-sup/worker/internal/proxy"
	"github.com/arsfeld/tsnsrv-sup/worker/internal/service"
	"github.com/arsfeld/tsnsrv-sup/worker/internal/statedir"
)

const (
	orphanAfter  = time.Minute
	closeTimeout = 2 * time.Second // for the last answers on the control socket
)

// version is set when the binary is built: -ldflags "-X main.version=1.2.3".
var version = ""

// flags of the command line. There are no secrets among them, as other users can read it.
type flags struct {
	id, dir, logFile, logLevel string
	shard                      int
	gcPercent                  int
	memoryLimit                uint64
	startConcurrency           int
	ignoreInterfaces           string
	logUpload                  bool
	portMapping                bool
	version, build             bool
	socketOwner                string
}

func parseFlags(arguments []string, output io.Writer) (flags, error) {
	var f flags
	set := flag.NewFlagSet("tsnsrv-worker", flag.ContinueOnError)
	set.SetOutput(output)
	set.StringVar(&f.id, "id", "", "id of this worker, unique for ever")
	set.IntVar(&f.shard, "shard", 0, "number of the shard that it runs, from 1")
	set.StringVar(&f.dir, "dir", "", "run directory: worker.sock and worker.json are made in it")
	set.StringVar(&f.logFile, "log-file", "", "file for JSON log lines, rotated by size, with more beside it for requests (default: stderr)")
	set.StringVar(&f.logLevel, "log-level", "info", "debug, info, warn or error; debug logs each request")
	set.IntVar(&f.gcPercent, "gc-percent", 2, "garbage while idle, in per cent of the live heap, but at least 16 MiB; relaxed by itself under load")
	set.Uint64Var(&f.memoryLimit, "memory-limit", 0, "resident `bytes` near which garbage is saved; 0: no limit")
	set.IntVar(&f.startConcurrency, "start-concurrency", 0, "how many nodes start at once; 0: all")
	set.StringVar(&f.ignoreInterfaces, "ignore-interfaces", "", "comma-separated shell patterns of network interfaces to leave out")
	set.BoolVar(&f.logUpload, "log-upload", false, "upload the nodes' logs to Tailscale")
	set.BoolVar(&f.portMapping, "port-mapping", true, "ask the router to map the nodes' UDP ports (NAT-PMP, PCP, UPnP)")
	set.BoolVar(&f.version, "version", false, "print the version and exit")
	set.BoolVar(&f.build, "build", false, "print the versions of this program, Go and tailscale as JSON, and exit")
	set.StringVar(&f.socketOwner, "socket-owner", "", "print the uid of whoever listens on this abstract Unix `socket`, nothing if nobody does, and exit")
	if err := set.Parse(arguments); err != nil {
		return f, err
	}
	switch {
	case f.version, f.build, f.socketOwner != "":
		return f, nil
	case set.NArg() > 0:
		return f, fmt.Errorf("unexpected argument %q", set.Arg(0))
	case f.id == "" || f.dir == "" || f.shard < 1:
		return f, errors.New("-id, -dir and -shard (from 1) are required")
	case f.gcPercent < 1:
		return f, fmt.Errorf("-gc-percent: want at least 1, got %d", f.gcPercent)
	}
	return f, nil
}

func main() {
	f, err := parseFlags(os.Args[1:], os.Stderr)
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "tsnsrv-worker:", err)
		os.Exit(2)
	}
	if f.version {
		fmt.Println(binaryVersion())
		return
	}
	if f.build {
		if err := printBuild(os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, "tsnsrv-worker:", err)
			os.Exit(1)
		}
		return
	}
	if f.socketOwner != "" {
		if err := printSocketOwner(os.Stdout, f.socketOwner); err != nil {
			fmt.Fprintln(os.Stderr, "tsnsrv-worker:", err)
			os.Exit(1)
		}
		return
	}
	if err := run(f); err != nil {
		fmt.Fprintln(os.Stderr, "tsnsrv-worker:", err)
		os.Exit(1)
	}
}

// run lives until the worker has been told to end, and has.
func run(f flags) error {
	off, err := parseMeasures(os.Getenv(disableVariable))
	if err != nil {
		return err
	}
	attributesErr := adoptAttributes(off)
	// The supervisor may die, and with it the reader of stdout and stderr and the terminal; this process stays.
	signal.Ignore(syscall.SIGPIPE, syscall.SIGHUP)
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT)
	syscall.Umask(0o077)

	logs, err := openLogs(f.logFile, f.logLevel)
	if err != nil {
		return err
	}
	logs = logs.with("shard", f.shard)
	logger := logs.story
	slog.SetDefault(logger)
	if attributesErr != nil {
		logger.Warn("this worker will cost more than it has to", "error", attributesErr)
	}

	for _, missing := range graft.Missing() {
		logger.Warn("this version of tailscale has changed inside; the worker does without", "missing", missing.String())
	}

	node.ForgetEnvironment()
	if !f.logUpload {
		node.DisableLogUpload()
	}
	if !f.portMapping {
		node.DisablePortMapping()
	}
	if len(off) > 0 {
		logger.Warn("measures that save CPU and memory are off, for measurement", "off", off)
	}
	if off.has(delayedAck) {
		node.AcknowledgeAtOnce()
	}
	if !off.has(oneCore) {
		cores.FollowLoad()
	}
	if !off.has(gcTuning) {
		collector.Tune(f.gcPercent, f.memoryLimit)
	}
	patterns := splitList(f.ignoreInterfaces)
	if off.has(interfaceFilter) {
		patterns = nil
	}
	table, err := interfaces.New(patterns, logger)
	if err != nil {
		return err
	}
	defer table.Close()
	if !off.has(interfaceTable) {
		table.Install()
		if !off.has(sharedSubscription) {
			table.TakeOver()
		}
	}

	hello, err := introduce(f.id, f.shard)
	if err != nil {
		return err
	}
	metrics := proxy.NewMetrics()
	registry := prometheus.NewRegistry()
	if err := registry.Register(metrics); err != nil {
		return err
	}
	// With the shard, as the supervisor shows the metrics of all workers as one.
	own := prometheus.WrapRegistererWith(prometheus.Labels{"shard": strconv.Itoa(f.shard)}, registry)
	if err := own.Register(collectors.NewGoCollector()); err != nil {
		return err
	}
	set := service.NewSet(service.Options{
		Keeper:           statedir.Keeper{},
		Holder:           fmt.Sprintf("%s %d", f.id, hello.Pid),
		StartConcurrency: f.startConcurrency,
		Interfaces:       table,
		Metrics:          metrics,
		Log:              logger,
		RequestLog:       logs.requests,
		AccessLog:        logs.access,
	})
	server := control.New(control.Options{
		Hello:   hello,
		Set:     set,
		Metrics: promhttp.HandlerFor(registry, promhttp.HandlerOpts{}),
		Log:     logger,
	})

	home, err := openRunDir(f.dir, hello)
	if err != nil {
		return err
	}
	defer home.close()
	served := make(chan error, 1)
	go func() { served <- server.Serve(home.listener) }()
	logger.Info("worker is ready", "id", f.id, "pid", hello.Pid, "version", hello.Version)
	defer func() {
		if err := home.leaveMetrics(registry); err != nil {
			logger.Warn("what was counted last is lost", "error", err)
		}
	}()
	return wait(set, server, logger, stop, served)
}

func wait(set *service.Set, server *control.Server, logger *slog.Logger, stop <-chan os.Signal, served <-chan error) error {
	orphaned := server.Orphaned(orphanAfter)
	for {
		select {
		case received := <-stop:
			logger.Info("shutting down", "signal", received.String())
			set.Shutdown(control.DefaultDrain)
		case <-orphaned:
			logger.Warn("no supervisor has come; ending")
			set.Shutdown(0)
			orphaned = nil
		case err := <-served:
			return err
		case <-set.Done():
			ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
			defer cancel()
			server.Close(ctx)
			logger.Info("worker has ended")
			return nil
		}
	}
}

func splitList(text string) []string {
	var list []string
	for item := range strings.SplitSeq(text, ",") {
		if item = strings.TrimSpace(item); item != "" {
			list = append(list, item)
		}
	}
	return list
}

func binaryVersion() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(devel)"
}
