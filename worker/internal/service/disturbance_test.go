package service

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"testing"

	"github.com/arsfeld/tsnsrv-sup/worker/internal/protocol"
	"github.com/arsfeld/tsnsrv-sup/worker/internal/tailnet"
)

// disturbance is what the supervisor's plan promises of a change.
type disturbance struct {
	What     string
	From     map[string]any
	Change   map[string]any
	Disturbs string
}

// What the plan of the supervisor tells beforehand (supervisor/core/disturbance.ts reads the same table) is what happens.
func TestChangesDisturbAsPlanned(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "..", "shared", "fixtures", "disturbances.json"))
	if err != nil {
		t.Fatal(err)
	}
	var table struct {
		Base    map[string]any
		Changes []disturbance
	}
	if err := json.Unmarshal(text, &table); err != nil {
		t.Fatal(err)
	}
	h := newHarness(t, tailnet.Options{RequireAuthKey: labKey}, 0)
	elsewhere, err := tailnet.Start(tailnet.Options{RequireAuthKey: labKey})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(elsewhere.Close)

	for _, c := range table.Changes {
		t.Run(c.What, func(t *testing.T) {
			h := *h
			h.T = t
			base := merged(table.Base, map[string]any{"exposure": map[string]any{
				"node": map[string]any{"stateDir": h.TempDir(), "controlURL": h.network.ControlURL()},
			}})
			if exposure, ok := c.Change["exposure"].(map[string]any); ok {
				node := exposure["node"].(map[string]any)
				if _, ok := node["stateDir"]; ok {
					node["stateDir"] = h.TempDir()
				}
				if _, ok := node["controlURL"]; ok {
					node["controlURL"] = elsewhere.ControlURL()
				}
			}
			before := h.running(merged(base, c.From), "1")
			after := h.running(merged(base, c.Change), "2")
			if got := before.disturbed(after); got != c.Disturbs {
				t.Errorf("the change disturbs %s, planned is %s:\n%+v\n%+v", got, c.Disturbs, before, after)
			}
			h.set.Delete(before.name, 0)
			h.awaitRemoved(before.name)
		})
	}
}

// running is a service that is ready, and what of it a change may touch.
type running struct {
	name, nodeKey string
	node          protocol.IdentitySpec
	instance      *instance
	servers       map[protocol.ListenSpec]server
}

func (h *harness) running(values map[string]any, hash string) running {
	h.Helper()
	text, err := json.Marshal(merged(values, map[string]any{"specHash": hash, "authKey": labKey}))
	if err != nil {
		h.Fatal(err)
	}
	spec, err := protocol.Decode[protocol.ServiceSpec](text)
	if err != nil {
		h.Fatal(err)
	}
	h.put(spec)
	status := h.await(spec.Name, "ready with spec "+hash, func(s protocol.ServiceStatus) bool {
		return s.Phase == ready && s.SpecHash == hash
	})
	h.set.mu.Lock()
	defer h.set.mu.Unlock()
	current := h.set.services[spec.Name].instance
	return running{name: spec.Name, nodeKey: status.Identity.NodeKey, node: spec.Exposure.Node, instance: current, servers: maps.Clone(current.servers)}
}

// disturbed tells in the words of the plan what became of it.
func (r running) disturbed(after running) string {
	switch {
	case r.instance == after.instance && maps.Equal(r.servers, after.servers):
		return "proxy"
	case r.instance == after.instance:
		return "listener"
	// An ephemeral node has logged out when it ended: the control server knows it no more.
	case r.nodeKey == after.nodeKey && r.node.ControlURL == after.node.ControlURL && !r.node.Ephemeral:
		return "node"
	}
	return "identity"
}

// merged puts change over base, objects key by key and all else as a whole.
func merged(base, change map[string]any) map[string]any {
	all := maps.Clone(base)
	for key, value := range change {
		old, wasObject := all[key].(map[string]any)
		next, isObject := value.(map[string]any)
		if wasObject && isObject {
			all[key] = merged(old, next)
		} else {
			all[key] = value
		}
	}
	return all
}
