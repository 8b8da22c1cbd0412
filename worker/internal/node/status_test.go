package node

import (
	"net/netip"
	"testing"

	"tailscale.com/health"
	"tailscale.com/ipn"
	"tailscale.com/tailcfg"
	"tailscale.com/tsconst"
	"tailscale.com/types/empty"
	"tailscale.com/types/key"
)

func said(state ipn.State) *ipn.Notify   { return &ipn.Notify{State: &state} }
func browse(url string) *ipn.Notify      { return &ipn.Notify{BrowseToURL: &url} }
func failure(message string) *ipn.Notify { return &ipn.Notify{ErrMessage: &message} }

func unhealthy(message string) *ipn.Notify {
	return &ipn.Notify{Health: &health.State{Warnings: map[health.WarnableCode]health.UnhealthyState{
		tsconst.HealthWarnableLoginState: {Args: health.Args{health.ArgError: message}},
	}}}
}

// What the IPN bus of tailscale 1.102 says, in the order in which it says it.
func TestStatusFollowsTheBus(t *testing.T) {
	finished := &ipn.Notify{LoginFinished: &empty.Message{}}
	confirmed := &ipn.Notify{SelfChange: &tailcfg.Node{}}
	self := key.NewNode().Public()
	somebody := &ipn.Notify{SelfChange: &tailcfg.Node{
		Name: "web.tail.ts.net.", Key: self, Addresses: []netip.Prefix{netip.MustParsePrefix("100.64.0.1/32")},
	}}
	for _, c := range []struct {
		what    string
		notices []*ipn.Notify
		want    Status
	}{
		{"auth key: passes through NeedsLogin", []*ipn.Notify{said(ipn.NoState), said(ipn.NeedsLogin)}, Status{State: Starting}},
		{"up", []*ipn.Notify{said(ipn.NeedsLogin), said(ipn.Starting), said(ipn.Running)}, Status{State: Running}},
		{"a person is needed", []*ipn.Notify{said(ipn.NeedsLogin), browse("u")}, Status{State: NeedsLogin, LoginURL: "u"}},
		{"URL before the state", []*ipn.Notify{browse("u"), said(ipn.NeedsLogin)}, Status{State: NeedsLogin, LoginURL: "u"}},
		{"logged in", []*ipn.Notify{said(ipn.NeedsLogin), browse("u"), finished, said(ipn.Starting)}, Status{State: Starting}},
		{"logged in and up", []*ipn.Notify{browse("u"), finished, said(ipn.Running)}, Status{State: Running}},
		{"approval", []*ipn.Notify{said(ipn.NeedsMachineAuth)}, Status{State: NeedsApproval}},
		{"approved", []*ipn.Notify{said(ipn.NeedsMachineAuth), said(ipn.Starting)}, Status{State: Starting}},
		{"expired while up", []*ipn.Notify{said(ipn.Running), said(ipn.NeedsLogin)}, Status{State: NeedsLogin}},
		{"expired while up, with URL", []*ipn.Notify{said(ipn.Running), said(ipn.NeedsLogin), browse("u")}, Status{State: NeedsLogin, LoginURL: "u"}},
		{"refused by control", []*ipn.Notify{said(ipn.NeedsLogin), failure("invalid authkey")}, Status{State: Refused, Problem: "invalid authkey"}},
		{"refused for good", []*ipn.Notify{failure("no"), said(ipn.NeedsLogin), said(ipn.Running)}, Status{State: Refused, Problem: "no"}},
		{"refused by Headscale", []*ipn.Notify{unhealthy("register request: http 401: invalid pre auth key")},
			Status{State: Refused, Problem: "register request: http 401: invalid pre auth key"}},
		{"control in trouble", []*ipn.Notify{unhealthy("register request: http 503: later")},
			Status{State: Starting, Problem: "register request: http 503: later"}},
		{"rate limited", []*ipn.Notify{failure("node registration rate limited; will retry after 5s")},
			Status{State: Starting, Problem: "node registration rate limited; will retry after 5s"}},
		{"complaints while up", []*ipn.Notify{said(ipn.Running), confirmed, failure("x"), unhealthy("register request: http 401: y"), browse("u")},
			Status{State: Running}},
		{"nobody for a moment, as it goes over to control's map",
			[]*ipn.Notify{said(ipn.Running), somebody, confirmed},
			Status{State: Running, DNSName: "web.tail.ts.net", Addresses: []string{"100.64.0.1"}, NodeKey: self.String()}},
		{"up with a kept map, refused", []*ipn.Notify{said(ipn.Running), failure("no")}, Status{State: Refused, Problem: "no"}},
		{"up with a kept map, refused by Headscale", []*ipn.Notify{said(ipn.Running), unhealthy("register request: http 401: y")},
			Status{State: Refused, Problem: "register request: http 401: y"}},
		{"up with a kept map, control away", []*ipn.Notify{said(ipn.Running), unhealthy("no route")}, Status{State: Running}},
		{"up with a kept map, a person is needed", []*ipn.Notify{said(ipn.Running), browse("u")}, Status{State: NeedsLogin, LoginURL: "u"}},
		{"up with a kept map, logged in again", []*ipn.Notify{said(ipn.Running), browse("u"), finished}, Status{State: Running}},
		{"trouble is over", []*ipn.Notify{unhealthy("no route"), said(ipn.Running)}, Status{State: Running}},
		{"switched off", []*ipn.Notify{said(ipn.Running), said(ipn.Stopped)}, Status{State: Stopped}},
	} {
		var status Status
		for _, notice := range c.notices {
			status = status.apply(notice)
		}
		if !status.equal(c.want) {
			t.Errorf("%s: got %+v, want %+v", c.what, status, c.want)
		}
	}
}
