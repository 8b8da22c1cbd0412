package tailnet

import (
	"net"
	"slices"
	"strings"
	"sync"

	"golang.org/x/net/dns/dnsmessage"
)

// recordsPerName is how many texts of a name are kept, the newest: enough for challenges side by side, and few enough for
// one small packet.
const recordsPerName = 4

// records are what the public DNS would know of the tailnet: the texts that nodes have control publish to prove that a name
// is theirs.
type records struct {
	mu    sync.Mutex
	texts map[string][]string
}

func newRecords() *records { return &records{texts: map[string][]string{}} }

func (r *records) publish(name, text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	texts := append(slices.Clone(r.texts[name]), text)
	r.texts[name] = texts[max(0, len(texts)-recordsPerName):]
}

func (r *records) published(name string) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.texts[name]
}

// serve answers DNS queries until conn is closed.
func (r *records) serve(conn net.PacketConn) {
	buffer := make([]byte, 512)
	for {
		n, from, err := conn.ReadFrom(buffer)
		if err != nil {
			return
		}
		answer, err := r.answer(buffer[:n])
		if err != nil {
			continue
		}
		// A lost answer is asked for again.
		_, _ = conn.WriteTo(answer, from)
	}
}

// answer knows texts, and for every name the address where this host's ingress listens.
func (r *records) answer(query []byte) ([]byte, error) {
	var message dnsmessage.Message
	if err := message.Unpack(query); err != nil {
		return nil, err
	}
	message.Header = dnsmessage.Header{ID: message.ID, Response: true, Authoritative: true}
	message.Additionals = nil
	for _, question := range message.Questions {
		add := func(body dnsmessage.ResourceBody) {
			header := dnsmessage.ResourceHeader{Name: question.Name, Class: question.Class}
			message.Answers = append(message.Answers, dnsmessage.Resource{Header: header, Body: body})
		}
		switch question.Type {
		case dnsmessage.TypeA:
			add(&dnsmessage.AResource{A: [4]byte{127, 0, 0, 1}})
		case dnsmessage.TypeTXT:
			for _, text := range r.published(strings.ToLower(strings.TrimSuffix(question.Name.String(), "."))) {
				add(&dnsmessage.TXTResource{TXT: []string{text}})
			}
		}
	}
	return message.Pack()
}
