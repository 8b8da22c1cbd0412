package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"tailscale.com/tsnet"

	"github.com/arsfeld/tsnsrv-sup/worker/internal/tailnet"
)

const (
	patience = 30 * time.Second
	authKey  = "bench-key"
	// runMain has the test binary be the program: the client counts what its whole process does, so it needs one of its own.
	runMain = "TSNSRV_BENCH_TEST_RUN_MAIN"
)

func TestMain(m *testing.M) {
	if os.Getenv(runMain) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// line is any line that the program prints.
type line struct {
	Event, URL, MetricsURL, Message, Target string
	Addresses                               []string
	Answered, Tries, Total, Failed          int
	Missing                                 []string
	Quiet                                   bool
	Changes, LastChangeAtMs, AtMs           int64
	PerSecond                               float64
	P50Ms, P90Ms, P99Ms, SlowestMs          float64
	Errors                                  map[string]int
	Shapes                                  []tally
	Peers                                   []struct {
		Name      string
		Addresses []string
		Online    bool
	}
}

// program is a running tsnsrv-bench.
type program struct {
	t      *testing.T
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	stdout *bufio.Reader
	stderr bytes.Buffer
	ended  bool
}

// startProgram runs a subcommand until the end of the test at the latest.
func startProgram(t *testing.T, args ...string) *program {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := &program{t: t, cmd: exec.Command(self, args...)}
	p.cmd.Env = append(os.Environ(), runMain+"=1", authKeyVariable+"="+authKey, "TS_NO_LOGS_NO_SUPPORT=true")
	p.cmd.Stderr = &p.stderr
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.stdout = bufio.NewReader(stdout)
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.end(syscall.SIGKILL) })
	return p
}

// next reads a line.
func (p *program) next() line {
	p.t.Helper()
	text, err := p.stdout.ReadBytes('\n')
	if err != nil {
		p.t.Fatalf("reading what %v says: %v", p.cmd.Args[1:], err)
	}
	var got line
	if err := json.Unmarshal(text, &got); err != nil {
		p.t.Fatalf("%s: %v", text, err)
	}
	return got
}

// ready reads the first line.
func (p *program) ready() line {
	p.t.Helper()
	got := p.next()
	if got.Event != "ready" {
		p.t.Fatalf("the first line is %+v", got)
	}
	return got
}

func (p *program) send(command string) {
	p.t.Helper()
	if _, err := fmt.Fprintln(p.stdin, command); err != nil {
		p.t.Fatal(err)
	}
}

// do sends a command and reads up to its answer; before is what came first.
func (p *program) do(command string) (answer line, before []line) {
	p.t.Helper()
	p.send(command)
	for {
		got := p.next()
		if got.Event == "done" || got.Event == "error" {
			return got, before
		}
		before = append(before, got)
	}
}

// await has the client wait for these services, and wants an answer of each.
func (p *program) await(targets ...string) {
	p.t.Helper()
	list, _ := json.Marshal(targets)
	done, before := p.do(fmt.Sprintf(`{"do":"await","targets":%s,"timeoutMs":%d}`, list, patience.Milliseconds()))
	if done.Answered != len(targets) || len(done.Missing) > 0 || len(before) != len(targets) {
		p.t.Fatalf("await: %+v after %+v", done, before)
	}
	for _, each := range before {
		if each.Event != "answered" || !slices.Contains(targets, each.Target) || each.AtMs == 0 || each.Tries < 1 {
			p.t.Errorf("await said %+v", each)
		}
	}
}

// end sends a signal and waits; it returns the exit code, or -1 after a signal that kills.
func (p *program) end(signal syscall.Signal) int {
	if !p.ended {
		_ = p.cmd.Process.Signal(signal) // fails if it has ended by itself
	}
	return p.wait()
}

func (p *program) wait() int {
	if !p.ended {
		p.ended = true
		_, _ = io.Copy(io.Discard, p.stdout) // Wait closes the pipe
		_ = p.cmd.Wait()                     // ProcessState says more
	}
	return p.cmd.ProcessState.ExitCode()
}

func startTailnet(t *testing.T) *tailnet.Tailnet {
	t.Helper()
	tn, err := tailnet.Start(tailnet.Options{RequireAuthKey: authKey})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(tn.Close)
	return tn
}

func startClient(t *testing.T, controlURL string, flags ...string) *program {
	t.Helper()
	p := startProgram(t, append([]string{"client", "-state-dir", t.TempDir(), "-control-url", controlURL}, flags...)...)
	if got := p.ready(); len(got.Addresses) == 0 {
		t.Errorf("the client has no addresses: %+v", got)
	}
	return p
}

// writeCertificate writes the certificate of httptest, and gives its file and that of its key.
func writeCertificate(t *testing.T) (certificateFile, keyFile string) {
	t.Helper()
	server := httptest.NewTLSServer(nil)
	defer server.Close()
	pair := server.TLS.Certificates[0]
	key, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	directory := t.TempDir()
	write := func(name, kind string, bytes []byte) string {
		path := filepath.Join(directory, name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: bytes}), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	return write("cert.pem", "CERTIFICATE", pair.Certificate[0]), write("key.pem", "PRIVATE KEY", key)
}

// publish runs a node that answers with handler.
func publish(t *testing.T, tn *tailnet.Tailnet, hostname string, handler http.Handler) {
	t.Helper()
	serveOn(t, publishNode(t, tn, hostname), handler, func(node *tsnet.Server) (net.Listener, error) { return node.Listen("tcp", ":80") })
}

// publishOnFunnel is publish by https with a certificate of nobody's name, for the tailnet and the internet.
func publishOnFunnel(t *testing.T, tn *tailnet.Tailnet, hostname string, handler http.Handler) {
	t.Helper()
	certified := httptest.NewTLSServer(nil)
	certified.Close()
	config := &tls.Config{Certificates: certified.TLS.Certificates, NextProtos: []string{"h2", "http/1.1"}}
	node := publishNode(t, tn, hostname)
	serveOn(t, node, handler, func(node *tsnet.Server) (net.Listener, error) {
		return node.ListenFunnel("tcp", ":443", tsnet.FunnelTLSConfig(config))
	})
}

// publishNode runs a node until the end of the test.
func publishNode(t *testing.T, tn *tailnet.Tailnet, hostname string) *tsnet.Server {
	t.Helper()
	node := &tsnet.Server{
		Dir: t.TempDir(), Hostname: hostname, ControlURL: tn.ControlURL(), AuthKey: authKey, UserLogf: func(string, ...any) {},
	}
	t.Cleanup(func() { node.Close() })
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if _, err := node.Up(ctx); err != nil {
		t.Fatal(err)
	}
	return node
}

func serveOn(t *testing.T, node *tsnet.Server, handler http.Handler, listen func(*tsnet.Server) (net.Listener, error)) {
	t.Helper()
	listener, err := listen(node)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: handler}
	go server.Serve(listener)
	t.Cleanup(func() { server.Close() })
}

func get(t *testing.T, url string) string {
	t.Helper()
	response, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s %v", url, response.Status, err)
	}
	return string(body)
}
