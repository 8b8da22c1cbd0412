package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"tailscale.com/tailcfg"
	"tailscale.com/tstest/integration/testcontrol"
	"tailscale.com/types/logger"

	"github.com/arsfeld/tsnsrv-sup/worker/internal/tailnet"
)

func TestServiceThatAnswersAnError(t *testing.T) {
	tn := startTailnet(t)
	publish(t, tn, "broken", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", 500) }))
	publish(t, tn, "whole", answer(3))
	client := startClient(t, tn.ControlURL())

	client.await("whole")
	done, before := client.do(`{"do":"await","targets":["whole","broken","absent"],"timeoutMs":500}`)
	if done.Answered != 1 || len(before) != 1 || before[0].Target != "whole" || strings.Join(done.Missing, " ") != "absent broken" {
		t.Errorf("await: %+v after %+v", done, before)
	}
	done, _ = client.do(`{"do":"load","targets":["broken","whole"],"mode":"rate","perSecondEach":50,"connections":1,"durationMs":100}`)
	if done.Total != 10 || done.Failed != 5 || done.Errors["status 500"] != 5 {
		t.Errorf("load: %+v", done)
	}
}

func TestNodesWithACertificateAnswerByHTTPS(t *testing.T) {
	tn := startTailnet(t)
	certificate, key := writeCertificate(t)
	nodes := startProgram(t, "nodes", "-answer", "-names", "svc0", "-state-dir", t.TempDir(), "-control-url", tn.ControlURL(),
		"-certificate-file", certificate, "-key-file", key)
	nodes.ready()
	client := startClient(t, tn.ControlURL(), "-https")
	client.await("svc0")
	done, _ := client.do(`{"do":"load","targets":["svc0"],"mode":"rate","perSecondEach":50,"connections":1,"fresh":true,"durationMs":100}`)
	if done.Total != 5 || done.Failed != 0 {
		t.Errorf("load: %+v", done)
	}
}

func TestCommands(t *testing.T) {
	tn := startTailnet(t)
	client := startClient(t, tn.ControlURL())
	for _, wrong := range []string{
		`no json`, `{"do":"dance"}`, `{"do":"peers","typo":1}`, `{"do":"load","targets":["absent"]}`,
		`{"do":"load","targets":[],"mode":"closed","connections":1,"durationMs":1}`, `{"do":"load","mode":"open"}`,
	} {
		if got, _ := client.do(wrong); got.Event != "error" || got.Message == "" {
			t.Errorf("%s: %+v", wrong, got)
		}
	}
	client.send(`{"do":"await","targets":["absent"],"timeoutMs":600000}`)
	if got, _ := client.do(`{"do":"peers"}`); got.Event != "error" {
		t.Errorf("a command while another one runs: %+v", got)
	}
	if got, _ := client.do(`{"do":"cancel"}`); got.Event != "done" || len(got.Missing) != 1 {
		t.Errorf("the cancelled command: %+v", got)
	}
	if got, _ := client.do(`{"do":"peers"}`); got.Event != "done" || len(got.Peers) != 0 {
		t.Errorf("the command after it: %+v", got)
	}
}

func TestQuiet(t *testing.T) {
	tn := startTailnet(t)
	client := startClient(t, tn.ControlURL())
	before, _ := client.do(`{"do":"quiet","quietMs":300,"timeoutMs":30000}`)
	if !before.Quiet || before.Changes < 1 || before.LastChangeAtMs == 0 {
		t.Errorf("a tailnet at rest: %+v", before)
	}
	if got, _ := client.do(`{"do":"quiet","quietMs":3600000,"timeoutMs":1}`); got.Quiet || got.LastChangeAtMs != before.LastChangeAtMs {
		t.Errorf("no hour has passed, and yet: %+v", got)
	}
	future := fmt.Sprintf(`{"do":"quiet","quietMs":1,"sinceMs":%d,"timeoutMs":1}`, time.Now().Add(time.Hour).UnixMilli())
	if got, _ := client.do(future); got.Quiet {
		t.Errorf("it does not count yet, and yet: %+v", got)
	}
	publish(t, tn, "newcomer", answer(3))
	client.await("newcomer")
	after, _ := client.do(`{"do":"quiet","quietMs":300,"timeoutMs":30000}`)
	if !after.Quiet || after.Changes <= before.Changes || after.LastChangeAtMs <= before.LastChangeAtMs {
		t.Errorf("a node has joined: %+v, before %+v", after, before)
	}
}

// The IPN bus says nothing of such a patch.
func TestPatchOfEndpointsIsAChange(t *testing.T) {
	derpMap, stop, err := tailnet.StartRelay("127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	control := &testcontrol.Server{DERPMap: derpMap, Logf: logger.Discard, RequireAuthKey: authKey}
	control.HTTPTestServer = httptest.NewServer(control)
	defer control.HTTPTestServer.Close()
	defer control.HTTPTestServer.CloseClientConnections()
	client := startClient(t, control.BaseURL())
	node := control.AllNodes()[0]
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := control.AwaitNodeInMapRequest(ctx, node.Key); err != nil {
		t.Fatal(err)
	}
	const stranger = tailcfg.NodeID(4711)
	add := &tailcfg.MapResponse{PeersChanged: []*tailcfg.Node{{
		ID: stranger, StableID: "stranger", Key: node.Key, Name: "stranger.example.ts.net.", MachineAuthorized: true,
		Addresses: []netip.Prefix{netip.MustParsePrefix("100.64.99.1/32")},
	}}}
	if !control.AddRawMapResponse(node.Key, add) {
		t.Fatal("control has lost the client")
	}
	before, _ := client.do(`{"do":"quiet","quietMs":300,"timeoutMs":30000}`)
	patch := &tailcfg.MapResponse{PeersChangedPatch: []*tailcfg.PeerChange{{
		NodeID: stranger, Endpoints: []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:1")},
	}}}
	if !control.AddRawMapResponse(node.Key, patch) {
		t.Fatal("control has lost the client")
	}
	for changes := before.Changes; changes != before.Changes+1; {
		after, _ := client.do(`{"do":"quiet","quietMs":100,"timeoutMs":30000}`)
		if changes = after.Changes; changes > before.Changes+1 {
			t.Fatalf("%d changes, and one was made: was it not quiet before?", changes-before.Changes)
		}
		if ctx.Err() != nil {
			t.Fatal("the patch was not seen")
		}
	}
}

// A service that is silent for too long is not taken for one that has closed the connection, which would be asked again.
func TestTimeoutOverANode(t *testing.T) {
	tn := startTailnet(t)
	release := make(chan struct{})
	defer close(release)
	publish(t, tn, "moody", http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Used") != "" {
			<-release
		}
	}))
	visitor := publishNode(t, tn, "visitor")
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	local, err := visitor.LocalClient()
	if err != nil {
		t.Fatal(err)
	}
	service, err := followPeers(ctx, local).find(ctx, "moody")
	if err != nil {
		t.Fatal(err)
	}
	c, err := open(ctx, plainly(visitor.Dial), service)
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	if _, err := c.get(); err != nil {
		t.Fatal(err)
	}
	c.ask = []byte("GET / HTTP/1.1\r\nHost: moody\r\nUsed: yes\r\n\r\n")
	c.limit(time.Now().Add(50 * time.Millisecond))
	_, err = c.get()
	if !isTimeout(err) || errors.As(err, &staleError{}) || describe(err) != "no answer in time" {
		t.Errorf("a time-out is %T: %v", err, err)
	}
}
