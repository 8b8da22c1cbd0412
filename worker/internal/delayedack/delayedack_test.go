package delayedack

import (
	"math/rand/v2"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip/header"
	"tailscale.com/net/packet"
)

var (
	node = netip.MustParseAddrPort("100.64.0.1:443")
	peer = netip.MustParseAddrPort("100.64.0.2:50000")
	six  = [2]netip.AddrPort{netip.MustParseAddrPort("[fd7a::1]:443"), netip.MustParseAddrPort("[fd7a::2]:50000")}
)

// segment is what TCP sends.
type segment struct {
	from, to netip.AddrPort // node and peer if not said
	ack      uint32
	flags    header.TCPFlags // besides ACK
	options  int             // bytes; timestamps take 12
	payload  int
}

func (s segment) bytes() []byte {
	if !s.from.IsValid() {
		s.from, s.to = node, peer
	}
	size := header.TCPMinimumSize + s.options
	ip := header.IPv4MinimumSize
	if s.from.Addr().Is6() {
		ip = header.IPv6MinimumSize
	}
	b := make([]byte, ip+size+s.payload)
	source, destination := address(s.from.Addr()), address(s.to.Addr())
	if s.from.Addr().Is6() {
		header.IPv6(b).Encode(&header.IPv6Fields{
			PayloadLength: uint16(size + s.payload), TransportProtocol: header.TCPProtocolNumber,
			HopLimit: 64, SrcAddr: source, DstAddr: destination,
		})
	} else {
		header.IPv4(b).Encode(&header.IPv4Fields{
			TotalLength: uint16(len(b)), Protocol: uint8(header.TCPProtocolNumber), TTL: 64, SrcAddr: source, DstAddr: destination,
		})
	}
	header.TCP(b[ip:]).Encode(&header.TCPFields{
		SrcPort: s.from.Port(), DstPort: s.to.Port(), AckNum: s.ack, DataOffset: uint8(size), Flags: header.TCPFlagAck | s.flags,
		Checksum: 0x1234, // netstack leaves half a sum there
	})
	return b
}

// sent is what has reached WireGuard.
type sent struct {
	delayer *delayer

	mu   sync.Mutex
	late [][]byte
}

func watch() *sent {
	s := &sent{}
	s.delayer = newDelayer(func(b []byte) error {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.passes(b) {
			s.late = append(s.late, b)
		}
		return nil
	})
	return s
}

// sentLate is what nothing has carried until now.
func (s *sent) sentLate() [][]byte {
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.late
}

func (s *sent) passes(b []byte) bool {
	var p packet.Parsed
	p.Decode(b)
	return s.delayer.outbound(&p)
}

func (s *sent) check(t *testing.T, what string, each segment, want bool) {
	t.Helper()
	if got := s.passes(each.bytes()); got != want {
		t.Errorf("%s: sent at once: %v, want %v", what, got, want)
	}
}

// begun is a connection that has acknowledged 1000.
func begun(t *testing.T) *sent {
	t.Helper()
	s := watch()
	s.check(t, "SYN", segment{ack: 1000, flags: header.TCPFlagSyn}, true)
	return s
}

func TestAnswerCarries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := begun(t)
		for ack := uint32(1200); ack < 3000; ack += 200 {
			s.check(t, "acknowledgement of a request", segment{ack: ack, options: 12}, false)
			time.Sleep(delay / 2)
			s.check(t, "answer", segment{ack: ack, options: 12, flags: header.TCPFlagPsh, payload: 300}, true)
		}
		time.Sleep(time.Second)
		if late := s.sentLate(); len(late) > 0 {
			t.Errorf("%d were sent although an answer had carried them", len(late))
		}
	})
}

func TestSentLateWhenNothingCarries(t *testing.T) {
	for name, each := range map[string]segment{
		"IPv4": {ack: 1200, options: 12},
		"IPv6": {ack: 1200, options: 12, from: six[0], to: six[1]},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := watch()
				s.check(t, "SYN", segment{ack: 1000, flags: header.TCPFlagSyn, from: each.from, to: each.to}, true)
				s.check(t, "acknowledgement", each, false)
				time.Sleep(delay)
				late := s.sentLate()
				if len(late) != 1 {
					t.Fatalf("sent %d times", len(late))
				}
				var p packet.Parsed
				p.Decode(late[0])
				segment := header.TCP(p.Transport())
				source, destination := address(p.Src.Addr()), address(p.Dst.Addr())
				if segment.AckNumber() != 1200 || !segment.IsChecksumValid(source, destination, 0, 0) {
					t.Errorf("it is not what was held: %+v", p)
				}
			})
		})
	}
}

func TestWhatIsNotDelayed(t *testing.T) {
	for what, each := range map[string]segment{
		"nothing new (a packet is missing, or there is room)": {ack: 1000, options: 12},
		"packets that came out of order":                      {ack: 1200, options: 24, from: six[0], to: six[1]},
		"packets that came out of order, IPv4":                {ack: 1200, options: 24},
		"more than a packet":                                  {ack: 1000 + mostBytes + 1},
		"the end":                                             {ack: 1200, flags: header.TCPFlagFin},
		"a reset":                                             {ack: 1200, flags: header.TCPFlagRst},
		"data":                                                {ack: 1200, payload: 1},
		"a connection that was never seen":                    {ack: 1200, from: node, to: netip.MustParseAddrPort("100.64.0.3:1")},
	} {
		s := begun(t)
		if each.from == six[0] {
			s.check(t, "SYN", segment{ack: 1000, flags: header.TCPFlagSyn, from: each.from, to: each.to}, true)
		}
		s.check(t, what, each, true)
	}
}

func TestEverySecondIsSent(t *testing.T) {
	s := begun(t)
	for ack := uint32(1100); ack < 2000; ack += 200 {
		s.check(t, "first", segment{ack: ack}, false)
		s.check(t, "second", segment{ack: ack + 100}, true)
	}
}

// A slow service costs a timer once, and not for each request.
func TestSlowAnswersAreNotWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := begun(t)
		s.check(t, "first request", segment{ack: 1100}, false)
		time.Sleep(2 * delay)
		s.check(t, "late answer", segment{ack: 1100, payload: 1}, true)
		s.check(t, "second request", segment{ack: 1200}, true)
		time.Sleep(2 * delay)
		s.check(t, "late answer again", segment{ack: 1200, payload: 1}, true)
		s.check(t, "third request", segment{ack: 1300}, true)
		s.check(t, "answer at once", segment{ack: 1300, payload: 1}, true)
		s.check(t, "fourth request", segment{ack: 1400}, false)
		time.Sleep(time.Second)
		if late := s.sentLate(); len(late) != 2 {
			t.Errorf("%d were sent late, want the first and the fourth", len(late))
		}
	})
}

// Whatever is sent of more connections than there are slots, the last word of each gets out.
func TestNoneIsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := watch()
		said, heard := map[netip.AddrPort]uint32{}, map[netip.AddrPort]uint32{}
		hear := func(b []byte) {
			var p packet.Parsed
			p.Decode(b)
			heard[p.Dst] = max(heard[p.Dst], header.TCP(p.Transport()).AckNumber())
		}
		random := rand.New(rand.NewPCG(1, 2))
		for range 20_000 {
			to := netip.AddrPortFrom(peer.Addr(), uint16(1+random.IntN(3*slots)))
			said[to] += uint32(random.IntN(3) * random.IntN(1000))
			b := segment{from: node, to: to, ack: said[to], options: 12, payload: max(0, random.IntN(4)-2)}.bytes()
			if s.passes(b) {
				hear(b)
			}
			if random.IntN(10) == 0 {
				time.Sleep(delay / 3)
			}
		}
		time.Sleep(2 * delay)
		late := s.sentLate()
		if len(late) == 0 {
			t.Error("nothing was sent late")
		}
		for _, each := range late {
			hear(each)
		}
		for to, ack := range said {
			if heard[to] != ack {
				t.Errorf("%v heard %d of %d", to, heard[to], ack)
			}
		}
	})
}

func TestOtherPacketsPass(t *testing.T) {
	s := watch()
	udp := segment{ack: 1}.bytes()
	header.IPv4(udp).SetTotalLength(uint16(len(udp)))
	udp[9] = uint8(header.UDPProtocolNumber)
	if !s.passes(udp) || !s.passes([]byte{0x45}) || !s.passes(nil) {
		t.Error("what is not TCP was held")
	}
}

func BenchmarkOutbound(b *testing.B) {
	d := newDelayer(func([]byte) error { return nil })
	var ack, data packet.Parsed
	ackBytes, dataBytes := segment{ack: 1, options: 12}.bytes(), segment{ack: 1, options: 12, payload: 300}.bytes()
	number := func(b []byte) header.TCP { return header.TCP(b[header.IPv4MinimumSize:]) }
	for i := uint32(1); b.Loop(); i++ {
		number(ackBytes).SetAckNumber(i * 100)
		number(dataBytes).SetAckNumber(i * 100)
		ack.Decode(ackBytes)
		data.Decode(dataBytes)
		d.outbound(&ack)
		d.outbound(&data)
	}
}
