package main

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/letsencrypt/pebble/v2/core"
	"github.com/letsencrypt/pebble/v2/db"
)

// Paths of Pebble 2.6.0, which does not export them.
const (
	newOrderPath    = "/order-plz"
	orderPath       = "/my-order/"
	certificatePath = "/certZ/"
	renewalInfoPath = "/draft-ietf-acme-ari-03/renewalInfo/"
)

// ordersPath is the one that is not Pebble's: GET gives all orders, oldest first.
const ordersPath = "/orders"

// order is one that a client placed, whatever became of it.
type order struct {
	Names []string `json:"names"`
	// Challenge is the type of the challenge that was tried, such as "dns-01"; empty before any was.
	Challenge string `json:"challenge"`
	// Problem is why it failed; empty if it did not.
	Problem string `json:"problem"`
	// Serial and NotAfter are of the certificate, in hexadecimal and RFC 3339; empty while none is issued.
	Serial   string `json:"serial"`
	NotAfter string `json:"notAfter"`
}

// frontDoor stands before Pebble: it remembers the orders, and answers differently where Pebble would leave to chance when
// a client renews.
type frontDoor struct {
	pebble http.Handler
	store  *db.MemoryStore

	mu     sync.Mutex
	orders []string // ids
}

func (f *frontDoor) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == ordersPath {
		f.serveOrders(w)
		return
	}
	if id, asked := strings.CutPrefix(r.URL.Path, renewalInfoPath); asked {
		f.serveRenewalInfo(w, id)
		return
	}
	f.pebble.ServeHTTP(w, r)
	if r.URL.Path == newOrderPath {
		// An order that was refused has no place.
		if _, id, placed := strings.Cut(w.Header().Get("Location"), orderPath); placed {
			f.mu.Lock()
			f.orders = append(f.orders, id)
			f.mu.Unlock()
		}
	}
	if serial, fetched := strings.CutPrefix(r.URL.Path, certificatePath); fetched {
		f.endAuthorizations(serial)
	}
}

func (f *frontDoor) serveOrders(w http.ResponseWriter) {
	f.mu.Lock()
	ids := f.orders
	f.mu.Unlock()
	list := make([]order, 0, len(ids))
	for _, id := range ids {
		list = append(list, describe(f.store.GetOrderByID(id)))
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(list)
}

func describe(placed *core.Order) order {
	placed.RLock()
	defer placed.RUnlock()
	described := order{Names: []string{}}
	for _, authorization := range placed.AuthorizationObjects {
		authorization.RLock()
		described.Names = append(described.Names, authorization.Identifier.Value)
		for _, challenge := range authorization.Challenges {
			challenge.RLock()
			if challenge.Validated != "" {
				described.Challenge = challenge.Type
			}
			challenge.RUnlock()
		}
		authorization.RUnlock()
	}
	if placed.Error != nil {
		described.Problem = placed.Error.Detail
	}
	if issued := placed.CertificateObject; issued != nil {
		described.Serial, described.NotAfter = issued.ID, issued.Cert.NotAfter.Format(time.RFC3339)
	}
	return described
}

// serveRenewalInfo suggests to renew after two thirds of the certificate's life. Pebble suggests any time within a day of
// that, which for a short-lived certificate is as likely as not in the past.
func (f *frontDoor) serveRenewalInfo(w http.ResponseWriter, id string) {
	issued, err := f.find(id)
	if err != nil {
		http.Error(w, err.Error(), http.StatusNotFound)
		return
	}
	lifetime := issued.Cert.NotAfter.Sub(issued.Cert.NotBefore)
	var info core.RenewalInfo
	info.SuggestedWindow.Start = issued.Cert.NotBefore.Add(lifetime * 2 / 3)
	info.SuggestedWindow.End = info.SuggestedWindow.Start.Add(lifetime / 100)
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(info)
}

// find looks a certificate up by its id in ARI: key identifier and serial number in base64, with a dot between.
func (f *frontDoor) find(id string) (*core.Certificate, error) {
	_, encoded, _ := strings.Cut(id, ".")
	serial, err := base64.RawURLEncoding.DecodeString(encoded)
	if err != nil {
		return nil, fmt.Errorf("%q is no id of a certificate: %w", id, err)
	}
	issued := f.store.GetCertificateBySerial(new(big.Int).SetBytes(serial))
	if issued == nil {
		return nil, fmt.Errorf("this server has issued no certificate with the id %q", id)
	}
	return issued, nil
}

// endAuthorizations makes the challenges that a finished order has met useless for the next one. Pebble takes such into one
// order of a hundred even when told never to, and then refuses the client that proves again what it has proved.
func (f *frontDoor) endAuthorizations(serial string) {
	finished, err := f.store.GetOrderByIssuedSerial(serial)
	if err != nil {
		return
	}
	finished.RLock()
	defer finished.RUnlock()
	for _, authorization := range finished.AuthorizationObjects {
		authorization.Lock()
		authorization.ExpiresDate = time.Now()
		authorization.Unlock()
	}
}
