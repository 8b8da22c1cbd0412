package node

import (
	"testing"

	"github.com/arsfeld/tsnsrv-sup/worker/internal/graft"
	"github.com/arsfeld/tsnsrv-sup/worker/internal/tailnet"
)

func TestExpiredSessionIsMadeAnew(t *testing.T) {
	network := startTailnet(t, tailnet.Options{})
	n, client := start(t, config(t, network, "web", "")), start(t, config(t, network, "client", ""))
	address := await(t, n, Running).Addresses[0]
	await(t, client, Running)
	visit(t, client, n, address)
	who, err := client.WhoIs(t.Context(), address+":80")
	if err != nil {
		t.Fatal(err)
	}
	before := client.lastHandshake(who.Node.Key)
	graft.ExpireSession(client.server.Sys().Engine.Get(), who.Node.Key)
	connection, err := client.Dial(t.Context(), "tcp", address+":80")
	if err != nil {
		t.Fatal(err)
	}
	connection.Close()
	if after := client.lastHandshake(who.Node.Key); !after.After(before) {
		t.Errorf("the session of %v is still in use", before)
	}
}
