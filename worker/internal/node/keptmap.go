package node

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"tailscale.com/ipn"
	"tailscale.com/ipn/ipnlocal/netmapcache"
	"tailscale.com/tailcfg"
	"tailscale.com/types/key"
	"tailscale.com/types/netmap"
	"tailscale.com/util/mak"
)

// keptMap is the network map that a run of a node leaves to the next one, which is then up before control has answered.
//
// tailscale's backend reads such a map from a directory of the login profile whenever there is one. But it clears that
// directory whenever it takes up a map, be it this one, in which control does not grant it the node attribute
// cache-network-maps. So the kept map says that it does, and lies elsewhere but for the moment in which the backend starts: it
// survives control's answer, and a crash right after that.
//
// What it holds is only as secret as the list of peers: 0600 in 0700. It is not synced to disk; a torn one is not used.
type keptMap struct {
	keys       ipn.StateStore
	controlURL string
	ephemeral  bool               // each start makes a new node: there is nothing to keep
	profiles   string             // parent of the profiles' directories
	dir        string             // where the map is while the node runs
	cache      *netmapcache.Cache // of dir; it knows what the files hold, and writes only what differs
	place      string             // where it was lent to
	files      int                // and how many there were
}

const keptMapName = "network-map"

func newKeptMap(config Config, keys ipn.StateStore) *keptMap {
	m := &keptMap{
		keys:       keys,
		controlURL: config.ControlURL,
		ephemeral:  config.Ephemeral,
		profiles:   filepath.Join(config.Dir, "profile-data"),
		dir:        filepath.Join(config.Dir, keptMapName),
	}
	m.cache = m.open()
	return m
}

func (m *keptMap) open() *netmapcache.Cache {
	return netmapcache.NewCache(atomicFiles{netmapcache.FileStore(m.dir)})
}

// lend puts the map where the backend looks for it, until takeBack. Without one that was certainly made for this login it
// makes sure that the backend finds none. It fails only when what must not be used cannot be removed.
func (m *keptMap) lend() (lent bool, err error) {
	login, err := m.login()
	if err != nil {
		m.forget()
		return false, nil // a backend without a login reads none
	}
	place := filepath.Join(m.profiles, string(login.profile), "netmap-cache")
	if _, err := os.Lstat(m.dir); errors.Is(err, fs.ErrNotExist) {
		_ = os.Rename(place, m.dir) // the last run has died while it was lent
	}
	if m.ephemeral || m.check(login) != nil {
		m.forget()
		return false, os.RemoveAll(place)
	}
	if err := os.RemoveAll(place); err != nil { // of a backend that keeps its own
		return false, err
	}
	m.place, m.files = place, m.count()
	if errors.Join(os.MkdirAll(filepath.Dir(place), 0o700), os.Rename(m.dir, place)) != nil {
		return false, nil // nothing is in place, which is safe
	}
	return true, nil
}

// takeBack ends what lend began. The backend has read the map by now.
func (m *keptMap) takeBack() {
	_ = os.Rename(m.place, m.dir)
	if m.count() != m.files {
		m.cache = m.open() // control was faster: what is left must be written anew
	}
}

// forget removes what is kept.
func (m *keptMap) forget() {
	m.cache = m.open()
	_ = os.RemoveAll(m.dir)
}

func (m *keptMap) count() int {
	entries, _ := os.ReadDir(m.dir)
	return len(entries)
}

var errNotOurs = errors.New("the network map is not of this login")

// check reads the map as the backend would. Each part is a file of JSON, which may be damaged in any way: even so that
// reading it panics.
func (m *keptMap) check(login login) (err error) {
	defer func() {
		if problem := recover(); problem != nil {
			err = fmt.Errorf("the network map is damaged: %v", problem)
		}
	}()
	known, err := m.cache.Load(context.Background())
	if err != nil {
		return err
	}
	expiry := known.SelfKeyExpiry()
	switch {
	case slices.ContainsFunc(known.Peers, func(peer tailcfg.NodeView) bool { return !peer.Valid() }):
		return errors.New("the network map is damaged")
	case login.controlURL != orDefault(m.controlURL), known.NodeKey != login.nodeKey, known.GetAddresses().Len() == 0, known.DERPMap == nil:
		return errNotOurs
	case !expiry.IsZero() && expiry.Before(time.Now()):
		return errNotOurs // control decides what becomes of it
	}
	return nil
}

// keep replaces the map by a newer one. A map that was itself read from disk tells nothing new.
func (m *keptMap) keep(ctx context.Context, latest *netmap.NetworkMap, homeRelay int) error {
	if latest.Cached || !latest.SelfNode.Valid() {
		return nil
	}
	if err := os.MkdirAll(m.dir, 0o700); err != nil {
		return err
	}
	// With the relay of now a node takes it at once; without one it would measure the ways to all relays first, and be up
	// only then.
	self := latest.SelfNode.AsStruct()
	self.HomeDERP = homeRelay
	mak.Set(&self.CapMap, tailcfg.NodeAttrCacheNetworkMaps, nil)
	kept := *latest
	kept.SelfNode = self.View()
	return m.cache.Store(ctx, &kept)
}

// login is what the key file says of the current login.
type login struct {
	profile    ipn.ProfileID
	controlURL string
	nodeKey    key.NodePublic
}

func (m *keptMap) login() (login, error) {
	current, err := m.keys.ReadState(ipn.CurrentProfileStateKey)
	if err != nil {
		return login{}, err
	}
	text, err := m.keys.ReadState(ipn.KnownProfilesStateKey)
	if err != nil {
		return login{}, err
	}
	var profiles map[ipn.ProfileID]ipn.LoginProfile
	if err := json.Unmarshal(text, &profiles); err != nil {
		return login{}, err
	}
	for id, profile := range profiles {
		if string(profile.Key) != string(current) {
			continue
		}
		text, err := m.keys.ReadState(profile.Key)
		if err != nil {
			return login{}, err
		}
		prefs := ipn.NewPrefs()
		if err := ipn.PrefsFromBytes(text, prefs); err != nil {
			return login{}, err
		}
		if prefs.Persist == nil || prefs.Persist.PrivateNodeKey.IsZero() {
			break
		}
		return login{profile: id, controlURL: orDefault(prefs.ControlURL), nodeKey: prefs.Persist.PrivateNodeKey.Public()}, nil
	}
	return login{}, errors.New("no login yet")
}

func orDefault(controlURL string) string {
	if controlURL == "" {
		return ipn.DefaultControlURL
	}
	return controlURL
}

// atomicFiles is a FileStore whose files are replaced as a whole, so that a crash tears none.
type atomicFiles struct{ netmapcache.FileStore }

func (f atomicFiles) Store(_ context.Context, key string, value []byte) error {
	temporary := string(f.FileStore) + ".new" // beside it: in it, only names of keys are allowed
	if err := os.WriteFile(temporary, value, 0o600); err != nil {
		return err
	}
	return os.Rename(temporary, filepath.Join(string(f.FileStore), hex.EncodeToString([]byte(key))))
}
