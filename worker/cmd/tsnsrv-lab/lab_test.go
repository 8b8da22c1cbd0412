package main

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"tailscale.com/tsnet"

	"github.com/arsfeld/tsnsrv-sup/worker/internal/tailnet"
	"github.com/arsfeld/tsnsrv-sup/worker/internal/tailnet/acmetest"
)

const patience = 30 * time.Second

// startLab runs the lab in this process, until stop or the end of the test, and reads its ready line.
func startLab(t *testing.T, args ...string) (line ready, stop func()) {
	t.Helper()
	o, err := parseFlags(args, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	stdout, writer := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		err := run(ctx, o, writer, io.Discard)
		writer.CloseWithError(fmt.Errorf("the lab ended: %w", err))
		ended <- err
	}()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the lab ended with %v", err)
		}
	}
	t.Cleanup(stop)
	text, err := bufio.NewReader(stdout).ReadBytes('\n')
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &line); err != nil {
		t.Fatal(err)
	}
	return line, stop
}

// publish puts an upstream on the tailnet as the worker will: a node with a reverse proxy.
func publish(t *testing.T, controlURL, hostname, upstream string) *tsnet.Server {
	t.Helper()
	node := &tsnet.Server{Dir: t.TempDir(), Hostname: hostname, ControlURL: controlURL, UserLogf: func(string, ...any) {}}
	t.Cleanup(func() { node.Close() })
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if _, err := node.Up(ctx); err != nil {
		t.Fatal(err)
	}
	listener, err := node.Listen("tcp", ":80")
	if err != nil {
		t.Fatal(err)
	}
	target, err := url.Parse(upstream)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: httputil.NewSingleHostReverseProxy(target)}
	go server.Serve(listener)
	t.Cleanup(func() { server.Close() })
	return node
}

// browser resolves every *.localhost to loopback, as browsers do and resolvers may not.
func browser() *http.Client {
	var dialer net.Dialer
	transport := &http.Transport{DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		_, port, err := net.SplitHostPort(address)
		if err != nil {
			return nil, err
		}
		return dialer.DialContext(ctx, network, net.JoinHostPort("127.0.0.1", port))
	}, DisableKeepAlives: true}
	return &http.Client{Transport: transport, Timeout: patience}
}

func get(t *testing.T, url string) (status int, body string) {
	t.Helper()
	response, err := browser().Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(text)
}

func post(t *testing.T, url string) int {
	t.Helper()
	response, err := http.Post(url, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	return response.StatusCode
}

func TestServicesThroughTheGateway(t *testing.T) {
	lab, _ := startLab(t, "-upstreams", "2")
	for i, upstream := range lab.Upstreams {
		publish(t, lab.ControlURL, sampleAt(i).Name, upstream)
	}
	photos := fmt.Sprintf("http://photos.localhost:%d", lab.GatewayPort)

	for i := range lab.Upstreams {
		s := sampleAt(i)
		_, body := get(t, fmt.Sprintf("http://%s.localhost:%d/", s.Name, lab.GatewayPort))
		if !strings.Contains(body, s.Title) || !strings.Contains(body, s.Items[0]) {
			t.Errorf("the page of %s is another one:\n%s", s.Name, body)
		}
	}
	if _, body := get(t, lab.GatewayURL); !strings.Contains(body, photos+"/") || strings.Contains(body, "lab-gateway") {
		t.Errorf("the gateway's list:\n%s", body)
	}

	t.Run("headers pass as sent", func(t *testing.T) {
		request, _ := http.NewRequest("PUT", photos+"/whoami?a=b", nil)
		request.Header.Set("X-Forwarded-Host", "claimed.example")
		response, err := browser().Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		var who struct {
			Name, Method, URL string
			Headers           http.Header
		}
		if err := json.NewDecoder(response.Body).Decode(&who); err != nil {
			t.Fatal(err)
		}
		if who.Name != "photos" || who.Method != "PUT" || who.URL != "/whoami?a=b" || who.Headers.Get("X-Forwarded-Host") != "claimed.example" {
			t.Errorf("whoami: %+v", who)
		}
	})
	t.Run("download", func(t *testing.T) {
		response, err := browser().Get(photos + "/hash?bytes=3000000")
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		sum := sha256.New()
		size, err := io.Copy(sum, response.Body)
		if got := hex.EncodeToString(sum.Sum(nil)); err != nil || size != 3_000_000 || got != response.Header.Get("X-Content-Sha256") {
			t.Errorf("%d bytes, sha256 %s, want %s, %v", size, got, response.Header.Get("X-Content-Sha256"), err)
		}
	})
	t.Run("upload", func(t *testing.T) {
		content := strings.Repeat("tailnet ", 100_000)
		response, err := browser().Post(photos+"/upload", "text/plain", strings.NewReader(content))
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		var got struct {
			Bytes  int
			Sha256 string
		}
		sum := sha256.Sum256([]byte(content))
		if err := json.NewDecoder(response.Body).Decode(&got); err != nil || got.Bytes != len(content) || got.Sha256 != hex.EncodeToString(sum[:]) {
			t.Errorf("upload: %+v %v", got, err)
		}
	})
	t.Run("events arrive one by one", func(t *testing.T) {
		ctx, leave := context.WithCancel(t.Context())
		defer leave()
		request, _ := http.NewRequestWithContext(ctx, "GET", photos+"/events?n=0&intervalMs=1", nil)
		response, err := browser().Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		lines := bufio.NewScanner(response.Body)
		for want := 1; want <= 3; {
			if !lines.Scan() {
				t.Fatal(lines.Err())
			}
			if lines.Text() == fmt.Sprintf("data: photos %d", want) {
				want++
			}
		}
	})
	t.Run("websocket", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		conn, _, err := websocket.Dial(ctx, strings.Replace(photos, "http", "ws", 1)+"/ws", &websocket.DialOptions{HTTPClient: browser()})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.CloseNow()
		if err := conn.Write(ctx, websocket.MessageText, []byte("hello")); err != nil {
			t.Fatal(err)
		}
		if _, message, err := conn.Read(ctx); err != nil || string(message) != "hello" {
			t.Errorf("echo: %q %v", message, err)
		}
	})
	t.Run("status, slow and stream", func(t *testing.T) {
		if status, _ := get(t, photos+"/status/503"); status != 503 {
			t.Errorf("status %d", status)
		}
		if _, body := get(t, photos+"/slow?ms=1"); !strings.Contains(body, "photos") {
			t.Errorf("slow: %q", body)
		}
		if _, body := get(t, photos+"/stream?n=3&intervalMs=1"); body != "photos 1\nphotos 2\nphotos 3\n" {
			t.Errorf("stream: %q", body)
		}
	})
	t.Run("unknown service", func(t *testing.T) {
		status, body := get(t, fmt.Sprintf("http://nobody.localhost:%d/", lab.GatewayPort))
		if status != http.StatusBadGateway || !strings.Contains(body, "no node named") {
			t.Errorf("%d %s", status, body)
		}
	})
}

func TestAdmin(t *testing.T) {
	lab, _ := startLab(t, "-upstreams", "1", "-login")
	node := &tsnet.Server{Dir: t.TempDir(), Hostname: "photos", ControlURL: lab.ControlURL, UserLogf: func(string, ...any) {}}
	defer node.Close()
	local, err := node.LocalClient()
	if err != nil {
		t.Fatal(err)
	}
	await(t, "a login URL", func() bool {
		status, err := local.StatusWithoutPeers(t.Context())
		return err == nil && status.AuthURL != "" && post(t, lab.AdminURL+"/lab/login?url="+url.QueryEscape(status.AuthURL)) == http.StatusOK
	})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if _, err := node.Up(ctx); err != nil {
		t.Fatal(err)
	}

	nodes := func() (list []tailnet.Node) {
		_, body := get(t, lab.AdminURL+"/lab/nodes")
		if err := json.Unmarshal([]byte(body), &list); err != nil {
			t.Fatal(err)
		}
		return list
	}
	if list := nodes(); len(list) != 2 || list[1].Hostname != "photos" || !list[1].Online {
		t.Errorf("nodes: %+v", list)
	}
	var sessions []tailnet.Session
	_, body := get(t, lab.AdminURL+"/lab/live")
	if err := json.Unmarshal([]byte(body), &sessions); err != nil || len(sessions) != 2 || sessions[0].Live != 1 || sessions[0].Twice != 0 {
		t.Errorf("live: %s %v", body, err)
	}
	post(t, lab.AdminURL+"/lab/pause")
	await(t, "the outage", func() bool { return !nodes()[1].Online })
	post(t, lab.AdminURL+"/lab/resume")
	await(t, "its end", func() bool { return nodes()[1].Online })
	if status := post(t, lab.AdminURL+"/lab/expire?node=nobody&in=-1m"); status != http.StatusNotFound {
		t.Errorf("expiring an unknown node: %d", status)
	}
	if status := post(t, lab.AdminURL+"/lab/expire?node=photos&in=-1m"); status != http.StatusOK {
		t.Errorf("expiring a node: %d", status)
	}
}

func TestLabLeavesNothing(t *testing.T) {
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	program := acmetest.Program(t)
	before := runtime.NumGoroutine()
	lab, stop := startLab(t, "-auth-key", "lab-key", "-funnel", "-acme-server", program)
	if entries, _ := os.ReadDir(temp); len(entries) == 0 {
		t.Fatal("the lab's directory is not where this test looks for it")
	}
	stop()
	if entries, _ := os.ReadDir(temp); len(entries) > 0 {
		t.Errorf("left behind: %v", entries)
	}
	await(t, "all goroutines to end", func() bool { return runtime.NumGoroutine() <= before })
	for _, address := range append(lab.Upstreams, lab.ControlURL, lab.GatewayURL, lab.ProxyURL, lab.AdminURL, lab.ACMEDirectoryURL) {
		parsed, err := url.Parse(address)
		if err != nil {
			t.Fatal(err)
		}
		if conn, err := net.Dial("tcp", net.JoinHostPort("127.0.0.1", parsed.Port())); err == nil {
			conn.Close()
			t.Errorf("%s still answers", address)
		}
	}
	for port, address := range lab.Funnel {
		if conn, err := net.Dial("tcp", address); err == nil {
			conn.Close()
			t.Errorf("funnel port %d still answers", port)
		}
	}
}

func TestBadFlags(t *testing.T) {
	for _, args := range [][]string{{"-upstreams", "-1"}, {"-nonsense"}, {"stray"}, {"-certificate-lifetime", "1h"}} {
		if _, err := parseFlags(args, io.Discard); err == nil {
			t.Errorf("%v was taken", args)
		}
	}
	if err := run(t.Context(), options{tailnet: tailnet.Options{RequireAuth: true, RequireAuthKey: "k"}}, io.Discard, io.Discard); err == nil {
		t.Error("auth key and login were taken together")
	}
}

func await(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !condition(); {
		if time.Now().After(deadline) {
			t.Fatalf("waited %v in vain for %s", patience, what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}
