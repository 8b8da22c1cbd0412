// Package delayedack delays acknowledgements of a node's TCP until an answer can carry them.
//
// gVisor's TCP acknowledges at once whatever comes in. To a request that is answered within milliseconds that is a packet too
// many: encrypted and sent here, received and decrypted there. Other implementations wait for 40 to 200 ms for something to
// send (RFC 9293, 3.8.6.3; RFC 5681, 4.2).
package delayedack

import (
	"hash/maphash"
	"net/netip"
	"slices"
	"sync"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"tailscale.com/net/packet"
	"tailscale.com/net/tstun"
	"tailscale.com/types/ipproto"
	"tailscale.com/wgengine/filter"
)

const (
	// delay is far less than a sender waits at least before it sends again (200 ms in Linux and in gVisor), and soon enough for
	// one that has more to send and waits for the acknowledgement first (RFC 896).
	delay = 10 * time.Millisecond

	// mostBytes are acknowledged late: of more, which is more than one packet, the sender may be waiting to send on.
	mostBytes = 1200

	// slots bounds the memory of a node, to about 10 KiB. Of the connections of a slot, one has its acknowledgements delayed.
	slots = 64

	// plainHeader is TCP's, with timestamps. Who adds more to an acknowledgement tells of what is missing (SACK).
	plainHeader = header.TCPMinimumSize + 12

	mostHeaders = header.IPv6MinimumSize + plainHeader
)

// delayer looks at what a node's TCP sends.
type delayer struct {
	send func([]byte) error
	seed maphash.Seed

	mu    sync.Mutex
	slots *[slots]connection // nil until there is a connection
	timer *time.Timer        // nil until something was held
	armed bool               // the timer runs
}

// connection is what is known of one from what was sent of it.
type connection struct {
	source, destination netip.AddrPort
	acknowledged        uint32
	at                  time.Time // of the last acknowledgement that nothing carried
	slow                bool      // the last answer did not come in time to carry it

	held   [mostHeaders]byte
	length int // of what is held; 0 for nothing
}

// Install has the node behind this device delay its acknowledgements; before it opens or takes any connection. tailscale looks at
// what a node's TCP sends in one place only, which it has for a connector that tsnet does not have.
func Install(device *tstun.Wrapper) {
	delayed := newDelayer(device.InjectOutbound)
	device.PreFilterPacketOutboundToWireGuardAppConnectorIntercept = func(p *packet.Parsed, _ *tstun.Wrapper) filter.Response {
		if delayed.outbound(p) {
			return filter.Accept
		}
		return filter.DropSilently
	}
}

// newDelayer makes the delayer of one node. What nothing has carried in time goes to send, which may hand it to outbound again.
// Nothing has to be closed: what is held is sent within milliseconds.
func newDelayer(send func(packet []byte) error) *delayer {
	return &delayer{send: send, seed: maphash.MakeSeed()}
}

// outbound says whether this packet is to be sent now. Of one that is not, a later one says the same, or it comes again by send.
func (d *delayer) outbound(p *packet.Parsed) bool {
	if p.IPProto != ipproto.TCP || p.TCPFlags&packet.TCPAck == 0 {
		return true
	}
	segment := header.TCP(p.Transport())
	acknowledged := segment.AckNumber()
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.slots == nil {
		d.slots = new([slots]connection)
	}
	c := &d.slots[maphash.Comparable(d.seed, [2]netip.AddrPort{p.Src, p.Dst})%slots]
	if c.source != p.Src || c.destination != p.Dst {
		if c.length == 0 {
			*c = connection{source: p.Src, destination: p.Dst, acknowledged: acknowledged}
		}
		return true
	}
	// What this packet says of what came in, it says better than the one that is held.
	wasHeld := c.length > 0
	c.length = 0
	news := acknowledged - c.acknowledged
	c.acknowledged = acknowledged
	if p.TCPFlags != packet.TCPAck || len(p.Payload()) > 0 {
		c.slow = c.slow && time.Since(c.at) >= delay
		return true
	}
	c.at = time.Now()
	// Who acknowledges nothing new has something else to say: that a packet is missing, that there is room again, or that it is alive.
	isPlain := segment.DataOffset() <= plainHeader && len(p.Buffer()) <= mostHeaders
	if news == 0 || news > mostBytes || !isPlain || wasHeld || c.slow {
		return true
	}
	c.length = copy(c.held[:], p.Buffer())
	d.arm(delay)
	return false
}

// arm has the timer run, if it does not already. The caller holds the lock.
func (d *delayer) arm(after time.Duration) {
	if d.armed {
		return
	}
	d.armed = true
	if d.timer == nil {
		d.timer = time.AfterFunc(after, d.sendLate)
	} else {
		d.timer.Reset(after)
	}
}

func (d *delayer) sendLate() {
	for _, late := range d.takeLate(time.Now()) {
		_ = d.send(late) // fails for a node that has ended
	}
}

// takeLate gives what has been held for long enough, and has the timer run for the rest.
func (d *delayer) takeLate(now time.Time) (late [][]byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.armed = false
	var next time.Duration
	for i := range d.slots {
		c := &d.slots[i]
		if c.length == 0 {
			continue
		}
		if remaining := delay - now.Sub(c.at); remaining <= 0 {
			late = append(late, withChecksum(c.held[:c.length], c.source.Addr(), c.destination.Addr()))
			c.length, c.slow = 0, true
		} else if next == 0 || remaining < next {
			next = remaining
		}
	}
	if next > 0 {
		d.arm(next)
	}
	return late
}

// withChecksum gives a copy with the TCP checksum, which netstack leaves to who sends the packet.
func withChecksum(held []byte, source, destination netip.Addr) []byte {
	whole := slices.Clone(held)
	start := header.IPv6MinimumSize
	if source.Is4() {
		start = int(header.IPv4(whole).HeaderLength())
	}
	segment := header.TCP(whole[start:])
	segment.SetChecksum(0)
	pseudo := header.PseudoHeaderChecksum(header.TCPProtocolNumber, address(source), address(destination), uint16(len(segment)))
	segment.SetChecksum(^segment.CalculateChecksum(pseudo))
	return whole
}

func address(of netip.Addr) tcpip.Address { return tcpip.AddrFromSlice(of.AsSlice()) }
