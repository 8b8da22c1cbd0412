package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
)

func TestUpstream(t *testing.T) {
	p := startProgram(t, "upstream", "-bytes", "17", "-exit-with-stdin")
	if body := get(t, p.ready().URL); len(body) != 17 {
		t.Errorf("the body is %q", body)
	}
	p.stdin.Close()
	if code := p.wait(); code != 0 {
		t.Errorf("exit code %d when stdin closes", code)
	}
}

func TestBadUse(t *testing.T) {
	for _, args := range [][]string{
		{}, {"nonsense"}, {"relay"}, {"relay", "-derp-map", "x", "stray"}, {"upstream", "-bytes", "-1"}, {"client"},
		{"nodes", "-names", "", "-state-dir", "d", "-control-url", "http://127.0.0.1:1", "-answer"},
		{"nodes", "-state-dir", "d", "-control-url", "http://127.0.0.1:1", "-upstream", "nowhere"},
	} {
		p := startProgram(t, args...)
		if code := p.wait(); code < 1 || p.stderr.Len() == 0 {
			t.Errorf("%v: exit code %d, %q", args, code, p.stderr.String())
		}
	}
}

func TestAuthKeyLeavesTheEnvironment(t *testing.T) {
	t.Setenv(authKeyVariable, "secret")
	if key := takeAuthKey(); key != "secret" {
		t.Errorf("the key is %q", key)
	}
	if key, there := os.LookupEnv(authKeyVariable); there {
		t.Errorf("it is still there: %q", key)
	}
}

func TestNodesThatPublishAnUpstream(t *testing.T) {
	tn := startTailnet(t)
	upstream := startProgram(t, "upstream")
	stateDir := t.TempDir()
	args := []string{"nodes", "-names", "svc0,svc1", "-state-dir", stateDir, "-control-url", tn.ControlURL(), "-upstream", upstream.ready().URL}
	nodes := startProgram(t, args...)
	if metrics := get(t, nodes.ready().MetricsURL+"/metrics"); !regexp.MustCompile(`(?m)^go_goroutines \d+$`).MatchString(metrics) {
		t.Errorf("no go_goroutines in\n%s", metrics)
	}
	client := startClient(t, tn.ControlURL())
	client.await("svc0", "svc1")

	t.Run("load", func(t *testing.T) {
		for _, spec := range []string{
			`"mode":"rate","perSecondEach":50,"connections":2,"durationMs":200`,
			`"mode":"closed","connections":3,"durationMs":200`,
		} {
			done, before := client.do(`{"do":"load","targets":["svc0","svc1"],` + spec + `}`)
			if done.Total < 1 || done.Failed != 0 || done.PerSecond <= 0 || len(before) != 1 || before[0].Event != "begun" {
				t.Errorf("%s: %+v after %+v", spec, done, before)
			}
			if done.P50Ms <= 0 || done.P50Ms > done.P90Ms || done.P90Ms > done.P99Ms || done.P99Ms > done.SlowestMs {
				t.Errorf("%s: percentiles %+v", spec, done)
			}
			if strings.Contains(spec, "rate") && done.Total != 20 {
				t.Errorf("%d requests, want 2 targets x 50 a second x 0.2 s", done.Total)
			}
		}
	})
	t.Run("peers", func(t *testing.T) {
		done, _ := client.do(`{"do":"peers"}`)
		if len(done.Peers) != 2 || done.Peers[1].Name != "svc1" || len(done.Peers[1].Addresses) == 0 || !done.Peers[1].Online {
			t.Errorf("%+v", done)
		}
	})

	// A killed process says no goodbye: the client still has a session with it.
	nodes.end(syscall.SIGKILL)
	nodes = startProgram(t, args...)
	client.await("svc0", "svc1")
	if code := nodes.end(syscall.SIGTERM); code != 0 {
		t.Errorf("nodes: exit code %d after SIGTERM", code)
	}
	client.stdin.Close()
	if code := client.wait(); code != 0 {
		t.Errorf("client: exit code %d when stdin closes", code)
	}
	if files, _ := filepath.Glob(filepath.Join(stateDir, "svc*")); len(files) != 2 {
		t.Errorf("state directories: %v", files)
	}
}

func TestNodesThatAnswer(t *testing.T) {
	tn := startTailnet(t)
	startProgram(t, "nodes", "-answer", "-names", "limit0", "-concurrency", "1", "-state-dir", t.TempDir(), "-control-url", tn.ControlURL()).ready()
	startClient(t, tn.ControlURL()).await("limit0")
}
