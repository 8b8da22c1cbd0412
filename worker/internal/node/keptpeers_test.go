package node

import (
	"fmt"
	"io"
	"net/netip"
	"slices"
	"testing"
	"time"

	"tailscale.com/tailcfg"
	"tailscale.com/types/key"
	"tailscale.com/types/netmap"

	"github.com/arsfeld/tsnsrv-sup/worker/internal/tailnet"
)

// peerMap has so many peers: number n is node n of user n, at 100.64.0.n.
func peerMap(count int) *netmap.NetworkMap {
	whole := &netmap.NetworkMap{
		SelfNode:     (&tailcfg.Node{ID: 1000, User: 1000}).View(),
		UserProfiles: map[tailcfg.UserID]tailcfg.UserProfileView{1000: (&tailcfg.UserProfile{ID: 1000}).View()},
	}
	for n := 1; n <= count; n++ {
		address := netip.AddrFrom4([4]byte{100, 64, 0, byte(n)})
		whole.Peers = append(whole.Peers, (&tailcfg.Node{
			ID: tailcfg.NodeID(n), User: tailcfg.UserID(n), Key: key.NewNode().Public(), AllowedIPs: []netip.Prefix{netip.PrefixFrom(address, 32)},
		}).View())
		whole.UserProfiles[tailcfg.UserID(n)] = (&tailcfg.UserProfile{ID: tailcfg.UserID(n)}).View()
	}
	return whole
}

// routing has the peer carry another prefix, too.
func routing(whole *netmap.NetworkMap, peer int, prefix string) *netmap.NetworkMap {
	node := whole.Peers[peer-1].AsStruct()
	node.AllowedIPs = append(node.AllowedIPs, netip.MustParsePrefix(prefix))
	whole.Peers[peer-1] = node.View()
	return whole
}

func sharedBy(whole *netmap.NetworkMap, peer int, sharer tailcfg.UserID) *netmap.NetworkMap {
	node := whole.Peers[peer-1].AsStruct()
	node.Sharer = sharer
	whole.Peers[peer-1] = node.View()
	return whole
}

func TestWhichPeersAreKept(t *testing.T) {
	hundred := make([]int, 100)
	for i := range hundred {
		hundred[i] = 100 - i // the first peer's handshake is the oldest
	}
	for what, test := range map[string]struct {
		whole      *netmap.NetworkMap
		clients    []string
		handshakes []int // seconds ago, of peer 1, 2 ...; 0 for none
		want       []int
		users      []int // beside those of the peers and the node itself
	}{
		"few are kept whoever they are":              {whole: peerMap(3), want: []int{1, 2, 3}},
		"of many, none that the node never met":      {whole: peerMap(20)},
		"clients, also those of the last run":        {whole: peerMap(20), clients: []string{"100.64.0.7"}, want: []int{7}},
		"whoever shook hands, though no client":      {whole: peerMap(20), handshakes: []int{0, 0, 60}, want: []int{3}},
		"a client that has left the tailnet is none": {whole: peerMap(20), clients: []string{"100.64.0.77"}},
		"the router of a client's subnet": {
			whole: routing(peerMap(20), 4, "192.168.1.0/24"), clients: []string{"192.168.1.9"}, want: []int{4},
		},
		"an exit node is no client's router": {
			whole: routing(peerMap(20), 4, "0.0.0.0/0"), clients: []string{"100.64.0.7"}, want: []int{7},
		},
		"who shared a peer with us is a user, too": {
			whole: sharedBy(peerMap(20), 7, 12), clients: []string{"100.64.0.7"}, want: []int{7}, users: []int{12},
		},
		"of too many, clients and the latest": {
			whole: peerMap(100), clients: []string{"100.64.0.1"}, handshakes: hundred,
			want: append([]int{1}, from(38, 100)...),
		},
	} {
		t.Run(what, func(t *testing.T) {
			defer func(before int) { fewPeers = before }(fewPeers)
			fewPeers = 3
			var clients []netip.Addr
			for _, client := range test.clients {
				clients = append(clients, netip.MustParseAddr(client))
			}
			now := time.Now()
			lastHandshake := func(peer key.NodePublic) time.Time {
				at := slices.IndexFunc(test.whole.Peers, func(each tailcfg.NodeView) bool { return each.Key() == peer })
				if at >= len(test.handshakes) || test.handshakes[at] == 0 {
					return time.Time{}
				}
				return now.Add(-time.Duration(test.handshakes[at]) * time.Second)
			}
			kept := withUsedPeers(test.whole, clients, lastHandshake)
			var got []int
			for _, peer := range kept.Peers {
				got = append(got, int(peer.ID()))
			}
			slices.Sort(got)
			if !slices.Equal(got, test.want) {
				t.Errorf("peers %v, want %v", got, test.want)
			}
			users := append(append([]int{1000}, test.want...), test.users...)
			for _, id := range users {
				if _, ok := kept.UserProfiles[tailcfg.UserID(id)]; !ok {
					t.Errorf("user %d is missing", id)
				}
			}
			if len(kept.UserProfiles) != len(users) {
				t.Errorf("%d users, want %d", len(kept.UserProfiles), len(users))
			}
		})
	}
}

func from(first, last int) (numbers []int) {
	for n := first; n <= last; n++ {
		numbers = append(numbers, n)
	}
	return numbers
}

func TestNodeThatStartsAmongManyKnowsItsClientsAtOnceAndTheOthersFromControl(t *testing.T) {
	defer func(before int) { fewPeers = before }(fewPeers)
	fewPeers = 0
	network := startTailnet(t, tailnet.Options{})
	c := config(t, network, "web", "")
	first := start(t, c)
	await(t, first, Running)
	client := start(t, config(t, network, "client", ""))
	stranger := start(t, config(t, network, "stranger", ""))
	clientUp, strangerUp := await(t, client, Running), await(t, stranger, Running)
	knows := func(n *Node, status Status) bool {
		_, err := n.WhoIs(t.Context(), netip.AddrPortFrom(netip.MustParseAddr(status.Addresses[0]), 1).String())
		return err == nil
	}
	eventually(t, "both peers are known", func() bool { return knows(first, clientUp) && knows(first, strangerUp) })
	connect(t, client, first)
	c.Port = first.UDPPort() // where the client looks for it
	first.PrepareClose(UsedPeers)
	first.Close()
	startWithoutControl := func() *Node {
		network.Pause()
		n := start(t, c)
		await(t, n, Running)
		return n
	}
	second := startWithoutControl()
	if !knows(second, clientUp) {
		t.Error("the client is not known before control answers")
	}
	if knows(second, strangerUp) {
		t.Error("the stranger was kept")
	}
	second.ShakeHands(t.Context(), netip.MustParseAddr(clientUp.Addresses[0])) // as a service does with its clients
	connect(t, client, second)
	network.Resume()
	eventually(t, "control has told of the stranger", func() bool { return knows(second, strangerUp) })
	<-second.Confirmed()

	// One that starts alone is given all.
	second.Close()
	third := startWithoutControl()
	if !knows(third, strangerUp) {
		t.Error("a peer is missing although all were to be kept")
	}
}

// connect has the client exchange a byte with the node.
func connect(t *testing.T, client, node *Node) {
	t.Helper()
	listener, err := node.Listen(":80")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	node.Listening()
	go func() {
		if connection, err := listener.Accept(); err == nil {
			defer connection.Close()
			io.Copy(connection, connection)
		}
	}()
	connection, err := client.Dial(t.Context(), "tcp", fmt.Sprintf("%s:80", addressOf(t, node)))
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	if _, err := connection.Write([]byte{1}); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(connection, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
}

func addressOf(t *testing.T, n *Node) netip.Addr {
	t.Helper()
	status, err := n.local.StatusWithoutPeers(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return status.TailscaleIPs[0]
}
