package node

import (
	"slices"
	"testing"

	"tailscale.com/tailcfg"
	"tailscale.com/types/opt"

	"github.com/arsfeld/tsnsrv-sup/worker/internal/graft"
	"github.com/arsfeld/tsnsrv-sup/worker/internal/tailnet"
)

func TestNetInfoIsSteady(t *testing.T) {
	for name, c := range map[string]struct {
		known []opt.Bool
		told  []opt.Bool
	}{
		"it comes and goes":         {[]opt.Bool{"", "false", "", "false"}, []opt.Bool{"", "", "", ""}},
		"known at once":             {[]opt.Bool{"false", "", "false"}, []opt.Bool{"false", "false", "false"}},
		"another network":           {[]opt.Bool{"", "true", "", "false"}, []opt.Bool{"", "true", "true", "false"}},
		"and one whose NAT is easy": {[]opt.Bool{"true", "false", "true"}, []opt.Bool{"true", "false", "true"}},
	} {
		t.Run(name, func(t *testing.T) {
			var told []opt.Bool
			var last *tailcfg.NetInfo
			report := steady(func(info *tailcfg.NetInfo) {
				if len(told) > 0 && info.MappingVariesByDestIP == told[len(told)-1] && info != last {
					t.Error("the latencies of another measurement would be sent")
				}
				told, last = append(told, info.MappingVariesByDestIP), info
			})
			for i, known := range c.known {
				report(&tailcfg.NetInfo{MappingVariesByDestIP: known, DERPLatency: map[string]float64{"1-v4": float64(i)}})
			}
			if !slices.Equal(told, c.told) {
				t.Errorf("told %q, want %q", told, c.told)
			}
		})
	}
}

func TestNetInfoTellsWhatMatters(t *testing.T) {
	var told tailcfg.NetInfo
	report := steady(func(info *tailcfg.NetInfo) { told = *info })
	report(&tailcfg.NetInfo{PreferredDERP: 1})
	report(&tailcfg.NetInfo{PreferredDERP: 2, MappingVariesByDestIP: opt.False})
	if told.PreferredDERP != 2 {
		t.Errorf("told %+v", told)
	}
}

func TestNodeTellsSteadily(t *testing.T) {
	network := startTailnet(t, tailnet.Options{})
	n := start(t, config(t, network, "web", ""))
	await(t, n, Running)
	report := graft.NetInfoCallback(n.server.Sys().MagicSock.Get())
	eventually(t, "control knows of both", func() bool {
		// Control has the two together only if the first was kept. They are told again and again, as what the node measures itself
		// may come after them and replace both.
		report(&tailcfg.NetInfo{MappingVariesByDestIP: opt.True, PreferredDERP: 1})
		report(&tailcfg.NetInfo{PreferredDERP: 2})
		info := network.NetInfo("web")
		return info.Valid() && info.PreferredDERP() == 2 && info.MappingVariesByDestIP() == opt.True
	})
}
